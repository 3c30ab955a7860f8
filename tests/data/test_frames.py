"""`polylogit.data.frames`: the same table from pandas, polars and pyarrow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from polylogit.data.frames import is_frame, read_frame
from polylogit.errors import DataError
from polylogit.schema import Table

Refusal = Callable[..., str]

DATA: dict[str, list[Any]] = {
    "n": [1, 2, 3],
    "x": [0.5, None, 2.0],
    "t": ["b", None, "a"],
    "f": [True, False, True],
}


def texts(table: Table, name: str) -> list[str | None]:
    column = table.column(name)
    return [None if code < 0 else column.categories[code] for code in column.values]


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.table])
def test_every_library_gives_the_same_table(library: Callable[..., Any]) -> None:
    frame = library(DATA)
    assert is_frame(frame)
    table = read_frame(frame)
    kinds = [column.kind for column in table.columns]
    assert kinds == ["numeric", "numeric", "categorical", "boolean"]
    np.testing.assert_array_equal(table.column("n").values, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(table.column("x").values, [0.5, np.nan, 2.0])
    np.testing.assert_array_equal(table.column("f").values, [1.0, 0.0, 1.0])
    assert texts(table, "t") == ["b", None, "a"]
    assert (table.source, table.place(1)) == ("DataFrame", "row 1")
    assert read_frame(frame, ignore=["n", "t"]).names == ("x", "f")


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (pd.Series([1, None], dtype="Int64"), "numeric", [1.0, np.nan]),
        (pd.Series([1, 2.5], dtype=object), "numeric", [1.0, 2.5]),
        (pd.Series([True, None], dtype="boolean"), "boolean", [1.0, np.nan]),
        (pd.Series([True, None], dtype=object), "boolean", [1.0, np.nan]),
        (pd.Series([1.5, None], dtype="float64[pyarrow]"), "numeric", [1.5, np.nan]),
        (pd.Series([None, None], dtype=object), "numeric", [np.nan, np.nan]),
        (pl.Series([1, None], dtype=pl.UInt8), "numeric", [1.0, np.nan]),
        (pl.Series([1.5, float("nan")]), "numeric", [1.5, np.nan]),
        (pd.Series(["a", None], dtype="string"), "categorical", ["a", None]),
        (pd.Series(["a", None], dtype="category"), "categorical", ["a", None]),
        (pd.Series([3, 1], dtype="category"), "categorical", ["3", "1"]),
        (pd.Series(["a", None], dtype=object), "categorical", ["a", None]),
        (pl.Series(["a", None], dtype=pl.Categorical), "categorical", ["a", None]),
        (pl.Series(["b", "a"], dtype=pl.Enum(["a", "b"])), "categorical", ["b", "a"]),
        (pd.Series(pd.to_datetime(["2024-01-31", None])), "date", ["2024-01-31 00:00:00", None]),
    ],
)
def test_every_type_of_column(values: Any, kind: str, expected: list[Any]) -> None:
    frame = pd.DataFrame({"c": values}) if isinstance(values, pd.Series) else values.to_frame("c")
    table = read_frame(frame)
    assert table.column("c").kind == kind
    if kind in {"categorical", "date"}:
        cut = [text and text[:19] for text in texts(table, "c")]  # a date's seconds, no fraction
        assert cut == expected
    else:
        np.testing.assert_array_equal(table.column("c").values, expected)


def test_the_index_is_ignored_and_number_names_become_text() -> None:
    frame = pd.DataFrame(np.eye(2), index=[5, 5])
    table = read_frame(frame)
    assert table.names == ("0", "1")
    assert table.column("0").values.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            pd.DataFrame({"a": [1, 2], "c": pd.Series([None, 2, "x"][1:], dtype=object)}),
            "DataFrame: column 'c' mixes int (2 in row 0) and str ('x' in row 1); give the "
            "column one type, such as with .astype(str)",
        ),
        (
            pd.DataFrame({"c": pd.Series([None, "x", True], dtype=object)}),
            "DataFrame: column 'c' mixes str ('x' in row 1) and bool (True in row 2); give the "
            "column one type, such as with .astype(str)",
        ),
        (
            pd.DataFrame({"c": pd.Series([1j, 2j], dtype=object)}),
            "DataFrame: column 'c' cannot be used: 'Could not convert 1j with type complex: did "
            "not recognize Python value type when inferring an Arrow data type'; convert it to "
            "numbers or text",
        ),
        (
            pd.DataFrame({"c": [1.0, 2.0, -np.inf]}),
            "DataFrame: column 'c' holds -inf in row 2 (1 infinite cells); only finite numbers "
            "can be used: correct them or make them missing",
        ),
        (
            pd.DataFrame([[1, 2]], columns=["a", "a"]),
            "DataFrame: several columns have one name; give every column its own name",
        ),
        (
            pd.DataFrame([[1, 2]], columns=[1, "1"]),
            "DataFrame: two columns have one name among '1', '1'",
        ),
        (pd.DataFrame({"a": []}), "DataFrame: the DataFrame has no rows"),
        (
            pl.LazyFrame({"a": [1]}),
            "DataFrame: LazyFrame is not a DataFrame in memory; a lazy one must be collected first "
            "(.collect())",
        ),
        (
            pl.DataFrame({"c": [[1, 2]]}),
            "DataFrame: column 'c' has the type 'large_list<item: int64>', which is neither "
            "numbers nor text; give each part its own column, or leave the column out (ignore)",
        ),
    ],
)
def test_frames_that_cannot_be_used(frame: Any, message: str, refusal: Refusal) -> None:
    assert is_frame(frame)
    assert refusal(DataError, read_frame, frame) == message


def test_an_unknown_ignored_column_is_refused(refusal: Refusal) -> None:
    assert refusal(DataError, read_frame, pd.DataFrame(DATA), ignore=["N"]) == (
        "DataFrame has no column 'N' (columns: 'n', 'x', 't', 'f')"
    )


def test_a_column_that_is_ignored_may_be_anything() -> None:
    frame = pd.DataFrame({"a": [1, 2], "c": pd.Series([1, "x"], dtype=object)})
    assert read_frame(frame, ignore=["c"]).names == ("a",)


@pytest.mark.parametrize("value", [[1], np.eye(2), pd.Series([1]), "a.csv", None])
def test_other_things_are_no_frames(value: Any) -> None:
    assert not is_frame(value)
