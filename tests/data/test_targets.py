"""`polylogit.data.targets`: labels keep their type, probabilities their sum, weights their sign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polylogit.data.dataset import Rows
from polylogit.data.targets import (
    Targets,
    from_column,
    from_memory,
    known,
    refuse_degenerate,
    weights_from_column,
    weights_of,
)
from polylogit.errors import TargetError
from polylogit.schema import Column

Refusal = Callable[..., str]
HERE = Rows()
NAN = float("nan")


def decoded(targets: Targets) -> list[Any]:
    return [targets.classes[code] for code in targets.values]


def types(targets: Targets) -> set[type]:
    return {type(label) for label in targets.classes}


# --- labels in memory -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "classes", "kind"),
    [
        (["b", "a", "b"], ("a", "b"), str),
        ([10, -20, 10, 30], (-20, 10, 30), int),
        ([True, False, True], (False, True), bool),
        ([2.0, 1.0], (1, 2), int),
        ([1, 2.0], (1, 2), int),
        ([2**70, 1], (1, 2**70), int),
        ([2**63, 0], (0, 2**63), int),
        (np.array([3, 1], dtype=np.uint8), (1, 3), int),
        (np.array([3, 1], dtype=">i4"), (1, 3), int),
        (np.array([7, 5, 7, 5, 8], dtype=">i2"), (5, 7, 8), int),  # close to each other
        (np.array([-128, -127, 127] * 100, dtype=np.int8), (-128, -127, 127), int),
        (np.array([2**64 - 1, 2**64 - 2] * 2, dtype=np.uint64), (2**64 - 2, 2**64 - 1), int),
        (np.array([2**63 - 1, 2**63 - 3] * 2), (2**63 - 3, 2**63 - 1), int),
        (np.array([-(2**63), 1 - 2**63] * 2), (-(2**63), 1 - 2**63), int),
        (np.array(["x", "é"]), ("x", "é"), str),
        (np.array(["x", "yy"], dtype=np.dtypes.StringDType()), ("x", "yy"), str),
        (np.array([np.str_("x"), np.str_("y")], dtype=object), ("x", "y"), str),
        (np.array([np.bool_(True), False], dtype=object), (False, True), bool),
        (np.array([2, 1])[:, None], (1, 2), int),
        ([(2,), (1,)], (1, 2), int),
        (torch.tensor([[1], [0]]), (0, 1), int),
        (pd.Series(["a", "b"], index=[9, 9]), ("a", "b"), str),
        (pd.Series(["b", "a"], dtype="category"), ("a", "b"), str),
        (pd.Series([2, 1], dtype="Int64"), (1, 2), int),
        (pd.DataFrame({"y": ["p", "q"]}), ("p", "q"), str),
        (pl.Series(["b", "a"], dtype=pl.Categorical), ("a", "b"), str),
        (pa.array(["u", "v"]), ("u", "v"), str),
        (["\n", "=1+1", "\U0001f600", '"'], ("\n", '"', "=1+1", "\U0001f600"), str),
    ],
)
def test_labels_of_every_kind(y: Any, classes: tuple[Any, ...], kind: type) -> None:
    targets = from_memory(y, len(y), HERE)
    assert targets.classes == classes
    assert types(targets) == {kind}
    assert targets.values.dtype == np.int64
    assert [str(label) for label in decoded(targets)] == [
        str(kind(label)) for label in np.asarray(y, dtype=object).reshape(-1).tolist()
    ]


@given(st.lists(st.text(), min_size=1) | st.lists(st.integers(), min_size=1))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_codes_name_the_labels_and_classes_are_sorted(y: list[Any]) -> None:
    targets = from_memory(y, len(y), HERE)
    assert decoded(targets) == y
    assert list(targets.classes) == sorted(set(y))


MISSING = "missing in y, the first in row 1; fill them in, or leave these rows out"


@pytest.mark.parametrize(
    "y",
    [
        ["a", None, "b"],
        ["a", NAN, "b"],
        ["a", pd.NA, "b"],
        [1.0, NAN, 2.0],
        np.array([1.0, NAN, 2.0]),
        pd.Series([1, None, 2], dtype="Int64"),
        pd.Series(["a", None, "b"]),
        pl.Series(["a", None, "b"]),
        pd.Series(["a", None, "b"], dtype="category"),
        np.array(["a", pd.NaT, "b"], dtype=object),
    ],
)
def test_missing_labels_are_counted_and_placed(y: Any, refusal: Refusal) -> None:
    assert refusal(TargetError, from_memory, y, 3, HERE) == f"array: 1 label is {MISSING}"
    twice = list(y) + list(y)
    assert refusal(TargetError, from_memory, twice, 6, HERE) == f"array: 2 labels are {MISSING}"


KINDS = "labels must be text, whole numbers or true/false"


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            [1, "a", 2],
            "the labels mix a whole number (1 in row 0) and text ('a' in row 1); give them one "
            "type",
        ),
        (
            [0, 0, True],
            "the labels mix a whole number (0 in row 0) and true/false (True in row 2); give "
            "them one type",
        ),
        (
            [0.5, 1.0, 2.0],
            "the labels are continuous: 0.5 in row 0 (1 such); a class is text or a whole number: "
            "choose another target or cut the numbers into classes",
        ),
        (
            np.array([1.0, 2.0, np.inf]),
            "the labels are continuous: inf in row 2 (1 such); a class is text or a whole number: "
            "choose another target or cut the numbers into classes",
        ),
        (
            [1.0, 2.0, 2.0**53],
            "the label 9007199254740992 in row 2 is too large to be told from its neighbours as a "
            "number; give the labels as text",
        ),
        (
            [1.0, 2.0, 1e300],
            "the label 1.0000000000000001e+300 in row 2 is too large to be told from its "
            "neighbours as a number; give the labels as text",
        ),
        (
            np.array([b"a", b"b", b"a"]),
            f"y has dtype |S1; {KINDS}; decode the bytes to text (y.astype(str))",
        ),
        (
            np.array(["2020-01-01"] * 3, dtype="M8[D]"),
            f"y has dtype datetime64[D]; {KINDS}; dates are not classes",
        ),
        (
            np.array([1, 2, 3], dtype="m8[D]"),
            f"y has dtype timedelta64[D]; {KINDS}; durations are not classes",
        ),
        (np.array([1j, 2, 3]), f"y has dtype complex128; {KINDS}; complex numbers are not classes"),
        (
            np.zeros(3, dtype=[("a", int)]),
            f"y has dtype [('a', '<i8')]; {KINDS}; choose one field of the records (y['field'])",
        ),
        (
            [(1, 2), (3, 4), (5, 6, 7)],
            "y is a ragged list (row 0 has 2 entries, row 2 has 3); give every row one length",
        ),
        (
            [{"a": 1}] * 3,
            "a label must be text, a whole number or true/false, got dict objects ({'a': 1} in row "
            "0)",
        ),
        (
            [1, 2],
            "X has 3 rows and y has 2 (shape (2,)); they must agree row by row",
        ),
        (
            np.array([[1, 2, 3]]),
            "X has 3 rows and y has 1 (shape (1, 3)); they must agree row by row",
        ),
        (
            np.zeros((3, 1, 1)),
            "y has shape (3, 1, 1); expected (N,) labels or (N, K) probabilities",
        ),
        (
            [["a", "b"]] * 3,
            "y has shape (3, 2) and dtype <U1; two axes mean probabilities, which are numbers: "
            "give labels as one axis (N,)",
        ),
        ("abc", "y is 'abc' (str); expected an array, a list, a tensor or a column"),
        ({1, 2, 3}, "y is {1, 2, 3} (set); expected an array, a list, a tensor or a column"),
    ],
)
def test_what_are_no_labels_is_refused(y: Any, message: str, refusal: Refusal) -> None:
    assert refusal(TargetError, from_memory, y, 3, HERE) == f"array: {message}"


def test_half_a_character_is_no_class_name(refusal: Refusal) -> None:
    assert refusal(TargetError, from_memory, ["a\ud800", "b"], 2, HERE) == (
        r"the label 'a\ud800' holds half a character (a lone surrogate), which no file can store; "
        "decode the text properly first"
    )


# --- probabilities --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, int, bool])
def test_one_hot_rows_are_probabilities_of_numbered_classes(dtype: type) -> None:
    targets = from_memory(np.eye(3).astype(dtype), 3, HERE)
    assert targets.classes == (0, 1, 2)
    assert targets.values.dtype == np.float64
    np.testing.assert_array_equal(targets.values, np.eye(3))
    assert targets.codes.tolist() == [0, 1, 2]


def test_rows_that_nearly_sum_to_one_are_made_exact() -> None:
    rows = np.array([[0.2, 0.8 + 9e-7], [0.5, 0.5]], dtype=np.float64)
    values = from_memory(rows, 2, HERE).values
    np.testing.assert_allclose(values.sum(axis=1), 1.0, rtol=0, atol=2e-16)
    np.testing.assert_allclose(values, rows, atol=1e-6)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            [0.2, 0.8 + 1.1e-6],
            "the probabilities of row 1 sum to 1.0000011 instead of 1 (1 such rows); divide each "
            "row by its sum, or give labels (N,)",
        ),
        (
            [1.0, 1.0],
            "the probabilities of row 1 sum to 2 instead of 1 (1 such rows); divide each row by "
            "its sum, or give labels (N,)",
        ),
        (
            [-0.5, 1.5],
            "y holds -0.5 in row 1, column 0; probabilities are numbers from 0 to 1 without gaps",
        ),
        (
            [0.5, NAN],
            "y holds nan in row 1, column 1; probabilities are numbers from 0 to 1 without gaps",
        ),
    ],
)
def test_rows_that_are_no_distribution_are_refused(
    row: list[float], message: str, refusal: Refusal
) -> None:
    y = np.array([[0.5, 0.5], row])
    assert refusal(TargetError, from_memory, y, 2, HERE) == f"array: {message}"


# --- labels of a table ----------------------------------------------------------------------------

LINES = Rows("t.csv", range(2, 100))


def numeric(*values: float) -> Column:
    return Column("y", "numeric", np.array(values, dtype=float))


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        (numeric(3, 1, 3), [3, 1, 3]),
        (Column("y", "boolean", np.array([1.0, 0.0])), [True, False]),
        (Column("y", "boolean", np.array([1.0, 0.0]), ("FALSE", "True")), [True, False]),
        (Column("y", "boolean", np.array([1.0, 0.0]), ("no", "Yes")), ["Yes", "no"]),
        (Column("y", "boolean", np.array([1.0, 1.0]), ("", "yes")), ["yes", "yes"]),
        (Column("y", "categorical", np.array([1, 0, 1]), ("b", "a", "unused")), ["a", "b", "a"]),
        (Column("y", "date", np.array([1, 0]), ("2024-01-02", "2023-01-02")), ["2023-01-02"] * 2),
    ],
)
def test_labels_of_a_column(column: Column, labels: list[Any]) -> None:
    targets = from_column(column, LINES)
    if column.kind == "date":
        labels = [column.categories[code] for code in column.values]
    assert decoded(targets) == labels
    assert types(targets) == {type(labels[0])}
    assert list(targets.classes) == sorted(set(labels))


def test_bad_labels_of_a_column_are_placed_by_line(refusal: Refusal) -> None:
    assert refusal(TargetError, from_column, numeric(1, NAN, NAN), LINES) == (
        "t.csv: 2 labels are missing in column 'y', the first in line 3; fill them in, "
        "or leave these rows out"
    )
    assert refusal(TargetError, from_column, numeric(1, 2, 2.5), LINES) == (
        "t.csv: the labels are continuous: 2.5 in line 4 (1 such); a class is text or a whole "
        "number: choose another target or cut the numbers into classes"
    )


# --- labels a model knows -------------------------------------------------------------------------


def test_labels_are_encoded_by_the_classes_of_a_model() -> None:
    targets = known(from_memory(["c", "a"], 2, HERE), ("a", "b", "c"), HERE)
    assert targets.classes == ("a", "b", "c")
    assert targets.values.tolist() == [2, 0]
    soft = known(from_memory([[0.5, 0.5]], 1, HERE), ("a", "b"), HERE)
    assert soft.values.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("y", "classes", "message"),
    [
        (
            ["a", "c", "c"],
            ("a", "b"),
            "the label 'c' (2 rows, first in row 1) is none of the model's classes 'a', 'b'",
        ),
        (
            ["Gento", "Adelie"],
            ("Adelie", "Gentoo"),
            "the label 'Gento' (1 row, first in row 0) is none of the model's classes 'Adelie', "
            "'Gentoo'; did you mean 'Gentoo'?",
        ),
        (
            ["1", "1"],
            (0, 1),
            "the label '1' (2 rows, first in row 0) is none of the model's classes 0, 1; the "
            "label is text but the model's 1 is a whole number: give both one type",
        ),
        (
            [1, 1],
            ("0", "1"),
            "the label 1 (2 rows, first in row 0) is none of the model's classes '0', '1'; the "
            "label is a whole number but the model's '1' is text: give both one type",
        ),
        (
            [True, False],
            (0, 1),
            "the label True (1 row, first in row 0) is none of the model's classes 0, 1; the "
            "label is true/false but the model's 1 is a whole number: give both one type",
        ),
        ([0, 1], (), "the model knows no classes to compare labels with"),
        (
            [[0.5, 0.25, 0.25]],
            (0, 1),
            "y has 3 columns of probabilities, the model has 2 classes 0, 1",
        ),
    ],
)
def test_labels_that_a_model_does_not_know(
    y: Any, classes: tuple[Any, ...], message: str, refusal: Refusal
) -> None:
    targets = from_memory(y, len(y), HERE)
    assert refusal(TargetError, known, targets, classes, HERE) == f"array: {message}"


# --- what can be learned from ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "weights", "message"),
    [
        (
            ["a"] * 3,
            None,
            "all 3 rows have the class 'a'; a classifier needs at least two classes",
        ),
        (
            ["u", "v", "w"],
            None,
            "the labels are 3 different classes in 3 rows (such as 'u', 'v' and 1 more), so they "
            "name rows; choose a column of classes",
        ),
        (
            ["a", "b", "a"],
            [1.0, 0.0, 1.0],
            "the class 'b' has no row of positive weight; drop the class or its rows",
        ),
        (
            [[1.0, 0.0], [1.0, 0.0]],
            None,
            "the class 1 has no probability in any row; drop the class or its rows",
        ),
        (
            [[1.0, 0.0], [0.0, 1.0]],
            [1.0, 0.0],
            "the class 1 has no row of positive weight; drop the class or its rows",
        ),
    ],
)
def test_nothing_can_be_learned_from(y: Any, weights: Any, message: str, refusal: Refusal) -> None:
    targets = from_memory(y, len(y), HERE)
    weights = None if weights is None else np.array(weights)
    assert refusal(TargetError, refuse_degenerate, targets, weights, HERE) == f"array: {message}"


@pytest.mark.parametrize("y", [[0, 1], ["a", "b", "a"], [[0.9, 0.1]]])
def test_the_smallest_problems_are_allowed(y: Any) -> None:
    targets = from_memory(y, len(y), HERE)
    refuse_degenerate(targets, np.full(len(y), 0.5), HERE)
    assert len(targets.classes) == 2


# --- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [[1, 0, 2.5], np.array([1, 0, 2.5], object), pd.Series([1, 0, 2.5]), torch.tensor([1, 0, 2.5])],
)
def test_weights_of_every_kind(values: Any) -> None:
    weights = weights_of(values, 3, HERE)
    assert weights.dtype == np.float64
    assert weights.tolist() == [1.0, 0.0, 2.5]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, -1, -2], "the weight of row 1 is -1.0 (2 such); weights lie between 0 and 1e+100"),
        ([1, 1, NAN], "the weight of row 2 is nan (1 such); weights lie between 0 and 1e+100"),
        ([np.inf, 1, 1], "the weight of row 0 is inf (1 such); weights lie between 0 and 1e+100"),
        ([1, 1e300, 1], "the weight of row 1 is 1e+300 (1 such); weights lie between 0 and 1e+100"),
        ([0, 0, 0], "all 3 weights are zero; no row counts"),
        ([1, 1], "the weights have shape (2,), expected (3,): one for each row"),
        (["1", "1", "1"], "the weight of row 0 is '1'; weights are numbers >= 0"),
        (np.array(["1"] * 3), "the weights have dtype <U1; weights are numbers >= 0"),
        ([1, None, 1], "the weight of row 1 is None; weights are numbers >= 0"),
        ([1j, 1, 1], "the weight of row 0 is 1j; weights are numbers >= 0"),
        (3, "weights is 3 (int); expected an array, a list, a tensor or a column"),
    ],
)
def test_weights_that_are_refused(values: Any, message: str, refusal: Refusal) -> None:
    assert refusal(TargetError, weights_of, values, 3, HERE) == f"array: {message}"


def test_a_column_of_weights(refusal: Refusal) -> None:
    assert weights_from_column(numeric(1, 2), LINES).tolist() == [1.0, 2.0]
    assert refusal(TargetError, weights_from_column, numeric(1, NAN), LINES) == (
        "t.csv: the weight of line 3 is nan (1 such); weights lie between 0 and 1e+100"
    )
    words = Column("w", "categorical", np.array([0]), ("a",))
    assert refusal(TargetError, weights_from_column, words, LINES) == (
        "t.csv: the weights column 'w' is categorical; weights are numbers >= 0"
    )
