"""Labels, probability targets and weights: what each row should be, and how much it counts.

One rule each:

    text             a class is its text, as written
    true/false       a class is True or False
    whole numbers    a class is an int (1.0 is 1); other numbers are not classes
    (N, K) numbers   row i is a probability distribution over the classes 0..K-1

Nothing is converted from one type to another: "1", 1 and True are different labels, and a mixture
is refused. Classes are sorted. Messages name the first row or line and count the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polylogit.data.dataset import Placed
from polylogit.data.memory import array_of
from polylogit.errors import TargetError, nearest
from polylogit.schema import Column, Label, listed, shown

_EXACT = 2.0**53
"""From here on float64 cannot tell neighbouring whole numbers apart."""

_SUM_TOLERANCE = 1e-6
_HEAVIEST = 1e100
"""A weight above this overflows float64 once it is multiplied by features or summed."""


@dataclass(frozen=True, eq=False)
class Targets:
    """Encoded targets: `values` int64 codes (N,) into `classes`, or float64 (N, K) simplex rows."""

    classes: tuple[Label, ...]
    values: np.ndarray

    @property
    def codes(self) -> np.ndarray:
        """Class codes (N,); of probabilities, the most probable class (the first of equals)."""
        return self.values if self.values.ndim == 1 else self.values.argmax(axis=1)


# --- labels ---------------------------------------------------------------------------------------


def from_column(column: Column, where: Placed) -> Targets:
    """Make targets of a table's column; see the module's rules.

    A TargetError names missing labels, and numbers that are not whole.
    """
    _refuse_missing(column.missing, where, f"column {shown(column.name)}")
    if column.kind == "numeric":
        return _from_numbers(column.values, where)
    if column.kind == "boolean":
        return _from_booleans(column)
    used, codes = np.unique(column.values, return_inverse=True)
    return _sorted([column.categories[code] for code in used], codes)


def from_memory(y: Any, n_rows: int, where: Placed) -> Targets:
    """Make targets of labels or probabilities in memory: list, array, tensor, Series, one column.

    >>> from polylogit.data.dataset import Rows
    >>> from_memory(["b", "a", "b"], 3, Rows()).classes
    ('a', 'b')
    """
    values = _one_axis(array_of(y, "y", where, error=TargetError), n_rows, where)
    if values.ndim == 2:
        return _from_probabilities(values, where)
    kind = values.dtype.kind
    if kind in "OT":  # objects, numpy's text of any length
        return _from_objects(values, where)
    if kind == "f":
        _refuse_missing(np.isnan(values), where, "y")
        return _from_numbers(values, where)
    if kind in "biuU":
        return _sorted(*_unique(values))
    raise TargetError(
        f"{where.source}: y has dtype {values.dtype}; labels must be text, whole numbers or "
        f"true/false{_dtype_advice(kind)}"
    )


def known(targets: Targets, classes: Sequence[Label], where: Placed) -> Targets:
    """Encode targets by the classes of a model instead of their own.

    A TargetError names the first label that the model does not know, in how many rows it stands and
    where first, and says so if only its type differs.
    """
    if not classes:
        raise TargetError(f"{where.source}: the model knows no classes to compare labels with")
    if targets.values.ndim == 2:
        _refuse_width(targets.values.shape[1], classes, where)
        return Targets(tuple(classes), targets.values)
    place = {(type(label), label): at for at, label in enumerate(_plain(classes))}
    own = _plain(targets.classes)
    at = np.array([place.get((type(label), label), -1) for label in own], dtype=np.int64)
    codes = at[targets.values]
    if (codes < 0).any():
        raise TargetError(_unseen_message(targets, codes, classes, where))
    return Targets(tuple(classes), codes)


def refuse_degenerate(targets: Targets, weights: np.ndarray | None, where: Placed) -> None:
    """Refuse targets that nothing can be learned from.

    A TargetError names: one class only; as many classes as rows (a column of ids); a class whose
    rows all weigh nothing, or to which no row gives any probability.
    """
    n, n_classes = len(targets.values), len(targets.classes)
    if n_classes < 2:
        only = f"the class {shown(targets.classes[0])}" if targets.classes else "no class"
        raise TargetError(
            f"{where.source}: all {n} rows have {only}; a classifier needs at least two classes"
        )
    if targets.values.ndim == 1 and n_classes == n > 2:
        raise TargetError(
            f"{where.source}: the labels are {n} different classes in {n} rows (such as "
            f"{listed(targets.classes, limit=2)}), so they name rows; choose a column of classes"
        )
    _refuse_empty_class(targets, weights, where)


def _refuse_empty_class(targets: Targets, weights: np.ndarray | None, where: Placed) -> None:
    if targets.values.ndim == 1:
        mass = np.bincount(targets.values, weights, minlength=len(targets.classes))
    else:
        mass = targets.values.sum(axis=0) if weights is None else weights @ targets.values
    empty = [targets.classes[k] for k in np.flatnonzero(mass == 0)]
    if empty:
        what = "no probability in any row" if weights is None else "no row of positive weight"
        raise TargetError(
            f"{where.source}: the class {listed(empty)} has {what}; drop the class or its rows"
        )


def _from_numbers(values: np.ndarray, where: Placed) -> Targets:
    strange = ~np.isfinite(values) | (values != np.floor(values))
    if strange.any():
        row = int(np.argmax(strange))
        raise TargetError(
            f"{where.source}: the labels are continuous: {shown(values[row])} in "
            f"{where.place(row)} ({np.count_nonzero(strange)} such); a class is text or a whole "
            "number: choose another target or cut the numbers into classes"
        )
    large = np.abs(values) >= _EXACT
    if large.any():
        row = int(np.argmax(large))
        raise TargetError(
            f"{where.source}: the label {values[row]:.17g} in {where.place(row)} is too large to "
            "be told from its neighbours as a number; give the labels as text"
        )
    return _sorted(*_unique(values.astype(np.int64)))


def _from_booleans(column: Column) -> Targets:
    used, codes = np.unique(column.values, return_inverse=True)
    spelled = [word.lower() for word in column.categories]
    if spelled in (["no", "yes"], ["no", ""], ["", "yes"]):
        return _sorted([column.categories[int(value)] for value in used], codes)
    return _sorted([bool(value) for value in used], codes)


def _from_objects(values: np.ndarray, where: Placed) -> Targets:
    entries = values.tolist()
    if set(map(type, entries)) in ({str}, {int}, {bool}):  # the usual case, at once
        return _sorted(*_unique_objects(entries))
    missing = np.fromiter((_is_missing(entry) for entry in entries), bool, len(entries))
    _refuse_missing(missing, where, "y")
    kinds = [_kind(entry) for entry in entries]
    first = {kind: row for row, kind in reversed(list(enumerate(kinds)))}
    if set(first) == {"a whole number", "a number"}:
        return _from_numbers(values.astype(np.float64), where)
    if len(first) > 1:
        found = [
            f"{kind} ({shown(entries[row])} in {where.place(row)})" for kind, row in first.items()
        ]
        raise TargetError(
            f"{where.source}: the labels mix {' and '.join(sorted(found))}; give them one type"
        )
    kind = kinds[0] if kinds else "text"
    if kind == "a number":
        return _from_numbers(values.astype(np.float64), where)
    if kind not in {"text", "a whole number", "true/false"}:
        raise TargetError(
            f"{where.source}: a label must be text, a whole number or true/false, got {kind} "
            f"({shown(entries[0])} in {where.place(0)})"
        )
    return _sorted(*_unique_objects(_plain(entries)))


def _unique(values: np.ndarray) -> tuple[list[Label], np.ndarray]:
    if values.dtype.kind in "iu" and len(values):
        least, most = int(values.min()), int(values.max())
        if most - least < len(values) and most < 2**63:  # a fifth of the time that sorting takes
            return _counted(values.astype(np.int64) - least, least)
    classes, codes = np.unique(values, return_inverse=True)
    return classes.tolist(), codes


def _counted(places: np.ndarray, least: int) -> tuple[list[Label], np.ndarray]:
    """The classes, each `least` and a small number, and their codes (N,)."""
    used = np.flatnonzero(np.bincount(places))
    code = np.zeros(int(used[-1]) + 1, dtype=np.int64)
    code[used] = np.arange(len(used))
    classes: list[Label] = [int(each) for each in used + least]
    return classes, code[places]


def _unique_objects(entries: list[Label]) -> tuple[list[Label], np.ndarray]:
    classes = list(dict.fromkeys(entries))
    place = {label: at for at, label in enumerate(classes)}
    return classes, np.fromiter((place[entry] for entry in entries), np.int64, len(entries))


def _sorted(classes: Sequence[Label], codes: np.ndarray) -> Targets:
    """Sort the classes, all of one type, and renumber the codes."""
    order = sorted(range(len(classes)), key=lambda at: classes[at])
    rank = np.empty(len(classes), dtype=np.int64)
    rank[order] = np.arange(len(classes))
    for label in classes:
        _refuse_unwritable(label)
    return Targets(tuple(classes[at] for at in order), rank[codes])


def _refuse_unwritable(label: Label) -> None:
    if isinstance(label, str):
        try:
            label.encode()
        except UnicodeEncodeError as error:
            raise TargetError(
                f"the label {shown(label)} holds half a character (a lone surrogate), which no "
                "file can store; decode the text properly first"
            ) from error


def _plain(labels: Sequence[Any]) -> list[Any]:
    return [label.item() if isinstance(label, np.generic) else label for label in labels]


def _kind(entry: object) -> str:
    if isinstance(entry, bool | np.bool_):
        return "true/false"
    if isinstance(entry, int | np.integer):
        return "a whole number"
    if isinstance(entry, float | np.floating):
        return "a number"
    return "text" if isinstance(entry, str) else f"{type(entry).__name__} objects"


def _is_missing(entry: object) -> bool:
    if entry is None or type(entry).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(entry, float | np.floating) and bool(np.isnan(entry))


def _refuse_missing(missing: np.ndarray, where: Placed, what: str) -> None:
    if missing.any():
        count, first = int(np.count_nonzero(missing)), where.place(int(np.argmax(missing)))
        labels = "1 label is" if count == 1 else f"{count} labels are"
        raise TargetError(
            f"{where.source}: {labels} missing in {what}, the first in {first}; fill "
            "them in, or leave these rows out"
        )


def _unseen_message(
    targets: Targets, codes: np.ndarray, classes: Sequence[Label], where: Placed
) -> str:
    row = int(np.argmax(codes < 0))
    label = targets.classes[targets.values[row]]
    count = int(np.count_nonzero(targets.values == targets.values[row]))
    rows = "1 row" if count == 1 else f"{count} rows"
    return (
        f"{where.source}: the label {shown(label)} ({rows}, first in {where.place(row)}) is none "
        f"of the model's classes {listed(classes)}{_twin(label, classes)}"
    )


def _twin(label: Label, classes: Sequence[Label]) -> str:
    """Say which class looks like the label, in another type or in another spelling."""
    for other in _plain(classes):
        if type(other) is not type(label) and (other == label or str(other) == str(label)):
            names = {str: "text", int: "a whole number", float: "a number", bool: "true/false"}
            return (
                f"; the label is {names[type(label)]} but the model's {shown(other)} is "
                f"{names[type(other)]}: give both one type"
            )
    return nearest(str(label), [str(other) for other in classes])


def _dtype_advice(kind: str) -> str:
    advice: Mapping[str, str] = {
        "S": "; decode the bytes to text (y.astype(str))",
        "M": "; dates are not classes",
        "m": "; durations are not classes",
        "c": "; complex numbers are not classes",
        "V": "; choose one field of the records (y['field'])",
    }
    return advice.get(kind, "")


# --- shapes and probabilities ---------------------------------------------------------------------


def _one_axis(values: np.ndarray, n_rows: int, where: Placed) -> np.ndarray:
    """Give labels one axis, probabilities two, and check the length against the features."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim not in {1, 2}:
        raise TargetError(
            f"{where.source}: y has shape {values.shape}; expected (N,) labels or (N, K) "
            "probabilities"
        )
    if len(values) != n_rows:
        raise TargetError(
            f"{where.source}: X has {n_rows} rows and y has {len(values)} (shape {values.shape}); "
            "they must agree row by row"
        )
    return values


