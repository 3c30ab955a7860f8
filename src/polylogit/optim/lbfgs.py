"""L-BFGS with a curvature model in its middle, for large problems.

Directions -H g are made of the last steps and the changes of the gradient over them
(`polylogit.optim.pairs`). Where the textbook starts from a multiple of the identity this starts
from one of M^-1, the problem's preconditioner: then columns of any size are taken care of, and few
steps are needed. The step goes close to the lowest point along the direction where trials cost no
product with the data, and less close where they do.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from polylogit.optim.line_search import lowest
from polylogit.optim.pairs import Pairs
from polylogit.optim.problem import Evaluation, Preconditioner, Problem, Solver, dot

MEMORY = 10  # steps
FIRST = 4  # steps after which the curvature has changed enough to be looked at anew
EVERY, EVERY_DEAR = 25, 15  # the same from then on, and where trials cost a pass
SPENT = 0.5  # of the time of the steps, at most, for new models of the curvature
FLAT = 0.25  # of the first slope: how flat the end of a step must be
ROUGH = 0.7  # the same, where every trial costs a pass
SHARP = 0.01  # the same, where the flat end turned out to lie higher than the start
RISE = 1e-6  # of F: more than float32 rounding


def remember(
    pairs: Pairs, at: Evaluation, following: Evaluation, dtype: torch.dtype = torch.float64
) -> None:
    """Add the pair of a step in `dtype`."""
    pairs.add((following.point - at.point).to(dtype), (following.gradient - at.gradient).to(dtype))


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
    pairs = Pairs(MEMORY) if pairs is None else pairs
    pairs.recast(dtype)
    precondition, count, every = problem.preconditioner(at), 0, math.inf
    while True:
        if count == FIRST or (count and count % every == 0):
            precondition = problem.preconditioner(at)
        first = _scaled(pairs, precondition)
        back = pairs.times_inverse(at.gradient.to(dtype), first)
        direction = back.to(at.gradient.dtype).neg_()
        slope = dot(at.gradient, direction)
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


def _scaled(pairs: Pairs, precondition: Preconditioner) -> Callable[[Tensor], Tensor]:
    """M^-1 times s'y / y'M^-1 y of the last step, for M overstates the curvature (eq. 7.20)."""
    if not pairs:
        return precondition
    change, product = pairs.last

    def scaled(vector: Tensor) -> Tensor:
        both = precondition(torch.stack([vector, change.view_as(vector)]))  # M is read once
        return both[0].mul_(product / dot(change, both[1]))

    return scaled
