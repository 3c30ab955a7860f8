"""From an objective to a certified solution: chooses a solver, runs it, and says when to stop.

The loop is written once, here: a solver only offers better points. Large problems are brought
close to the optimum in float32, where products are cheap and nothing is proven, and finished in
float64. A solve ends

1. certified, when the proven gap is within the tolerance;
2. at the iteration limit, or by hand (Ctrl-C), with the best point so far;
3. stalled, when float64 rounding leaves nothing to gain;
4. in a refusal, when no optimum exists (separated classes without a penalty).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polylogit.design import Design
from polylogit.errors import OptionError, SolveError, TargetError, nearest
from polylogit.optim.certificate import NONE, certify, certify_locally, certify_roughly, estimate
from polylogit.optim.compact import CompactObjective, is_compact
from polylogit.optim.cost import MOST_PARAMETERS, WIDEST_GRAM, Cost
from polylogit.optim.device import on
from polylogit.optim.lbfgs import MEMORY, lbfgs, models_in
from polylogit.optim.logits import logits_of, parts
from polylogit.optim.newton import newton
from polylogit.optim.newton_cg import MOST_PRODUCTS, newton_cg
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.pairs import Pairs
from polylogit.optim.penalty import ElasticNet, Penalty, Ridge
from polylogit.optim.problem import (
    ROUNDING,
    Certificate,
    Evaluation,
    KinkedProblem,
    Progress,
    Solution,
    Solver,
    Statistics,
    Status,
    is_finite,
)
from polylogit.optim.proximal import proximal_newton
from polylogit.optim.row_span import RowSpan, fits
from polylogit.optim.separation import is_separable, separates
from polylogit.optim.sums import contrast_basis
from polylogit.optim.targets import Labels, Targets
from polylogit.optim.threads import UNSHARED, Crew, chosen_threads, threads
from polylogit.optim.trail import Trail
from polylogit.rooms import Rooms

DOUBLE_WORK = 5e6  # multiply-adds of a written-out Hessian up to which it is made in float64
POLISH_WORK = 2e7  # multiply-adds of a written-out Hessian that nobody waits for
POLISH = 1e-8  # of tol: where steps cost next to nothing, go on to here
LOCAL_POLISH = 1e-4  # the same without a penalty: there is nothing to hold what float64 rounds
COMPACT_POLISH = 1e-2  # the same where rows are few
ONE_THREAD_WORK = 2e9  # multiply-adds of such a Hessian that is made on one thread, as all is there
FAST_WORK = 4e6  # multiply-adds of a pass from which float32 pays
CLOSER = 0.5  # of the smallest gap so far: progress, even where F is too flat to show it
PATIENCE = 3  # steps without progress before a fit counts as stalled
STILL, BLUR = 10, 1e-7  # steps, and how much of F they may change where nothing moves in float32
SAFETY = 0.9  # of tol: what float32 has to see before float64 is asked
SLOW = 320  # steps still to go, by the pace of the last, before a better solver takes over
PACE = 250  # steps over which the pace is measured: the gap may stand still for long, and then fall
NEAR, LEFT = 0.2, 30  # falls from which a point may be proven: shares of sqrt(tol), and of tol
MANY_PRODUCTS = 8  # a written-out Hessian that costs more is not worth it for the first steps

Keep = Callable[[int, Callable[[], tuple[Tensor, Tensor]]], None]
"""Offered the number of a step, and a way to (W, bias) on the user's scale, which costs a copy."""

SOLVERS = ("auto", "newton", "lbfgs", "newton-cg")
DTYPES = ("auto", "float32", "float64")


