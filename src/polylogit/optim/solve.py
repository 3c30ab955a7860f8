"""From data and a penalty to a certified solution: straight, or by a short way first."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from polylogit.design import Design
from polylogit.errors import OptionError
from polylogit.optim.device import on
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.penalty import ElasticNet, Penalty, Ridge
from polylogit.optim.problem import Progress, Solution
from polylogit.optim.refusals import refuse_empty_classes
from polylogit.optim.row_span import RowSpan, fits
from polylogit.optim.run import SAFETY, Keep, Run, crew_for
from polylogit.optim.settings import Settings
from polylogit.optim.stages import planned, work_of
from polylogit.optim.targets import Targets
from polylogit.optim.threads import chosen_threads, threads
from polylogit.optim.trail import Trail


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
        refuse_empty_classes(plain)
        if _has_short_way(plain, settings):
            return _by_the_span(plain, alpha, settings, start, progress, trail, keep)
        run = Run(*planned(plain, settings, trail), settings, progress, trail, keep)
        return run.from_point(start)


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
    near = planned(_in_the_span(plain, alpha, settings, trail), settings, trail)
    closer = replace(settings, tol=SAFETY * settings.tol)
    first = Run(*near, closer, progress, trail, keep)
    first.started, first.used = started, {"row span": None}
    first.crew = crew_for(max(work_of(*near), work_of(plain)), settings, trail)
    found = first.from_point(start)
    there = planned(plain, replace(settings, dtype="float64"), None)
    proof = Run(*there, settings, progress, None, keep, first)
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


def _penalty(design: Design, alpha: float, l1_ratio: float, factors: Tensor | None) -> Penalty:
    """The penalty on W = V / s as one on V, column by column."""
    if not 0 <= l1_ratio <= 1:
        raise OptionError(f"l1_ratio must be from 0 to 1, not {l1_ratio!r}")
    each = alpha * (1.0 if factors is None else design.of_columns(factors))
    if alpha * l1_ratio == 0:
        return Ridge(each / design.scale.square())
    return ElasticNet(l1_ratio * each / design.scale, (1 - l1_ratio) * each / design.scale.square())
