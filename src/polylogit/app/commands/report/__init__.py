"""What a report says, as plain JSON data: a model on labelled rows, and how it was fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polylogit import storage
from polylogit.app.commands.report.coverage import coverage
from polylogit.app.commands.report.features import intervals
from polylogit.app.commands.scoring import label_codes
from polylogit.app.texts.report.page import page
from polylogit.choice import Choice
from polylogit.data.dataset import Dataset, Placed
from polylogit.diagnostics.calibration import measure
from polylogit.diagnostics.explain import explain
from polylogit.diagnostics.metrics import Scores, score
from polylogit.errors import OptionError
from polylogit.functional import softmax
from polylogit.model import SoftmaxModel
from polylogit.stored import StoredRows
from polylogit.training import Fit

WORST = 5  # rows with the largest loss, each explained
MOST_EXPLAINED = 3  # features of a row


@dataclass(frozen=True, eq=False)
class Trained:
    """A fit of this run, and what it was fitted to."""

    outcome: Choice
    dataset: Dataset
    intercept: bool = True
    rule: str = "lowest"


def write(path: Path, told: dict[str, Any], lang: str) -> None:
    """The page, whole or not at all."""
    storage.write_atomically(path, page(told, lang).encode())


def gather(
    model: SoftmaxModel,
    judged: Dataset,
    where: str,
    trained: Trained | None = None,
    rows: Placed | None = None,
    groups: np.ndarray | None = None,
) -> dict[str, Any]:
    """All that the page shows; `where` says which rows it was judged on: holdout, training, data.

    `rows` is the table that `judged` was made from, and knows the lines of its rows; `groups` (N,)
    are theirs, if they have any.

    Raises `OptionError` for rows that stay in a file: a report looks at each of them.
    """
    if isinstance(judged.features, StoredRows):
        raise OptionError("--report looks at every row, so they must fit in memory; omit --memory")
    outcome = None if trained is None else trained.outcome
    record = model.record if outcome is None else outcome.model.record
    codes = label_codes(judged)
    log_p = model.log_probabilities(judged.features).numpy()
    scores = score(log_p, codes, judged.weights)
    return {
        "source": judged.source,
        "where": where,
        "classes": [str(label) for label in model.classes],
        "columns": _columns(model, judged),
        "record": {k: v for k, v in record.items() if isinstance(v, (str, int, float, bool))},
        "scores": scores.to_json(),
        "calibration": measure(log_p, codes, weights=judged.weights).to_json(),
        "convergence": _convergence(outcome),
        "ended": None if outcome is None else _ended(outcome),
        "choice": None if trained is None else _choice(trained),
        "coverage": _coverage(log_p, codes, groups, where, outcome),
        "weighted": judged.weights is not None,
        "features": _features(model, trained),
        "counted": _place(rows, 0)[0],
        "worst": _worst(model, judged, log_p, codes, rows),
        "base_rate_loss": _base_rate_loss(scores),
    }


def _columns(model: SoftmaxModel, judged: Dataset) -> list[dict[str, Any]]:
    """What each column was read as, its range in training, and its empty cells in these rows."""
    known: Any = model.record.get("columns", {"low": [], "high": []})
    ends = dict(
        zip(model.schema.names, zip(known["low"], known["high"], strict=True), strict=False)
    )
    return [
        {
            "name": feature.name,
            "kind": feature.kind,
            "categories": list(feature.categories),
            "range": ends.get(feature.name) if feature.kind != "categorical" else None,
            "missing": judged.missing.get(feature.name, 0),
        }
        for feature in model.schema.features
    ]


def _convergence(outcome: Fit | None) -> list[list[float]]:
    """[passes, proven gap] after every step whose gap was finite and above 0."""
    if outcome is None:
        return []
    steps = outcome.solution.statistics.history
    told = [(step.passes, step.gap) for step in steps if 0 < step.gap < math.inf]
    certificate = outcome.solution.certificate
    if certificate.proven:
        told.append((outcome.solution.statistics.passes, certificate.gap))
    return [list(pair) for pair in told]


def _ended(outcome: Fit) -> dict[str, Any]:
    """What a model file does not remember of the solve."""
    cost = outcome.solution.statistics
    return {
        "status": outcome.solution.status.name,
        "passes": cost.passes,
        "seconds": cost.seconds,
    }


def _features(model: SoftmaxModel, trained: Trained | None) -> dict[str, Any]:
    """What moves each class; of the fit on all rows, where there is one."""
    if trained is None:
        return intervals(model, None)
    return intervals(trained.outcome.model, trained.dataset, intercept=trained.intercept)


def _choice(trained: Trained) -> dict[str, Any]:
    """The C of the fit, and the path that it was chosen from, if it was chosen."""
    outcome, left = trained.outcome, trained.outcome.left_out
    return {
        "C": outcome.C if math.isfinite(outcome.C) else None,
        "note": outcome.note,
        "rule": trained.rule,
        "alone": 0 if left is None else len(left.excluded),
        "stopped": outcome.stopped,
        "table": [line.to_json() for line in outcome.table],
    }


def _coverage(
    log_p: np.ndarray,
    codes: np.ndarray,
    groups: np.ndarray | None,
    where: str,
    outcome: Choice | None,
) -> dict[str, Any]:
    """Prediction sets, which take rows that the model was not fitted on, or nearly so."""
    if where != "training":
        return coverage(np.exp(log_p), codes, groups)
    if outcome is None or outcome.left_out is None:
        return {"why": "training", "sets": []}
    p = softmax(outcome.left_out.logits, 1).numpy()
    known = np.isfinite(p).all(1)
    own = None if groups is None else groups[known]
    return coverage(p[known], codes[known], own, approximate=True)


def _base_rate_loss(scores: Scores) -> float:
    """The log loss of who knows the frequencies of the classes and nothing else."""
    share = scores.support / max(1, scores.support.sum())
    return float(-sum(p * math.log(p) for p in share.tolist() if p > 0))


def _place(rows: Placed | None, row: int) -> tuple[str, int]:
    """Where a row stands: the "line" of its file, or else which "row" it is; both from 1."""
    kind, number = ("row", str(row)) if rows is None else rows.place(row).split()
    return kind, int(number) + (kind == "row")


def _worst(
    model: SoftmaxModel,
    judged: Dataset,
    log_p: np.ndarray,
    codes: np.ndarray,
    rows: Placed | None,
) -> list[dict[str, Any]]:
    """The rows whose true class got the least probability, and what spoke against it."""
    losses = -log_p[np.arange(len(codes)), codes]
    worst = np.argsort(-losses, kind="stable")[:WORST].tolist()
    return [
        {"row": _place(rows, row)[1]} | _told(model, judged, row, codes[row], losses[row])
        for row in worst
    ]


def _told(
    model: SoftmaxModel, judged: Dataset, row: int, truth: int, loss: float
) -> dict[str, Any]:
    why = explain(model, judged.features[row : row + 1])
    best = model.classes.index(why.decision)
    parts = why.contributions[:MOST_EXPLAINED]
    return {
        "truth": str(model.classes[truth]),
        "decision": str(why.decision),
        "loss": loss if math.isfinite(loss) else None,
        "p_truth": why.probabilities[truth],
        "p_decision": why.probabilities[best],
        "because": [[p.feature, p.value, p.differences[best]] for p in parts],
        "against": str(why.runner_up),
    }