@dataclass(frozen=True)
class Settings:
    """How hard to try. `tol` is the certified gap to reach, in nats per row.

    `dtype` is that of the products that steer; what is proven is proven in float64 whatever it is.
    """

    tol: float = 1e-6
    max_iter: int = 1000
    solver: str = "auto"
    n_threads: int | None = None
    dtype: str = "auto"

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
        if self.dtype not in DTYPES:
            advice = nearest(str(self.dtype), DTYPES)
            raise OptionError(f"dtype {self.dtype!r} is not one of {', '.join(DTYPES)}{advice}")
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
    l1_ratio: float = 0.0,
    intercept: bool = True,
    factors: Tensor | None = None,
    offsets: Tensor | None = None,
    settings: Settings | None = None,
    start: tuple[Tensor, Tensor] | None = None,
    progress: Callable[[Progress], None] | None = None,
    trail: Trail | None = None,
    keep: Keep | None = None,
) -> Solution:
    """Minimise sum_i s_i [lse(z_i) - t_i.z_i] / sum_i s_i + R(W), with the penalty

        R(W) = alpha sum_d f_d [l1_ratio |W_d|_1 + (1 - l1_ratio)/2 |W_d|^2]

    Over W (K, D) and bias (K,), with z_i = W x_i + bias + o_i for `offsets` o (N, K), by default
    none, and `factors` f (D,) >= 0, by default ones. `weights` s (N,) need not sum to one.
    `start` is (W, bias) on the user's scale. A `trail` holds what the last solve of the same data
    under a neighbouring penalty has left; this one sets out from there, and leaves its own. `keep`
    is offered the point of every step. The gap of the solution bounds F - F* in nats per row.

    Raises `TargetError` where a class has no weight or
    where, without a penalty, no optimum exists; `SolveError` where F is not finite.
    """
    settings = settings or Settings()
    place = design.device
    with on(place):
        plain = SoftmaxObjective(
            design,
            targets.to(place),
            weights.to(place) / weights.sum(),
            _penalty(design, alpha, l1_ratio, None if factors is None else factors.to(place)),
            n_classes,
            intercept,
            offsets=None if offsets is None else offsets.to(place),
        )
        _refuse_empty_classes(plain)
        if _has_short_way(plain, settings):
            return _by_the_span(plain, alpha, settings, start, progress, trail, keep)
        planned = _planned(plain, settings, trail)
        return _Run(*planned, settings, progress, trail, keep).from_point(start)


def _by_the_span(
    plain: SoftmaxObjective,
    alpha: float,
    settings: Settings,
    start: tuple[Tensor, Tensor] | None,
    progress: Callable[[Progress], None] | None,
    trail: Trail | None,
    keep: Keep | None,
) -> Solution:
    """Solve in the span of the rows, then prove it of the rows themselves, or go on there."""
    started = time.perf_counter()
    near = _planned(_in_the_span(plain, alpha, settings, trail), settings, trail)
    closer = replace(settings, tol=SAFETY * settings.tol)
    first = _Run(*near, closer, progress, trail, keep)
    first.started, first.used = started, {"row span": None}
    first.crew = _crew(max(_work(*near), _work(plain)), settings, trail)
    found = first.from_point(start)
    there = _planned(plain, replace(settings, dtype="float64"), None)
    proof = _Run(*there, settings, progress, None, keep, first)
    return proof.from_point((found.weight, found.bias))


def _has_short_way(objective: SoftmaxObjective, settings: Settings) -> bool:
    """Whether to solve in the span of the rows first, where they are fewer than the columns."""
    if settings.solver != "auto" or not isinstance(objective.ridge, Ridge):
        return False
    return fits(objective.design) and objective.cost.span_pays and objective.penalised


def _in_the_span(
    plain: SoftmaxObjective, alpha: float, settings: Settings, trail: Trail | None
) -> SoftmaxObjective:
    """The same F in the span of the rows, which is found once for a whole trail."""
    span = None if trail is None else trail.span
    if span is None:
        work = float(plain.design.n_rows) ** 2 * plain.design.n_features
        with threads(chosen_threads(work, settings.n_threads)):
            span = RowSpan(plain.design, plain.ridge.strength / alpha)
        if trail is not None:
            trail.span = span
    return replace(plain, design=span, ridge=_penalty(span, alpha, 0.0, None), own=[])


