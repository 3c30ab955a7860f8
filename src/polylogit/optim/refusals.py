"""What no fit can be made of: empty classes, separated ones, and numbers beyond float64."""

from __future__ import annotations

from torch import Tensor

from polylogit.errors import SolveError, TargetError
from polylogit.optim.logits import logits_of, parts
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.problem import Evaluation, is_finite
from polylogit.optim.separation import is_separable, separates
from polylogit.optim.targets import Labels


def refuse_empty_classes(objective: SoftmaxObjective) -> None:
    """`TargetError` where a class has no weight in any row."""
    if float(objective.mass.min()) <= 0:
        empty = int(objective.mass.argmin())
        raise TargetError(
            f"class {empty} has no weight in any row, so its probability has no optimum but 0; "
            "leave the class out, or give its rows a positive weight"
        )


def refuse_trouble(objective: SoftmaxObjective, at: Evaluation) -> None:
    """`SolveError` for numbers that are not finite, `TargetError` once classes are separated."""
    if not is_finite(at):
        raise SolveError(
            f"the objective became {at.value} on finite data; the columns are too extreme for "
            "float64 in combination: express the largest in another unit"
        )
    codes = _separable_codes(objective)
    if codes is not None and not _partly(objective) and _separates(objective, at, codes):
        raise _separated("perfectly")


def refuse_separated(objective: SoftmaxObjective) -> None:
    """`TargetError` where a direction separates some rows: that leaves no optimum either."""
    codes = _separable_codes(objective)
    if codes is not None and is_separable(
        objective.design,
        codes,
        objective.n_classes,
        objective.intercept,
        ~objective.ridge.costly,
    ):
        raise _separated("in some rows", partly=_partly(objective))


def _separable_codes(objective: SoftmaxObjective) -> Tensor | None:
    """The labels (N,) where nothing but they keeps the weights finite."""
    targets = objective.targets
    if isinstance(targets, Labels) and not targets.smoothing and not objective.penalised:
        return targets.codes
    return None


def _partly(objective: SoftmaxObjective) -> bool:
    """Whether some columns are penalised: then a point that separates proves nothing."""
    return bool(objective.ridge.costly.any())


def _separates(objective: SoftmaxObjective, at: Evaluation, codes: Tensor) -> bool:
    """Whether what the features say, without the offsets, puts every row's class first."""
    offsets = objective.offsets
    return all(
        separates(z if offsets is None else z - offsets[rows], codes[rows])
        for rows, z in parts(logits_of(at))
    )


def _separated(how: str, *, partly: bool = False) -> TargetError:
    advice = "give every column a penalty factor above 0" if partly else "set C to a finite number"
    return TargetError(
        f"the features separate the classes {how}, so without a penalty the weights grow for ever "
        f"and no optimum exists; {advice}"
    )
