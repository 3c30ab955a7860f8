"""From an objective to a certified solution: chooses a solver, runs it, and says when to stop.

The loop is written once, here: a solver only offers better points. It ends

1. certified, when the proven gap is within the tolerance;
2. at the iteration limit, or by hand (Ctrl-C), with the best point so far;
3. stalled, when float64 rounding leaves nothing to gain;
4. in a refusal, when no optimum exists (separated classes without a penalty).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from polylogit.design import Design
from polylogit.errors import OptionError, SolveError, TargetError, nearest
from polylogit.optim.certificate import certify, certify_locally, estimate
from polylogit.optim.newton import newton
from polylogit.optim.newton_cg import newton_cg
from polylogit.optim.objective import (
    Labels,
    SoftmaxObjective,
    Targets,
    contrast_basis,
    logits_of,
)
from polylogit.optim.penalty import Ridge
from polylogit.optim.problem import Certificate, Evaluation, Progress, Solution, Statistics, Status
from polylogit.optim.separation import is_separable, separates
from polylogit.optim.threads import chosen_threads, threads

NEWTON_PARAMETERS = 1200  # (K - 1) D~ up to which the Hessian is written out
NEWTON_WORK = 4e9  # multiply-adds of one written-out Hessian and its factor
DOUBLE_WORK = 2e8  # multiply-adds of a written-out Hessian up to which it is made in float64
POLISH = 1e-4  # of tol: the exact Newton method goes on to here, at a step or two
STUCK = 4 * torch.finfo(torch.float64).eps  # a relative fall of F that is but rounding
PATIENCE = 3  # steps without progress before a fit counts as stalled

SOLVERS = ("auto", "newton", "newton-cg")


@dataclass(frozen=True)
class Settings:
    """How hard to try. `tol` is the certified gap to reach, in nats per row."""

    tol: float = 1e-6
    max_iter: int = 1000
    solver: str = "auto"
    n_threads: int | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.tol, (int, float)) and 0 < self.tol < math.inf):
            raise OptionError(f"tol must be a positive number of nats per row, not {self.tol!r}")
        if (
            isinstance(self.max_iter, bool)
            or not isinstance(self.max_iter, int)
            or self.max_iter < 1
        ):
            raise OptionError(f"max_iter must be a whole number >= 1, not {self.max_iter!r}")
        if self.solver not in SOLVERS:
            advice = nearest(str(self.solver), SOLVERS)
            raise OptionError(f"solver {self.solver!r} is not one of {', '.join(SOLVERS)}{advice}")
        if self.n_threads is not None and (
            not isinstance(self.n_threads, int) or self.n_threads < 1
        ):
            raise OptionError(f"n_threads must be a whole number >= 1, not {self.n_threads!r}")


def solve(
    design: Design,
    targets: Targets,
    weights: Tensor,
    *,
    n_classes: int,
    alpha: float,
    intercept: bool = True,
    settings: Settings | None = None,
    start: tuple[Tensor, Tensor] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Solution:
    """Minimise sum_i s_i [lse(z_i) - t_i.z_i] / sum_i s_i + alpha/2 |W|^2 over W (K, D), bias (K,).

    `weights` s (N,) need not sum to one. `start` is (W, bias) on the user's scale. The gap of the
    solution bounds F - F* in nats per row. Raises `TargetError` where a class has no weight or
    where, without a penalty, no optimum exists; `SolveError` where F is not finite.
    """
    settings = settings or Settings()
    objective = SoftmaxObjective(
        design,
        targets,
        weights / weights.sum(),
        Ridge(alpha / design.scale.square()),
        n_classes,
        intercept,
    )
    _refuse_empty_classes(objective)
    name = _chosen_solver(settings.solver, design, n_classes)
    if name == "newton":
        basis = contrast_basis(n_classes)
        objective = replace(objective, basis=basis, fast=_steering_dtype(design, n_classes, alpha))
    work = float(design.n_rows) * n_classes * design.n_features
    with threads(chosen_threads(work, settings.n_threads)):
        return _Run(objective, name, settings, progress).from_point(start)


def _refuse_empty_classes(objective: SoftmaxObjective) -> None:
    mass = objective.targets.mass(objective.weights)
    if float(mass.min()) <= 0:
        empty = int(mass.argmin())
        raise TargetError(
            f"class {empty} has no weight in any row, so its probability has no optimum but 0; "
            "leave the class out, or give its rows a positive weight"
        )


def _steering_dtype(design: Design, n_classes: int, alpha: float) -> torch.dtype:
    """float32 for the Hessian where float64 would take long; never where nothing else curves F."""
    work = design.n_rows * (n_classes * (design.n_features + 1.0)) ** 2
    return torch.float32 if work > DOUBLE_WORK and alpha > 0 else torch.float64


def _chosen_solver(wish: str, design: Design, n_classes: int) -> str:
    """Newton while the written-out Hessian is small and cheap, conjugate gradients beyond."""
    if wish != "auto":
        return wish
    parameters = (n_classes - 1) * (design.n_features + 1)
    work = design.n_rows * parameters**2 + parameters**3 / 3
    small = parameters <= NEWTON_PARAMETERS and work <= NEWTON_WORK
    return "newton" if small else "newton-cg"


class _Run:
    """One solve: where it stands, the clock and the diary."""

    def __init__(
        self,
        objective: SoftmaxObjective,
        name: str,
        settings: Settings,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.objective = objective
        self.name = name
        self.settings = settings
        self.progress = progress
        self.history: list[Progress] = []
        self.started = time.perf_counter()
        self.proven: tuple[Evaluation, Certificate] | None = None

    def from_point(self, start: tuple[Tensor, Tensor] | None) -> Solution:
        """Run the solver from here until there is a reason to stop."""
        objective = self.objective
        if start is None:
            point = objective.start()
        else:
            point = objective.join(*objective.design.from_user(*start))
        self.at = objective.evaluate(point)
        try:
            status = self._run()
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        self._refuse_separated()
        return self._solution(status)

    def _run(self) -> Status:
        """Take the solver's points one by one; `self.at` is always the best so far."""
        solver = newton if self.name == "newton" else newton_cg
        points, last, idle = solver(self.objective, self.at), math.inf, 0
        for iteration in range(self.settings.max_iter + 1):
            self._refuse_trouble()
            gap = estimate(self.objective, self.at)
            self._note(iteration, gap)
            fall, last = last - self.at.value, self.at.value
            stuck = fall <= STUCK * max(1.0, abs(last))
            if (stuck or gap <= self._aim() or fall <= self._aim()) and self._certified(gap, fall):
                return Status.CERTIFIED
            idle = idle + 1 if stuck else 0
            following = next(points, None) if idle < PATIENCE else None
            if following is None:
                return self._end()
            self.at = following
        return Status.ITERATION_LIMIT

    def _aim(self) -> float:
        """The gap to go on to once certified: two more Newton steps buy many digits."""
        return self.settings.tol * (POLISH if self.name == "newton" else 1.0)

    def _certified(self, gap: float, fall: float) -> bool:
        """Prove the gap where the estimate says that a proof is worth its price."""
        tol = self.settings.tol
        if gap <= tol:
            best, certificate = certify(self.objective, self.at)
        elif self.name == "newton" and fall <= tol:
            best, certificate = self.at, certify_locally(self.objective, self.at)
        else:
            return False
        if certificate.gap <= tol:
            self.proven = best, certificate
        return certificate.gap <= tol

    def _end(self) -> Status:
        """No step leads further."""
        if self.proven is not None:
            return Status.CERTIFIED
        return Status.UNCERTIFIED if self._unpenalised() else Status.STALLED

    def _unpenalised(self) -> bool:
        return not bool((self.objective.ridge.strength > 0).all())

    def _refuse_trouble(self) -> None:
        """Numbers that are not finite, and classes that are separated already."""
        at, codes = self.at, self._separable_codes()
        if not (math.isfinite(at.value) and bool(torch.isfinite(at.gradient).all())):
            raise SolveError(
                f"the objective became {at.value} on finite data; the columns are too extreme for "
                "float64 in combination: express the largest in another unit"
            )
        if codes is not None and separates(logits_of(at), codes):
            raise _separated("perfectly")

    def _refuse_separated(self) -> None:
        """A direction that separates only some rows leaves no optimum either."""
        objective, codes = self.objective, self._separable_codes()
        if codes is not None and is_separable(
            objective.design, codes, objective.n_classes, objective.intercept
        ):
            raise _separated("in some rows")

    def _separable_codes(self) -> Tensor | None:
        """The labels (N,) where nothing but they keeps the weights finite."""
        targets = self.objective.targets
        if isinstance(targets, Labels) and not targets.smoothing and self._unpenalised():
            return targets.codes
        return None

    def _note(self, iteration: int, gap: float) -> None:
        seconds = time.perf_counter() - self.started
        passes = self.objective.tally.passes
        self.history.append(Progress(iteration, passes, self.at.value, gap, seconds))
        if self.progress is not None:
            self.progress(self.history[-1])

    def _solution(self, status: Status) -> Solution:
        best, certificate = self._examined()
        if status is Status.ITERATION_LIMIT and certificate.gap <= self.settings.tol:
            status = Status.CERTIFIED
        objective = self.objective
        weight, bias = objective.design.to_user(*objective.split(best.point))
        statistics = Statistics(
            self.name,
            self.history[-1].iteration if self.history else 0,
            objective.tally.passes,
            time.perf_counter() - self.started,
            tuple(self.history),
        )
        return Solution(weight, bias, best.value, certificate, status, statistics)

    def _examined(self) -> tuple[Evaluation, Certificate]:
        """The point to hand out, with the best proof there is for it."""
        if self.proven is not None and self.proven[0].value <= self.at.value:
            return self.proven
        return certify(self.objective, self.at)


def _separated(how: str) -> TargetError:
    return TargetError(
        f"the features separate the classes {how}, so without a penalty the weights grow for ever "
        "and no optimum exists; set C to a finite number"
    )
