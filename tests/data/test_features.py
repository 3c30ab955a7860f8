"""`polylogit.data.features`: every kind of matrix becomes the same numbers, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from polylogit.data.dataset import Rows
from polylogit.data.features import csr_of_parts, features_of
from polylogit.errors import DataError

Refusal = Callable[..., str]
HERE = Rows()
X = np.arange(8.0).reshape(4, 2)


def read_only() -> np.ndarray:
    array = X.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "given_as",
    [
        X,
        X.tolist(),
        read_only(),
        np.asfortranarray(X),
        X[::-1][::-1],
        np.repeat(X, 2, axis=1)[:, ::2],
        X.astype(">f8"),
        X.astype(int),
        X.astype(np.uint8),
        X.astype(object),
        X.astype(np.longdouble),
        X.view(np.matrix),
        torch.tensor(X, requires_grad=True),
        torch.tensor(X).to_sparse(),
        sparse.csr_matrix(X),
        sparse.dok_array(X),
    ],
)
def test_every_form_holds_the_same_float64_numbers(given_as: Any) -> None:
    features = features_of(given_as, HERE)
    assert features.dtype == np.float64
    if sparse.issparse(features):
        assert isinstance(features, sparse.csr_array)
        assert features.has_canonical_format
        features = features.toarray()
    assert features.flags.c_contiguous
    assert features.dtype.isnative
    np.testing.assert_array_equal(features, X)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_a_sparse_csr_tensor_becomes_scipy_csr() -> None:
    features = features_of(torch.tensor(X).to_sparse_csr(), HERE)
    np.testing.assert_array_equal(features.toarray(), X)


@pytest.mark.parametrize(
    "given_as",
    [
        X.astype("f4"),
        X.astype(">f4"),
        X.astype("f2"),
        torch.tensor(X, dtype=torch.bfloat16),
        sparse.csr_array(X.astype("f4")),
    ],
)
def test_single_and_half_precision_become_float32(given_as: Any) -> None:
    assert features_of(given_as, HERE).dtype == np.float32


def test_booleans_are_zero_and_one() -> None:
    np.testing.assert_array_equal(features_of(X > 3, HERE), X > 3)


def test_a_memory_map_is_not_copied(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    features = features_of(mapped, HERE)
    assert type(features) is np.ndarray
    assert np.shares_memory(features, mapped)


@pytest.mark.parametrize("value", [1e39, 1e160, 1e-200, 1e308])
def test_numbers_beyond_float32_stay_finite(value: float) -> None:
    assert features_of([[value, 1.0]], HERE)[0, 0] == value


SHAPE = "array: X has shape "
REAL = "features are real numbers"


@pytest.mark.parametrize(
    ("given_as", "message"),
    [
        (
            X[:, 0],
            SHAPE + "(4,), one axis; expected (N, D): use X[:, None] if these are rows of one "
            "feature, X[None, :] if they are one row",
        ),
        (
            X[None],
            SHAPE + "(1, 4, 2), 3 axes; expected (N, D): flatten each row with "
            "X.reshape(len(X), -1)",
        ),
        (X[:, :0], SHAPE + "(4, 0): no columns, so nothing to learn from"),
        (
            X + 1j,
            f"array: X has dtype complex128; {REAL}: split complex numbers into real and imaginary "
            "columns",
        ),
        (
            [["1", "2"]],
            f"array: X has dtype <U1; {REAL}: convert text with X.astype(float), or give "
            "categories as a DataFrame",
        ),
        (
            X.astype("S3"),
            f"array: X has dtype |S3; {REAL}: decode the bytes and convert them with "
            "X.astype(float)",
        ),
        (
            X.astype("M8[s]"),
            f"array: X has dtype datetime64[s]; {REAL}: turn dates into numbers first (days since "
            "a start, month, weekday)",
        ),
        (
            X.astype("m8[s]"),
            f"array: X has dtype timedelta64[s]; {REAL}: turn durations into numbers first (X / "
            "np.timedelta64(1, 's'))",
        ),
        (
            np.zeros((2, 2), dtype=[("a", float)]),
            f"array: X has dtype [('a', '<f8')]; {REAL}: give a record array as a DataFrame",
        ),
        (
            np.array([[1.0, 2.0], [3.0, None]]),
            f"array: X holds None (NoneType) in row 1, column 1; {REAL}: give mixed columns as a "
            "DataFrame",
        ),
        (
            np.array([[1.0, "2"]], dtype=object),
            f"array: X holds '2' (str) in row 0, column 1; {REAL}: give mixed columns as a "
            "DataFrame",
        ),
        (
            np.array([[1j, 2]], dtype=object),
            f"array: X holds 1j (complex) in row 0, column 0; {REAL}: give mixed columns as a "
            "DataFrame",
        ),
        ([[10**400, 1]], "array: X holds a whole number beyond float64's range"),
        (
            sparse.csr_array(X + 1j),
            f"array: the sparse X has dtype complex128; {REAL}: split complex numbers into real "
            "and imaginary columns",
        ),
        (
            torch.zeros(2, 2, 2).to_sparse(),
            SHAPE + "(2, 2, 2), 3 axes; expected (N, D): flatten "
            "each row with X.reshape(len(X), -1)",
        ),
    ],
)
def test_what_is_no_matrix_of_real_numbers_is_refused(
    given_as: Any, message: str, refusal: Refusal
) -> None:
    assert refusal(DataError, features_of, given_as, HERE) == message


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.csc_array, torch.tensor])
def test_nan_and_infinity_are_counted_and_the_first_is_placed(form: Any, refusal: Refusal) -> None:
    bad = X.copy()
    bad[2, 1], bad[3, 0] = np.nan, np.inf
    assert refusal(DataError, features_of, form(bad), HERE) == (
        "array: X holds 1 NaN and 1 infinite among its numbers, the first in row 2, column 1; fill "
        "them or leave the rows out (a DataFrame or a table file may have missing cells)"
    )


def test_nan_is_found_in_the_last_block(refusal: Refusal) -> None:
    bad = np.zeros((2**20 + 5, 2), dtype=np.float32)
    bad[-1, 1] = np.nan
    assert "1 NaN among its numbers, the first in row 1048580, column 1" in refusal(
        DataError, features_of, bad, HERE
    )


def test_numbers_whose_sum_overflows_are_finite() -> None:
    large = np.full((40, 2), 3e38, dtype=np.float32)
    assert features_of(large, HERE) is large


def test_a_long_double_that_overflows_is_infinite(refusal: Refusal) -> None:
    bad = np.array([[np.longdouble("1e4000"), 1]])
    assert "X holds 1 infinite among its numbers, the first in row 0, column 0" in refusal(
        DataError, features_of, bad, HERE
    )


# --- sparse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"])
def test_every_sparse_format_agrees_with_its_dense_form(form: str) -> None:
    X = sparse.random_array((5, 4), density=0.4, format=form, rng=1)
    features = features_of(X, HERE)
    assert isinstance(features, sparse.csr_array)
    np.testing.assert_array_equal(features.toarray(), X.toarray())


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(-3, 3)), max_size=12),
    st.sampled_from([np.int32, np.int64]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_unsorted_and_repeated_entries_add_up(
    entries: list[tuple[int, int, int]], index: type
) -> None:
    dense = np.zeros((4, 5))
    for row, column, value in entries:
        dense[row, column] += value
    rows = np.array([entry[0] for entry in entries], dtype=int)
    order = np.argsort(rows, kind="stable")
    columns = np.array([entries[i][1] for i in order], dtype=index)
    data = np.array([entries[i][2] for i in order], dtype=float)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=4))]).astype(index)
    messy = sparse.csr_array((data, columns, indptr), shape=(4, 5))
    messy.has_sorted_indices = messy.has_canonical_format = True  # a stale flag is not believed
    before = messy.indices.copy(), messy.data.copy()
    features = features_of(messy, HERE)
    np.testing.assert_array_equal(features.toarray(), dense)
    assert features.has_canonical_format
    assert all(
        np.all(np.diff(row) > 0) for row in np.split(features.indices, features.indptr[1:-1])
    )
    np.testing.assert_array_equal(messy.indices, before[0])
    np.testing.assert_array_equal(messy.data, before[1])


def test_spare_room_at_the_end_is_no_fault() -> None:
    matrix = sparse.csr_array(np.eye(2))
    matrix.data, matrix.indices = np.append(matrix.data, 7.0), np.append(matrix.indices, 1)
    np.testing.assert_array_equal(features_of(matrix, HERE).toarray(), np.eye(2))


BROKEN: list[tuple[str, int, int, str]] = [
    ("indices", 0, 7, "the sparse X has column index 7 in row 0, outside 0..1"),
    ("indices", 2, -1, "the sparse X has column index -1 in row 3, outside 0..1"),
    (
        "indptr",
        1,
        9,
        "the row pointers of the sparse X fall from 9 to 2 at row 1; they may only rise",
    ),
    (
        "indptr",
        0,
        1,
        "the row pointers of the sparse X run from 1 to 3, expected 0 to 3 (the number of values)",
    ),
    (
        "indptr",
        4,
        9,
        "the row pointers of the sparse X run from 0 to 9, expected 0 to 3 (the number of values)",
    ),
]
PARTS = {"data": [1.0, 2.0, 3.0], "indices": [0, 1, 1], "indptr": [0, 1, 2, 2, 3]}


@pytest.mark.parametrize(("part", "at", "value", "message"), BROKEN)
def test_broken_sparse_parts_are_refused(
    part: str, at: int, value: int, message: str, refusal: Refusal
) -> None:
    arrays = {name: np.array(values) for name, values in PARTS.items()}
    matrix = sparse.csr_array(tuple(arrays.values()), shape=(4, 2))
    getattr(matrix, part)[at] = value
    assert refusal(DataError, features_of, matrix, HERE) == f"array: {message}"
    arrays[part][at] = value
    parts = (*arrays.values(), np.array([4, 2]), Rows("a.npz"))
    assert refusal(DataError, csr_of_parts, *parts) == f"a.npz: {message}"


def test_columns_and_coordinates_are_checked_too(refusal: Refusal) -> None:
    columns = sparse.csc_array(np.eye(3))
    columns.indices[2] = 5
    assert refusal(DataError, features_of, columns, HERE) == (
        "array: the sparse X has row index 5 in column 2, outside 0..2"
    )
    blocks = sparse.bsr_array(np.eye(4), blocksize=(2, 2))
    blocks.indices[1] = 4
    assert refusal(DataError, features_of, blocks, HERE) == (
        "array: the sparse X has column index 4 in row 1, outside 0..1"
    )
    entries = sparse.coo_array(np.eye(3))
    entries.row[1] = -3
    assert refusal(DataError, features_of, entries, HERE) == (
        "array: the sparse X has row index -3 in entry 1, outside 0..2"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"indptr": [0, 1]},
            "the sparse X of 4 rows needs 5 row pointers and as many indices as "
            "values, got 2 pointers, 3 indices and 3 values",
        ),
        ({"indices": [0.5, 1, 1]}, "the sparse X has indices that are not whole numbers"),
        ({"indices": [[0, 1, 1]]}, "'indices' has shape (1, 3), expected one axis"),
        ({"shape": [4]}, "'shape' must hold two sizes, got [4]"),
        ({"shape": [4, -2]}, "'shape' must hold two sizes, got [4, -2]"),
        ({"shape": [4.0, 2.0]}, "'shape' must hold two sizes, got [4.0, 2.0]"),
    ],
)
def test_inconsistent_sparse_parts_are_refused(
    change: dict[str, Any], message: str, refusal: Refusal
) -> None:
    parts = [np.array(value) for value in (PARTS | {"shape": [4, 2]} | change).values()]
    assert refusal(DataError, csr_of_parts, *parts, Rows("a.npz")) == f"a.npz: {message}"
