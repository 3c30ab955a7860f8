"""What a solver may see, and what a solve gives back.

A solver is a generator: handed a `Problem` and a first `Evaluation`, it yields better ones for
ever. It knows nothing of data, classes or certificates, so a toy problem can be handed in, and it
never decides that it is done: `polylogit.optim.run` does, by certificate.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

ROUNDING = 4 * torch.finfo(torch.float64).eps  # a relative change of F that is none
FEW = 10_000  # numbers that OpenBLAS multiplies on one thread


def is_few(numbers: Tensor) -> bool:
    """Whether numpy, whose calls cost less, adds them up on one thread."""
    return numbers.is_cpu and numbers.numel() <= FEW


def dot(one: Tensor, other: Tensor) -> float:
    """The inner product of two points, or of a gradient and a direction.

    Of few numbers by numpy, which takes a quarter of the time. Of many it would wake threads of its
    own, that then stand in the way of torch's.

    >>> dot(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
    11.0
    """
    if is_few(one):
        return float(np.vdot(one.numpy(), other.numpy()))
    return float(torch.dot(one.reshape(-1), other.reshape(-1)))


@dataclass(frozen=True)
class Evaluation:
    """A point (parameters of any shape), F there, its gradient, and what the problem keeps."""

    point: Tensor
    value: float
    gradient: Tensor
    state: object = None


def is_finite(at: Evaluation) -> bool:
    """Whether F and all of its gradient are; by numpy where it can read it, as `dot`."""
    gradient = at.gradient.numpy() if at.gradient.is_cpu else at.gradient
    return math.isfinite(at.value + float(gradient.sum()))


class Line(Protocol):
    """F along `point + t direction`."""

    trials_are_free: bool  # whether slopes cost no pass over the rows

    def slope(self, t: float) -> float:
        """Slope of F at `t`."""

    def curvature(self, t: float) -> float:
        """Curvature of F at `t`, whose slope was asked for last, or on the way there."""

    def evaluate(self, t: float) -> Evaluation:
        """F and its gradient at `t`, or at a lower point near it that was known at no more cost."""


class Curvature(Protocol):
    """The Hessian of F at one point."""

    def product(self, direction: Tensor) -> Tensor:
        """H times `direction`, in the shape of the point."""

    def matrix(self) -> Tensor:
        """H (n, n), rows and columns in the order of the flattened point."""


class Preconditioner(Protocol):
    """An easy stand-in M for the Hessian."""

    def __call__(self, residual: Tensor) -> Tensor:
        """M^-1 times `residual`, in the shape of the point."""

    def curvature(self, direction: Tensor) -> Tensor:
        """M times `direction`, in the shape of the point."""


class Problem(Protocol):
    """A convex F with two derivatives: the four questions that a solver may ask."""

    def evaluate(self, point: Tensor) -> Evaluation:
        """F and its gradient at `point`."""

    def line(self, at: Evaluation, direction: Tensor) -> Line:
        """F restricted to a line through `at`."""

    def curvature(self, at: Evaluation) -> Curvature:
        """The Hessian at `at`."""

    def preconditioner(self, at: Evaluation) -> Preconditioner:
        """A stand-in for the inverse Hessian near `at`."""


class PartialCurvature(Curvature, Protocol):
    """A Hessian that can be written out for some parameters alone."""

    def diagonal(self) -> Tensor:
        """The diagonal of H, in the shape of the point."""

    def part_is_cheap(self, count: int) -> bool:
        """Whether to write H out between `count` parameters, or better take products."""

    def part(self, entries: Tensor) -> Tensor:
        """H (n, n) between `entries` (n,) of the flattened point, which rise."""


class KinkedProblem(Problem, Protocol):
    """F = f + sum_j thresholds_j |x_j|, with f as smooth as a `Problem`.

    The value of an evaluation is F; its gradient, its lines and its curvature are those of f.
    """

    def thresholds(self) -> Tensor:
        """What a unit of each parameter costs, >= 0, in the shape of the point."""

    def centred(self, part: Tensor, columns: Tensor) -> Tensor:
        """Some columns of a point, each shifted to where it costs least, if f is blind to that."""

    def curvature(self, at: Evaluation) -> PartialCurvature:
        """The Hessian of f at `at`."""


Solver = Generator[Evaluation, Evaluation | None]


class Status(Enum):
    """How a solve ended; the value is a sentence that says what to do about it."""

    CERTIFIED = "Done: no model with this penalty can be better by more than the gap."
    UNCERTIFIED = (
        "Converged as far as float64 allows, but no bound could be proven, because nothing "
        "penalises some direction; set C to a finite number for a proof."
    )
    STALLED = (
        "Rounding stopped the fit before the gap reached tol; raise tol, or express the columns "
        "of extreme size in other units."
    )
    ITERATION_LIMIT = (
        "Stopped by max_iter before the gap reached tol; raise max_iter, raise tol, or lower C."
    )
    INTERRUPTED = "Stopped by hand; this is the best model so far, not the optimum."


@dataclass(frozen=True)
class Certificate:
    """A proven bound on what is left to gain: 0 <= F - F* <= gap, in nats per row.

    `gap` is infinite where nothing could be proven; `kind` names the proof.

    >>> print(Certificate(3e-9, "duality"))
    within 3.0e-09 nats per row of the best possible (duality)
    >>> print(Certificate(math.inf, "none"))
    not certified
    """

    gap: float
    kind: str

    @property
    def proven(self) -> bool:
        """Whether the gap is a finite, proven bound."""
        return math.isfinite(self.gap)

    def __str__(self) -> str:
        if not self.proven:
            return "not certified"
        return f"within {self.gap:.1e} nats per row of the best possible ({self.kind})"


@dataclass(frozen=True)
class Progress:
    """One line of a fit's diary."""

    iteration: int
    passes: int
    objective: float
    gap: float
    seconds: float


@dataclass(frozen=True)
class Statistics:
    """What a solve cost. A pass reads every row once."""

    solver: str
    iterations: int
    passes: int
    seconds: float
    history: tuple[Progress, ...] = ()


@dataclass(frozen=True)
class Solution:
    """The outcome of a solve: parameters on the user's own scale, and how much to trust them.

    `weight` (K, D) and `bias` (K,) are float64; `objective` is F in nats per row.
    """

    weight: Tensor
    bias: Tensor
    objective: float
    certificate: Certificate
    status: Status
    statistics: Statistics

    @property
    def certified(self) -> bool:
        """Whether the gap was proven to be within the tolerance asked for."""
        return self.status is Status.CERTIFIED

    @property
    def message(self) -> str:
        """One sentence for a person: what happened, how sure, at what price."""
        cost = self.statistics
        head = str(self.certificate)
        head = head[0].upper() + head[1:]
        plural = "" if cost.passes == 1 else "es"
        tail = f"after {cost.passes} pass{plural} over the data in {cost.seconds:.3g} s"
        sentence = f"{head}, {tail} ({cost.solver})."
        return sentence if self.certified else f"{sentence} {self.status.value}"
