"""`polylogit fit`: read, hold out, fit, evaluate, save."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from polylogit import serialization
from polylogit.app.commands.files import as_text, check_output
from polylogit.app.commands.report import Trained, gather, write
from polylogit.app.commands.scoring import cells_note, score_rows
from polylogit.app.terminal import Watch
from polylogit.choice import RULES, Choice
from polylogit.choice import fit as train
from polylogit.data.dataset import Dataset, Matrix
from polylogit.data.read import prepare, read_table, split
from polylogit.data.targets import (
    from_column,
    from_memory,
    refuse_degenerate,
    weights_from_column,
)
from polylogit.errors import DataError, InputError, OptionError, TargetError
from polylogit.optim.device import checked_device
from polylogit.schema import Schema, Table, listed
from polylogit.training import is_auto, training_options

_FLAGS = {
    "tol": "--tol",
    "max_iter": "--max-iter",
    "solver": "--solver",
    "n_threads": "--threads",
    "device": "--device",
    "label_smoothing": "--label-smoothing",
    "C": "--C",
    "l1_ratio": "--l1-ratio",
}
"""What the library's options are called here."""


@dataclass(frozen=True)
class FitRequest:
    """Everything that `polylogit fit` was asked for."""

    data: str
    target: str | None
    model: Path | None
    C: float | str
    l1_ratio: float
    holdout: float
    refit: bool
    weights: str | None
    class_weight: str | None
    label_smoothing: float
    intercept: bool
    categorical: tuple[str, ...]
    ignore: tuple[str, ...]
    delimiter: str | None
    tol: float
    max_iter: int
    solver: str
    n_threads: int | None
    seed: int
    penalty_factors: Mapping[str, float] = field(default_factory=dict)
    checkpoint: Path | None = None
    memory: str | None = None
    report: Path | None = None
    lang: str = "en"
    group: str | None = None
    rule: str = "lowest"
    device: str = "auto"


def fit(request: FitRequest, watch: Watch) -> dict[str, Any]:
    """Read, hold out, fit, evaluate, save. After Ctrl-C the best model so far goes on its way."""
    check_request(request)
    watch.stage(f"reading {request.data}")
    table = read_rows(request, request.data)
    refuse_nameless(table, request.target)
    table, groups = apart(table, request.group)
    training, held_out, own, others = part_groups(table, groups, request)
    dataset = encode_training(training, request, part=held_out is not None)
    evaluation = None if held_out is None else encode_judges(held_out, request, dataset.schema)
    outcome = train_rows(dataset, request, watch, request.checkpoint, own)
    scores = None if evaluation is None else score_rows(outcome.model, evaluation)
    judged_model = outcome.model  # not that of a refit, which has seen the rows held out
    refit = request.refit and evaluation is not None and not outcome.stopped
    if refit:
        dataset = encode_training(table, request, part=False)
        outcome = train_rows(dataset, request, watch, _second(request.checkpoint), groups)
    if request.model is not None:
        watch.stage(f"saving {request.model}")
        serialization.save(outcome.model, request.model)
    if request.report is not None:
        watch.stage(f"writing {request.report}")
        judged, where = (dataset, "training") if evaluation is None else (evaluation, "holdout")
        rows, whose = (table, groups) if held_out is None else (held_out, others)
        trained = Trained(outcome, dataset, request.intercept, request.rule)
        told = gather(judged_model, judged, where, trained, rows, whose)
        write(request.report, told, request.lang)
    head = {"source": table.source, "n_rows": table.n_rows, "refit": refit}
    tail = {
        "holdout": None if scores is None else scores.to_json(),
        "model": as_text(request.model),
    }
    cells = cells_note(dataset, request.ignore)
    return {**head, **_fit_summary(request, dataset, outcome), **tail, **cells}


