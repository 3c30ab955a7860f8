"""Why a row was classified so: the model's own arithmetic, feature by feature.

Only differences between classes mean something: softmax does not see what all logits share. So
every contribution is a difference to the runner-up r,

    z_k - z_r = sum_d (W_kd - W_rd) (x_d - m_d) + (z_k - z_r at the mean row m of training)

and with the base, what the mean row would get, those of the decided class sum to its margin.
Measured from the mean, because a year of 2007 or a mass in grams counts from a zero that no row is
near; where the mean is not known, m = 0 and the base is the bias. The explanation is of the model,
not of the world: it says what the formula did, not what causes what. It returns data and draws
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from polylogit.errors import DataError
from polylogit.model import SoftmaxModel
from polylogit.schema import Feature, Label

OVER = 1e-9  # relative: how far past the point of a tie a change goes, so that it flips


@dataclass(frozen=True)
class Contribution:
    """What a feature of this row, against the mean row, adds to each logit less the runner-up's.

    `value` is the number or the category in the row; a missing one is None.
    """

    feature: str
    value: float | str | None
    differences: tuple[float, ...]


@dataclass(frozen=True)
class Flip:
    """A change of one feature, and the class that is decided on then.

    `size` is the change in parts of the feature's range in training, if that is known.
    """

    feature: str
    value: float | str
    change: float | None
    to: Label
    size: float | None


@dataclass(frozen=True)
class Outside:
    """A feature whose value lies outside what training saw."""

    feature: str
    value: float | str
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Explanation:
    """One row through the model: K logits and probabilities, and what they are made of."""

    classes: tuple[Label, ...]
    logits: tuple[float, ...]
    probabilities: tuple[float, ...]
    decision: Label
    runner_up: Label
    margin: float
    base: tuple[float, ...]  # logits of the mean row, less the runner-up's
    contributions: tuple[Contribution, ...]  # the largest for the decision first
    flips: tuple[Flip, ...]  # the smallest change of each feature that can flip it, smallest first
    outside: tuple[Outside, ...]
    ranges_known: bool

    @property
    def smallest_flip(self) -> Flip | None:
        """The smallest single change that flips the decision; None where none can."""
        return self.flips[0] if self.flips else None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "classes": list(self.classes),
            "logits": list(self.logits),
            "probabilities": list(self.probabilities),
            "decision": self.decision,
            "runner_up": self.runner_up,
            "margin": self.margin,
            "base": list(self.base),
            "contributions": [
                {"feature": c.feature, "value": c.value, "differences": list(c.differences)}
                for c in self.contributions
            ],
            "flips": [vars(flip) for flip in self.flips],
            "outside": [vars(odd) for odd in self.outside],
            "ranges_known": self.ranges_known,
        }


def explain(
    model: SoftmaxModel, row: Any, unseen: Mapping[str, Sequence[str]] | None = None
) -> Explanation:
    """Explain the decision for one encoded row (D,) or (1, D), as `schema.encode` makes it.

    `unseen` names categories of the row that training never saw, by their column. The smallest flip
    is found exactly: with all else fixed every logit is a straight line in a number, so the first
    crossing is a quotient; of categories every one is tried. Changes of different features are
    compared in parts of the range that training saw; where that is not known, as they are.

    Raises `DataError` for a row of another shape, or one that is not finite.

    >>> from polylogit.schema import Schema
    >>> schema = Schema.for_array(2, ("no", "yes"))
    >>> model = SoftmaxModel([[0.0, 0.0], [2.0, -1.0]], [0.0, 0.5], schema)
    >>> why = explain(model, [1.0, 0.5])
    >>> why.decision, why.margin, [(c.feature, c.differences[1]) for c in why.contributions]
    ('yes', 2.0, [('x0', 2.0), ('x1', -0.5)])
    >>> flip = why.smallest_flip
    >>> flip.feature, round(flip.change, 6), flip.to
    ('x0', -1.0, 'no')
    """
    x = _row(model, row)
    logits = model.logits(x[None])[0].numpy()
    order = np.argsort(-logits, kind="stable")
    best, second = int(order[0]), int(order[1])
    known = _remembered(model)
    ranges = None if known is None else (known["low"], known["high"])
    mean = np.zeros_like(x) if known is None else known["mean"]
    weight = model.weight.numpy() - model.weight.numpy()[second]
    base = model.logits(mean[None])[0].numpy()
    parts = [
        Contribution(
            feature.name,
            _value(feature, x[where], unseen),
            tuple((weight[:, where] @ (x - mean)[where]).tolist()),
        )
        for feature, where in _columns(model)
    ]
    probabilities = torch.softmax(torch.from_numpy(logits), 0).tolist()
    return Explanation(
        model.classes,
        tuple(logits.tolist()),
        tuple(probabilities),
        model.classes[best],
        model.classes[second],
        float(logits[best] - logits[second]),
        tuple((base - base[second]).tolist()),
        tuple(sorted(parts, key=lambda part: -abs(part.differences[best]))),
        tuple(sorted(_flips(model, x, logits, best, ranges), key=_cost)),
        tuple(_outside(model, x, ranges, unseen)),
        ranges is not None,
    )


def _row(model: SoftmaxModel, row: Any) -> np.ndarray:
    dense = row.toarray() if hasattr(row, "toarray") else row
    x = np.asarray(dense, dtype=np.float64)
    if x.shape not in ((model.n_features,), (1, model.n_features)):
        raise DataError(
            f"one row of {model.n_features} encoded features can be explained, not an array of "
            f"shape {x.shape}"
        )
    x = x.reshape(-1)
    if not np.isfinite(x).all():
        column = int(np.flatnonzero(~np.isfinite(x))[0])
        raise DataError(f"{model.schema.names[column]} is {x[column]}; a row must be finite")
    return x


def _columns(model: SoftmaxModel) -> Iterator[tuple[Feature, slice]]:
    """Every feature, and where its encoded columns stand."""
    start = 0
    for feature in model.schema.features:
        end = start + len(feature.names)
        yield feature, slice(start, end)
        start = end


def _remembered(model: SoftmaxModel) -> dict[str, np.ndarray] | None:
    """Least, largest and mean value of every encoded column in training, if the model has them."""
    told = model.record.get("columns")
    try:
        known = {
            name: np.asarray(told[name], dtype=np.float64)  # type: ignore[index]
            for name in ("low", "high", "mean")
        }
    except (TypeError, ValueError, KeyError):
        return None
    fit = all(end.shape == (model.n_features,) for end in known.values())
    return known if fit and all(np.isfinite(end).all() for end in known.values()) else None


def _is_missing(feature: Feature, x: np.ndarray) -> bool:
    return feature.has_missing and x[-1] == 1


def _value(
    feature: Feature, x: np.ndarray, unseen: Mapping[str, Sequence[str]] | None
) -> float | str | None:
    """What stands in the row, as a person would write it."""
    if _is_missing(feature, x):
        return None
    if feature.kind != "categorical":
        return float(x[0])
    known = [word for word, on in zip(feature.categories, x, strict=False) if on]
    return next(iter((*known, *(unseen or {}).get(feature.name, ()))), None)


def _flips(
    model: SoftmaxModel,
    x: np.ndarray,
    logits: np.ndarray,
    best: int,
    ranges: tuple[np.ndarray, np.ndarray] | None,
) -> Iterator[Flip]:
    for feature, where in _columns(model):
        if feature.kind == "numeric":
            width = None if ranges is None else float((ranges[1] - ranges[0])[where.start])
            yield from _crossing(model, feature, where.start, x, logits, best, width)
        else:
            yield from _switches(model, feature, where, x, logits, best)


def _crossing(
    model: SoftmaxModel,
    feature: Feature,
    column: int,
    x: np.ndarray,
    logits: np.ndarray,
    best: int,
    width: float | None,
) -> Iterator[Flip]:
    """The nearest value of a number at which another class is first, on either side.

    The largest of straight lines is convex, so what leads first to the other side of a tie with
    any class is the flip: (z_best - z_k) / (w_k - w_best), the one of least size.
    """
    slopes = model.weight.numpy()[:, column]
    with np.errstate(divide="ignore", invalid="ignore"):
        changes = (logits[best] - logits) / (slopes - slopes[best])
    changes[best] = math.inf
    changes[~np.isfinite(changes)] = math.inf
    to = int(np.abs(changes).argmin())
    change = float(changes[to])
    if not math.isfinite(change):
        return
    reach = abs(change) * OVER + abs(float(x[column])) * 1e-15
    change += math.copysign(reach, change if change else float(slopes[to] - slopes[best]))
    value = float(x[column]) + change
    size = None if width is None or width <= 0 else abs(change) / width
    yield Flip(feature.name, value, change, model.classes[to], size)


def _switches(
    model: SoftmaxModel,
    feature: Feature,
    where: slice,
    x: np.ndarray,
    logits: np.ndarray,
    best: int,
) -> Iterator[Flip]:
    """Another category, or the other truth value, that flips; the one that leaves least margin."""
    weight, here = model.weight.numpy()[:, where], x[where]
    found = []
    for word, there in _alternatives(feature, here):
        moved = logits + weight @ (there - here)
        if int(moved.argmax()) != best:
            found.append((float(moved.max() - moved[best]), word, int(moved.argmax())))
    if found:
        _, word, to = max(found)
        yield Flip(feature.name, word, None, model.classes[to], 1.0)


def _alternatives(feature: Feature, here: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    words = feature.categories if feature.kind == "categorical" else ("false", "true")
    for place, word in enumerate(words):
        there = np.zeros_like(here)
        if feature.kind == "categorical":
            there[place] = 1
        else:
            there[0] = place
        if not np.array_equal(there, here):
            yield word, there


def _cost(flip: Flip) -> tuple[bool, float]:
    """Flips of known size first; then by the change itself."""
    if flip.size is not None:
        return (False, flip.size)
    return (True, math.inf if flip.change is None else abs(flip.change))


def _outside(
    model: SoftmaxModel,
    x: np.ndarray,
    ranges: tuple[np.ndarray, np.ndarray] | None,
    unseen: Mapping[str, Sequence[str]] | None,
) -> Iterator[Outside]:
    for feature, where in _columns(model):
        value = _value(feature, x[where], unseen)
        if feature.kind == "categorical":
            if isinstance(value, str) and value not in feature.categories:
                yield Outside(feature.name, value, None, None)
        elif ranges is not None and isinstance(value, float):
            low, high = (float(end[where.start]) for end in ranges)
            if not low <= value <= high:
                yield Outside(feature.name, value, low, high)
