"""A path of solutions over penalty strengths, from the strongest to the weakest.

Under a strong penalty the optimum is near zero and costs next to nothing; from there on every
optimum is the start of the next (Friedman, Hastie & Tibshirani, J. Stat. Softw. 33 (2010), section
2.5: pathwise optimisation). What neighbours share is a `Trail`; each of them is proven by a
certificate of its own, to the same tolerance as a single solve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from polylogit.design import Design
from polylogit.optim.problem import Progress, Solution, Status
from polylogit.optim.settings import Settings
from polylogit.optim.solve import solve
from polylogit.optim.targets import Targets
from polylogit.optim.trail import Trail

Point = tuple[Tensor, Tensor]


def solve_path(
    design: Design,
    targets: Targets,
    weights: Tensor,
    *,
    n_classes: int,
    alphas: Sequence[float],
    l1_ratio: float = 0.0,
    known: Sequence[Point] = (),
    intercept: bool = True,
    factors: Tensor | None = None,
    offsets: Tensor | None = None,
    settings: Settings | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Iterator[Solution]:
    """A certified `solve` for each of `alphas`, which must fall; ends early when stopped by hand.

    `known` are (W, bias) where the first of these solves ended before: each is proven again from
    there. With l1_ratio > 0 the solves share no trail: one sets out from where the last one ended.

    Raises as `solve` does.
    """
    trail, last = Trail(), None
    for place, alpha in enumerate(alphas):
        on_trail = alpha > 0 and l1_ratio == 0 and place >= len(known)
        last = solve(
            design,
            targets,
            weights,
            n_classes=n_classes,
            alpha=alpha,
            l1_ratio=l1_ratio,
            intercept=intercept,
            factors=factors,
            offsets=offsets,
            settings=settings,
            start=known[place] if place < len(known) else _end(last),
            progress=progress,
            trail=trail if on_trail else None,  # without a ridge alone other solvers are at work
        )
        yield last
        if last.status is Status.INTERRUPTED:
            return


def _end(last: Solution | None) -> Point | None:
    return None if last is None else (last.weight, last.bias)