def _planned(
    objective: SoftmaxObjective, settings: Settings, trail: Trail | None
) -> tuple[SoftmaxObjective, tuple[_Stage, ...]]:
    """The solvers to run, and the objective in the form that suits them."""
    if isinstance(objective.ridge, ElasticNet):
        # no basis without the common shift of the classes, which costs something here; and no
        # float32: its Hessian has directions that rounding curves downwards
        return objective.exactly(), _kinked_stages(settings.solver)
    cost = replace(objective.cost, compact=is_compact(objective))
    kept = None if trail is None else trail.curvature
    steps = cost.steps_before_a_matrix(sums_are_kept=kept is not None)
    diagonals = models_in(steps, cost.gram_in_steps) if steps else 0
    form: dict[str, Any] = {"diagonals": diagonals, "kept": kept}
    stages = _stages(settings, cost, objective.penalised)
    compact = cost.compact and stages[0] in {_NEWTON, _NEWTON_CG}
    if _NEWTON in stages or compact:
        cheap = cost.hessian_work <= DOUBLE_WORK
        form["fast"] = torch.float64 if cheap else torch.float32  # where float64 would take long
        form["basis"] = contrast_basis(cost.n_classes)
    objective = (CompactObjective.of if compact else replace)(objective, **form)
    if settings.dtype == "float64":
        objective = objective.exactly()
    return objective, stages


def _penalty(design: Design, alpha: float, l1_ratio: float, factors: Tensor | None) -> Penalty:
    """The penalty on W = V / s as one on V, column by column."""
    if not 0 <= l1_ratio <= 1:
        raise OptionError(f"l1_ratio must be from 0 to 1, not {l1_ratio!r}")
    each = alpha * (1.0 if factors is None else design.of_columns(factors))
    if alpha * l1_ratio == 0:
        return Ridge(each / design.scale.square())
    return ElasticNet(l1_ratio * each / design.scale, (1 - l1_ratio) * each / design.scale.square())


def _refuse_empty_classes(objective: SoftmaxObjective) -> None:
    if float(objective.mass.min()) <= 0:
        empty = int(objective.mass.argmin())
        raise TargetError(
            f"class {empty} has no weight in any row, so its probability has no optimum but 0; "
            "leave the class out, or give its rows a positive weight"
        )


@dataclass(frozen=True)
class _Stage:
    """A solver, and the precision of the products it runs on."""

    name: str
    solver: Callable[[KinkedProblem, Evaluation], Solver]
    dtype: torch.dtype = torch.float64


_NEWTON = _Stage("newton", newton)
_NEWTON_CG = _Stage("newton-cg", newton_cg)
_LBFGS = _Stage("lbfgs", lbfgs)
_PROXIMAL = _Stage("proximal", proximal_newton)
_FAST_LBFGS = _Stage("lbfgs", lbfgs, torch.float32)


def _stages(settings: Settings, cost: Cost, penalised: bool) -> tuple[_Stage, ...]:
    """The solvers to run, each from where the last one got stuck or slow."""
    wish = settings.solver
    if wish == "auto":
        wish = _quickest(cost, penalised)
    if wish == "newton":
        waits = settings.solver == "auto" and cost.hessian_in_products > MANY_PRODUCTS
        return (_NEWTON_CG, _NEWTON) if waits else (_NEWTON,)
    if wish == "newton-cg":
        return (_NEWTON_CG,)
    last = () if wish == "lbfgs" else (_NEWTON_CG,)
    if not penalised:
        return last or (_LBFGS,)
    quick = settings.dtype == "float32" or (settings.dtype == "auto" and cost.work > FAST_WORK)
    first = (_FAST_LBFGS, _LBFGS) if quick else (_LBFGS,)
    return (*first, *last)


def _work(objective: SoftmaxObjective, stages: tuple[_Stage, ...] = ()) -> float:
    """Multiply-adds of a pass, and of a Hessian that is written out."""
    cost = objective.cost
    hessian = cost.hessian_work if _NEWTON in stages else 0.0
    if isinstance(objective, CompactObjective) and hessian <= ONE_THREAD_WORK:
        return cost.work
    return cost.work + hessian


def _crew(work: float, settings: Settings, trail: Trail | None) -> Crew:
    """The threads that pay, found out once for a whole trail."""
    crew = None if trail is None else trail.crew
    crew = crew or Crew(work, settings.n_threads)
    if trail is not None:
        trail.crew = crew
    return crew


def _kinked_stages(wish: str) -> tuple[_Stage, ...]:
    """The solvers for a penalty with kinks."""
    if wish != "auto":
        raise OptionError(
            f"solver {wish!r} cannot follow the kinks of l1_ratio > 0; leave it at 'auto'"
        )
    return (_PROXIMAL,)