def check_request(request: FitRequest) -> None:
    """Refuse wrong options before a large file is read."""
    try:
        training_options(
            C=request.C,
            l1_ratio=request.l1_ratio,
            label_smoothing=request.label_smoothing,
            tol=request.tol,
            max_iter=request.max_iter,
            solver=request.solver,
            n_threads=request.n_threads,
        )
        checked_device(request.device)
    except OptionError as error:
        name, _, rest = str(error).partition(" ")
        raise OptionError(f"{_FLAGS.get(name, name)} {rest}") from error
    if not 0 <= request.holdout < 1:
        raise OptionError(
            f"--holdout must be at least 0 and below 1, a part of the rows, not {request.holdout:g}"
        )
    named = (
        (request.target, "--target"),
        (request.weights, "--weights"),
        (request.group, "--group"),
    )
    for needed, option in named:
        if needed is not None and needed in request.ignore:
            raise OptionError(f"--ignore {needed} would leave out the column that {option} names")
    _check_choosing(request)
    if request.target is not None and request.target == request.weights:
        raise OptionError(f"--target and --weights cannot both be {request.target!r}")
    check_output("--model", request.model, request.data)
    if request.checkpoint is not None and request.checkpoint == request.model:
        raise OptionError(f"--model and --checkpoint cannot both be {str(request.model)!r}")
    check_output("--checkpoint", request.checkpoint, request.data)
    check_output("--report", request.report, request.data)


def _check_choosing(request: FitRequest) -> None:
    if request.rule not in RULES:
        raise OptionError(f"--rule {request.rule!r} is not one of {', '.join(RULES)}")
    asked = (("--group", request.group is not None), ("--rule", request.rule != "lowest"))
    for option, given in asked:
        if given and not is_auto(request.C):
            raise OptionError(
                f"{option} serves to choose C, and --C {request.C:g} leaves no choice"
            )
    if request.group is not None and request.group in (request.target, request.weights):
        raise OptionError(f"--group {request.group!r} is the target or the weights already")


def refuse_nameless(table: Table | Matrix, target: str | None) -> None:
    """A table needs the name of its target; a matrix brings its labels along."""
    if isinstance(table, Table) and target is None:
        raise OptionError(
            f"{table.source} is a table: name the column with the labels by --target COLUMN "
            f"(columns: {listed(table.names, 12)})"
        )


def part_rows(
    table: Table | Matrix, request: FitRequest
) -> tuple[Table | Matrix, Table | Matrix | None]:
    """The rows to learn from and the rows held out."""
    if request.holdout == 0:
        return table, None
    _refuse_unlearnable(table, request)
    source, target = cast("Any", table), request.target
    parts: tuple[Any, Any] = split(
        source, target=target, fraction=request.holdout, seed=request.seed
    )
    return parts


def apart(table: Table | Matrix, group: str | None) -> tuple[Table | Matrix, np.ndarray | None]:
    """The rows less the column that groups them, and the group of each row (N,)."""
    if group is None:
        return table, None
    if not isinstance(table, Table):
        raise OptionError(f"--group names a column, and {table.source} has no named columns")
    column = table.column(group)
    if column.missing.any():
        place = table.place(int(column.missing.argmax()))
        raise DataError(f"{table.source}, {place}: the cell of the --group {group!r} is missing")
    return table.without(group), np.asarray(column.values)


def part_groups(
    table: Table | Matrix, groups: np.ndarray | None, request: FitRequest
) -> tuple[Table | Matrix, Table | Matrix | None, np.ndarray | None, np.ndarray | None]:
    """As `part_rows`, and the groups of the rows of either; no group is on both sides."""
    if groups is None or request.holdout == 0:
        return *part_rows(table, request), groups, None
    _refuse_unlearnable(table, request)
    different, codes = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(request.seed).permutation(len(different))
    count = min(len(different) - 1, max(1, round(request.holdout * len(different))))
    if count < 1:
        raise TargetError(f"{table.source}: all rows are of one --group, so none can be held out")
    held = np.isin(codes, order[:count])
    kept, out = (table.take(np.flatnonzero(rows)) for rows in (~held, held))
    return kept, out, groups[~held], groups[held]


