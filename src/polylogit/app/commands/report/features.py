"""The features that move each class most, and how sure that is.

How a model weighs its columns has no error that means anything: the penalty shrinks it. So the
intervals come from a refit for inference (`polylogit.summarize`), and stand beside the model's
number in its terms: against the mean class, a number over its range in training, a category
against the mean of its column's categories.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from scipy.stats import norm

from polylogit.data.dataset import Dataset
from polylogit.diagnostics.inference.summary import Summary, summarize
from polylogit.errors import PolylogitError
from polylogit.model import SoftmaxModel
from polylogit.schema import Schema
from polylogit.stored import StoredRows

STRONGEST = 5  # features of a class
LEVEL = 0.95
MOST_WORK = 5e8  # multiply-adds of one information matrix: a few seconds for all steps
MOST_PROGRAM = 5e5  # nonzeros of the linear program that looks for separation: as long


def strongest(model: SoftmaxModel) -> list[list[dict[str, Any]]]:
    """For every class the encoded columns that move its logit most, over their training range.

    Against the mean of all classes, which softmax cannot see; without known ranges per unit.
    """
    weight = model.weight.numpy()
    moves = (weight - weight.mean(0)) * ranges(model)
    order = np.argsort(-np.abs(moves), axis=1, kind="stable")[:, :STRONGEST]
    names = model.schema.names
    return [
        [{"feature": names[d], "column": d, "move": float(moves[k, d])} for d in row]
        for k, row in enumerate(order.tolist())
    ]


def ranges(model: SoftmaxModel) -> np.ndarray:
    """Largest less smallest value of every encoded column in training (D,), or ones."""
    known = cast("Any", model.record.get("columns"))
    if not isinstance(known, dict):
        return np.ones(model.n_features)
    span: np.ndarray = np.subtract(known["high"], known["low"], dtype=np.float64)
    return span


def intervals(
    model: SoftmaxModel, training: Dataset | None, *, intercept: bool = True
) -> dict[str, Any]:
    """The same features as `strongest`, with estimate and interval where there is one.

    `training` is what the model was fitted to. `why` is None, or what stands against intervals:
    elsewhere, large, failed.
    """
    picked = strongest(model)
    if training is None:
        return _none("elsewhere", picked)
    if _takes_long(training):
        return _none("large", picked)
    try:
        refit = summarize(training, contrasts="sum-to-zero", fit_intercept=intercept, level=LEVEL)
    except PolylogitError as error:
        return _none("failed", picked, str(error))
    scaled = [
        None if combination is None else combination * size
        for combination, size in zip(
            combinations(model.schema, refit.columns, intercept), ranges(model), strict=True
        )
    ]
    rows = [
        [one | _estimated(refit, k, scaled[one["column"]]) for one in row]
        for k, row in enumerate(picked)
    ]
    found = {"method": refit.method, "level": refit.level, "n": refit.n}
    return {"why": None, "message": "", **found, "classes": rows}


def _none(why: str, picked: list[list[dict[str, Any]]], message: str = "") -> dict[str, Any]:
    return {"why": why, "message": message, "classes": picked}


def _takes_long(training: Dataset) -> bool:
    """Whether a refit for inference would take more than some seconds."""
    N, D, K = training.n_rows, training.n_features, len(training.schema.classes)
    streamed = isinstance(training.features, StoredRows)
    work, program = N * ((K - 1) * (D + 1.0)) ** 2, N * K * (D + 1.0) * 2
    return streamed or work > MOST_WORK or program > MOST_PROGRAM


def _estimated(refit: Summary, k: int, combination: np.ndarray | None) -> dict[str, Any]:
    """A combination (q,) of the coefficients of class k with its interval; all None for None."""
    if combination is None:
        return dict.fromkeys(("estimate", "low", "high", "separated"))
    q = len(refit.columns)
    own = slice(k * q, (k + 1) * q)
    estimate = float(combination @ refit.matrix()[k])
    variance = float(combination @ refit.covariance_matrix[own, own] @ combination)
    reach = float(norm.ppf((1 + refit.level) / 2)) * math.sqrt(max(variance, 0.0))
    used = zip(refit.coefficients[own], combination, strict=True)
    separated = any(one.separated for one, part in used if part)
    return {
        "estimate": estimate,
        "low": estimate - reach,
        "high": estimate + reach,
        "separated": separated,
    }


def combinations(
    schema: Schema, columns: Sequence[str], intercept: bool
) -> Iterator[np.ndarray | None]:
    """For every encoded column what the model's coefficient is in those of the refit (q,).

    With an intercept the coefficients of a categorical column sum to zero in the model and are
    against its first category in the refit. None for a column that the refit left out, as others
    say it already.
    """
    known = set(columns)
    for feature in schema.features:
        one_hot = feature.kind == "categorical" and intercept
        baseline = set(feature.names[:1]) if one_hot else set()
        for name in feature.names:
            together = feature.names if one_hot else (name,)
            if set(together) - known - baseline:
                yield None
            else:
                share = 1 / len(together) if one_hot else 0.0
                yield np.array([(c == name) - share * (c in together) for c in columns])
