"""Newton's method with the exact Hessian, for problems of up to a few thousand parameters.

Each step solves H d = -g by Cholesky. Near the optimum the full step is the best one, and the
number of right digits doubles with every step; where the slope there is still far from flat, the
step goes to the lowest point along d instead.
Nocedal & Wright, Numerical Optimization (2006), section 3.3.

Full steps are short where they promise much of F: the first one starts where probabilities are
about even, which curves F more than anything on the way. There the line is searched at once, from
twice the step; of tables that saves a step in eight.
"""

from __future__ import annotations

from torch import Tensor

from polylogit.optim.line_search import lowest
from polylogit.optim.preconditioner import solved
from polylogit.optim.problem import ROUNDING, Evaluation, Problem, Solver, dot

FAR, FIRST = 0.1, 2.0  # of F, promised by a step; full steps, where the search along it begins
FLAT = 0.3  # of the first slope along a step: flatter than that, the full step is taken


def newton(problem: Problem, at: Evaluation) -> Solver:
    """Ever better points after `at`; ends where no direction leads down any more."""
    while True:
        step = solved(problem.curvature(at).matrix(), at.gradient)  # back
        slope = -dot(at.gradient, step)
        if not slope < 0:
            return
        far = -slope > FAR * abs(at.value)
        full = None if far else problem.evaluate(at.point - step)
        if full is not None and _is_good(full, at, step, slope):
            at = full
        else:
            line = problem.line(at, step.neg())
            at = line.evaluate(lowest(line, slope, first=FIRST if far else 1.0))
        yield at


def _is_good(full: Evaluation, at: Evaluation, step: Tensor, slope: float) -> bool:
    """Whether the end of a step is nearly flat along it, and no higher."""
    flat = abs(dot(full.gradient, step)) <= FLAT * -slope
    return flat and full.value <= at.value + ROUNDING * abs(at.value)
