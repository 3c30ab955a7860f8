"""The maximum of a likelihood that may have Jeffreys' prior in it.

A step from B solves H step = score, and is halved until it rises. H is the metric of the
likelihood: its exact curvature without the prior, so that steps are Newton's; with it a Fisher
matrix in which rows of much leverage weigh more. What H misses of the prior's curvature, the last
`MEMORY` steps and changes of the score tell (L-BFGS with H for its first matrix). Without them
steps may gain a twentieth each.

The likelihood with the prior need not be concave for many classes: then what is found is the
maximum to which B = 0 leads.

Source: J. Nocedal & S. Wright, Numerical Optimization (2006), algorithm 7.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.linalg
import torch

from polylogit.diagnostics.inference.likelihood import Likelihood, State, factored
from polylogit.errors import SolveError
from polylogit.optim.pairs import Pairs

CONVERGED = 1e-18  # of the squared Newton step in standard errors
STALLED = 1e-8  # of the same: below, a step that cannot rise is rounding, not failure
OVERSHOT = 0.5  # of the first slope along a step: falling more than that, it went too far
ROUNDING = 1e-13  # of a value
CURVED = 1e-8  # of the lengths of a step and its change of score: less curvature is rounding
MEMORY = 20
MOST_STEPS, MOST_HALVINGS = 500, 30

Steps = tuple[tuple[np.ndarray, np.ndarray], ...]
"""Steps (Jq,), and by how much the score fell along each."""


@dataclass(frozen=True, eq=False)
class Place:
    """A point of the ascent, with its score (Jq,) and metric (Jq, Jq).

    `steps` are the last ones.
    """

    state: State
    score: np.ndarray
    metric: np.ndarray
    steps: Steps = ()

    @cached_property
    def factor(self) -> tuple[np.ndarray, bool]:
        """Of the metric."""
        return factored(self.metric)

    @cached_property
    def length(self) -> float:
        """score' H^-1 score: twice what is left to gain, about."""
        return float(self.score @ scipy.linalg.cho_solve(self.factor, self.score))


def maximise(likelihood: Likelihood) -> State:
    """The maximum that zero leads to; `SolveError` where it is not reached."""
    for place in ascend(likelihood):
        state = place.state  # each alone: a place holds two matrices of all coefficients
    return state


def ascend(likelihood: Likelihood) -> Iterator[Place]:
    """Places ever higher, from zero to the maximum; `SolveError` where it is not reached."""
    first = likelihood.at(np.zeros((likelihood.hits.shape[1], likelihood.rows.shape[1])))
    place = Place(first, *likelihood.slope(first))
    for _ in range(MOST_STEPS):
        yield place
        if place.length <= CONVERGED:
            return
        better = _better(likelihood, place) or _better(likelihood, replace(place, steps=()))
        if better is None and place.length <= STALLED:
            return
        if better is None:
            break
        place = better
    raise SolveError(
        "the estimates for inference did not converge: the information is too close to "
        "singular; leave out columns that nearly repeat others, or join rare classes"
    )


def _better(likelihood: Likelihood, place: Place) -> Place | None:
    """The end of the full step, its half, its quarter... that rises without overshooting."""
    step = _direction(place)
    for _ in range(MOST_HALVINGS):
        found = _tried(likelihood, place, step)
        if found is not None:
            state, score, metric = found
            steps = _remembered(place.steps, step, place.score - score) if likelihood.firth else ()
            return Place(state, score, metric, steps)
        step = step / 2
    return None


def _tried(
    likelihood: Likelihood, place: Place, step: np.ndarray
) -> tuple[State, np.ndarray, np.ndarray] | None:
    """Where the step ends, if it rises and does not fall too steeply there.

    The slope shows an overshoot even where the values differ by rounding alone.
    """
    start = place.state
    end = likelihood.at(start.coefficients + step.reshape(start.coefficients.shape))
    if not end.value >= start.value - ROUNDING * abs(start.value):
        return None
    try:
        score, metric = likelihood.slope(end)
    except SolveError:  # the information there is singular
        return None
    if score @ step < -OVERSHOT * (place.score @ step):
        return None
    return end, score, metric


def _direction(place: Place) -> np.ndarray:
    """The quasi-Newton step of the last ones, the inverse of the metric being the first."""

    def solved(vector: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(scipy.linalg.cho_solve(place.factor, vector.numpy()))

    pairs = Pairs(MEMORY)
    for step, fall in place.steps:
        pairs.add(torch.from_numpy(step), torch.from_numpy(fall))
    return pairs.times_inverse(torch.from_numpy(place.score), solved).numpy()


def _remembered(steps: Steps, step: np.ndarray, fall: np.ndarray) -> Steps:
    if float(step @ fall) <= CURVED * np.linalg.norm(step) * np.linalg.norm(fall):
        return steps
    return (*steps, (step, fall))[-MEMORY:]
