"""A whole path of fits over C for about the price of a few, and how good each is on other rows.

>>> from polylogit.data.arrays import from_arrays
>>> data = from_arrays([[0.0], [1.0], [2.0], [3.0]], ["a", "a", "b", "b"])
>>> path = fit_path(data, (0.01, 1.0, 100.0))
>>> [point.C for point in path.table], all(fit.solution.certified for fit in path.fits)
([0.01, 1.0, 100.0], True)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polylogit.checkpoint import Checkpoint, fingerprint
from polylogit.data.dataset import Dataset, Features
from polylogit.errors import OptionError, TargetError
from polylogit.model import SoftmaxModel
from polylogit.optim.path import solve_path
from polylogit.optim.problem import Progress, Status
from polylogit.storage import Path as FilePath
from polylogit.stored import StoredRows
from polylogit.training import Fit, Prepared, checked_strength, prepare

SWEEP = (1e-6, 1e5, 45)
"""First, last and number of the values of C of DINOv2's `log_regression.py`, even on a log scale"""

SEARCH = (-6, 6, 8)
"""Decades of C, and steps per decade at the end, of CLIP's search."""

TOP = 5


@dataclass(frozen=True)
class Validation:
    """How good a model is on rows it was not fitted to; loss in nats per row.

    `top1`, `top5`: share of rows whose class is the likeliest, among the five likeliest.
    `mean_per_class`: top-1 averaged over the classes that have rows, whatever their number.
    """

    loss: float
    top1: float
    top5: float
    mean_per_class: float