def _from_probabilities(values: np.ndarray, where: Placed) -> Targets:
    if values.dtype.kind not in "biuf":
        raise TargetError(
            f"{where.source}: y has shape {values.shape} and dtype {values.dtype}; two axes mean "
            "probabilities, which are numbers: give labels as one axis (N,)"
        )
    rows = values.astype(np.float64)
    bad = ~np.isfinite(rows) | (rows < 0)
    if bad.any():
        row, column = (int(at) for at in np.argwhere(bad)[0])
        raise TargetError(
            f"{where.source}: y holds {shown(rows[row, column])} in {where.place(row)}, column "
            f"{column}; probabilities are numbers from 0 to 1 without gaps"
        )
    sums = rows.sum(axis=1)
    off = np.abs(sums - 1) > _SUM_TOLERANCE
    if off.any():
        row = int(np.argmax(off))
        raise TargetError(
            f"{where.source}: the probabilities of {where.place(row)} sum to {sums[row]:.9g} "
            f"instead of 1 ({np.count_nonzero(off)} such rows); divide each row by its sum, or "
            "give labels (N,)"
        )
    return Targets(tuple(range(rows.shape[1])), rows / sums[:, None])


def _refuse_width(width: int, classes: Sequence[Label], where: Placed) -> None:
    if width != len(classes):
        raise TargetError(
            f"{where.source}: y has {width} columns of probabilities, the model has {len(classes)} "
            f"classes {listed(classes)}"
        )