def _refuse_unlearnable(table: Table | Matrix, request: FitRequest) -> None:
    """Of all rows: what would be said of a part of them could only puzzle."""
    if table.n_rows == 0:
        raise TargetError(f"{table.source}: there are no rows to learn from")
    if isinstance(table, Matrix):
        if table.targets is None:
            raise TargetError(f"{table.source} holds no labels; save them beside X as 'y'")
        refuse_degenerate(from_memory(table.targets, table.n_rows, table), None, table)
        return
    targets = from_column(table.column(cast("str", request.target)), table)
    weights = None
    if request.weights is not None:
        weights = weights_from_column(table.column(request.weights), table)
    refuse_degenerate(targets, weights, table)


def encode_training(rows: Table | Matrix, request: FitRequest, *, part: bool) -> Dataset:
    """The rows to learn from, encoded; `part` of the file, which a message then says."""
    try:
        return prepare(rows, target=request.target, weights=request.weights)
    except InputError as error:
        raise (_of_part(error, rows, request, "leaves") if part else error) from error


def encode_judges(rows: Table | Matrix, request: FitRequest, schema: Schema) -> Dataset:
    """The rows held out, encoded: before the fit, so that no fit is lost to a bad cell in them."""
    target = request.target if isinstance(rows, Table) else "y"
    try:
        return prepare(rows, target=target, weights=request.weights, schema=schema)
    except InputError as error:
        raise _of_part(error, rows, request, "holds out") from error


def _of_part(error: InputError, rows: Table | Matrix, request: FitRequest, does: str) -> InputError:
    """An error that speaks of all rows, with the words that tell which rows they are."""
    if not re.search(rf"\b{rows.n_rows} (rows|weights)|no row of", str(error)):
        return error
    part = f"{rows.n_rows} rows that --holdout {request.holdout:g} {does}; try --holdout 0"
    return type(error)(f"{error} (among the {part})")


def _second(checkpoint: Path | None) -> Path | None:
    """The checkpoint of the fit on all rows: a problem of its own."""
    return None if checkpoint is None else checkpoint.with_name(f"{checkpoint.name}.refit")


def train_rows(
    dataset: Dataset,
    request: FitRequest,
    watch: Watch,
    checkpoint: Path | None,
    groups: np.ndarray | None = None,
) -> Choice:
    """Fit the rows as the request says."""
    watch.stage(f"fitting {dataset.n_rows} rows")
    return train(
        dataset,
        C=cast("Any", request.C),
        groups=groups,
        rule=cast("Any", request.rule),
        l1_ratio=request.l1_ratio,
        fit_intercept=request.intercept,
        class_weight=cast("Any", request.class_weight),
        label_smoothing=request.label_smoothing,
        tol=request.tol,
        max_iter=request.max_iter,
        solver=request.solver,
        n_threads=request.n_threads,
        device=request.device,
        penalty_factors=request.penalty_factors or None,
        checkpoint=checkpoint,
        progress=watch.step,
    )


def _fit_summary(request: FitRequest, dataset: Dataset, outcome: Choice) -> dict[str, Any]:
    solution = outcome.solution
    return {
        "n_train": dataset.n_rows,
        "n_features": dataset.n_features,
        "classes": list(outcome.model.classes),
        "C": outcome.C if math.isfinite(outcome.C) else None,
        "C_note": outcome.note,
        "C_table": [line.to_json() for line in outcome.table],
        "l1_ratio": request.l1_ratio,
        "alpha": outcome.alpha,
        "n_zero_weights": int((outcome.model.weight == 0).sum()),
        "objective": solution.objective,
        "gap": solution.certificate.gap if solution.certificate.proven else None,
        "certified": solution.certified,
        "interrupted": outcome.stopped,
        "status": solution.message,
        "solver": solution.statistics.solver,
        "iterations": solution.statistics.iterations,
        "passes": solution.statistics.passes,
        "seconds": solution.statistics.seconds,
    }


def read_rows(request: FitRequest, data: str) -> Table | Matrix:
    """The rows of a file, read as the request says."""
    return read_table(
        data,
        delimiter=request.delimiter,
        categorical=request.categorical,
        ignore=request.ignore,
        target=request.target,
        memory=request.memory,
    )
