"""`polylogit.data.arrays`: npz, npy, and what is in memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from scipy import sparse

from polylogit.data.arrays import from_arrays, read_npy, read_npz
from polylogit.errors import DataError, SchemaError, TargetError

Written = Callable[[str, bytes | str], Path]
Refusal = Callable[..., str]
X = np.arange(8.0).reshape(4, 2)
Y = np.array(["b", "a", "b", "a"])


def npz(**arrays: Any) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    return sink.getvalue()


def npy(array: Any) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("X", "y", "weights"), ("features", "targets", "sample_weight")])
def test_npz_by_either_set_of_names(names: tuple[str, str, str], written: Written) -> None:
    arrays = dict(zip(names, (X.astype("f4"), Y, np.ones(4)), strict=True))
    matrix = read_npz(written("a.npz", npz(**arrays)))
    np.testing.assert_array_equal(matrix.features, X)
    assert matrix.features.dtype == np.float32
    assert (list(matrix.targets), list(matrix.weights)) == (list(Y), [1, 1, 1, 1])
    assert (matrix.source, matrix.place(2)) == ("a.npz", "row 2")


def test_npz_without_labels(written: Written) -> None:
    matrix = read_npz(written("a.npz", npz(X=X)))
    assert (matrix.targets, matrix.weights) == (None, None)


def test_npz_of_sparse_parts_beside_labels(written: Written) -> None:
    S = sparse.csr_array(X)
    path = written(
        "a.npz", npz(data=S.data, indices=S.indices, indptr=S.indptr, shape=S.shape, y=Y)
    )
    matrix = read_npz(path)
    assert isinstance(matrix.features, sparse.csr_array)
    np.testing.assert_array_equal(matrix.features.toarray(), X)
    assert list(matrix.targets) == list(Y)


@pytest.mark.parametrize("compressed", [True, False])
def test_npz_as_scipy_writes_it(compressed: bool, written: Written) -> None:
    path = written("a.npz", b"")
    sparse.save_npz(path, sparse.csr_matrix(X), compressed=compressed)
    np.testing.assert_array_equal(read_npz(path).features.toarray(), X)


@pytest.mark.parametrize("form", ["csc", "coo"])
def test_other_sparse_formats_say_how_to_convert(
    form: str, written: Written, refusal: Refusal
) -> None:
    path = written("a.npz", b"")
    sparse.save_npz(path, sparse.csr_matrix(X).asformat(form))
    message = refusal(DataError, read_npz, path)
    if form == "csc":
        assert message == (
            "a.npz: holds a sparse matrix in the format b'csc'; save it as CSR (X.tocsr())"
        )
    else:
        assert message.startswith("a.npz: no features among the arrays 'row', 'col', 'format', ")


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(order: Any, written: Written) -> None:
    matrix = read_npy(written("a.npy", npy(np.asarray(X, order=order))))
    np.testing.assert_array_equal(matrix.features, X)
    assert matrix.targets is None


OBJECTS = (
    "holds Python objects, which are never read because they can run code; save plain arrays of "
    "numbers and text"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            npz(A=X, y=Y),
            "a.npz: no features among the arrays 'A', 'y'; save them as X, or the parts of a CSR "
            "matrix as 'data', 'indices', 'indptr', 'shape'",
        ),
        (npz(X=X, features=X), "a.npz: holds both 'X' and 'features'; keep one"),
        (npz(X=X, y=Y, targets=Y), "a.npz: holds both 'y' and 'targets'; keep one"),
        (npz(X=X, y=np.array([1, "a"], dtype=object)), f"a.npz: {OBJECTS}"),
        (
            npz(X=X[0]),
            "a.npz: X has shape (2,), one axis; expected (N, D): use X[:, None] if these are "
            "rows of one feature, X[None, :] if they are one row",
        ),
        (npz(X=X)[:-30], "a.npz: damaged or cut short: 'File is not a zip file'; save it again"),
        (
            npy(X),
            "a.npz: by its first bytes this is a numpy array; rename it to .npy",
        ),
        (b"", "a.npz: by its first bytes this is text data; unpack or export it first"),
    ],
)
def test_npz_files_that_are_refused(
    content: bytes, message: str, written: Written, refusal: Refusal
) -> None:
    assert refusal(DataError, read_npz, written("a.npz", content)) == message


def test_a_flipped_byte_in_an_npz_is_noticed(written: Written, refusal: Refusal) -> None:
    content = bytearray(npz(X=X))
    content[content.index(X.tobytes()) + 3] ^= 1
    assert refusal(DataError, read_npz, written("a.npz", bytes(content))) == (
        "a.npz: damaged or cut short: \"Bad CRC-32 for file 'X.npy'\"; save it again"
    )


def test_a_zip_of_other_things(written: Written, refusal: Refusal) -> None:
    path = written("a.npz", b"")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    assert refusal(DataError, read_npz, path).startswith(
        "a.npz: no features among the arrays 'xl/workbook.xml'; save them as X"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(np.array([{}], dtype=object)), f"a.npy: {OBJECTS}"),
        (b"a,b\n1,2\n", "a.npy: by its first bytes this is text data; unpack or export it first"),
    ],
)
def test_npy_files_that_are_refused(
    content: bytes, message: str, written: Written, refusal: Refusal
) -> None:
    assert refusal(DataError, read_npy, written("a.npy", content)) == message


def test_a_cut_npy_is_refused(written: Written, refusal: Refusal) -> None:
    whole = npy(X)
    taller, endless = whole.replace(b"(4, 2)", b"(9, 2)"), whole.replace(b"(4, 2), }", b"(9**99,)}")
    unclosed = whole.replace(b"(4, 2)", b"(4, 2 ")
    for content in (whole[:-8], whole[:20], taller, endless, unclosed):
        message = refusal(DataError, read_npy, written("a.npy", content))
        assert message.startswith("a.npy: damaged or cut short: ")
        assert message.endswith("; save it again")


# --- memory ---------------------------------------------------------------------------------------


def test_an_array_and_its_labels() -> None:
    data = from_arrays(X, Y, sample_weight=[1, 2, 3, 4])
    np.testing.assert_array_equal(data.features, X)
    assert data.schema.kind == "array"
    assert (data.schema.classes, data.schema.target) == (("a", "b"), "y")
    assert data.schema.names == ("x0", "x1")
    assert data.targets is not None
    assert data.targets.tolist() == [1, 0, 1, 0]
    assert data.weights is not None
    assert data.weights.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("form", [torch.tensor, sparse.csr_array, np.ndarray.tolist])
def test_every_form_of_matrix_goes_through(form: Callable[[np.ndarray], Any]) -> None:
    data = from_arrays(form(X), Y)
    features = data.features.toarray() if sparse.issparse(data.features) else data.features
    np.testing.assert_array_equal(features, X)


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.table])
def test_a_data_frame_is_a_table(library: Callable[..., Any]) -> None:
    data = from_arrays(library({"t": ["u", "v", "u", None], "n": [1.0, 2.0, None, 3.0]}), Y)
    assert data.schema.kind == "table"
    assert data.schema.names == ("t=u", "t=v", "t missing", "n", "n missing")
    np.testing.assert_array_equal(
        data.features,
        [[1, 0, 0, 1, 0], [0, 1, 0, 2, 0], [1, 0, 0, 2, 1], [0, 0, 1, 3, 0]],
    )
    assert (data.source, data.missing) == ("DataFrame", {"t": 1, "n": 1})


def test_labels_of_a_frame_do_not_care_about_the_index() -> None:
    frame = pd.DataFrame(X, index=[9, 8, 7, 6])
    data = from_arrays(frame, pd.Series(Y, index=[1, 1, 2, 2]), sample_weight=pd.Series([1] * 4))
    assert data.targets is not None
    assert data.targets.tolist() == [1, 0, 1, 0]


def test_without_labels_there_are_no_classes() -> None:
    data = from_arrays(X)
    assert (data.targets, data.schema.classes, data.schema.target) == (None, (), None)


def test_later_rows_are_encoded_by_the_schema_of_a_model() -> None:
    schema = from_arrays(X, Y).schema
    later = from_arrays(X[:1] + 5, ["a"], schema=schema)
    assert later.schema is schema
    assert later.targets is not None
    assert later.targets.tolist() == [0]
    assert from_arrays(np.empty((0, 2)), schema=schema).features.shape == (0, 2)


def test_plain_columns_and_a_plain_matrix_stand_for_each_other() -> None:
    array, table = (
        from_arrays(X, Y).schema,
        from_arrays(pd.DataFrame(X, columns=["u", "v"]), Y).schema,
    )
    np.testing.assert_array_equal(from_arrays(X, schema=table).features, X)
    frame = pd.DataFrame(X, columns=["u", "v"])
    np.testing.assert_array_equal(from_arrays(frame, schema=array).features, X)
    named = pd.DataFrame(X[:, ::-1], columns=["x1", "x0"]).assign(other="text")
    encoded = from_arrays(named, schema=array)
    np.testing.assert_array_equal(encoded.features, X)
    assert encoded.ignored == ("other",)


def test_mismatches_of_matrix_and_model(refusal: Refusal) -> None:
    array = from_arrays(X, Y).schema
    words = from_arrays(pd.DataFrame({"t": ["u", "v", "u", "v"], "n": X[:, 0]}), Y).schema
    assert refusal(SchemaError, from_arrays, X[:, :1], schema=array) == (
        "array: X has shape (4, 1), but the model was fitted on 2 columns"
    )
    assert refusal(SchemaError, from_arrays, X, schema=words) == (
        "array: a plain matrix of 2 column(s), but the model was fitted on a table with the "
        "columns 't', 'n'; give a table with these names"
    )
    assert refusal(SchemaError, from_arrays, pd.DataFrame({"u": [1.0]}), schema=array) == (
        "DataFrame lacks 2 columns that the model needs: 'x0', 'x1' (columns: 'u')"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X[:0], []), "array: there are no rows to learn from"),
        ((X, Y[:3]), "array: X has 4 rows and y has 3 (shape (3,)); they must agree row by row"),
        (
            (pd.DataFrame(X), Y[:3]),
            "DataFrame: X has 4 rows and y has 3 (shape (3,)); they must agree row by row",
        ),
        (
            (X, ["a"] * 4),
            "array: all 4 rows have the class 'a'; a classifier needs at least two classes",
        ),
        (
            (X, X[:, 0] + 0.5),
            "array: the labels are continuous: 0.5 in row 0 (4 such); a class is text or a whole "
            "number: choose another target or cut the numbers into classes",
        ),
    ],
)
def test_rows_that_nothing_can_be_learned_from(
    arguments: tuple[Any, ...], message: str, refusal: Refusal
) -> None:
    assert refusal(TargetError, from_arrays, *arguments) == message


def test_nothing_of_the_callers_changes() -> None:
    given = sparse.csr_array(
        (np.array([1.0, 2.0]), np.array([1, 0]), np.array([0, 2])), shape=(1, 2)
    )
    frame, labels = pd.DataFrame({"t": ["u", "v"], "n": [1, 2]}), ["a", "b"]
    copies = given.copy(), frame.copy(), list(labels)
    from_arrays(given)
    from_arrays(frame, labels)
    np.testing.assert_array_equal(given.indices, copies[0].indices)
    pd.testing.assert_frame_equal(frame, copies[1])
    assert labels == copies[2]
