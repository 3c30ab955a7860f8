"""What the commands do: files in, a plain summary out. Nothing here draws."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy import sparse

from polylogit import functional, serialization, storage
from polylogit import path as polylogit_path
from polylogit.app.terminal import Watch
from polylogit.data.dataset import Dataset, Matrix
from polylogit.data.read import prepare, read, read_table, split
from polylogit.data.targets import (
    from_column,
    from_memory,
    refuse_degenerate,
    weights_from_column,
)
from polylogit.diagnostics.metrics import Scores, score, score_parts
from polylogit.errors import InputError, OptionError, TargetError
from polylogit.model import SoftmaxModel
from polylogit.optim.problem import Status
from polylogit.path import checked_strengths, fit_path, search_path
from polylogit.schema import Label, Schema, Table, listed
from polylogit.stored import StoredRows
from polylogit.training import AUTO_C, Fit, training_options
from polylogit.training import fit as train

FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # what a spreadsheet takes for a formula
PART_BYTES = 2**23  # of predictions at a time
DELIMITERS = {".csv": ",", ".tsv": "\t"}

_FLAGS = {
    "tol": "--tol",
    "max_iter": "--max-iter",
    "solver": "--solver",
    "n_threads": "--threads",
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


# ----------------------------------------------------------------------------------------- fit


def fit(request: FitRequest, watch: Watch) -> dict[str, Any]:
    """Read, hold out, fit, evaluate, save. After Ctrl-C the best model so far goes on its way."""
    _check(request)
    watch.stage(f"reading {request.data}")
    table = _read(request, request.data)
    _refuse_nameless(table, request.target)
    training, held_out = _parted(table, request)
    dataset = _learned(training, request, part=held_out is not None)
    evaluation = None if held_out is None else _held_out(held_out, request, dataset.schema)
    outcome = _train(dataset, request, watch, request.checkpoint)
    scores = None if evaluation is None else _scores(outcome.model, evaluation)
    refit = request.refit and evaluation is not None and not _stopped(outcome)
    if refit:
        dataset = _learned(table, request, part=False)
        outcome = _train(dataset, request, watch, _second(request.checkpoint))
    if request.model is not None:
        watch.stage(f"saving {request.model}")
        serialization.save(outcome.model, request.model)
    head = {"source": table.source, "n_rows": table.n_rows, "refit": refit}
    tail = {"holdout": None if scores is None else scores.to_json(), "model": _text(request.model)}
    cells = _cells(dataset, request.ignore)
    return {**head, **_fit_summary(request, dataset, outcome), **tail, **cells}


def _check(request: FitRequest) -> None:
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
    except OptionError as error:
        name, _, rest = str(error).partition(" ")
        raise OptionError(f"{_FLAGS.get(name, name)} {rest}") from error
    if not 0 <= request.holdout < 1:
        raise OptionError(
            f"--holdout must be at least 0 and below 1, a part of the rows, not {request.holdout:g}"
        )
    for needed, option in ((request.target, "--target"), (request.weights, "--weights")):
        if needed in request.ignore:
            raise OptionError(f"--ignore {needed} would leave out the column that {option} names")
    if request.target is not None and request.target == request.weights:
        raise OptionError(f"--target and --weights cannot both be {request.target!r}")
    _check_output("--model", request.model, request.data)
    if request.checkpoint is not None and request.checkpoint == request.model:
        raise OptionError(f"--model and --checkpoint cannot both be {str(request.model)!r}")
    _check_output("--checkpoint", request.checkpoint, request.data)


def _check_output(option: str, path: Path | None, *inputs: str | Path) -> None:
    """Refuse a file that cannot be written, or whose content would be lost."""
    if path is None:
        return
    for source in inputs:
        if path.exists() and Path(source).exists() and os.path.samefile(path, source):
            raise OptionError(f"{option} {path} would overwrite what is read; name another file")
    storage.check_destination(path)


def _refuse_nameless(table: Table | Matrix, target: str | None) -> None:
    if isinstance(table, Table) and target is None:
        raise OptionError(
            f"{table.source} is a table: name the column with the labels by --target COLUMN "
            f"(columns: {listed(table.names, 12)})"
        )


def _parted(
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


def _learned(rows: Table | Matrix, request: FitRequest, *, part: bool) -> Dataset:
    """The rows to learn from, encoded; `part` of the file, which a message then says."""
    try:
        return prepare(rows, target=request.target, weights=request.weights)
    except InputError as error:
        raise (_of_part(error, rows, request, "leaves") if part else error) from error


def _held_out(rows: Table | Matrix, request: FitRequest, schema: Schema) -> Dataset:
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


def _train(dataset: Dataset, request: FitRequest, watch: Watch, checkpoint: Path | None) -> Fit:
    watch.stage(f"fitting {dataset.n_rows} rows")
    return train(
        dataset,
        C=cast("Any", request.C),
        l1_ratio=request.l1_ratio,
        fit_intercept=request.intercept,
        class_weight=cast("Any", request.class_weight),
        label_smoothing=request.label_smoothing,
        tol=request.tol,
        max_iter=request.max_iter,
        solver=request.solver,
        n_threads=request.n_threads,
        penalty_factors=request.penalty_factors or None,
        checkpoint=checkpoint,
        progress=watch.step,
    )


def _stopped(outcome: Fit) -> bool:
    return outcome.solution.status is Status.INTERRUPTED


def _fit_summary(request: FitRequest, dataset: Dataset, outcome: Fit) -> dict[str, Any]:
    solution = outcome.solution
    return {
        "n_train": dataset.n_rows,
        "n_features": dataset.n_features,
        "classes": list(outcome.model.classes),
        "C": outcome.C if math.isfinite(outcome.C) else None,
        "C_note": f"auto is {AUTO_C} for now" if request.C == "auto" else None,
        "l1_ratio": request.l1_ratio,
        "alpha": outcome.alpha,
        "n_zero_weights": int((outcome.model.weight == 0).sum()),
        "objective": solution.objective,
        "gap": solution.certificate.gap if solution.certificate.proven else None,
        "certified": solution.certified,
        "interrupted": _stopped(outcome),
        "status": solution.message,
        "solver": solution.statistics.solver,
        "iterations": solution.statistics.iterations,
        "passes": solution.statistics.passes,
        "seconds": solution.statistics.seconds,
    }


# ---------------------------------------------------------------------------------------- path


PROTOCOLS = ("clip", "dino")


@dataclass(frozen=True)
class PathRequest:
    """Everything that `polylogit path` was asked for.

    `fit` holds what it shares with `polylogit fit`: its `holdout` is the part of the rows to judge
    on, unless they are in a file of their own, `validation`. No `Cs` are the 45 of DINOv2.
    """

    fit: FitRequest
    Cs: tuple[float, ...] | None = None
    validation: str | None = None
    protocol: str | None = None

    @property
    def by(self) -> str:
        """What the best C is the best by."""
        return "top1" if self.protocol else "loss"


def path(asked: PathRequest, watch: Watch) -> dict[str, Any]:
    """Read, part, fit the path, judge it; with a model file, fit all rows at the best C and save.

    Protocols, both judged by top-1 accuracy: "clip" searches 96 steps from 1e-6 to 1e6 (see
    `polylogit.path.search_path`); "dino" fits 10**linspace(-6, 5, 45), as facebookresearch/dinov2
    does in `dinov2/eval/log_regression.py`. There a tenth of the rows is drawn to judge on, and the
    final fit is one on all rows; here the tenth is drawn class by class.
    """
    try:
        return _path(asked, watch)
    except InputError as error:  # the words that this command has for a part of the rows
        raise type(error)(str(error).replace("--holdout", "--validation")) from error


def _path(asked: PathRequest, watch: Watch) -> dict[str, Any]:
    request = asked.fit
    _check_path(asked)
    watch.stage(f"reading {request.data}")
    table = _read(request, request.data)
    _refuse_nameless(table, request.target)
    training, held_out = _parted(table, request)
    dataset = _learned(training, request, part=held_out is not None)
    judges = None if held_out is None else _held_out(held_out, request, dataset.schema)
    if asked.validation is not None:
        judges = _from_file(asked, dataset.schema, watch)
    watch.stage(f"fitting {dataset.n_rows} rows")
    found = _swept(asked, dataset, judges, watch)
    best = None if judges is None else found.best(asked.by)
    interrupted, final = any(_stopped(fit) for fit in found.fits), None
    if best is not None and judges is not None and request.model is not None and not interrupted:
        in_file = asked.validation is not None
        rows = _joined(dataset, judges) if in_file else _learned(table, request, part=False)
        final = _train(rows, replace(request, C=found.Cs[best]), watch, None)
        watch.stage(f"saving {request.model}")
        serialization.save(final.model, request.model)
        interrupted = _stopped(final)
    head = {"source": table.source, "protocol": asked.protocol, "by": asked.by}
    tail = {
        "interrupted": interrupted,
        "refit": None if final is None else final.solution.message,
        "model": None if final is None else _text(request.model),
    }
    cells = _cells(dataset, request.ignore)
    return {**head, **_path_summary(dataset, judges, found, best), **tail, **cells}


def _path_summary(
    dataset: Dataset, judges: Dataset | None, found: polylogit_path.Path, best: int | None
) -> dict[str, Any]:
    return {
        "n_train": dataset.n_rows,
        "n_validation": None if judges is None else judges.n_rows,
        "n_features": dataset.n_features,
        "classes": list(dataset.schema.classes),
        "table": [point.to_json() for point in found.table],
        "best": best,
        "C": None if best is None else found.table[best].to_json()["C"],
        "at_the_end": best is not None and len(found.Cs) > 1 and best in (0, len(found.Cs) - 1),
        "passes": sum(point.passes for point in found.table),
        "seconds": sum(point.seconds for point in found.table),
        "certified": all(point.certified for point in found.table),
    }


def _check_path(asked: PathRequest) -> None:
    """Refuse wrong options before a large file is read."""
    _check(asked.fit)
    if asked.Cs is not None:
        checked_strengths(asked.Cs)
    if asked.protocol is not None and asked.protocol not in PROTOCOLS:
        known = " or ".join(PROTOCOLS)
        raise OptionError(f"--protocol must be {known}, not {asked.protocol!r}")
    if asked.protocol is not None and asked.Cs is not None:
        raise OptionError("--protocol and --Cs both say which C to fit; give one of them")
    if asked.validation is None and asked.fit.holdout == 0:
        for option, given in (("--model", asked.fit.model), ("--protocol", asked.protocol)):
            if given is not None:
                raise OptionError(
                    f"{option} needs rows to find the best C on; give --validation a part of the "
                    "rows or a file"
                )
    if asked.validation is not None:
        _check_output("--model", asked.fit.model, asked.validation)


def _read(request: FitRequest, data: str) -> Table | Matrix:
    return read_table(
        data,
        delimiter=request.delimiter,
        categorical=request.categorical,
        ignore=request.ignore,
        target=request.target,
        memory=request.memory,
    )


def _from_file(asked: PathRequest, schema: Schema, watch: Watch) -> Dataset:
    """The rows to judge on, in a file of their own, encoded as those to learn from."""
    request = asked.fit
    watch.stage(f"reading {asked.validation}")
    return read(
        asked.validation,
        target=request.target or "y",
        weights=request.weights,
        schema=schema,
        ignore=request.ignore,
        delimiter=request.delimiter,
    )


def _swept(
    asked: PathRequest, dataset: Dataset, judges: Dataset | None, watch: Watch
) -> polylogit_path.Path:
    request = asked.fit
    options: dict[str, Any] = {
        "fit_intercept": request.intercept,
        "class_weight": request.class_weight,
        "label_smoothing": request.label_smoothing,
        "tol": request.tol,
        "max_iter": request.max_iter,
        "solver": request.solver,
        "n_threads": request.n_threads,
        "penalty_factors": request.penalty_factors or None,
        "progress": watch.step,
    }
    if asked.protocol == "clip":
        return search_path(dataset, validation=cast("Dataset", judges), by=asked.by, **options)
    return fit_path(dataset, asked.Cs, validation=judges, **options)


def _joined(one: Dataset, other: Dataset) -> Dataset:
    """The rows of both, encoded by the schema of the first."""
    stack: Any = sparse.vstack if sparse.issparse(one.features) else np.concatenate
    features = stack([one.features, other.features])
    targets = np.concatenate([cast("np.ndarray", part.targets) for part in (one, other)])
    weights = None
    if one.weights is not None and other.weights is not None:
        weights = np.concatenate([one.weights, other.weights])
    features = sparse.csr_array(features) if sparse.issparse(features) else features
    return replace(one, features=features, targets=targets, weights=weights)


# ------------------------------------------------------------------------- evaluate and predict


def evaluate(
    path: Path,
    data: str,
    watch: Watch,
    *,
    target: str | None = None,
    weights: str | None = None,
    ignore: tuple[str, ...] = (),
    delimiter: str | None = None,
    memory: str | None = None,
) -> dict[str, Any]:
    """Score the model in a file on labelled rows."""
    model = _loaded(path, watch)
    target = target or model.schema.target or "y"
    watch.stage(f"reading {data}")
    dataset = read(
        data,
        target=target,
        weights=weights,
        schema=model.schema,
        ignore=ignore,
        delimiter=delimiter,
        memory=memory,
    )
    watch.stage(f"scoring {dataset.n_rows} rows")
    scores = _scores(model, dataset)
    head = {"model": str(path), "source": dataset.source, "classes": list(model.classes)}
    return {**head, **scores.to_json(), **_cells(dataset)}


@dataclass(frozen=True, eq=False)
class Prediction:
    """Rows predicted: class codes (N,), probabilities (N, K), and a summary of plain JSON data.

    Probabilities of rows that stay in a file are made when asked for, a slice at a time.
    """

    summary: dict[str, Any]
    classes: tuple[Label, ...]
    codes: np.ndarray
    probabilities: np.ndarray | StoredProbabilities

    def text(self, delimiter: str) -> str:
        """A table: the prediction, then p_CLASS for every class."""
        return "".join(self.pieces(delimiter))

    def pieces(self, delimiter: str) -> Iterator[str]:
        """The text, a bounded number of rows at a time."""
        header = ["prediction", *(f"p_{label}" for label in self.classes)]
        labels = [_cell(harmless(label), delimiter) for label in self.classes]
        yield delimiter.join(_cell(name, delimiter) for name in header) + "\n"
        for part in _row_slices(len(self.codes), self._width):
            rows = zip(self.codes[part].tolist(), self.probabilities[part].tolist(), strict=True)
            # repr of a float is the shortest text that reads back as the same number
            lines = [delimiter.join([labels[code], *map(repr, row)]) for code, row in rows]
            yield "\n".join([*lines, ""])

    @property
    def _width(self) -> int:
        """Numbers in memory for a row of the text."""
        stored = isinstance(self.probabilities, StoredProbabilities)
        features = cast("Any", self.probabilities).model.n_features if stored else 0
        return max(len(self.classes), features)

    def to_json(self) -> dict[str, Any]:
        """The summary with every row: `prediction` (N) and `probabilities` (N, K)."""
        prediction = [self.classes[code] for code in self.codes.tolist()]
        rows = {"prediction": prediction, "probabilities": self.probabilities[:].tolist()}
        return {**self.summary, **rows}


@dataclass(frozen=True, eq=False)
class StoredProbabilities:
    """softmax(W x + b) (N, K) of rows that stay in a file; slices come out as arrays."""

    model: SoftmaxModel
    features: StoredRows

    def __getitem__(self, rows: slice) -> np.ndarray:
        probabilities: np.ndarray = self.model.probabilities(self.features[rows]).numpy()
        return probabilities


def predict(
    path: Path,
    data: str,
    watch: Watch,
    *,
    output: Path | None = None,
    ignore: tuple[str, ...] = (),
    delimiter: str | None = None,
    memory: str | None = None,
) -> Prediction:
    """Predict the rows of a file; with `output`, write them there, whole or not at all."""
    separator = None if output is None else _separator(output)
    _check_output("--output", output, data, path)
    model = _loaded(path, watch)
    watch.stage(f"reading {data}")
    schema = model.schema
    # The target is named, in case its labels are in the file: they may be words, like "1" and "x".
    table = read_table(
        data,
        schema=schema,
        target=schema.target,
        ignore=ignore,
        delimiter=delimiter,
        memory=memory,
    )
    dataset = prepare(cast("Any", table), schema=schema)
    watch.stage(f"predicting {dataset.n_rows} rows")
    head = {"model": str(path), "output": _text(output)}
    prediction = _predicted(model, dataset, {**head, **_cells(dataset, ignore)})
    if output is not None and separator is not None:
        pieces = prediction.pieces(separator)
        storage.write_atomically(output, (p.encode("utf-8", "backslashreplace") for p in pieces))
    return prediction


def _predicted(model: SoftmaxModel, dataset: Dataset, head: dict[str, Any]) -> Prediction:
    features, probabilities = dataset.features, cast("Any", None)
    if isinstance(features, StoredRows):
        parts = [model.predict_codes(features[rows]) for rows in _parts_of(model, dataset)]
        codes, probabilities = np.concatenate(parts), StoredProbabilities(model, features)
    else:
        logits = model.logits(features)
        codes, probabilities = logits.argmax(1).numpy(), functional.softmax(logits, 1).numpy()
    counts = np.bincount(codes, minlength=model.n_classes)
    summary = {
        **head,
        "source": dataset.source,
        "n_rows": dataset.n_rows,
        "classes": list(model.classes),
        "predicted": counts.tolist(),
    }
    return Prediction(summary, model.classes, codes, probabilities)


def _parts_of(model: SoftmaxModel, dataset: Dataset) -> list[slice]:
    return _row_slices(dataset.n_rows, max(model.n_classes, model.n_features))


def _row_slices(n_rows: int, width: int) -> list[slice]:
    """Slices of rows of so many numbers that a few of them are small in memory."""
    step = max(1, PART_BYTES // (8 * width))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def _separator(output: Path) -> str:
    separator = DELIMITERS.get(output.suffix.lower())
    if separator is None:
        raise OptionError(
            f"--output must name a .csv or .tsv file, not {str(output)!r}; without it the rows go "
            "to standard output"
        )
    return separator


def harmless(label: object) -> object:
    """A label as it is written to a table: no text that a spreadsheet would run.

    >>> harmless("=1+1"), harmless("Adelie"), harmless("-1"), harmless("+")
    ("'=1+1", 'Adelie', '-1', '+')
    """
    if not isinstance(label, str) or not label.startswith(FORMULA_STARTS):
        return label
    return label if len(label) == 1 or _is_number(label) else f"'{label}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _cell(value: object, delimiter: str) -> str:
    r"""A cell of a CSV file, in double quotes where it must be.

    >>> _cell("a,b", ","), _cell("two\rlines", ","), _cell(3, ",")
    ('"a,b"', '"two\rlines"', '3')
    """
    text = str(value)
    if not any(c in text for c in (delimiter, *'"\r\n')):
        return text
    return '"' + text.replace('"', '""') + '"'


# -------------------------------------------------------------------------------------- shared


def _loaded(path: Path, watch: Watch) -> SoftmaxModel:
    watch.stage(f"loading {path}")
    return serialization.load(path)


def _scores(model: SoftmaxModel, dataset: Dataset) -> Scores:
    """Rows of probabilities count for their most probable class."""
    targets = cast("np.ndarray", dataset.targets)
    codes = targets if targets.ndim == 1 else targets.argmax(1)
    features = dataset.features
    if not isinstance(features, StoredRows):
        return score(model.log_probabilities(features).numpy(), codes, dataset.weights)
    slices = _parts_of(model, dataset)
    parts = ((rows, model.log_probabilities(features[rows]).numpy()) for rows in slices)
    return score_parts(parts, codes, model.n_classes, dataset.weights)


def _cells(dataset: Dataset, ignored: tuple[str, ...] = ()) -> dict[str, Any]:
    """What was filled, unknown or left out while the rows were encoded."""
    return {
        "missing": dict(dataset.missing),
        "unseen": {name: dict(words) for name, words in dataset.unseen.items()},
        "ignored": [*ignored, *dataset.ignored],
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