def _quickest(cost: Cost, penalised: bool) -> str:
    """Newton where a written-out Hessian is cheap, else its products or the mixture."""
    if not penalised and cost.parameters <= MOST_PARAMETERS:
        return "newton"
    if cost.newton_is_quicker:
        return "newton"
    return "newton-cg" if cost.compact and penalised else "mixed"


@dataclass(frozen=True)
class _Proof:
    """A point, the same weights with their best bias, and what is proven of those."""

    of: Evaluation
    best: Evaluation
    certificate: Certificate


class _Run:
    """One solve: where it stands, the clock and the diary."""

    def __init__(
        self,
        objective: SoftmaxObjective,
        stages: tuple[_Stage, ...],
        settings: Settings,
        progress: Callable[[Progress], None] | None,
        trail: Trail | None = None,
        keep: Keep | None = None,
        first: _Run | None = None,
    ) -> None:
        self.objective = objective
        self.stages = stages
        self.settings = settings
        self.progress = progress
        self.trail = trail
        self.keep = keep
        self.stage = stages[0]
        self.pairs = Pairs(MEMORY) if trail is None else trail.pairs
        self.slow = False  # to come closer in float32
        self.used: dict[str, None] = {}  # names of solvers, in order
        self.history: list[Progress] = []
        self.started = time.perf_counter()
        self.proven: _Proof | None = None
        self.settled = math.inf  # F where a stage ended that nothing moved: the next one proves
        self.balanced: Evaluation | None = None  # with the best bias for its weights
        self.refuted = False  # that free columns separate the classes
        self.interrupted = False
        self.crew: Crew | None = None
        if first is not None:  # this one goes on with
            self.used, self.history, self.started = first.used, first.history, first.started
            self.interrupted, self.crew = first.interrupted, first.crew
        cost = objective.cost
        # whether one or two more steps, which buy many digits, are no matter
        self.polishes = stages[-1] is _NEWTON and cost.hessian_work <= POLISH_WORK
        # where only Newton's decrement proves, which asks for a small slope
        self.local = not (objective.penalised or isinstance(objective.ridge, ElasticNet))
        self.aim = settings.tol * self._share_of_tol(cost)
        self.worth, self.dear = cost.hessian_in_products, cost.gram_in_steps
        self.proof, self.dear_in_products = cost.proof_in_products, cost.model_in_products

    def _share_of_tol(self, cost: Cost) -> float:
        """Where to go on to once the gap is small enough."""
        if self.local and (self.polishes or self.stages[0] is not _NEWTON):
            return LOCAL_POLISH
        if self.polishes:
            return POLISH
        return COMPACT_POLISH if cost.compact else 1.0

    def from_point(self, start: tuple[Tensor, Tensor] | None) -> Solution:
        """Run the solvers from here until there is a reason to stop."""
        overflow = np.errstate(over="ignore", invalid="ignore")  # as torch, and refused later
        with self._on_threads(), overflow:
            objective = self.objective
            if start is None:
                point = objective.start()
            else:
                point = objective.join(*objective.design.from_user(*start))
            self.left = None if self.trail is None else self.trail.last(objective)
            self.at = self.left or Evaluation(point, math.inf, point)
            try:
                status = Status.INTERRUPTED if self.interrupted else self._run()
            except KeyboardInterrupt:
                status, self.interrupted = Status.INTERRUPTED, True
            if not self._has_optimum():
                self._refuse_separated()
            return self._solution(status)

    def _on_threads(self) -> AbstractContextManager[None]:
        """As many threads as pay; where products are so small that they get one anyway, no limit.

        To set and restore one takes longer than a step of such a fit.
        """
        tiny = self.objective.cost.compact and self.objective.cost.pair_product <= UNSHARED
        if self.crew is None:
            if tiny and not self.settings.n_threads:
                return nullcontext()
            self.crew = _crew(_work(self.objective, self.stages), self.settings, self.trail)
        return threads(self.crew.count)

    def _run(self) -> Status:
        if self._proven_by_the_last() or self._proven_by_carrying_on():
            return Status.CERTIFIED
        for stage in self.stages:
            if self._was_slow(stage):
                continue
            self.stage = stage
            rough = stage.dtype == torch.float32
            status = self._approach() if rough else self._prove()
            if status is not None:
                return status
        if self._was_blurred():
            self.objective = self.objective.exactly()
            return self._prove() or self._end()
        return self._end()

    def _was_blurred(self) -> bool:
        """Whether nothing may have moved for its products in float32 alone."""
        steered = self.stage is _NEWTON_CG and self.objective.fast == torch.float32
        return steered and self.proven is None

    def _was_slow(self, stage: _Stage) -> bool:
        """Whether the same solver was slow in float32 already, and there is another."""
        return self.slow and stage.solver is self.stage.solver and stage is not self.stages[-1]

    def _proven_by_the_last(self) -> bool:
        """Whether the end of the last solve is close enough to this optimum too."""
        if self.left is None or estimate(self.objective, self.left) > self.settings.tol:
            return False
        best, certificate = certify(self.objective, self.left)
        if certificate.gap > self.settings.tol:
            return False
        self.at, self.proven = best, _Proof(best, best, certificate)
        self._note(certificate.gap)
        return True

    def _proven_by_carrying_on(self) -> bool:
        """Whether the way on from the last end leads close enough, as it did the last time."""
        if self.trail is None or self.left is None or self.stages[0].dtype == torch.float64:
            return False
        found = self.trail.carried_on(self.objective, self.left)
        if found is None:
            return False
        self.left, self.at, self.balanced = None, found, found
        gap = estimate(self.objective, found)
        self._note(gap)
        self.trail.arrives = self._certified(gap, math.inf)
        return self.trail.arrives

    def _approach(self) -> Status | None:
        """Come close in float32, which proves nothing; None when float64 should look at it."""
        fast = replace(self.objective, dtype=torch.float32, rooms=Rooms())  # its memory ends here
        gaps: list[float] = []
        values: list[float] = []
        enough = aim = SAFETY * self.settings.tol
        for _ in self._points(fast):
            gaps.append(estimate(fast, self.at))
            self._note(gaps[-1])
            if gaps[-1] <= aim:
                if fast.is_settled(self.at):
                    return None
                self.at = fast.with_best_bias(self.at)
                if estimate(fast, self.at) <= enough:
                    return None
                aim = 0.5 * gaps[-1]  # the bias hid a part of the gap
            self.slow = _is_slow(gaps, self.settings.tol)
            values.append(self.at.value)
            if self.slow or _is_still(values, gaps):
                return None
            if self._iteration() >= self.settings.max_iter:
                return Status.ITERATION_LIMIT
        return None

    def _prove(self) -> Status | None:
        """Go on in float64 until the gap is proven to be small, or until nothing moves."""
        gaps: list[float] = []
        last, idle = self.settled, 0
        for _ in self._points(self.objective):
            self._refuse_trouble()
            gap = estimate(self.objective, self.at)
            self._note(gap)
            fall, last = last - self.at.value, self.at.value
            stuck = fall <= ROUNDING * max(1.0, abs(last))
            near = gap <= self.aim or fall <= self.aim or self._decrement_pays(fall)
            if (stuck or near) and self._certified(gap, fall):
                return Status.CERTIFIED
            closer = gap < CLOSER * min(gaps, default=math.inf)
            gaps.append(gap)
            idle = idle + 1 if stuck and not closer else 0
            still = self.local and stuck
            slow = still or self._is_for_newton(gap) or _is_slow(gaps, self.settings.tol)
            if idle >= PATIENCE or (slow and self.stage is not self.stages[-1]):
                self.settled = self.at.value if still else math.inf
                return None
            if self._iteration() >= self.settings.max_iter:
                return Status.ITERATION_LIMIT
        return None

    def _points(self, objective: SoftmaxObjective) -> Iterator[None]:
        """Put the solver's points into `self.at`, the best so far, one by one.

        A better point that is put there meanwhile is where the solver goes on.
        """
        self.at = self._opening(objective)
        yield
        solver = self._solver(objective)
        with suppress(StopIteration):
            following = next(solver)
            while True:
                self.at = following
                self.used[self.stage.name] = None
                yield
                following = solver.send(None if self.at is following else self.at)

    def _opening(self, objective: SoftmaxObjective) -> Evaluation:
        """The first point of a stage: where the last one ended, or where the trail leads."""
        if self.left is not None and self.trail is not None:
            left, self.left = self.left, None
            found = self.trail.continued(objective, left)
            self.trail.arrives = estimate(objective, found) <= self.settings.tol
            return found
        if self.at is self.balanced:
            return objective.recast(self.at)
        if self.at.state is None or logits_of(self.at).dtype == objective.dtype:
            return objective.evaluate(self.at.point)
        if objective.bounds_bias and isinstance(logits_of(self.at), Tensor):
            return objective.nearly_balanced(self.at)
        self.balanced = objective.balanced(self.at.point)
        return self.balanced

    def _solver(self, objective: SoftmaxObjective) -> Solver:
        if self.stage.solver is lbfgs:
            return lbfgs(objective, self.at, self.pairs, self.stage.dtype, self.dear)
        if self.stage is _NEWTON and not objective.penalised:  # nothing else curves F
            objective = objective.exactly()
        if self.stage is _NEWTON_CG:
            most = MOST_PRODUCTS
            if self.stages[-1] is _NEWTON:  # which is next once a step has taken longer than its
                most = min(most, 1 + int(self.worth))
            return newton_cg(objective, self.at, dear=self.dear_in_products, most=most)
        return self.stage.solver(objective, self.at)

    def _certified(self, gap: float, fall: float) -> bool:
        """Prove the gap where the estimate says that a proof is worth its price."""
        tol = self.settings.tol
        if gap <= tol:
            known = self.at is self.balanced
            enough = tol if self.aim == tol else 0.0  # where steps are cheap, digits are too
            best, certificate = certify(self.objective, self.at, balanced=known, enough=enough)
            if not (certificate.proven or self.refuted):
                self._refuse_separated()  # sooner than weights that grow until they overflow
                self.refuted = True
        elif fall <= tol and (self.stage is _NEWTON or self.local):
            best, certificate = self.at, self._certify_locally()
        elif self._decrement_pays(fall):
            best, certificate = self.at, certify_roughly(self.objective, self.at)
        else:
            return False
        if certificate.gap <= tol:
            self.proven = _Proof(self.at, best, certificate)
        return certificate.gap <= tol

    def _decrement_pays(self, fall: float) -> bool:
        """Whether Newton's decrement is likely to prove this point for less than one more step.

        After an exact step that gained `fall`, about fall^2 is left to gain; after one of conjugate
        gradients, a share of it. Where steps are cheap, their digits are worth more.
        """
        tol = self.settings.tol
        if self.aim < tol or len(self.history) < 2:
            return False
        near = {_NEWTON: NEAR * math.sqrt(tol), _NEWTON_CG: LEFT * tol}
        step = self._last_step() + (self.worth if self.stage is _NEWTON else 0.0)
        return fall <= near.get(self.stage, -math.inf) and self.proof <= step

    def _last_step(self) -> int:
        """Passes that it took."""
        return self.history[-1].passes - self.history[-2].passes

    def _certify_locally(self) -> Certificate:
        """Newton's decrement by a bound on the Hessian, or by itself if that is being made."""
        objective, tol, found = self.objective, self.settings.tol, NONE
        if objective.design.n_features <= WIDEST_GRAM:
            found = certify_roughly(objective, self.at)
        if found.gap > tol and self.stage is _NEWTON:
            found = certify_locally(objective, self.at)
        return found

    def _is_for_newton(self, gap: float) -> bool:
        """Whether a written-out Hessian is next: to polish, or cheaper than the last step was."""
        if self.stages[-1] is not _NEWTON or len(self.history) < 2:
            return False
        return self._last_step() > self.worth or (self.polishes and gap <= self.settings.tol)

    def _end(self) -> Status:
        """No step leads further."""
        if self.proven is not None:
            return Status.CERTIFIED
        return Status.UNCERTIFIED if not self.objective.penalised else Status.STALLED

    def _iteration(self) -> int:
        return self.history[-1].iteration if self.history else 0

    def _refuse_trouble(self) -> None:
        """Numbers that are not finite, and classes that are separated already."""
        at, codes = self.at, self._separable_codes()
        if not is_finite(at):
            raise SolveError(
                f"the objective became {at.value} on finite data; the columns are too extreme for "
                "float64 in combination: express the largest in another unit"
            )
        if codes is not None and not self._partly() and self._separates(codes):
            raise _separated("perfectly")

    def _has_optimum(self) -> bool:
        """Whether Newton's decrement has proven that there is one."""
        return self.proven is not None and self.proven.certificate.kind == "Newton"

    def _refuse_separated(self) -> None:
        """A direction that separates only some rows leaves no optimum either."""
        objective, codes = self.objective, self._separable_codes()
        if codes is not None and is_separable(
            objective.design,
            codes,
            objective.n_classes,
            objective.intercept,
            ~objective.ridge.costly,
        ):
            raise _separated("in some rows", partly=self._partly())

    def _partly(self) -> bool:
        """Whether some columns are penalised: then a point that separates proves nothing."""
        return bool(self.objective.ridge.costly.any())

    def _separates(self, codes: Tensor) -> bool:
        """Whether what the features say, without the offsets, puts every row's class first."""
        offsets = self.objective.offsets
        return all(
            separates(z if offsets is None else z - offsets[rows], codes[rows])
            for rows, z in parts(logits_of(self.at))
        )

    def _separable_codes(self) -> Tensor | None:
        """The labels (N,) where nothing but they keeps the weights finite."""
        targets = self.objective.targets
        if isinstance(targets, Labels) and not targets.smoothing and not self.objective.penalised:
            return targets.codes
        return None

    def _note(self, gap: float) -> None:
        iteration = self._iteration() + 1 if self.history else 0
        seconds = time.perf_counter() - self.started
        passes = self.objective.tally.passes
        self.history.append(Progress(iteration, passes, self.at.value, gap, seconds))
        if self.keep is not None:
            self.keep(iteration, lambda: self._parameters(self.at))
        if self.progress is not None:
            self.progress(self.history[-1])
        if self.crew is not None:
            self.crew.look(passes)

    def _solution(self, status: Status) -> Solution:
        best, certificate = self._examined()
        if self.trail is not None:
            self.trail.remember(self.objective.ridge, best)
        if status is Status.ITERATION_LIMIT and certificate.gap <= self.settings.tol:
            status = Status.CERTIFIED
        weight, bias = self._parameters(best)
        statistics = Statistics(
            " + ".join(self.used or [self.stage.name]),
            self._iteration(),
            self.objective.tally.passes,
            time.perf_counter() - self.started,
            tuple(self.history),
        )
        return Solution(weight, bias, best.value, certificate, status, statistics)

    def _parameters(self, at: Evaluation) -> tuple[Tensor, Tensor]:
        """(W, bias) on the user's scale, without what softmax cannot see and the penalty does."""
        objective = self.objective
        weight, bias = objective.split(at.point)
        if objective.basis is None:  # else it is centred
            weight = objective.ridge.centred(weight)
        weight, bias = objective.design.to_user(weight, bias)
        return weight, bias - bias.mean()

    def _examined(self) -> tuple[Evaluation, Certificate]:
        """The point to hand out, with the best proof there is for it."""
        at, proven = self.at, self.proven
        if proven is not None and (proven.of is at or proven.best.value <= at.value):
            return proven.best, proven.certificate
        if at.state is None or logits_of(at).dtype != torch.float64:
            return certify(self.objective, self.objective.balanced(at.point), balanced=True)
        return certify(self.objective, at)


def _is_slow(gaps: list[float], tol: float) -> bool:
    """Whether, at the pace of the last steps, more than `SLOW` are left to go."""
    if len(gaps) <= PACE or not (0 < gaps[-1] < math.inf):
        return False
    best = min(gaps)
    pace = math.log(min(gaps[:-PACE]) / best) / PACE
    return pace * SLOW < math.log(best / tol)


def _is_still(values: list[float], gaps: list[float]) -> bool:
    """Whether, in float32, the last steps have moved nothing but rounding."""
    if len(gaps) <= STILL:
        return False
    fall = min(values[:-STILL]) - min(values)
    return fall <= BLUR * abs(values[-1]) and min(gaps) > CLOSER * min(gaps[:-STILL])


def _separated(how: str, *, partly: bool = False) -> TargetError:
    advice = "give every column a penalty factor above 0" if partly else "set C to a finite number"
    return TargetError(
        f"the features separate the classes {how}, so without a penalty the weights grow for ever "
        f"and no optimum exists; {advice}"
    )
