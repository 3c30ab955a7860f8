"""The lowest point of a convex function along a line.

Trial steps are cheap here (`problem.Line`), so the search may be exact: Newton's method on the
slope, held inside a bracket because the slope of a convex function only rises. Where a trial costs
a pass the curvature is a guess, and after a step that was much too long a bad one: then the next
trial keeps away from the ends of the bracket.
"""

from __future__ import annotations

from polylogit.optim.problem import Line

INNER = 0.4  # of a bracket: so far from its ends goes a trial that costs a pass
LONGEST = 1e6  # steps; F still falls there: it has no lowest point on this line


def lowest(line: Line, slope: float, *, first: float = 1.0, tolerance: float = 0.1) -> float:
    """t > 0 with |slope at t| <= tolerance |slope at 0|, for a line with `slope` < 0 at 0.

    >>> class Parabola:
    ...     trials_are_free = True
    ...     def slope(self, t): return t - 3.0
    ...     def curvature(self, t): return 1.0
    ...     def evaluate(self, t): raise NotImplementedError
    >>> lowest(Parabola(), -3.0)
    3.0
    """
    low, high, t = 0.0, LONGEST, first
    for _ in range(50):
        here = line.slope(t)
        if abs(here) <= tolerance * abs(slope) or t >= LONGEST:
            break
        curvature = line.curvature(t)
        low, high = (t, high) if here < 0 else (low, t)
        t = _inside(t - here / curvature if curvature > 0 else 10 * t, low, high, t)
        if high < LONGEST and not line.trials_are_free:
            edge = INNER * (high - low)
            t = min(max(t, low + edge), high - edge)
    return t


def _inside(wanted: float, low: float, high: float, last: float) -> float:
    """The wanted step where the bracket allows it, else one that surely shrinks the bracket."""
    if low < wanted < high:
        return min(wanted, 10 * last)
    return min(10 * last, high) if high >= LONGEST else 0.5 * (low + high)
