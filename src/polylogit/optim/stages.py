"""Which solvers to run, one after the other, and the form of the objective that suits them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from polylogit.errors import OptionError
from polylogit.optim.compact import CompactObjective, is_compact
from polylogit.optim.cost import MOST_PARAMETERS, Cost
from polylogit.optim.lbfgs import lbfgs, models_in
from polylogit.optim.newton import newton
from polylogit.optim.newton_cg import newton_cg
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.penalty import ElasticNet
from polylogit.optim.problem import Evaluation, KinkedProblem, Solver
from polylogit.optim.proximal import proximal_newton
from polylogit.optim.settings import Settings
from polylogit.optim.sums import contrast_basis
from polylogit.optim.trail import Trail

DOUBLE_WORK = 5e6  # multiply-adds of a written-out Hessian up to which it is made in float64
ONE_THREAD_WORK = 2e9  # multiply-adds of such a Hessian that is made on one thread, as all is there
FAST_WORK = 4e6  # multiply-adds of a pass from which float32 pays
MANY_PRODUCTS = 8  # a written-out Hessian that costs more is not worth it for the first steps


@dataclass(frozen=True)
class Stage:
    """A solver, and the precision of the products it runs on."""

    name: str
    solver: Callable[[KinkedProblem, Evaluation], Solver]
    dtype: torch.dtype = torch.float64


NEWTON = Stage("newton", newton)
NEWTON_CG = Stage("newton-cg", newton_cg)
LBFGS = Stage("lbfgs", lbfgs)
PROXIMAL = Stage("proximal", proximal_newton)
FAST_LBFGS = Stage("lbfgs", lbfgs, torch.float32)


def planned(
    objective: SoftmaxObjective, settings: Settings, trail: Trail | None
) -> tuple[SoftmaxObjective, tuple[Stage, ...]]:
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
    compact = cost.compact and stages[0] in {NEWTON, NEWTON_CG}
    if NEWTON in stages or compact:
        cheap = cost.hessian_work <= DOUBLE_WORK
        form["fast"] = torch.float64 if cheap else torch.float32  # where float64 would take long
        form["basis"] = contrast_basis(cost.n_classes)
    objective = (CompactObjective.of if compact else replace)(objective, **form)
    if settings.dtype == "float64":
        objective = objective.exactly()
    return objective, stages


def _stages(settings: Settings, cost: Cost, penalised: bool) -> tuple[Stage, ...]:
    """The solvers to run, each from where the last one got stuck or slow."""
    wish = settings.solver
    if wish == "auto":
        wish = _quickest(cost, penalised)
    if wish == "newton":
        waits = settings.solver == "auto" and cost.hessian_in_products > MANY_PRODUCTS
        return (NEWTON_CG, NEWTON) if waits else (NEWTON,)
    if wish == "newton-cg":
        return (NEWTON_CG,)
    last = () if wish == "lbfgs" else (NEWTON_CG,)
    if not penalised:
        return last or (LBFGS,)
    quick = settings.dtype == "float32" or (settings.dtype == "auto" and cost.work > FAST_WORK)
    first = (FAST_LBFGS, LBFGS) if quick else (LBFGS,)
    return (*first, *last)


def _quickest(cost: Cost, penalised: bool) -> str:
    """Newton where a written-out Hessian is cheap, else its products or the mixture."""
    if not penalised and cost.parameters <= MOST_PARAMETERS:
        return "newton"
    if cost.newton_is_quicker:
        return "newton"
    return "newton-cg" if cost.compact and penalised else "mixed"


def _kinked_stages(wish: str) -> tuple[Stage, ...]:
    """The solvers for a penalty with kinks."""
    if wish != "auto":
        raise OptionError(
            f"solver {wish!r} cannot follow the kinks of l1_ratio > 0; leave it at 'auto'"
        )
    return (PROXIMAL,)


def work_of(objective: SoftmaxObjective, stages: tuple[Stage, ...] = ()) -> float:
    """Multiply-adds of a pass, and of a Hessian that is written out."""
    cost = objective.cost
    hessian = cost.hessian_work if NEWTON in stages else 0.0
    if isinstance(objective, CompactObjective) and hessian <= ONE_THREAD_WORK:
        return cost.work
    return cost.work + hessian
