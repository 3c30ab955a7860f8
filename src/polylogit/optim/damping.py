"""How much a quadratic model is damped, after how far its last step could be gone.

The model H + mu M, with M an easy curvature of the same scale (Levenberg, Quart. Appl. Math. 2
(1944)): mu grows where the model was wrong and fades as steps succeed.
"""

from __future__ import annotations

SHORT, LONG = 0.2, 0.7  # steps that are much too long, and about right, as the model has them
FIRST_DAMPING, LEAST_DAMPING = 1e-3, 1e-5


def damping_after(last: float, t: float) -> float:
    """More after a step that had to be cut to t < SHORT, less after one of about full length.

    >>> damping_after(0.0, 0.01), damping_after(0.01, 0.5), damping_after(1e-6, 1.0)
    (0.001, 0.01, 0.0)
    """
    if t < SHORT:
        return max(10 * last, FIRST_DAMPING)
    if t > LONG:
        return 0.2 * last if last > LEAST_DAMPING else 0.0
    return last
