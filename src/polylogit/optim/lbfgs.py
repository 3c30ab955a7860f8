"""L-BFGS with a curvature model in its middle, for large problems.

The two-loop recursion builds -H g from the last steps s_j and the changes y_j of the gradient
(Nocedal & Wright, Numerical Optimization (2006), algorithm 7.4). Where the textbook starts from a
multiple of the identity it starts from one of M^-1, the problem's preconditioner: then columns of
any size are taken care of, and few steps are needed. The step goes close to the lowest point along
the direction where trials cost no product with the data, and less close where they do.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polylogit.optim.line_search import lowest
from polylogit.optim.problem import Evaluation, Preconditioner, Problem, Solver

MEMORY = 10  # steps
FIRST = 4  # steps after which the curvature has changed enough to be looked at anew
EVERY, EVERY_DEAR = 25, 15  # the same from then on, and where trials cost a pass
SPENT = 0.5  # of the time of the steps, at most, for new models of the curvature
FLAT = 0.25  # of the first slope: how flat the end of a step must be
ROUGH = 0.7  # the same, where every trial costs a pass
SHARP = 0.01  # the same, where the flat end turned out to lie higher than the start
RISE = 1e-6  # of F: more than float32 rounding


@dataclass(frozen=True)
class Pair:
    """A step s and the change y of the gradient over it, s'y > 0."""

    step: Tensor
    change: Tensor
    product: float


Pairs = deque[Pair]


def remember(
    pairs: Pairs, at: Evaluation, following: Evaluation, dtype: torch.dtype = torch.float64
) -> None:
    """Add the pair of a step in `dtype`, if F curves upwards along it."""
    step = (following.point - at.point).to(dtype)
    change = (following.gradient - at.gradient).to(dtype)
    if (product := _dot(step, change)) > 0:
        pairs.append(Pair(step, change, product))


def repenalised(pairs: Pairs, extra: Tensor) -> None:
    """Adapt the pairs to F + 1/2 sum extra x^2, `extra` broadcast over the point.

    Each change of the gradient grows by extra * step, exactly; a pair that loses s'y > 0 goes.
    """
    changed = [(pair.step, pair.change + extra.to(pair.step.dtype) * pair.step) for pair in pairs]
    pairs.clear()
    for step, change in changed:
        if (product := _dot(step, change)) > 0:
            pairs.append(Pair(step, change, product))


def lbfgs(
    problem: Problem,
    at: Evaluation,
    pairs: Pairs | None = None,
    dtype: torch.dtype = torch.float64,
    dear: float = 0.0,
) -> Solver:
    """Ever better points after `at`; ends where no direction leads down any more.

    `pairs` of an earlier run on nearly the same F serve as first memory, and are added to.
    Directions are made in `dtype`. A preconditioner takes as long as `dear` steps.
    """
    pairs = deque(maxlen=MEMORY) if pairs is None else _recast(pairs, dtype)
    precondition, count, every = problem.preconditioner(at), 0, math.inf
    while True:
        if count == FIRST or (count and count % every == 0):
            precondition = problem.preconditioner(at)
        first = _scaled(pairs, precondition)
        direction = two_loops(at.gradient.to(dtype), pairs, first).to(at.gradient.dtype).neg_()
        slope = _dot(at.gradient, direction)
        if not slope < 0:
            return
        line = problem.line(at, direction)
        every = _every(dear, EVERY if line.trials_are_free else EVERY_DEAR)
        t = lowest(line, slope, tolerance=FLAT if line.trials_are_free else ROUGH)
        following = line.evaluate(t)
        if following.value > at.value + RISE * abs(at.value):  # flat enough, and yet uphill
            t = lowest(line, slope, tolerance=SHARP)
            following = line.evaluate(t)
        remember(pairs, at, following, dtype)
        at, count = following, count + 1
        del line  # its memory serves the next one
        at = (yield at) or at


def models_in(steps: float, dear: float) -> int:
    """How many preconditioners are made in so many steps, each of which takes as long as `dear`."""
    return 2 + int(steps / _every(dear, EVERY))


def _every(dear: float, least: int) -> int:
    return max(least, round(dear / SPENT))


def two_loops(gradient: Tensor, pairs: Sequence[Pair], first: Callable[[Tensor], Tensor]) -> Tensor:
    """H g for the inverse Hessian H that the pairs make of the `first` one; a new tensor."""
    rest, shares = gradient.clone(), []
    for pair in reversed(pairs):
        shares.append(_dot(pair.step, rest) / pair.product)
        rest.add_(pair.change, alpha=-shares[-1])
    result = first(rest)
    for pair, share in zip(pairs, reversed(shares), strict=True):
        result.add_(pair.step, alpha=share - _dot(pair.change, result) / pair.product)
    return result


def _scaled(pairs: Pairs, precondition: Preconditioner) -> Callable[[Tensor], Tensor]:
    """M^-1 times s'y / y'M^-1 y of the last step, for M overstates the curvature (eq. 7.20)."""
    if not pairs:
        return precondition
    last = pairs[-1]

    def scaled(vector: Tensor) -> Tensor:
        both = precondition(torch.stack([vector, last.change]))  # M is read once
        return both[0].mul_(last.product / _dot(last.change, both[1]))

    return scaled


def _recast(pairs: Pairs, dtype: torch.dtype) -> Pairs:
    """The pairs in another precision, in place."""
    every = [Pair(pair.step.to(dtype), pair.change.to(dtype), pair.product) for pair in pairs]
    pairs.clear()
    pairs.extend(every)
    return pairs


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.reshape(-1), b.reshape(-1)))