@dataclass(frozen=True)
class Point:
    """One line of the table: what the fit at C reached, how sure, at what price."""

    C: float
    alpha: float
    train_loss: float
    objective: float
    gap: float
    certified: bool
    passes: int
    seconds: float
    n_nonzero: int
    validation: Validation | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; what is infinite is null, for JSON has no infinity."""
        flat = asdict(self) | (asdict(self.validation) if self.validation else {})
        del flat["validation"]
        finite = {name: not isinstance(v, float) or math.isfinite(v) for name, v in flat.items()}
        return {name: value if finite[name] else None for name, value in flat.items()}


@dataclass(frozen=True, eq=False)
class Path:
    """Fits for rising `Cs`, and their table; not all that were asked for if it was interrupted."""

    Cs: tuple[float, ...]
    fits: tuple[Fit, ...]
    table: tuple[Point, ...]

    def best(self, by: str = "loss") -> int:
        """The place of the best fit: of the lowest `loss` or the highest `top1`, `top5`,
        `mean_per_class` on the validation rows; of equals the one with the strongest penalty.
        """
        if by not in Validation.__dataclass_fields__:
            raise OptionError(
                f"a path is judged by {', '.join(Validation.__dataclass_fields__)}, not {by!r}"
            )
        if any(point.validation is None for point in self.table):
            raise OptionError("a path without validation rows cannot say which of its fits is best")
        return _best(self.table, by)


def fit_path(
    dataset: Dataset,
    Cs: Sequence[float] | None = None,
    *,
    validation: Dataset | None = None,
    progress: Callable[[Progress], None] | None = None,
    checkpoint: FilePath | None = None,
    **options: Any,
) -> Path:
    """Fit `dataset` for each of `Cs`, by default the 45 of `SWEEP`, from small to large.

    Each fit has its own certificate, to the same `tol`; neighbours share all that they can
    (`polylogit.optim.path`). `options` are those of `polylogit.fit` other than `C` and `start`,
    `l1_ratio` and `offset` among them. With a `checkpoint` file, a path that was killed goes on
    after the last value of C that was done; the file goes when all are. With `validation` rows,
    encoded by the same schema, every fit is judged on them.
    Ctrl-C ends the path with what there is; the last fit is then marked as interrupted.

    Raises `OptionError` for no C, or one out of range, and whatever `fit` raises.
    """
    strengths = checked_strengths(spaced(*SWEEP) if Cs is None else Cs)
    prepared = prepare(dataset, **options)
    file = None if checkpoint is None else path_checkpoint(prepared, strengths, checkpoint)
    fits = tuple(fits_along(prepared, strengths, progress, file))
    if file is not None and not _stopped(fits):
        file.remove()
    table = tuple(_point(prepared, fit, validation) for fit in fits)
    return Path(strengths[: len(fits)], fits, table)


def search_path(
    dataset: Dataset,
    *,
    validation: Dataset,
    by: str = "top1",
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Path:
    """CLIP's search for C: 12 decades at 8 steps a decade (96 steps), in at most 15 fits.

    1. Fit C = 1e-6, 1e-4, 1e-2, 1, 1e2, 1e4, 1e6 and judge each on the `validation` rows.
    2. Halve the interval between neighbours, and fit the two new neighbours of the best so far;
       of equals the best is the one with the strongest penalty.
    3. Repeat 2 until there are 8 steps a decade, that is four times.

    The search finds the best of the whole grid where the score has one peak. Source: Radford et
    al., "Learning Transferable Visual Models From Natural Language Supervision" (2021), appendix
    A.3, which searches lambda; the grid is the same for C = 1/lambda. Its fits are scikit-learn's
    L-BFGS with 1000 steps; ours are certified optima.
    """
    first, last, finest = SEARCH
    prepared, step = prepare(dataset, **options), 2 * finest
    places = range(first * finest, last * finest + 1, step)
    coarse = list(fits_along(prepared, [_at(place) for place in places], progress))
    fits = dict(zip(places, coarse, strict=False))
    points = {place: _point(prepared, fit, validation) for place, fit in fits.items()}
    while step > 1 and not _stopped(fits.values()):
        step //= 2
        peak = sorted(points)[_best([points[place] for place in sorted(points)], by)]
        for place in (peak - step, peak + step):
            if places[0] <= place <= places[-1] and not _stopped(fits.values()):
                fits[place] = prepared.fit(_at(place), fits[peak].model, progress)
                points[place] = _point(prepared, fits[place], validation)
    order = sorted(fits)
    return Path(
        tuple(_at(place) for place in order),
        tuple(fits[place] for place in order),
        tuple(points[place] for place in order),
    )


def _at(place: int) -> float:
    return float(10.0 ** (place / SEARCH[2]))


def _stopped(fits: Iterable[Fit]) -> bool:
    return any(fit.solution.status is Status.INTERRUPTED for fit in fits)


def _best(points: Sequence[Point], by: str) -> int:
    scores = [getattr(point.validation, by) for point in points]
    return int(np.argmin(scores) if by == "loss" else np.argmax(scores))


def spaced(first: float, last: float, count: int) -> tuple[float, ...]:
    """`count` numbers from `first` to `last`, even on a log scale.

    >>> spaced(0.01, 100, 3)
    (0.01, 1.0, 100.0)
    """
    return tuple((10.0 ** np.linspace(math.log10(first), math.log10(last), count)).tolist())


def checked_strengths(Cs: Sequence[float]) -> tuple[float, ...]:
    """The different values of C, rising."""
    if isinstance(Cs, str) or not isinstance(Cs, Sequence | np.ndarray) or len(Cs) == 0:
        raise OptionError(f"Cs must be a list of one or more positive numbers, not {Cs!r}")
    if any(isinstance(C, str) for C in Cs):
        raise OptionError(f"Cs must be a list of positive numbers, not {list(Cs)!r}")
    return tuple(sorted({checked_strength(C) for C in Cs}))


def judge(model: SoftmaxModel, dataset: Dataset) -> Validation:
    """How good `model` is on labelled rows, weighed by the rows' weights.

    A row of probabilities counts as labels drawn from it would on average.
    """
    if dataset.targets is None:
        raise TargetError(f"{dataset.source} holds no targets; name the column with the labels")
    weights = torch.ones(dataset.n_rows, dtype=torch.float64)
    if dataset.weights is not None:
        weights = torch.from_numpy(dataset.weights)
    weights = weights / weights.sum()
    loss, in_top = 0.0, 0.0
    mass, right = torch.zeros(2, model.n_classes, dtype=torch.float64)
    for rows, features in _parts(dataset.features):
        logs = model.log_probabilities(features)
        share = _as_rows(dataset.targets[rows], model.n_classes) * weights[rows, None]
        order = logs.topk(min(TOP, model.n_classes), 1).indices
        right += (torch.zeros_like(share).scatter_(1, order[:, :1], 1.0) * share).sum(0)
        mass += share.sum(0)
        loss -= float(torch.where(share > 0, share * logs, 0.0).sum())  # 0 log 0 = 0
        in_top += float(share.gather(1, order).sum())
    seen = mass > 0
    return Validation(
        loss=loss,
        top1=float(right.sum()),
        top5=in_top,
        mean_per_class=float((right[seen] / mass[seen]).mean()),
    )


def _parts(features: Features) -> Iterable[tuple[slice, Any]]:
    """All rows once: those in memory together, those in a file some at a time."""
    if isinstance(features, StoredRows):
        return features.blocks()
    return [(slice(None), features)]


def _as_rows(targets: np.ndarray, n_classes: int) -> Tensor:
    """Targets as rows of the simplex (N, K)."""
    given = torch.from_numpy(targets)
    if given.ndim == 2:
        return given
    return torch.zeros(len(given), n_classes, dtype=torch.float64).scatter_(1, given[:, None], 1.0)


def path_checkpoint(prepared: Prepared, strengths: Sequence[float], path: FilePath) -> Checkpoint:
    """The file that keeps what is done of this path."""
    return Checkpoint(path, fingerprint(prepared.fingerprint(strengths[0]), tuple(strengths)))


def fits_along(
    prepared: Prepared,
    strengths: Sequence[float],
    progress: Callable[[Progress], None] | None = None,
    file: Checkpoint | None = None,
) -> Iterator[Fit]:
    """A fit for each of `strengths`, rising, up to one that was interrupted.

    With a `file` the models of all that is done are kept in it, one on the other (M, K, D), and
    those found there are only proven again. The caller removes it.
    """
    before = None if file is None else file.read()
    known = [] if before is None else list(zip(*before, strict=True))
    done: list[tuple[Tensor, Tensor]] = []
    for fit in _fits(prepared, strengths, progress, known):
        done.append((fit.model.weight, fit.model.bias))
        if file is not None and len(done) > len(known) and not _stopped([fit]):
            weights, biases = zip(*done, strict=True)
            file.write(torch.stack(weights), torch.stack(biases))
        yield fit


def _fits(
    prepared: Prepared,
    strengths: Sequence[float],
    progress: Callable[[Progress], None] | None,
    known: Sequence[tuple[Tensor, Tensor]],
) -> Iterator[Fit]:
    solutions = solve_path(
        prepared.design,
        prepared.targets,
        prepared.weights,
        n_classes=prepared.n_classes,
        alphas=[prepared.alpha(C) for C in strengths],
        l1_ratio=prepared.penalty(strengths[0])[1],
        known=known,
        intercept=prepared.intercept,
        factors=prepared.factors,
        offsets=prepared.offsets,
        settings=prepared.settings,
        progress=progress,
    )
    for C, found in zip(strengths, solutions, strict=False):
        yield prepared.outcome(C, found)


def _point(prepared: Prepared, fit: Fit, validation: Dataset | None) -> Point:
    solution, weight = fit.solution, fit.model.weight
    point = Point(
        C=fit.C,
        alpha=fit.alpha,
        train_loss=solution.objective - _penalty(prepared, fit),
        objective=solution.objective,
        gap=solution.certificate.gap,
        certified=solution.certified,
        passes=solution.statistics.passes,
        seconds=solution.statistics.seconds,
        n_nonzero=int(torch.count_nonzero(weight)),
    )
    return point if validation is None else replace(point, validation=judge(fit.model, validation))


def _penalty(prepared: Prepared, fit: Fit) -> float:
    """R(W), in nats per row."""
    alpha, share = prepared.penalty(fit.C)
    each = share * fit.model.weight.abs() + (1 - share) / 2 * fit.model.weight.square()
    return alpha * float((each if prepared.factors is None else each * prepared.factors).sum())