# --- weights --------------------------------------------------------------------------------------


def weights_of(values: Any, n_rows: int, where: Placed) -> np.ndarray:
    """Check row weights: (N,) finite numbers >= 0, not all zero; returns float64.

    A TargetError names the first row that breaks this and what it holds.
    """
    weights = array_of(values, "weights", where, error=TargetError)
    if weights.shape != (n_rows,):
        raise TargetError(
            f"{where.source}: the weights have shape {weights.shape}, expected ({n_rows},): one "
            "for each row"
        )
    if weights.dtype.kind == "O":
        weights = _numbers_from_objects(weights, where)
    if weights.dtype.kind not in "biuf":
        raise TargetError(
            f"{where.source}: the weights have dtype {weights.dtype}; weights are numbers >= 0"
        )
    return _sound_weights(weights.astype(np.float64), where)


def weights_from_column(column: Column, where: Placed) -> np.ndarray:
    """Check a table's column of weights like `weights_of`."""
    if column.kind not in {"numeric", "boolean"}:
        raise TargetError(
            f"{where.source}: the weights column {shown(column.name)} is {column.kind}; weights "
            "are numbers >= 0"
        )
    return _sound_weights(column.values, where)


def _numbers_from_objects(weights: np.ndarray, where: Placed) -> np.ndarray:
    for row, entry in enumerate(weights.tolist()):
        if _kind(entry) not in {"a number", "a whole number", "true/false"}:
            raise TargetError(
                f"{where.source}: the weight of {where.place(row)} is {shown(entry)}; weights are "
                "numbers >= 0"
            )
    return weights.astype(np.float64)


def _sound_weights(weights: np.ndarray, where: Placed) -> np.ndarray:
    bad = ~((weights >= 0) & (weights <= _HEAVIEST))  # NaN fails both
    if bad.any():
        row = int(np.argmax(bad))
        raise TargetError(
            f"{where.source}: the weight of {where.place(row)} is {shown(weights[row])} "
            f"({np.count_nonzero(bad)} such); weights lie between 0 and {_HEAVIEST:g}"
        )
    if not weights.any():
        raise TargetError(f"{where.source}: all {len(weights)} weights are zero; no row counts")
    return weights
