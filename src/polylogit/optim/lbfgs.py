"""L-BFGS with a curvature model in its middle, for large problems.

The two-loop recursion builds -H g from the last steps s_j and the changes y_j of the gradient
(Nocedal & Wright, Numerical Optimization (2006), algorithm 7.4). Where the textbook starts from a
multiple of the identity it starts from M^-1, the problem's preconditioner, which has the Hessian's
own scale: then columns of any size are taken care of, and few steps are needed. The step goes
close to the lowest point along the direction, which costs no product with the data.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from polylogit.optim.line_search import lowest
from polylogit.optim.problem import Evaluation, Preconditioner, Problem, Solver

MEMORY = 10  # steps
RENEW = frozenset({5})  # steps after which the curvature has changed enough
FLAT = 0.5  # of the first slope: how flat the end of a step must be


@dataclass(frozen=True)
class _Pair:
    """A step s and the change y of the gradient over it, s'y > 0."""

    step: Tensor
    change: Tensor
    product: float


def lbfgs(problem: Problem, at: Evaluation) -> Solver:
    """Ever better points after `at`; ends where no direction leads down any more."""
    pairs: deque[_Pair] = deque(maxlen=MEMORY)
    precondition, count = problem.preconditioner(at), 0
    while True:
        if count in RENEW:
            precondition = problem.preconditioner(at)
        direction = _two_loops(at.gradient, pairs, precondition).neg_()
        slope = _dot(at.gradient, direction)
        if not slope < 0:
            return
        line = problem.line(at, direction)
        t = lowest(line, slope, tolerance=FLAT)
        following = line.evaluate(t)
        step, change = t * direction, following.gradient - at.gradient
        product = _dot(step, change)
        if product > 0:
            pairs.append(_Pair(step, change, product))
        at, count = following, count + 1
        yield at


def _two_loops(gradient: Tensor, pairs: deque[_Pair], precondition: Preconditioner) -> Tensor:
    """H g for the inverse Hessian H that the pairs and the preconditioner describe."""
    rest, shares = gradient.clone(), []
    for pair in reversed(pairs):
        shares.append(_dot(pair.step, rest) / pair.product)
        rest.add_(pair.change, alpha=-shares[-1])
    result = precondition(rest)
    for pair, share in zip(pairs, reversed(shares), strict=True):
        result.add_(pair.step, alpha=share - _dot(pair.change, result) / pair.product)
    return result


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.reshape(-1), b.reshape(-1)))
