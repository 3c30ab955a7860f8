"""`polylogit.data.cells`: what a column of text means."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polylogit.data.cells import MISSING_MARKS, column_of
from polylogit.data.dataset import Rows
from polylogit.errors import DataError
from polylogit.schema import Column

Refusal = Callable[..., str]
LINES = Rows("t.csv", range(2, 1000))


def column(*cells: str, categorical: bool = False) -> Column:
    half = len(cells) // 2  # two chunks, as from a large file
    chunks = pa.chunked_array([list(cells[:half]), list(cells[half:])], pa.string())
    return column_of("c", chunks, LINES, categorical=categorical)


def texts(found: Column) -> list[str | None]:
    return [None if code < 0 else found.categories[code] for code in found.values]


NUMBERS = ["1", "-1", "+1", ".5", "5.", "1e3", "1E-3", "+.5e+2", "007", " 1.5 ", "\t2", "1e-400"]


@pytest.mark.parametrize("cell", NUMBERS)
def test_the_number_grammar_reads_as_python_does(cell: str) -> None:
    found = column(cell, "2")
    assert found.kind == "numeric"
    assert found.values.tolist() == [float(cell), 2.0]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_every_float64_survives(values: list[float]) -> None:
    for prefix in ("", " "):  # the fast way and the slow way
        found = column(*(f"{prefix}{value!r}" for value in values))
        np.testing.assert_array_equal(found.values, values)


@pytest.mark.parametrize("mark", [*MISSING_MARKS, " NA ", "  "])
def test_missing_marks(mark: str) -> None:
    numeric = column("1", mark, "2")
    assert numeric.kind == "numeric"
    np.testing.assert_array_equal(numeric.values, [1.0, np.nan, 2.0])
    assert texts(column("a", mark, "b")) == ["a", None, "b"]
    np.testing.assert_array_equal(column("yes", mark, "no").values, [1.0, np.nan, 0.0])


@pytest.mark.parametrize("cells", [("", "NA"), ("nan", "NaN"), ("nan", "?"), (" ", " ")])
def test_a_column_of_missing_marks_is_numeric_and_empty(cells: tuple[str, ...]) -> None:
    found = column(*cells)
    assert found.kind == "numeric"
    assert np.isnan(found.values).all()


def test_truth_values_keep_the_spelling_seen_first() -> None:
    found = column("TRUE", "false", "true", "False")
    assert (found.kind, found.values.tolist()) == ("boolean", [1.0, 0.0, 1.0, 0.0])
    assert found.categories == ("false", "TRUE")
    assert column("Yes", " no").categories == ("no", "Yes")
    assert column("yes", "yes").categories == ("", "yes")


@pytest.mark.parametrize("cells", [("0", "1"), ("1", "0", "NA")])
def test_zero_and_one_stay_numbers(cells: tuple[str, ...]) -> None:
    assert column(*cells).kind == "numeric"


@pytest.mark.parametrize("cells", [("true", "no"), ("true", "maybe"), ("T", "F")])
def test_other_words_are_categories(cells: tuple[str, ...]) -> None:
    assert texts(column(*cells)) == list(cells)


DATES = [
    "2024-01-31",
    "2024/1/31",
    "31.1.2024",
    "1/31/2024",
    "2024-01-31 10:30",
    "2024-01-31T10:30:15.123Z",
    "2024-01-31 10:30:15 +02:00",
]


@pytest.mark.parametrize("date", DATES)
def test_dates_are_known(date: str) -> None:
    found = column(date, "2023-12-31", "NA")
    assert found.kind == "date"
    assert texts(found) == [date, "2023-12-31", None]


@pytest.mark.parametrize("cells", [("2024-01-31", "soon"), ("1-2-3", "x"), ("10:30", "11:00")])
def test_what_is_not_all_dates_is_categorical(cells: tuple[str, ...]) -> None:
    assert column(*cells).kind == "categorical"


def test_spaces_around_categories_do_not_count() -> None:
    found = column("a", " a", "a ", "b b")
    assert texts(found) == ["a", "a", "a", "b b"]
    assert found.categories == ("a", "b b")
    assert found.values.dtype == np.int32


MISSPELLED = [
    ("1,5", "a decimal comma? write a point"),
    ("1_000", "leave out the underscores"),
    ("1 000", "leave out the thousands separators"),
    ("1,234.5", "leave out the thousands separators"),
    ("5 %", "leave out the percent sign"),
    ("inf", "only finite numbers can be used"),
    ("-Infinity", "only finite numbers can be used"),
    ("1e999", "it is beyond the range of 64-bit numbers"),
    ("\uff11\uff12", "write it with plain 0-9, a point and a hyphen"),
    ("\u22125", "write it with plain 0-9, a point and a hyphen"),
    ("abc", "correct the cell, write NA if it is missing"),
    ("0x10", "correct the cell, write NA if it is missing"),
]


@pytest.mark.parametrize(("cell", "advice"), MISSPELLED)
@pytest.mark.parametrize("space", ["", " "])
def test_a_misspelled_number_is_named(cell: str, advice: str, space: str, refusal: Refusal) -> None:
    shown = f"'{cell}'"
    assert refusal(DataError, column, "1", "NA", space + cell, "2") == (
        f"t.csv: column 'c' holds {shown} in line 4, which is no number, in a column meant as "
        f"numbers (2 of 3 cells are); {advice}, or name the column as categorical"
    )
    assert texts(column("1", cell, categorical=True)) == ["1", cell]


@pytest.mark.parametrize(("cell", "advice"), MISSPELLED[:-2])
def test_a_column_of_nothing_but_misspelled_numbers_is_refused(
    cell: str, advice: str, refusal: Refusal
) -> None:
    message = refusal(DataError, column, cell, cell)
    assert f"'{cell}' in line 2" in message
    assert message.endswith(f"(0 of 2 cells are); {advice}, or name the column as categorical")


def test_nan_in_another_spelling_is_no_missing_mark(refusal: Refusal) -> None:
    assert refusal(DataError, column, "1", "2", "-nan") == (
        "t.csv: column 'c' holds '-nan' in line 4, which is no number, in a column meant as "
        "numbers (2 of 3 cells are); only finite numbers can be used, or name the column as "
        "categorical"
    )


def test_nan_in_another_spelling_is_found_beside_a_mark(refusal: Refusal) -> None:
    assert "'-nan' in line 5" in refusal(DataError, column, "1", "NA", "2", "-nan")


def test_fewer_than_half_numbers_are_categories() -> None:
    assert column("1", "a", "b").kind == "categorical"
    assert texts(column("1", "a", "b")) == ["1", "a", "b"]


def test_exactly_half_numbers_are_meant_as_numbers(refusal: Refusal) -> None:
    assert "'a' in line 3" in refusal(DataError, column, "1", "a")


def test_categorical_on_request_keeps_the_text() -> None:
    assert texts(column("01", "1", "NA", categorical=True)) == ["01", "1", None]
    assert column("", "NA", categorical=True).kind == "categorical"
    assert column("true", "2024-01-01", categorical=True).kind == "categorical"
