"""`polylogit predict`: labels and probabilities of the rows of a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from polylogit import functional, storage
from polylogit.app.commands.files import as_text, check_output, load_model
from polylogit.app.commands.scoring import cells_note, parts_of, row_slices
from polylogit.app.terminal import Watch
from polylogit.data.dataset import Dataset
from polylogit.data.read import prepare, read_table
from polylogit.errors import OptionError
from polylogit.model import SoftmaxModel
from polylogit.schema import Label
from polylogit.stored import StoredRows

FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # what a spreadsheet takes for a formula


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

    def text(self, delimiter: str) -> str:
        """A table: the prediction, then p_CLASS for every class."""
        return "".join(self.pieces(delimiter))

    def pieces(self, delimiter: str) -> Iterator[str]:
        """The text, a bounded number of rows at a time."""
        header = ["prediction", *(f"p_{label}" for label in self.classes)]
        labels = [_cell(harmless(label), delimiter) for label in self.classes]
        yield delimiter.join(_cell(name, delimiter) for name in header) + "\n"
        for part in row_slices(len(self.codes), self._width):
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
    check_output("--output", output, data, path)
    model = load_model(path, watch)
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
    head = {"model": str(path), "output": as_text(output)}
    prediction = _predicted(model, dataset, {**head, **cells_note(dataset, ignore)})
    if output is not None and separator is not None:
        pieces = prediction.pieces(separator)
        storage.write_atomically(output, (p.encode("utf-8", "backslashreplace") for p in pieces))
    return prediction


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
