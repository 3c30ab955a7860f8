"""Cross-validation along a path of C: fits without one fold each, judged by that fold.

Leave-one-out (`polylogit.choice`) judges models of all rows but one, from a single fit. This judges
models of fewer rows, each fitted anew, and makes no approximation.

>>> from polylogit.data.arrays import from_arrays
>>> X, y = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]], ["a", "a", "b", "a", "b", "b"]
>>> found = cross_validate(from_arrays(X, y), (0.01, 0.1, 1.0), folds=3)
>>> found.C == min(found.table, key=lambda line: line.loss).C, found.folds.tolist()
(True, [1, 2, 0, 0, 2, 1])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from polylogit.choice import Judged, grid, past_the_lowest, path_note
from polylogit.data.dataset import Dataset
from polylogit.diagnostics.folds import NEVER, folds_of_groups, folds_of_rows
from polylogit.diagnostics.outcome import Jury, own_weights, weighted_mean
from polylogit.diagnostics.units import units_of
from polylogit.errors import OptionError
from polylogit.model import SoftmaxModel
from polylogit.optim.problem import Progress, Status
from polylogit.path import checked_strengths, fits_along
from polylogit.stored import StoredRows
from polylogit.training import Prepared, prepare

SEEDS = 2**63  # that numpy and torch both take
HOW = "the lowest loss of rows held out,"


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """`C` of the lowest loss, and the `table` in rising C.

    The `train_loss` of a line is the mean over the folds' own training rows.
    `folds` (N,) is the fold in which each row was held out. It is -1 for rows in `excluded`, which
    never were, for with them or their group a class would be gone; no mean counts them. `logits`
    (N, K) of every row at C by the fit that had not seen it, NaN where excluded. `note` says what
    there is to know. `stopped`: Ctrl-C ended the path.
    """

    C: float
    table: tuple[Judged, ...]
    folds: np.ndarray
    excluded: tuple[int, ...]
    logits: Tensor
    note: str
    stopped: bool = False


def cross_validate(
    dataset: Dataset,
    Cs: Sequence[float] | None = None,
    *,
    folds: int = 5,
    groups: Any = None,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> CrossValidation:
    """Judge each C of a path by fits without one fold each, on the rows of that fold.

    Every class is in every training set, and the folds are even in every class; with `groups`, N
    labels, whole groups are held out together. Each fold has a path of its own, every fit set out
    from the last. Without `Cs` the path is that of `choose_C`, and ends when it has passed the
    lowest loss. C is the strength for the rows that are fitted, as scikit-learn has it. `seed`
    deals the rows out; `options` are those of `fit` but C.

    Ctrl-C ends the path, and the table holds what there is. Raises `OptionError` for folds that
    cannot be, for rows streamed from a file, and whatever a fit raises.
    """
    prepared = prepare(dataset, **options)
    strengths = None if Cs is None else checked_strengths(Cs)
    everyone = Jury.of(prepared, units_of(prepared, groups))
    count = _checked(folds, "folds", 2, everyone.units.count)
    dealt = _dealt(prepared, everyone, count, seed, grouped=groups is not None)
    held = [np.flatnonzero(dealt == fold) for fold in range(folds)]
    parts = [_without(prepared, rows, options) for rows in held if len(rows)]
    jury = _of_share(everyone, own_weights(prepared) * torch.from_numpy(dealt != NEVER))
    tried, stopped = _path(prepared, parts, jury, strengths, progress)
    return _found(tried, jury, dealt, stopped)


# --------------------------------------------------------------------------------------- folds


def _checked(option: object, name: str, least: int, most: int) -> int:
    if isinstance(option, bool) or not isinstance(option, int) or not least <= option <= most:
        raise OptionError(f"{name} must be a whole number from {least} to {most}, not {option!r}")
    return option


def _dealt(
    prepared: Prepared, everyone: Jury, folds: int, seed: int, *, grouped: bool
) -> np.ndarray:
    """The fold of every row (N,)."""
    if isinstance(prepared.dataset.features, StoredRows):
        raise OptionError("cross_validate needs the rows in memory, and they are streamed")
    _checked(seed, "seed", 0, SEEDS - 1)
    units, weights = everyone.units, prepared.weights
    targets = cast("np.ndarray", prepared.dataset.targets)  # a fit has refused rows without
    if grouped or targets.ndim == 2:
        mass = units.total(everyone.truth * weights[:, None]).numpy()
        dealt: np.ndarray = folds_of_groups(mass, folds, seed)[units.of.numpy()]
    else:
        heavy = (weights > 0).numpy()  # the others are in no mean, so any fold will do
        dealt = np.zeros(len(weights), dtype=np.int64)
        dealt[heavy] = folds_of_rows(targets[heavy], folds, seed)
    if (dealt == NEVER).all():
        unit = "group" if grouped else "row"
        raise OptionError(f"every {unit} is the last of its class, so none can be held out")
    return dealt


def _of_share(jury: Jury, weights: Tensor) -> Jury:
    """The same truth, and means by these weights (N,)."""
    return replace(jury, share=weights / weights.sum())


@dataclass(frozen=True, eq=False)
class _Part:
    """A fold: the rows held out (n,), their features and offsets, and what is fitted without.

    `jury` judges the rows that are fitted, by their own weights.
    """

    rows: np.ndarray
    features: Any
    offsets: Tensor | None
    fitted: Prepared
    jury: Jury

    def logits(self, model: SoftmaxModel) -> Tensor:
        """z (n, K) of the rows held out."""
        z = model.logits(self.features)
        return z if self.offsets is None else z + self.offsets

    def train_loss(self, model: SoftmaxModel) -> float:
        """Of the rows that were fitted."""
        z = model.logits(self.fitted.dataset.features)
        z = z if self.fitted.offsets is None else z + self.fitted.offsets
        return weighted_mean(self.jury.losses(z), self.jury.share)


def _without(prepared: Prepared, rows: np.ndarray, options: dict[str, Any]) -> _Part:
    dataset, offsets = prepared.dataset, prepared.offsets
    features: Any = dataset.features  # in memory: streamed rows were refused
    targets = cast("np.ndarray", dataset.targets)
    kept = np.setdiff1d(np.arange(dataset.n_rows), rows)
    own = dict(options)
    if offsets is not None:
        own["offset"] = offsets[kept].numpy()
    part = replace(
        dataset,
        features=features[kept],
        targets=targets[kept],
        weights=None if dataset.weights is None else dataset.weights[kept],
    )
    held = None if offsets is None else offsets[rows]
    fitted = prepare(part, **own)
    jury = _of_share(Jury.of(fitted, units_of(fitted, None)), own_weights(fitted))
    return _Part(rows, features[rows], held, fitted, jury)


# ---------------------------------------------------------------------------------------- path


@dataclass(frozen=True, eq=False)
class _Tried:
    """A C, the logits (N, K) of the rows held out, their losses (N,), and the mean ones."""

    C: float
    alpha: float
    logits: Tensor
    losses: Tensor
    loss: float
    train_loss: float


def _path(
    prepared: Prepared,
    parts: list[_Part],
    jury: Jury,
    strengths: Sequence[float] | None,
    progress: Callable[[Progress], None] | None,
) -> tuple[list[_Tried], bool]:
    """What was tried for rising C, and whether Ctrl-C came."""
    tried: list[_Tried] = []
    Cs = grid(prepared) if strengths is None else strengths
    with suppress(KeyboardInterrupt):
        for C, models in zip(Cs, _models(parts, Cs, progress), strict=False):
            tried.append(_judged(prepared, C, parts, models, jury))
            if strengths is None and past_the_lowest([one.loss for one in tried]):
                return tried, False
        return tried, False
    if not tried:
        raise KeyboardInterrupt
    return tried, True


def _models(
    parts: list[_Part], Cs: Sequence[float], progress: Callable[[Progress], None] | None
) -> Iterator[list[SoftmaxModel]]:
    """The models without each fold, C by C. Raises `KeyboardInterrupt` where a fit was stopped."""
    paths = [fits_along(part.fitted, Cs, progress) for part in parts]
    for fits in zip(*paths, strict=True):
        if any(fit.solution.status is Status.INTERRUPTED for fit in fits):
            raise KeyboardInterrupt
        yield [fit.model for fit in fits]


def _judged(
    prepared: Prepared, C: float, parts: list[_Part], models: list[SoftmaxModel], jury: Jury
) -> _Tried:
    logits = torch.full(jury.truth.shape, math.nan, dtype=torch.float64)
    for part, model in zip(parts, models, strict=True):
        logits[part.rows] = part.logits(model)
    losses = jury.losses(logits)
    train = [part.train_loss(model) for part, model in zip(parts, models, strict=True)]
    loss = weighted_mean(losses, jury.share)
    return _Tried(C, prepared.alpha(C), logits, losses, loss, sum(train) / len(train))


def _found(tried: list[_Tried], jury: Jury, dealt: np.ndarray, stopped: bool) -> CrossValidation:
    lowest = min(tried, key=lambda one: one.loss)
    excluded = tuple(np.flatnonzero(dealt == NEVER).tolist())
    return CrossValidation(
        lowest.C,
        tuple(_line(one, lowest, jury) for one in tried),
        dealt,
        excluded,
        lowest.logits,
        path_note(HOW, len(tried), tried.index(lowest), len(excluded), "held out", stopped),
        stopped,
    )


def _line(one: _Tried, lowest: _Tried, jury: Jury) -> Judged:
    return Judged(
        one.C,
        one.alpha,
        one.train_loss,
        one.loss,
        jury.spread(one.losses),
        jury.accuracy(one.logits),
        one.loss - lowest.loss,
        jury.spread(one.losses - lowest.losses),
    )
