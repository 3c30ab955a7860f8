"""Newton's method with the exact Hessian, for problems of up to a few thousand parameters.

Each step solves H d = -g by Cholesky. Near the optimum the full step is the best one, and the
number of right digits doubles with every step; where the slope there is still far from flat, the
step goes to the lowest point along d instead.
Nocedal & Wright, Numerical Optimization (2006), section 3.3.
"""

from __future__ import annotations

from polylogit.optim.line_search import lowest
from polylogit.optim.preconditioner import solved
from polylogit.optim.problem import ROUNDING, Evaluation, Problem, Solver

FLAT = 0.3  # of the first slope along a step: flatter than that, the full step is taken


def newton(problem: Problem, at: Evaluation) -> Solver:
    """Ever better points after `at`; ends where no direction leads down any more."""
    while True:
        direction = solved(problem.curvature(at).matrix(), at.gradient).neg_()
        slope = float((at.gradient * direction).sum())
        if not slope < 0:
            return
        full = problem.evaluate(at.point + direction)
        flat_enough = abs(float((full.gradient * direction).sum())) <= FLAT * -slope
        if flat_enough and full.value <= at.value + ROUNDING * abs(at.value):
            at = full
        else:
            line = problem.line(at, direction)
            at = line.evaluate(lowest(line, slope))
        yield at
