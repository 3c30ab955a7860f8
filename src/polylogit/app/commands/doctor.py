"""`polylogit doctor`: scores and targets in a file, examined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from polylogit.diagnostics.doctor import doctor
from polylogit.errors import DataError, OptionError

SCORES = ("logits", "scores", "probabilities", "z", "p")
TARGETS = ("targets", "labels", "y")
MOST_NUMBERS = 2 * 10**8  # of a file; a few thousand rows show every misuse
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def examine(
    file: Path,
    *,
    targets: Path | None,
    target: str | None,
    kind: str,
    weight: Sequence[float] | None,
    label_smoothing: float,
    ignore_index: int,
) -> dict[str, Any]:
    """The diagnosis of what is in a file, as plain JSON data."""
    scores, truth = _read(file, target)
    if targets is not None:
        truth, _ = _read(targets, None)
        truth = truth[:, 0] if truth.ndim == 2 and truth.shape[1] == 1 else truth
    found = doctor(
        scores,
        _as_labels(truth),
        kind=kind,
        weight=weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )
    return {"source": str(file), "with_targets": truth is not None, **found.to_json()}


def _as_labels(truth: np.ndarray | None) -> np.ndarray | None:
    """A text file does not say that its numbers are whole; the doctor should not take offence."""
    if truth is None or truth.ndim != 1 or truth.dtype.kind != "f":
        return truth
    whole = np.isfinite(truth).all() and (truth == np.round(truth)).all()
    return truth.astype(np.int64) if whole else truth


def _read(file: Path, target: str | None) -> tuple[Any, Any]:
    """Scores and, if the file has them, targets."""
    kind = file.suffix.lower()
    if kind in PICKLES:
        raise OptionError(
            f"{file} is a pickle, which may run code when it is read; save the tensor by "
            "numpy.save('z.npy', z.numpy()) instead"
        )
    if not file.exists():
        raise DataError(f"{file}: there is no such file")
    if kind in (".npy", ".npz"):
        return _read_arrays(file)
    if kind in (".csv", ".tsv"):
        return _read_table(file, target)
    raise OptionError(f"{file}: the doctor reads .npy, .npz, .csv and .tsv files")


def _read_arrays(file: Path) -> tuple[Any, Any]:
    try:
        stored: Any = np.load(file, allow_pickle=False, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{file}: no file of arrays ({error})") from error
    if isinstance(stored, np.ndarray):
        return _whole(file, stored), None
    with stored:
        scores = _first(stored, SCORES)
        if scores is None:
            raise DataError(
                f"{file} holds {', '.join(stored.files) or 'nothing'}; name the scores "
                f"{SCORES[0]!r} and the targets {TARGETS[0]!r}"
            )
        return _whole(file, scores), _first(stored, TARGETS)


def _first(stored: Any, names: Sequence[str]) -> Any:
    return next((stored[name] for name in names if name in stored.files), None)


def _whole(file: Path, values: np.ndarray) -> np.ndarray:
    if values.size > MOST_NUMBERS:
        raise DataError(
            f"{file} holds {values.size} numbers; give a part of the rows, at most {MOST_NUMBERS} "
            "numbers"
        )
    return np.asarray(values)


def _read_table(file: Path, target: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    try:
        table = pa.csv.read_csv(file, parse_options=pa.csv.ParseOptions(delimiter=delimiter))
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise DataError(f"{file}: {' '.join(str(error).split())}") from error
    if target is not None and target not in table.column_names:
        known = ", ".join(table.column_names[:12])
        raise OptionError(f"{file} has no column {target!r} (columns: {known})")
    names = [name for name in table.column_names if name != target]
    scores = np.column_stack([_numbers(file, table, name) for name in names])
    return scores, None if target is None else _numbers(file, table, target)


def _numbers(file: Path, table: pa.Table, name: str) -> np.ndarray:
    """A column as numbers; an empty cell is nan, for the doctor to find."""
    column = table.column(name)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DataError(
            f"{file}, column {name!r} holds {column.type}, not numbers; name the column of the "
            "class numbers by --target, and leave the other text out"
        )
    whole = pa.types.is_integer(column.type) and not column.null_count
    return np.asarray(column.to_numpy(), dtype=np.int64 if whole else np.float64)
