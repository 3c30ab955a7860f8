"""`polylogit calibrate`: a model, or the scores of any model, made to mean what they say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from polylogit import serialization
from polylogit.app.commands.files import as_text, check_output, load_model
from polylogit.app.commands.scores import dense
from polylogit.app.commands.scoring import label_codes
from polylogit.app.terminal import Watch
from polylogit.data.dataset import Dataset
from polylogit.data.labels import read_labels
from polylogit.data.read import read
from polylogit.data.targets import Targets
from polylogit.diagnostics.calibration import measure
from polylogit.diagnostics.metrics import score
from polylogit.diagnostics.recalibration import (
    Calibrator,
    Method,
    Reads,
    calibrate,
    cross_fitted,
    log_scores,
)
from polylogit.diagnostics.training_rows import TrainingRows
from polylogit.errors import DataError, OptionError, TargetError
from polylogit.model import SoftmaxModel
from polylogit.schema import Label


@dataclass(frozen=True)
class ScoresRequest:
    """Scores of any model (N, K) in a file, their labels in another, and what the scores are."""

    scores: str
    targets: str
    reads: Reads


def calibrate_model(
    path: Path,
    data: str,
    watch: Watch,
    *,
    training: bool = False,
    method: Method = "matrix",
    output: Path | None = None,
    target: str | None = None,
    ignore: tuple[str, ...] = (),
    weights: str | None = None,
    delimiter: str | None = None,
) -> dict[str, Any]:
    """Calibrate a saved model on labelled rows; the result is one softmax model again.

    The rows are new to the model, or with `training` those of the fit, each left out of it.
    """
    check_output("--model", output, data)
    if method == "dirichlet":
        raise OptionError(
            "--method dirichlet works on log p, which is not linear in the columns, so no softmax "
            "model can hold it; take matrix"
        )
    model = load_model(path, watch)
    watch.stage(f"reading {data}")
    dataset = read(
        data,
        target=target or model.schema.target or "y",
        weights=weights,
        schema=model.schema,
        ignore=ignore,
        delimiter=delimiter,
    )
    logits, codes, own = _judged(model, dataset, training=training)
    watch.stage(f"calibrating on {len(codes)} rows")
    given = model.class_array()[codes]
    made = calibrate(logits, given, classes=model.classes, method=method, weights=own)
    if output is not None:
        serialization.save(made.compose(model), output)
    head = {"model": str(path), "source": dataset.source, "saved": as_text(output)}
    head |= {"rows": "left out" if training else "new"}
    return {**head, **_summary(made, logits, codes, own)}


def _judged(
    model: SoftmaxModel, dataset: Dataset, *, training: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Logits (N, K) that the model gives to rows it has not seen, their codes and weights."""
    if not training:
        return model.logits(dataset.features).numpy(), label_codes(dataset), dataset.weights
    rows = TrainingRows.of(model, dataset)
    return rows.logits.numpy(), rows.codes, rows.weights


def calibrate_scores(
    request: ScoresRequest,
    watch: Watch,
    *,
    method: Method = "matrix",
    output: Path | None = None,
    weights: str | None = None,
    delimiter: str | None = None,
) -> dict[str, Any]:
    """Calibrate the scores of any model; the result is a `Calibrator`, kept in a model file."""
    check_output("--model", output, request.scores, request.targets)
    watch.stage(f"reading {request.scores}")
    table = read(request.scores, weights=weights, delimiter=delimiter)
    scores = dense(table)
    labels = read_labels(request.targets)
    if len(labels.codes) != len(scores):
        raise DataError(
            f"{request.scores} holds {len(scores)} rows, {request.targets} {len(labels.codes)} "
            "labels; there must be one label for each row"
        )
    classes = _in_order(labels, table.schema.names)
    if len(classes) != scores.shape[1]:
        raise TargetError(
            f"{request.scores} has {scores.shape[1]} columns, {request.targets} {len(classes)} "
            "classes; name each column by its class, in the header of a CSV file"
        )
    codes = np.array([classes.index(label) for label in labels.classes])[labels.codes]
    watch.stage(f"calibrating on {len(codes)} rows")
    given = np.array(labels.classes)[labels.codes]
    options: dict[str, Any] = {"method": method, "reads": request.reads}
    made = calibrate(scores, given, classes=classes, weights=table.weights, **options)
    if output is not None:
        serialization.save(made.model, output)
    head = {"model": None, "source": request.scores, "saved": as_text(output), "rows": "new"}
    return {**head, **_summary(made, scores, codes, table.weights)}


def _in_order(labels: Targets, names: tuple[str, ...]) -> tuple[Label, ...]:
    """The classes as the header has them, if it names them all; else in rising order."""
    known = {str(label): label for label in labels.classes}
    if not set(known) <= set(names):
        return labels.classes
    words = isinstance(labels.classes[0], str)
    return tuple(known.get(name, name) for name in names if words or name in known)


def _summary(
    made: Calibrator, scores: np.ndarray, codes: np.ndarray, weights: np.ndarray | None
) -> dict[str, Any]:
    """What was found, and the measures before and, by rows left out in turn, after."""
    said = cast("dict[str, Any]", made.model.record["calibrator"])
    before = log_scores(scores, made.reads)
    return {
        **said,
        "penalty": said.get("penalty"),
        "classes": list(made.model.classes),
        "chosen_by": said.get("chosen_by"),
        "before": _measured(before, codes, weights),
        "after": _after(made, scores, codes, weights),
    }


def _after(
    made: Calibrator, scores: np.ndarray, codes: np.ndarray, weights: np.ndarray | None
) -> dict[str, Any] | None:
    """None where a fifth of the rows left out leaves none that is predicted wrong."""
    try:
        log_p = cross_fitted(scores, codes, made.method, made.reads, weights=weights)
    except TargetError:
        return None
    return _measured(log_p, codes, weights)


def _measured(log_p: np.ndarray, codes: np.ndarray, weights: np.ndarray | None) -> dict[str, Any]:
    """The figures that calibration is about, of the top label where they are of one event."""
    scores, top = score(log_p, codes, weights), measure(log_p, codes, weights=weights).top
    return {
        "accuracy": scores.accuracy,
        "log_loss": scores.to_json()["log_loss"],
        "brier": scores.brier,
        "confidence": top.said,
        "smooth_error": top.smooth_error,
        "debiased_error": top.debiased_error,
        "binned_error": top.binned_error,
    }
