"""`polylogit.data.delimited` against pandas, and against forty ways to damage a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polylogit.data import delimited
from polylogit.data.delimited import read_delimited
from polylogit.errors import DataError, OptionError
from polylogit.schema import Table

Written = Callable[[str, bytes | str], Path]
Refusal = Callable[..., str]


@pytest.fixture
def table(written: Written) -> Callable[..., Table]:
    def read(content: bytes | str, name: str = "a.csv", **options: Any) -> Table:
        return read_delimited(written(name, content), **options)

    return read


def cells(found: Table) -> dict[str, list[Any]]:
    """Every column as a list of numbers or texts, None where missing."""
    columns = {}
    for column in found.columns:
        if column.values.dtype.kind == "i":
            values: list[Any] = [None if c < 0 else column.categories[c] for c in column.values]
        else:
            values = [None if np.isnan(v) else v for v in column.values]
        columns[column.name] = values
    return columns


def test_columns_of_every_kind(table: Callable[..., Table]) -> None:
    found = table("n, b ,c,d\n1,yes,x,2024-01-31\n-2.5,No, y ,\n,NA,,2023-12-31\n")
    assert [column.kind for column in found.columns] == [
        "numeric",
        "boolean",
        "categorical",
        "date",
    ]
    assert cells(found) == {
        "n": [1.0, -2.5, None],
        "b": [1.0, 0.0, None],
        "c": ["x", "y", None],
        "d": ["2024-01-31", None, "2023-12-31"],
    }
    assert (found.n_rows, found.source, found.place(2)) == (3, "a.csv", "line 4")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "a,b\n1,x\n2,y\n"),
        ("a.csv", "a;b\n1;x\n2;y\n"),
        ("a.csv", "a\tb\n1\tx\n2\ty\n"),
        ("a.tsv", "a\tb\n1\tx\n2\ty\n"),
        ("a.txt", "a|b\n1|x\n2|y\n"),
        ("a.csv", "a,b\r\n1,x\r\n2,y\r\n"),
        ("a.csv", "a,b\r1,x\r2,y"),
        ("a.csv", "a,b\n1,x\n2,y"),
        ("a.csv", "\ufeffa,b\n1,x\n2,y\n"),
        ("a.csv", '"a","b"\n"1","x"\n"2","y"\n'),
        ("a.csv", '"a",b\n1,"x"\n"2","y"\n'),
        ("a.csv", "\n\na,b\n\n1,x\n\n2,y\n\n"),
    ],
)
def test_every_way_to_write_the_same_table(
    name: str, content: str, table: Callable[..., Table]
) -> None:
    found = table(content, name)
    assert cells(found) == {"a": [1.0, 2.0], "b": ["x", "y"]}
    lines = content.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert [lines[int(found.place(row).split()[1]) - 1][-2:].strip('"')[-1] for row in (0, 1)] == [
        "x",
        "y",
    ]


def test_the_delimiter_can_be_said(table: Callable[..., Table]) -> None:
    assert cells(table("a:b\n1:2,5\n", delimiter=":", categorical=["b"])) == {
        "a": [1],
        "b": ["2,5"],
    }
    assert cells(table("a\tb,c\n1\t2\n", delimiter="tab")) == {"a": [1.0], "b,c": [2.0]}


@pytest.mark.parametrize("delimiter", ["", "ab", '"', "\n", "é"])
def test_an_impossible_delimiter_is_refused(
    delimiter: str, table: Callable[..., Table], refusal: Refusal
) -> None:
    assert refusal(OptionError, table, "a,b\n1,2\n", delimiter=delimiter) == (
        f"the delimiter must be one character such as , ; | or tab, got {delimiter!r}"
    )


def test_quoted_delimiters_in_the_header_are_not_counted(table: Callable[..., Table]) -> None:
    assert cells(table('"a,b,c,d";e\n1;2\n')) == {"a,b,c,d": [1.0], "e": [2.0]}


def test_ignored_columns_are_not_read(table: Callable[..., Table], refusal: Refusal) -> None:
    content = "a,id,c\n1,1,x\n2,b,y\n3,3,x\n"
    assert table(content, ignore=["id"]).names == ("a", "c")
    assert "'b' in line 3" in refusal(DataError, table, content)
    assert cells(table(content, categorical=["id"]))["id"] == ["1", "b", "3"]
    read = cells(table(content, numbers_in_model=["a", "absent"]))
    assert (read["a"], read["id"]) == ([1.0, 2.0, 3.0], ["1", "b", "3"])
    for option in ("ignore", "categorical"):
        assert refusal(DataError, table, content, **{option: ["idd"]}) == (
            "a.csv has no column 'idd'; did you mean 'id'? (columns: 'a', 'id', 'c')"
        )


# --- lines ----------------------------------------------------------------------------------------


def test_quoted_line_breaks_and_blank_lines_keep_line_numbers_right(
    table: Callable[..., Table], refusal: Refusal
) -> None:
    content = '"a\nx",b\n"one\ntwo",1\n\nthree,2\nfour,3\n'
    found = table(content)
    assert [found.place(row) for row in range(3)] == ["line 3", "line 6", "line 7"]
    assert cells(found) == {"a\nx": ["one\ntwo", "three", "four"], "b": [1.0, 2.0, 3.0]}
    assert refusal(DataError, table, content.replace("four,3", "four,x")).startswith(
        "a.csv: column 'b' holds 'x' in line 7, which is no number"
    )


def test_a_field_longer_than_pythons_own_limit(table: Callable[..., Table]) -> None:
    before = csv.field_size_limit()
    csv.field_size_limit(1000)
    long = "x" * 200_000
    found = table(f'a,b\n"{long}\n",1\ny,2\n')
    assert cells(found)["a"] == [long, "y"]
    assert found.place(1) == "line 4"
    assert csv.field_size_limit(before) == 1000


@given(
    rows=st.lists(
        st.lists(st.text(alphabet='ab ,;"\n\r\té', max_size=5), min_size=3, max_size=3),
        min_size=1,
        max_size=6,
    )
)
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_pythons_csv_module_writes_is_read_back(
    rows: list[list[str]], table: Callable[..., Table]
) -> None:
    path = Path("w.csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([["a", "b", "c"], *rows])
    found = read_delimited(path, categorical=["a", "b", "c"])
    stripped = [[cell.strip(" \t\n\r\v\f") or None for cell in row] for row in rows]
    # pyarrow's line breaks within a quoted cell are the file's own
    assert list(map(list, zip(*cells(found).values(), strict=True))) == stripped
    text = path.read_bytes().decode()
    for row in range(len(rows)):
        line = int(found.place(row).split()[1])
        assert _starts(text)[row + 1] == line


def _starts(text: str) -> list[int]:
    """The line in which each record starts, by walking through the characters."""
    starts, line, quoted, at = [1], 1, False, 0
    while at < len(text):
        step = 2 if text[at : at + 2] == "\r\n" else 1
        if text[at] == '"':
            quoted = not quoted
        elif text[at] in "\r\n":
            line += 1
            if not quoted:
                starts.append(line)
        at += step
    return starts


# --- damaged files --------------------------------------------------------------------------------

ICONV = "tables are read as UTF-8: convert it with iconv -f {0} -t UTF-8, or save it as UTF-8"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.csv: the file is empty, so it has no rows"),
        (b" \n\n", "a.csv: the file is empty, so it has no rows"),
        (b"\xef\xbb\xbf", "a.csv: the file is empty, so it has no rows"),
        (b"a,b\n", "a.csv: the file has a header and no rows"),
        (b"a,b", "a.csv: the file has a header and no rows"),
        (b"a,b\n\n\r\n", "a.csv: the file has a header and no rows"),
        (
            b"a,b\n1,2\n3\n",
            "a.csv: line 3 has 1 field, the header has 2; fill the row up, or leave it out",
        ),
        (
            b"a,b\n1,2\n\n3,4,5\n",
            "a.csv: line 4 has 3 fields, the header has 2; put a text that contains the "
            "delimiter into double quotes",
        ),
        (
            b'a,b\n"x\ny",2\n"z\n\n",2\n3\n',
            "a.csv: line 7 has 1 field, the header has 2; fill the row up, or leave it out",
        ),
        (
            b"a\n1\n2,3\n",
            "a.csv: line 3 has 2 fields, the header has 1; put a text that contains the "
            "delimiter into double quotes",
        ),
        (
            b"a,b\n1,\x00\n",
            "a.csv: a NUL byte in line 2 (byte 6): this is a binary file or a damaged one, not "
            "text; export it again as CSV in UTF-8",
        ),
        (
            "a,b\n1,2\n".encode("utf-16"),
            "a.csv: the text is UTF-16 (by its byte order mark); " + ICONV.format("UTF-16"),
        ),
        (
            b"\xfe\xff" + "a,b\n1,2\n".encode("utf-16-be"),
            "a.csv: the text is UTF-16 (by its byte order mark); " + ICONV.format("UTF-16"),
        ),
        (
            "a,b\n1,2\n".encode("utf-32"),
            "a.csv: the text is UTF-32 (by its byte order mark); " + ICONV.format("UTF-32"),
        ),
        (
            "a,b\n1,2\n".encode("utf-16-le"),
            "a.csv: the text is UTF-16LE without a byte order mark; " + ICONV.format("UTF-16LE"),
        ),
        (
            "a,b\n1,2\n".encode("utf-16-be"),
            "a.csv: the text is UTF-16BE without a byte order mark; " + ICONV.format("UTF-16BE"),
        ),
        (
            "a,b\r\n1,2\r\ncafé,2\r\n".encode("latin-1"),
            "a.csv: the text is not UTF-8: byte 0xE9 in line 3; most likely it is Latin-1 or "
            "Windows-1252 (the byte is 'é' there); " + ICONV.format("WINDOWS-1252"),
        ),
        (
            b"a,b\n1,\x81\n",
            "a.csv: the text is not UTF-8: byte 0x81 in line 2; most likely it is Latin-1 or "
            "Windows-1252; " + ICONV.format("WINDOWS-1252"),
        ),
        (
            b'a,b\n1,"2\n3,4\n5,6\n',
            "a.csv: the double quote opened in line 2 is never closed; close it, or write a lone "
            "quote twice within a quoted text",
        ),
        (
            b'a,b\n"x\ny",2\n1,"2 ""z""\n3,4\n',
            "a.csv: the double quote opened in line 4 is never closed; close it, or write a lone "
            "quote twice within a quoted text",
        ),
        (
            b'a,b\n1,"2\n3"x,4\n',
            "a.csv: line 2 cannot be split into fields (',' expected after '\"'); a double quote "
            "within a quoted text is written twice",
        ),
        (
            b'"a,b\n1,2\n',
            "a.csv: the header cannot be split into column names (unexpected end of data); check "
            "its quotes",
        ),
        (
            b"a,b,a,b,c\n1,2,3,4,5\n",
            "a.csv: the header names 'a', 'b' more than once; give every column its own name",
        ),
        (
            b"a, ,c\n1,2,3\n",
            "a.csv: column 2 of 3 has no name in the header; name it, or drop it (pandas writes "
            "its index so: use index=False)",
        ),
        (
            b"5.1,3,setosa\n4.9,3,setosa\n",
            "a.csv: line 1 holds '5.1' where column names are expected; put a header line on top",
        ),
        (
            b"PAR1\x15\x04",
            "a.csv: by its first bytes this is a Parquet file; rename it to .parquet",
        ),
        (
            b"<html><body>404</body></html>",
            "a.csv: by its first bytes this is an HTML page, perhaps an error page saved under "
            "this name; fetch the data again",
        ),
    ],
)
def test_damaged_files_are_refused_with_place_and_remedy(
    content: bytes, message: str, table: Callable[..., Table], refusal: Refusal
) -> None:
    assert refusal(DataError, table, content) == message


def test_a_line_over_the_limit_is_refused(
    table: Callable[..., Table], refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "LONGEST_LINE", 2**20)
    fits = b"a,b\n1," + b"x" * (2**20 - 2) + b"\n3,4\n"
    assert table(fits, categorical=["b"]).n_rows == 2
    many = fits + b"5,6\n" * 600_000
    assert table(many, categorical=["b"]).n_rows == 600_002
    for content in (fits.replace(b"x\n", b"xx\n"), many.replace(b"x\n", b"xx\n")):
        assert refusal(DataError, table, content) == (
            "a.csv: line 2 is longer than 1 MiB; this is no table, or its line ends were lost"
        )
    assert "line 600004 is longer" in refusal(DataError, table, many + b"y" * 2**21)


# --- against pandas -------------------------------------------------------------------------------


def test_penguins_agree_with_pandas() -> None:
    path = Path(delimited.__file__).with_name("tables") / "penguins.csv"
    theirs = pd.read_csv(path)
    ours = cells(read_delimited(path))
    assert list(ours) == list(theirs.columns)
    for name in ours:
        assert ours[name] == [None if pd.isna(value) else value for value in theirs[name]]


def test_a_large_table_in_several_blocks_agrees_with_numpy(
    table: Callable[..., Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "_BLOCK", 2**14)
    rng = np.random.default_rng(0)
    numbers, words = (
        rng.normal(size=(5000, 3)),
        rng.choice(["a", "b b", 'c"', "", "d\nd"], size=5000),
    )
    frame = pd.DataFrame(numbers, columns=["x", "y", "z"]).assign(w=words)
    frame.loc[17, "x"] = np.nan
    found = table(frame.to_csv(index=False))
    for name in "xyz":
        np.testing.assert_array_equal(found.column(name).values, frame[name].to_numpy())
    assert cells(found)["w"] == [word or None for word in words]
