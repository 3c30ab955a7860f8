"""One solve: its stages run one after the other until there is a reason to stop.

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

import numpy as np
import torch
from torch import Tensor

from polylogit.optim.certificate import NONE, certify, certify_locally, certify_roughly, estimate
from polylogit.optim.cost import WIDEST_GRAM, Cost
from polylogit.optim.lbfgs import MEMORY, lbfgs
from polylogit.optim.logits import logits_of
from polylogit.optim.newton_cg import MOST_PRODUCTS, newton_cg
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.pairs import Pairs
from polylogit.optim.penalty import ElasticNet
from polylogit.optim.problem import (
    ROUNDING,
    Certificate,
    Evaluation,
    Progress,
    Solution,
    Solver,
    Statistics,
    Status,
)
from polylogit.optim.refusals import refuse_separated, refuse_trouble
from polylogit.optim.settings import Settings
from polylogit.optim.stages import NEWTON, NEWTON_CG, Stage, work_of
from polylogit.optim.threads import UNSHARED, Crew, threads
from polylogit.optim.trail import Trail
from polylogit.rooms import Rooms

POLISH_WORK = 2e7  # multiply-adds of a written-out Hessian that nobody waits for
POLISH = 1e-8  # of tol: where steps cost next to nothing, go on to here
LOCAL_POLISH = 1e-4  # the same without a penalty: there is nothing to hold what float64 rounds
COMPACT_POLISH = 1e-2  # the same where rows are few
CLOSER = 0.5  # of the smallest gap so far: progress, even where F is too flat to show it
PATIENCE = 3  # steps without progress before a fit counts as stalled
STILL, BLUR = 10, 1e-7  # steps, and how much of F they may change where nothing moves in float32
SAFETY = 0.9  # of tol: what float32 has to see before float64 is asked
SLOW = 320  # steps still to go, by the pace of the last, before a better solver takes over
PACE = 250  # steps over which the pace is measured: the gap may stand still for long, and then fall
NEAR, LEFT = 0.2, 30  # falls from which a point may be proven: shares of sqrt(tol), and of tol

Keep = Callable[[int, Callable[[], tuple[Tensor, Tensor]]], None]
"""Offered the number of a step, and a way to (W, bias) on the user's scale, which costs a copy."""


@dataclass(frozen=True)
class _Proof:
    """A point, the same weights with their best bias, and what is proven of those."""

    of: Evaluation
    best: Evaluation
    certificate: Certificate


class Run:
    """One solve: where it stands, the clock and the diary."""

    def __init__(
        self,
        objective: SoftmaxObjective,
        stages: tuple[Stage, ...],
        settings: Settings,
        progress: Callable[[Progress], None] | None,
        trail: Trail | None = None,
        keep: Keep | None = None,
        first: Run | None = None,
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
        self.polishes = stages[-1] is NEWTON and cost.hessian_work <= POLISH_WORK
        # where only Newton's decrement proves, which asks for a small slope
        self.local = not (objective.penalised or isinstance(objective.ridge, ElasticNet))
        self.aim = settings.tol * self._share_of_tol(cost)
        self.worth, self.dear = cost.hessian_in_products, cost.gram_in_steps
        self.proof, self.dear_in_products = cost.proof_in_products, cost.model_in_products

    def _share_of_tol(self, cost: Cost) -> float:
        """Where to go on to once the gap is small enough."""
        if self.local and (self.polishes or self.stages[0] is not NEWTON):
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
                refuse_separated(self.objective)
            return self._solution(status)

    def _on_threads(self) -> AbstractContextManager[None]:
        """As many threads as pay; where products are so small that they get one anyway, no limit.

        To set and restore one takes longer than a step of such a fit.
        """
        tiny = self.objective.cost.compact and self.objective.cost.pair_product <= UNSHARED
        if self.crew is None:
            if tiny and not self.settings.n_threads:
                return nullcontext()
            self.crew = crew_for(work_of(self.objective, self.stages), self.settings, self.trail)
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
        steered = self.stage is NEWTON_CG and self.objective.fast == torch.float32
        return steered and self.proven is None

    def _was_slow(self, stage: Stage) -> bool:
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
            refuse_trouble(self.objective, self.at)
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
        if self.stage is NEWTON and not objective.penalised:  # nothing else curves F
            objective = objective.exactly()
        if self.stage is NEWTON_CG:
            most = MOST_PRODUCTS
            if self.stages[-1] is NEWTON:  # which is next once a step has taken longer than its
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
                # sooner than weights that grow until they overflow
                refuse_separated(self.objective)
                self.refuted = True
        elif fall <= tol and (self.stage is NEWTON or self.local):
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
        near = {NEWTON: NEAR * math.sqrt(tol), NEWTON_CG: LEFT * tol}
        step = self._last_step() + (self.worth if self.stage is NEWTON else 0.0)
        return fall <= near.get(self.stage, -math.inf) and self.proof <= step

    def _last_step(self) -> int:
        """Passes that it took."""
        return self.history[-1].passes - self.history[-2].passes

    def _certify_locally(self) -> Certificate:
        """Newton's decrement by a bound on the Hessian, or by itself if that is being made."""
        objective, tol, found = self.objective, self.settings.tol, NONE
        if objective.design.n_features <= WIDEST_GRAM:
            found = certify_roughly(objective, self.at)
        if found.gap > tol and self.stage is NEWTON:
            found = certify_locally(objective, self.at)
        return found

    def _is_for_newton(self, gap: float) -> bool:
        """Whether a written-out Hessian is next: to polish, or cheaper than the last step was."""
        if self.stages[-1] is not NEWTON or len(self.history) < 2:
            return False
        return self._last_step() > self.worth or (self.polishes and gap <= self.settings.tol)

    def _end(self) -> Status:
        """No step leads further."""
        if self.proven is not None:
            return Status.CERTIFIED
        return Status.UNCERTIFIED if not self.objective.penalised else Status.STALLED

    def _iteration(self) -> int:
        return self.history[-1].iteration if self.history else 0

    def _has_optimum(self) -> bool:
        """Whether Newton's decrement has proven that there is one."""
        return self.proven is not None and self.proven.certificate.kind == "Newton"

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


def crew_for(work: float, settings: Settings, trail: Trail | None) -> Crew:
    """The threads that pay, found out once for a whole trail."""
    crew = None if trail is None else trail.crew
    crew = crew or Crew(work, settings.n_threads)
    if trail is not None:
        trail.crew = crew
    return crew


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
