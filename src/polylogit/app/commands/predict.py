"""`polylogit predict`: labels and probabilities of the rows of a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from polylogit import functional, serialization, storage
from polylogit.app.commands.files import as_text, check_output
from polylogit.app.commands.scoring import cells_note, label_codes, parts_of, row_slices
from polylogit.app.terminal import Watch
from polylogit.data.dataset import Dataset
from polylogit.data.read import prepare, read, read_table
from polylogit.diagnostics.conformal import ConformalSets, Scoring, conformal
from polylogit.errors import OptionError
from polylogit.model import SoftmaxModel
from polylogit.schema import Label
from polylogit.stored import StoredRows

FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # what a spreadsheet takes for a formula


SEPARATOR = "|"  # between the classes of a set
DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True, eq=False)
class Prediction:
    """Rows predicted: class codes (N,), probabilities (N, K), and a summary of plain JSON data.

    Probabilities of rows that stay in a file are made when asked for, a slice at a time.
    """

    summary: dict[str, Any]
    classes: tuple[Label, ...]
    codes: np.ndarray
    probabilities: np.ndarray | StoredProbabilities
    possible: ConformalSets | None = None

    def text(self, delimiter: str) -> str:
        """A table: the prediction, p_CLASS for every class, and the set if there are sets."""
        return "".join(self.pieces(delimiter))

    def pieces(self, delimiter: str) -> Iterator[str]:
        """The text, a bounded number of rows at a time."""
        header = ["prediction", *(f"p_{label}" for label in self.classes)]
        header += ["set"] if self.possible else []
        labels = [_cell(harmless(label), delimiter) for label in self.classes]
        yield delimiter.join(_cell(name, delimiter) for name in header) + "\n"
        for part in row_slices(len(self.codes), self.width):
            probabilities = self.probabilities[part]
            rows = zip(self.codes[part].tolist(), probabilities.tolist(), strict=True)
            # repr of a float is the shortest text that reads back as the same number
            lines = [[labels[code], *map(repr, row)] for code, row in rows]
            for line, members in zip(lines, self._sets(probabilities), strict=False):
                text = SEPARATOR.join(str(label) for label in members)
                line.append(_cell(harmless(text), delimiter))
            yield "\n".join([*map(delimiter.join, lines), ""])

    def _sets(self, probabilities: np.ndarray) -> list[list[Label]]:
        """The classes in the set of each row; nothing at all where no sets were asked for."""
        if self.possible is None:
            return []
        inside = self.possible.sets(probabilities)
        return [[self.classes[k] for k in np.flatnonzero(row)] for row in inside]

    @property
    def width(self) -> int:
        """Numbers in memory for a row of the text."""
        stored = isinstance(self.probabilities, StoredProbabilities)
        features = cast("Any", self.probabilities).model.n_features if stored else 0
        return max(len(self.classes), features)

    def to_json(self) -> dict[str, Any]:
        """The summary with every row: `prediction` (N), `probabilities` (N, K), perhaps `set`."""
        probabilities = self.probabilities[:]
        rows: dict[str, Any] = {
            "prediction": [self.classes[code] for code in self.codes.tolist()],
            "probabilities": probabilities.tolist(),
        }
        sets = {"set": self._sets(probabilities)} if self.possible else {}
        return {**self.summary, **rows, **sets}


@dataclass(frozen=True)
class SetsRequest:
    """Sets of classes that hold the truth with probability `coverage`, made sure by `calibration`.

    `calibration` names a file of labelled rows that the model was not fitted on, or with `training`
    those that it was: then it says so only nearly.
    """

    coverage: float
    calibration: str
    method: str = "lac"
    by_class: bool = False
    training: bool = False


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
    sets: SetsRequest | None = None,
) -> Prediction:
    """Predict the rows of a file; with `output`, write them there, whole or not at all.

    A calibrator of foreign scores takes a file of such scores; see `read_scores`.
    """
    separator = None if output is None else _separator(output)
    check_output("--output", output, data, path, *([sets.calibration] if sets else []))
    watch.stage(f"loading {path}")
    model = serialization.load(path)
    read_rows = _reader(model, ignore, delimiter, memory)
    possible = None if sets is None else _possible(model, sets, watch, read_rows)
    watch.stage(f"reading {data}")
    dataset = read_rows(data, labelled=False)
    watch.stage(f"predicting {dataset.n_rows} rows")
    head = {"model": str(path), "output": as_text(output)}
    prediction = _predicted(model, dataset, {**head, **cells_note(dataset, ignore)})
    if sets is not None and possible is not None:
        prediction = _with_sets(prediction, possible, sets)
    if output is not None and separator is not None:
        pieces = prediction.pieces(separator)
        storage.write_atomically(output, (p.encode("utf-8", "backslashreplace") for p in pieces))
    return prediction


class Reader(Protocol):
    """Rows of a file as a model takes them, with their labels if asked."""

    def __call__(self, source: str, *, labelled: bool) -> Dataset:
        """Read a file."""


def _reader(
    model: SoftmaxModel, ignore: tuple[str, ...], delimiter: str | None, memory: str | None
) -> Reader:
    """How the files are read: as rows of the model, or as the scores that a calibrator takes."""
    taken: dict[str, Any] = {"ignore": ignore, "delimiter": delimiter}
    if not model.is_calibrator:
        return partial(_read_rows, model=model, memory=memory, **taken)
    if memory is not None:
        raise OptionError("--memory streams the rows of a model, not the scores of a calibrator")
    from polylogit.app.commands.scores import read_scores  # all that fits: not for every start
    from polylogit.diagnostics.recalibration import Calibrator

    return partial(read_scores, calibrator=Calibrator.of(model), **taken)


def _read_rows(
    source: str, *, labelled: bool, model: SoftmaxModel, memory: str | None, **taken: Any
) -> Dataset:
    schema = model.schema
    if labelled:
        return read(source, target=schema.target or "y", schema=schema, **taken)
    # The target is named, in case its labels are in the file: they may be words, like "1" and "x".
    table = read_table(source, schema=schema, target=schema.target, memory=memory, **taken)
    return prepare(cast("Any", table), schema=schema)


def _predicted(model: SoftmaxModel, dataset: Dataset, head: dict[str, Any]) -> Prediction:
    features, probabilities = dataset.features, cast("Any", None)
    if isinstance(features, StoredRows):
        parts = [model.predict_codes(features[rows]) for rows in parts_of(model, dataset)]
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


def _possible(
    model: SoftmaxModel, request: SetsRequest, watch: Watch, read_rows: Reader
) -> ConformalSets:
    """Thresholds from the labelled rows of the calibration file."""
    scoring = Scoring(cast("Any", request.method))
    watch.stage(f"reading {request.calibration}")
    dataset = read_rows(request.calibration, labelled=True)
    if request.training:
        if model.is_calibrator:
            raise OptionError("--training is for models of rows; name scores by --calibration")
        from polylogit.diagnostics.training_rows import TrainingRows  # as above

        rows = TrainingRows.of(model, dataset)
        return rows.sets(request.coverage, scoring=scoring, by_class=request.by_class)
    p = model.probabilities(dataset.features).numpy()
    codes = label_codes(dataset)
    return conformal(p, codes, request.coverage, scoring=scoring, by_class=request.by_class)


def _with_sets(prediction: Prediction, made: ConformalSets, request: SetsRequest) -> Prediction:
    """The prediction with its sets, and what is known about them in the summary."""
    slices = row_slices(len(prediction.codes), prediction.width)
    sizes = [made.sets(prediction.probabilities[part]).sum(1) for part in slices]
    counts = np.bincount(np.concatenate(sizes), minlength=made.n_classes + 1)
    note = {
        **made.to_json(),
        "calibration": request.calibration,
        "sizes": counts.tolist(),
        "mean_size": float(counts @ np.arange(len(counts)) / counts.sum()),
    }
    return replace(prediction, summary={**prediction.summary, "sets": note}, possible=made)


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
