"""`polylogit.data.arrow`: the file's own types decide."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from polylogit.data.arrow import column_of, read_ipc, read_parquet, table_of
from polylogit.data.dataset import Rows
from polylogit.errors import DataError
from polylogit.schema import Column, Table

Written = Callable[[str, bytes | str], Path]
Refusal = Callable[..., str]

PENGUINS = pa.table(
    {
        "mass": pa.array([3750, None, 4200], pa.int32()),
        "bill": pa.array([39.1, float("nan"), 40.0], pa.float32()),
        "sex": ["male", None, "female"],
        "wild": [True, False, None],
        "island": pa.array(["a", "b", "a"]).dictionary_encode(),
    }
)


def texts(column: Column) -> list[str | None]:
    return [None if code < 0 else column.categories[code] for code in column.values]


def check_penguins(table: Table) -> None:
    kinds = [column.kind for column in table.columns]
    assert kinds == ["numeric", "numeric", "categorical", "boolean", "categorical"]
    values = {column.name: column.values for column in table.columns}
    np.testing.assert_array_equal(values["mass"], [3750, np.nan, 4200])
    np.testing.assert_array_equal(values["bill"], np.float32([39.1, np.nan, 40.0]))
    np.testing.assert_array_equal(values["wild"], [1.0, 0.0, np.nan])
    assert texts(table.column("sex")) == ["male", None, "female"]
    assert texts(table.column("island")) == ["a", "b", "a"]
    assert (table.n_rows, table.place(1)) == (3, "row 1")


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_parquet(compression: str, written: Written) -> None:
    path = written("a.parquet", b"")
    pq.write_table(PENGUINS, path, compression=compression, row_group_size=2)
    check_penguins(read_parquet(path))
    assert read_parquet(path, ignore=["bill", "wild"]).names == ("mass", "sex", "island")


def test_arrow_and_feather(written: Written) -> None:
    path = written("a.arrow", b"")
    with pa.ipc.new_file(path, PENGUINS.schema) as writer:
        for batch in PENGUINS.to_batches(max_chunksize=2):
            writer.write(batch)
    check_penguins(read_ipc(path))
    feather.write_feather(PENGUINS, path)
    check_penguins(read_ipc(path))
    assert read_ipc(path, ignore=["mass"]).names == ("bill", "sex", "wild", "island")


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (pa.array([1, 2], pa.uint64()), [1, 2]),
        (pa.array([1.5, None], pa.float16()), [1.5, None]),
        (pa.array([decimal.Decimal("1.25"), None]), [1.25, None]),
        (pa.nulls(2), [None, None]),
        (pa.array([2**63 + 1, 0], pa.uint64()), [2.0**63, 0]),
        (pa.chunked_array([], pa.int8()), []),
    ],
)
def test_numbers_of_every_type(cells: Any, values: list[float | None]) -> None:
    found = column_of("c", cells, Rows())
    assert found.kind == "numeric"
    np.testing.assert_array_equal(found.values, np.array(values, dtype=float))


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (pa.array(["a", None, ""]), ["a", None, ""]),
        (pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
        (pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
        (pa.chunked_array([["b"], ["a", "b"]]), ["b", "a", "b"]),
        (pa.chunked_array([pa.array([v]).dictionary_encode() for v in "bab"]), ["b", "a", "b"]),
        (pa.array([3, 1, None]).dictionary_encode(), ["3", "1", None]),
        (pa.DictionaryArray.from_arrays([0, 1, None], ["x", None]), ["x", None, None]),
        (pa.array(["NA", " a"]), ["NA", " a"]),
    ],
)
def test_text_of_every_type_stays_as_it_is(cells: Any, words: list[str | None]) -> None:
    found = column_of("c", cells, Rows())
    assert found.kind == "categorical"
    assert texts(found) == words
    assert found.values.dtype == np.int32


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime.date(2024, 1, 31), "2024-01-31"),
        (datetime.datetime(2024, 1, 31, 10, 30), "2024-01-31 10:30:00.000000"),
        (datetime.time(10, 30), "10:30:00.000000"),
    ],
)
def test_dates_and_times(value: Any, text: str) -> None:
    found = column_of("c", pa.array([value, None]), Rows())
    assert found.kind == "date"
    assert texts(found) == [text, None]


def test_a_duration_is_a_date_too() -> None:
    found = column_of("c", pa.array([datetime.timedelta(seconds=3)]), Rows())
    assert found.kind == "date"


TYPE = "which is neither numbers nor text"


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            pa.array([1.0, np.inf, -np.inf]),
            "t: column 'c' holds inf in row 1 (2 infinite cells); only finite numbers can be used: "
            "correct them or make them missing",
        ),
        (
            pa.array([[1.0, 2.0]]),
            f"t: column 'c' has the type 'list<item: double>', {TYPE}; give each part its own "
            "column, or leave the column out (ignore)",
        ),
        (
            pa.array([{"a": 1}]),
            f"t: column 'c' has the type 'struct<a: int64>', {TYPE}; give each part its own "
            "column, or leave the column out (ignore)",
        ),
        (
            pa.array([b"x"]),
            f"t: column 'c' has the type 'binary', {TYPE}; decode the bytes to text, or leave the "
            "column out (ignore)",
        ),
    ],
)
def test_cells_that_cannot_be_used(cells: Any, message: str, refusal: Refusal) -> None:
    assert refusal(DataError, column_of, "c", cells, Rows("t")) == message


def test_no_rows_and_repeated_names(written: Written, refusal: Refusal) -> None:
    assert refusal(DataError, table_of, PENGUINS.slice(0, 0), "t") == "t: the table has no rows"
    path = written("a.parquet", b"")
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), path)
    assert refusal(DataError, read_parquet, path) == (
        "a.parquet: two columns have one name among 'a', 'a'"
    )
    pq.write_table(PENGUINS, path)
    assert refusal(DataError, read_parquet, path, ignore=["masss"]) == (
        "a.parquet has no column 'masss'; did you mean 'mass'? (columns: 'mass', 'bill', 'sex', "
        "'wild', 'island')"
    )


@pytest.mark.parametrize("read", [read_parquet, read_ipc])
def test_damaged_files_are_refused(
    read: Callable[[Path], Table], written: Written, refusal: Refusal
) -> None:
    path = written("a.file", b"")
    if read is read_parquet:
        pq.write_table(PENGUINS, path)
    else:
        feather.write_feather(PENGUINS, path, compression="uncompressed")
    whole = path.read_bytes()
    for damaged in (whole[:-10], whole[: len(whole) // 2], whole[:8], whole[:-30] + whole[-20:]):
        message = refusal(DataError, read, written("a.file", damaged))
        assert message.startswith("a.file: the file is damaged or cut short: ")
        assert message.endswith("; write it again")
    assert refusal(DataError, read, written("a.file", b"a,b\n1,2\n")) == (
        "a.file: by its first bytes this is text data; unpack or export it first"
    )
