"""`polylogit.data.prepare`: tables and matrices become datasets; splits keep every class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from polylogit.data.dataset import Matrix
from polylogit.data.prepare import prepare, split
from polylogit.errors import OptionError, SchemaError, TargetError
from polylogit.schema import Column, Schema, Table

Refusal = Callable[..., str]


def numbers(name: str, *values: float) -> Column:
    return Column(name, "numeric", np.array(values, dtype=float))


def words(name: str, *values: str) -> Column:
    seen = tuple(dict.fromkeys(values))
    return Column(name, "categorical", np.array([seen.index(v) for v in values], np.int32), seen)


TABLE = Table(
    (
        numbers("x", 1, 2, 3, 4),
        words("y", "no", "yes", "no", "yes"),
        numbers("w", 1, 1, 2, 2),
        words("c", "u", "v", "u", "u"),
    ),
    "t.csv",
    4,
    first_line=2,
)
MATRIX = Matrix(np.arange(8.0).reshape(4, 2), ["no", "yes", "no", "yes"], [1, 1, 2, 2], "m.npz")


# --- tables ---------------------------------------------------------------------------------------


def test_target_and_weights_are_no_features() -> None:
    data = prepare(TABLE, target="y", weights="w")
    assert data.schema.names == ("x", "c=u", "c=v")
    assert (data.schema.target, data.schema.classes) == ("y", ("no", "yes"))
    np.testing.assert_array_equal(data.features, [[1, 1, 0], [2, 0, 1], [3, 1, 0], [4, 1, 0]])
    assert data.targets is not None
    assert data.targets.tolist() == [0, 1, 0, 1]
    assert data.weights is not None
    assert data.weights.tolist() == [1, 1, 2, 2]
    assert (data.source, data.ignored) == ("t.csv", ())


def test_new_rows_need_neither_label_nor_weight() -> None:
    schema = prepare(TABLE, target="y", weights="w").schema
    data = prepare(TABLE.without("y"), schema=schema)
    assert (data.targets, data.weights) == (None, None)
    assert data.ignored == ("w",)
    # a label column that happens to be there is not looked at
    strange = Table((*TABLE.without("y").columns, words("y", *"abcd")), "t.csv", 4)
    assert prepare(strange, schema=schema).ignored == ("w",)


def test_labelled_rows_are_compared_with_the_classes_of_the_model(refusal: Refusal) -> None:
    schema = prepare(TABLE, target="y", weights="w").schema
    only = TABLE.take(np.array([1, 3]))
    assert prepare(only, target="y", schema=schema).targets.tolist() == [1, 1]
    other = Table(
        (numbers("x", 1, 2), words("c", "u", "z"), words("y", "yes", "maybe")), "t.csv", 2, 2
    )
    assert refusal(TargetError, prepare, other, target="y", schema=schema) == (
        "t.csv: the label 'maybe' (1 row, first in line 3) is none of the model's classes 'no', "
        "'yes'"
    )
    assert prepare(other, schema=schema).unseen == {"c": {"z": 1}}


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"target": "yy"},
            SchemaError,
            "t.csv has no column 'yy'; did you mean 'y'? (columns: 'x', 'y', 'w', 'c')",
        ),
        (
            {"target": "y", "weights": "ww"},
            SchemaError,
            "t.csv has no column 'ww'; did you mean 'w'? (columns: 'x', 'y', 'w', 'c')",
        ),
        (
            {"target": "y", "weights": "y"},
            OptionError,
            "column 'y' cannot be both the target and the weights",
        ),
        (
            {"target": "x"},
            TargetError,
            "t.csv: the labels are 4 different classes in 4 rows (such as 1, 2 and 2 more), so "
            "they name rows; choose a column of classes",
        ),
        (
            {"target": "y", "weights": "c"},
            TargetError,
            "t.csv: the weights column 'c' is categorical; weights are numbers >= 0",
        ),
    ],
)
def test_columns_that_cannot_be_target_or_weights(
    options: dict[str, str], kind: Any, message: str, refusal: Refusal
) -> None:
    assert refusal(kind, prepare, TABLE, **options) == message


def test_a_target_alone_leaves_nothing_to_learn_from(refusal: Refusal) -> None:
    lonely = TABLE.without("x", "w", "c")
    assert refusal(SchemaError, prepare, lonely, target="y") == (
        "t.csv: no feature column is left to learn from"
    )


def test_a_column_of_dates_may_be_left_out_or_be_the_target(refusal: Refusal) -> None:
    codes = np.array([0, 1, 0, 1], dtype=np.int32)
    day = Column("day", "date", codes, ("2024-01-31", "2024-02-01"))
    table = Table((*TABLE.columns, day), "t.csv", 4, first_line=2)
    assert refusal(SchemaError, prepare, table, target="y") == (
        "t.csv: column 'day' holds dates ('2024-01-31' in line 2), which are neither numbers nor "
        "categories; replace it by numbers (year, month, days since a start) or leave it out "
        "(ignore)"
    )
    assert prepare(table.without("day"), target="y").n_features == 4
    assert prepare(table, target="day").schema.classes == ("2024-01-31", "2024-02-01")


# --- matrices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [None, "y", "targets"])
def test_a_matrix_brings_its_labels(target: str | None) -> None:
    data = prepare(MATRIX, target=target)
    assert (data.schema.target, data.schema.classes) == ("y", ("no", "yes"))
    assert data.targets is not None
    assert data.targets.tolist() == [0, 1, 0, 1]
    assert data.weights is not None
    assert data.weights.tolist() == [1, 1, 2, 2]


def test_with_a_model_labels_of_a_matrix_are_read_on_request_only(refusal: Refusal) -> None:
    schema = prepare(MATRIX).schema
    strange = Matrix(MATRIX.features, ["no", "maybe", "no", "no"], None, "m.npz")
    assert prepare(strange, schema=schema).targets is None
    assert refusal(TargetError, prepare, strange, schema=schema, target="y") == (
        "m.npz: the label 'maybe' (1 row, first in row 1) is none of the model's classes 'no', "
        "'yes'"
    )


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"target": "species"},
            OptionError,
            "m.npz: a matrix has no column 'species'; its labels stand beside it and are called "
            "'y': leave the target out",
        ),
        ({"target": "y"}, TargetError, "m.npz: holds no labels; save them beside X as 'y'"),
        (
            {"weights": "w"},
            OptionError,
            "m.npz: a matrix has no column 'w'; its weights stand beside it and are called "
            "'weights'",
        ),
        (
            {"weights": "weights"},
            TargetError,
            "m.npz: holds no weights; save them beside X as 'weights'",
        ),
    ],
)
def test_names_that_a_matrix_does_not_have(
    options: dict[str, str], kind: Any, message: str, refusal: Refusal
) -> None:
    bare = Matrix(MATRIX.features, source="m.npz")
    assert refusal(kind, prepare, bare, **options) == message


def test_an_open_ended_matrix_is_filled_up_with_zeros(refusal: Refusal) -> None:
    schema = Schema.for_array(4, (0, 1))
    narrow = Matrix(sparse.csr_array(np.eye(2)), source="a.svm", open_ended=True)
    encoded = prepare(narrow, schema=schema).features
    np.testing.assert_array_equal(encoded.toarray(), np.eye(2, 4))
    assert narrow.features.shape == (2, 2)
    wide = Matrix(sparse.csr_array(np.eye(5)), source="a.svm", open_ended=True)
    assert refusal(SchemaError, prepare, wide, schema=schema) == (
        "a.svm: X has shape (5, 5), but the model was fitted on 4 columns"
    )


# --- split ----------------------------------------------------------------------------------------


def labelled(labels: list[int]) -> Matrix:
    rows = np.arange(float(len(labels)))[:, None]
    return Matrix(rows, np.array(labels), source="m.npz", lines=np.arange(len(labels)) + 1)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60),
    st.floats(0.01, 0.99),
    st.integers(0, 2**80),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_split_parts_every_class(labels: list[int], fraction: float, seed: int) -> None:
    counts = np.bincount(labels)
    if counts.max() < 2:
        with pytest.raises(TargetError):
            split(labelled(labels), fraction=fraction, seed=seed)
        return
    train, held = split(labelled(labels), fraction=fraction, seed=seed)
    rows = [int(row) for part in (train, held) for row in part.features[:, 0]]
    assert sorted(rows) == list(range(len(labels)))
    assert all(np.all(np.diff(part.features[:, 0]) > 0) for part in (train, held))
    for code, n in enumerate(counts):
        n_held = int(np.count_nonzero(held.targets == code))
        assert n_held == (min(max(round(fraction * n), 1), n - 1) if n > 1 else 0)


def test_the_same_seed_splits_the_same_and_another_does_not() -> None:
    matrix = labelled([0, 1] * 50)
    first, again, other = (split(matrix, seed=seed)[1].features for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_split_of_a_seed_never_changes() -> None:
    # Published results name a seed; the rows behind it must stay.
    held = split(labelled([0] * 6 + [1] * 4), fraction=0.3, seed=0)[1]
    assert held.features[:, 0].tolist() == [2.0, 3.0, 7.0]


def test_rows_of_a_split_table_know_their_lines() -> None:
    train, held = split(TABLE, target="y", fraction=0.5)
    assert (train.n_rows, held.n_rows) == (2, 2)
    for part in (train, held):
        for row in range(2):
            assert part.place(row) == f"line {int(part.column('x').values[row]) + 1}"


def test_probabilities_are_split_by_the_most_probable_class() -> None:
    soft = Matrix(np.eye(4), np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]]), source="m")
    train, held = split(soft, fraction=0.5)
    assert train.targets.argmax(axis=1).tolist() == [0, 1]
    assert held.targets.argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan"), "0.2", True])
def test_an_impossible_fraction_is_refused(fraction: Any, refusal: Refusal) -> None:
    assert refusal(OptionError, split, MATRIX, fraction=fraction) == (
        f"the held-out fraction must lie between 0 and 1, got {fraction!r}"
    )


@pytest.mark.parametrize("seed", [-1, 0.5, True, "1"])
def test_an_impossible_seed_is_refused(seed: Any, refusal: Refusal) -> None:
    assert refusal(OptionError, split, MATRIX, seed=seed) == (
        f"the seed must be a whole number >= 0, got {seed!r}"
    )


def test_what_cannot_be_split(refusal: Refusal) -> None:
    assert refusal(TargetError, split, TABLE) == (
        "t.csv: a stratified split needs labels; name the target"
    )
    assert refusal(TargetError, split, labelled([0, 1, 2])) == (
        "m.npz: no class has two rows (3 rows, 3 classes), so nothing can be held out"
    )
