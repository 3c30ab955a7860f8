"""Calibration and sets without rows held out: each training row is judged by a fit without it.

Leave-one-out logits z_-i are nearly what the model says of a new row, so a map fitted on them
calibrates the model, and scores made of them set the thresholds of prediction sets:

    calibrated(x) = softmax(A z(x) + c),   A and c fitted on (z_-i, y_i)
    set(x) = {y : s(softmax z(x), y) <= the k-th smallest of s(softmax z_-i, y_i)}

Nearly: z_-i comes from N - 1 rows and the model from N, so the sets lack the proof that rows held
out give (Barber, Candes, Ramdas and Tibshirani, "Predictive inference with the jackknife+", Ann.
Stat. 49 (2021), have counterexamples), and say that they are approximate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from polylogit.data.dataset import Dataset
from polylogit.diagnostics.conformal import ConformalSets, Scoring, conformal
from polylogit.diagnostics.leave_one_out import leave_one_out, obstacle
from polylogit.diagnostics.recalibration import Method, calibrate, map_of
from polylogit.errors import OptionError, SchemaError, TargetError
from polylogit.functional import softmax
from polylogit.model import SoftmaxModel
from polylogit.schema import listed
from polylogit.training import Prepared, prepare

FARTHEST = 1e-4  # nats per row above the optimum, beyond which these are not the rows of the fit


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """What `model` says of its training rows, each time without the row: `logits` (n, K).

    `codes` (n,) are their labels and `weights` (n,) their weights, if they have any. Rows that are
    the last of their class cannot be left out and are missing: `n_excluded`.
    """

    model: SoftmaxModel
    logits: Tensor
    codes: np.ndarray
    weights: np.ndarray | None
    n_excluded: int

    @classmethod
    def of(
        cls, model: SoftmaxModel, dataset: Dataset, *, groups: Any = None, **options: Any
    ) -> TrainingRows:
        """Leave every row of `dataset`, those that `model` was fitted on, out of the fit.

        `options` are those of the fit that the model does not remember: fit_intercept,
        class_weight, label_smoothing. `groups` leave together, as in `leave_one_out`. A model that
        was calibrated keeps its calibration. Raises `OptionError` for other rows or options than
        those of the fit, and where leave-one-out cannot work; `TargetError` for rows of
        probabilities.

        >>> from polylogit.data.arrays import from_arrays
        >>> from polylogit.training import fit
        >>> data = from_arrays([[0.0], [1.0], [2.0], [3.0]], ["a", "b", "a", "b"])
        >>> rows = TrainingRows.of(fit(data, C=1.0).model, data)
        >>> softmax(rows.logits, 1)[0].round(decimals=3).tolist()
        [0.333, 0.667]
        """
        base, (A, c) = map_of(model)
        _refuse_other(base, dataset)
        factors = model.record.get("penalty_factors")
        prepared = prepare(dataset, penalty_factors=factors, **options)
        C = _strength(model)
        trouble = obstacle(prepared, groups)
        if trouble:
            raise OptionError(trouble)
        fit = prepared.fit(C, base)
        _refuse_far(prepared, base, fit.model, fit.alpha)
        left = leave_one_out(prepared, fit, groups=groups)
        if left.n_draws:
            raise OptionError(
                f"{prepared.n_classes:,} classes times {dataset.n_features:,} columns are too many "
                "to leave out each row: only the mean loss is known; calibrate on rows held out"
            )
        seen = ~left.logits.isnan().any(1).numpy()
        weights = None if dataset.weights is None else dataset.weights[seen]
        logits = left.logits[torch.from_numpy(seen)] @ A.T + c
        codes = cast("np.ndarray", dataset.targets)[seen]
        return cls(model, logits, codes, weights, len(left.excluded))

    def calibrated(self, method: Method = "matrix") -> SoftmaxModel:
        """`model` with a calibration by these rows; see `polylogit.calibrate`."""
        targets = self.model.class_array()[self.codes]
        made = calibrate(
            self.logits.numpy(),
            targets,
            classes=self.model.classes,
            method=method,
            weights=self.weights,
        )
        return made.compose(self.model)

    def sets(
        self, coverage: float = 0.9, *, scoring: Scoring | None = None, by_class: bool = False
    ) -> ConformalSets:
        """Thresholds of prediction sets, marked as approximate; see `polylogit.conformal`.

        Raises `OptionError` for rows with weights: their rank counts rows, not copies.
        """
        if self.weights is not None:
            raise OptionError(
                "the rows have weights, and sets count each row once: copies of a row are no "
                "evidence of their own; calibrate the sets on rows held out instead"
            )
        p = softmax(self.logits, 1).numpy()
        return conformal(
            p, self.codes, coverage, scoring=scoring, by_class=by_class, approximate=True
        )


def _refuse_other(model: SoftmaxModel, dataset: Dataset) -> None:
    """What could not be the rows of the fit, before any work."""
    if (model.classes, model.n_features) != (dataset.schema.classes, dataset.n_features):
        raise SchemaError(
            f"{dataset.source} has {dataset.n_features} columns and the classes "
            f"{listed(dataset.schema.classes)}, the model {model.n_features} and "
            f"{listed(model.classes)}; read it with schema=model.schema"
        )
    if dataset.targets is None or dataset.targets.ndim != 1:
        raise TargetError(f"{dataset.source}: the rows of the fit are needed with their labels")
    fitted = model.record.get("n_rows")
    if isinstance(fitted, int) and fitted != dataset.n_rows:
        raise OptionError(
            f"{dataset.source} has {dataset.n_rows} rows, but the model was fitted on {fitted}; "
            "give the rows of the fit (all of a file are used with --holdout 0 or --refit)"
        )
    if model.record.get("offset"):
        raise OptionError("the model was fitted with an offset, which it does not remember")


def _strength(model: SoftmaxModel) -> float:
    """C of the fit."""
    C, l1_ratio = model.record.get("C"), model.record.get("l1_ratio", 0.0)
    if not isinstance(C, float) or l1_ratio != 0.0:
        raise OptionError(
            "leave-one-out needs a model that was fitted here with a smooth penalty, so C below "
            f"inf and l1_ratio 0; this one remembers C = {C!r} and l1_ratio = {l1_ratio!r}"
        )
    return C


def _refuse_far(prepared: Prepared, model: SoftmaxModel, best: SoftmaxModel, alpha: float) -> None:
    """Refuse rows for which the model is no optimum."""
    above = _objective(prepared, model, alpha) - _objective(prepared, best, alpha)
    if above > FARTHEST:
        raise OptionError(
            f"{prepared.dataset.source} holds other rows than those of the fit, or other options "
            f"made it (weights, class_weight, label_smoothing, fit_intercept): the model is "
            f"{above:.2g} nats a row from the optimum"
        )


def _objective(prepared: Prepared, model: SoftmaxModel, alpha: float) -> float:
    """F of a fit at a model, in nats per row."""
    z = model.logits(prepared.dataset.features)
    share = prepared.weights / prepared.weights.sum()
    squares = model.weight.square()
    squares = squares if prepared.factors is None else squares * prepared.factors
    loss = z.logsumexp(1) - prepared.targets.dot(z, slice(None))
    return float(share @ loss + alpha / 2 * squares.sum())
