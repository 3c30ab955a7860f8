"""What a column of text cells means: numbers, true/false, dates or categories.

The rules, in this order, over the present cells of a column:

    missing       empty, NA, N/A, null, NaN, nan, None or ?; spaces around a cell never count
    numeric       every cell is a number: sign, digits, point, exponent (`-1`, `.5`, `1e-3`), finite
    boolean       every cell is true or false, or every cell is yes or no, in any case
    date          every cell is a date such as 2024-01-31, 31.1.2024, 1/31/2024, with or without a
    time (an error)    at least half of the cells are numbers or look like numbers (`1,5`, `1_000`,
    `5%`,
                  `inf`, `1e999`, full-width digits): the column means numbers and some are
                  misspelled
    categorical   anything else; a category is the cell's text without spaces around it

A column without any present cell is numeric and all missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polylogit.data.dataset import Placed
from polylogit.errors import DataError
from polylogit.schema import Column, shown

MISSING_MARKS = ("", "NA", "N/A", "null", "NaN", "nan", "None", "?")

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_TIME = r"[ T][0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?: ?(?:Z|[+-][0-9]{2}:?[0-9]{2}))?"
_DAY = r"[0-9]{4}([-/.])[0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{4}"
_DATE = rf"(?:{_DAY})(?:{_TIME})?"

_LOOK_ALIKES: tuple[tuple[str, str], ...] = (
    (r"[+-]?(?:inf|infinity|nan)", "only finite numbers can be used"),
    (_NUMBER, "it is beyond the range of 64-bit numbers"),
    (r"[+-]?[0-9]+,[0-9]+(?:[eE][+-]?[0-9]+)?", "a decimal comma? write a point"),
    (r"[+-]?[0-9]{1,3}(?:[ ,.'][0-9]{3})+(?:[.,][0-9]+)?", "leave out the thousands separators"),
    (r"[+-]?[0-9_]+(?:\.[0-9_]+)?", "leave out the underscores"),
    (_NUMBER + r" ?%", "leave out the percent sign"),
)
"""Patterns of what was meant as a number (after full-width digits became 0-9), with the remedy."""


def column_of(
    name: str, cells: pa.ChunkedArray, where: Placed, *, categorical: bool = False
) -> Column:
    """Find out what text cells mean, by the module's rules; `categorical` says it beforehand.

    A DataError names column, place and text of the first cell that is no number in a column of
    numbers.

    >>> from polylogit.data.dataset import Rows
    >>> column_of("age", pa.chunked_array([["31", " 4.5 ", "NA"]]), Rows()).values
    array([31. ,  4.5,  nan])
    """
    numbers = None if categorical else _plain_numbers(cells)
    if numbers is not None:
        return Column(name, "numeric", numbers)
    return column_of_words(name, words_of(cells), where, categorical=categorical)


def column_of_words(name: str, words: Words, where: Placed, *, categorical: bool = False) -> Column:
    """`column_of` where the different texts of the column are known."""
    if categorical or len(words.texts) == 0:
        return _as_written(name, words, "categorical" if categorical else "numeric")
    numeric = _numeric_words(words.texts)
    if not np.isnan(numeric).any():
        return Column(name, "numeric", np.append(numeric, np.nan)[words.codes])
    return _from_words(name, words, numeric, where)


def _from_words(name: str, words: Words, numeric: np.ndarray, where: Placed) -> Column:
    truth = _truth(words.texts.to_pylist())
    if truth is not None:
        values, spelled = truth
        return Column(name, "boolean", np.append(values, np.nan)[words.codes], spelled)
    if _matches(words.texts, _DATE).all():
        return _as_written(name, words, "date")
    _refuse_misspelled(name, words, numeric, where)
    return _as_written(name, words, "categorical")


# --- the fast way: numbers as they should be ------------------------------------------------------


def _plain_numbers(cells: pa.ChunkedArray) -> np.ndarray | None:
    """Convert a column of plain numbers and missing marks; None if it is anything else."""
    values = _cast(cells)
    if values is None:
        marks = pa.array(MISSING_MARKS, type=cells.type)
        missing = pc.is_in(cells, value_set=marks)
        values = _cast(pc.if_else(missing, pa.scalar(None, cells.type), cells))
        if values is None:
            return None
        return values if np.array_equal(np.isnan(values), missing.to_numpy()) else None
    return values if len(values) and not np.isnan(values).any() else None


def _cast(cells: Any) -> np.ndarray | None:
    """Convert by arrow; None if a cell fails or is infinite. "nan" passes: look again."""
    try:
        values = pc.cast(cells, pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    return None if np.isinf(values).any() else np.asarray(values)


# --- the slow way: every different text once ------------------------------------------------------


def numbers_in(cells: pa.ChunkedArray) -> np.ndarray | None:
    """The cells as finite numbers, NaN where missing; None where one of them is anything else."""
    numbers = _plain_numbers(cells)
    if numbers is not None:
        return numbers
    words = words_of(cells)
    numeric = _numeric_words(words.texts)
    return None if np.isnan(numeric).any() else np.append(numeric, np.nan)[words.codes]


def refuse_misfit(name: str, cells: pa.ChunkedArray, where: Placed) -> None:
    """Refuse the first cell that is no number, in a column that is known to mean numbers."""
    words = words_of(cells)
    wrong = np.isnan(_numeric_words(words.texts))
    row = int(np.argmax(np.append(wrong, False)[words.codes]))
    text = words.texts[int(words.codes[row])].as_py()
    raise DataError(
        f"{where.source}: column {shown(name)} holds {shown(text)} in {where.place(row)}, which "
        f"is no number, in a column meant as numbers; {_advice(text)}, or name the column as "
        "categorical"
    )


@dataclass(frozen=True, eq=False)
class Words:
    """The different texts of a column, spaces cut off, missing marks left out.

    `codes` int32 (N,) point into `texts`, -1 where missing; `counts` says how often each text
    stands.
    """

    texts: pa.Array
    codes: np.ndarray
    counts: np.ndarray


def words_of(cells: pa.ChunkedArray) -> Words:
    """The different texts of a column, in the order in which they come."""
    encoded = _one_array(cells.dictionary_encode())
    trimmed = pc.ascii_trim_whitespace(encoded.dictionary).dictionary_encode()
    marks = pa.array(MISSING_MARKS, type=trimmed.dictionary.type)
    missing = _bools(pc.is_in(trimmed.dictionary, value_set=marks))
    number = np.where(missing, -1, np.cumsum(~missing) - 1).astype(np.int32)
    codes = number[trimmed.indices.to_numpy()][encoded.indices.to_numpy()]
    texts = trimmed.dictionary.filter(pa.array(~missing))
    return Words(texts, codes, np.bincount(codes[codes >= 0], minlength=len(texts)))


def _one_array(encoded: pa.ChunkedArray) -> pa.DictionaryArray:
    whole = encoded.unify_dictionaries().combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _numeric_words(texts: pa.Array) -> np.ndarray:
    """Each text as a finite number, NaN where it is none."""
    numbers = _matches(texts, _NUMBER)
    values = np.full(len(texts), np.nan)
    values[numbers] = pc.cast(texts.filter(pa.array(numbers)), pa.float64()).to_numpy()
    values[np.isinf(values)] = np.nan
    return values


def _truth(texts: list[str]) -> tuple[np.ndarray, tuple[str, str]] | None:
    """Values 0 and 1 of the texts and the two spellings, if they are true/false or yes/no."""
    lower = [text.lower() for text in texts]
    for false, true in (("false", "true"), ("no", "yes")):
        if set(lower) <= {false, true}:
            spelled = dict(zip(reversed(lower), reversed(texts), strict=True))  # the first stays
            values = np.array([float(text == true) for text in lower])
            return values, (spelled.get(false, ""), spelled.get(true, ""))
    return None


def _as_written(name: str, words: Words, kind: Any) -> Column:
    if kind == "numeric":
        return Column(name, "numeric", np.full(len(words.codes), np.nan))
    return Column(name, kind, words.codes, tuple(words.texts.to_pylist()))


def _matches(texts: pa.Array, pattern: str) -> np.ndarray:
    return _bools(pc.match_substring_regex(texts, f"^(?:{pattern})$", ignore_case=True))


def _bools(array: Any) -> np.ndarray:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=bool)


# --- numbers that are misspelled ------------------------------------------------------------------


def _refuse_misspelled(name: str, words: Words, numeric: np.ndarray, where: Placed) -> None:
    wrong = np.isnan(numeric)
    meant = ~wrong | _look_alike(words.texts)
    if 2 * words.counts[meant].sum() < words.counts.sum():
        return
    row = int(np.argmax(np.append(wrong, False)[words.codes]))
    text = words.texts[int(words.codes[row])].as_py()
    numbers, cells = words.counts[~wrong].sum(), words.counts.sum()
    raise DataError(
        f"{where.source}: column {shown(name)} holds {shown(text)} in {where.place(row)}, which "
        f"is no number, in a column meant as numbers ({numbers} of {cells} cells are); "
        f"{_advice(text)}, or name the column as categorical"
    )


def _look_alike(texts: pa.Array) -> np.ndarray:
    return _matches(_plain(texts), "|".join(pattern for pattern, _ in _LOOK_ALIKES))


def _plain(texts: pa.Array) -> pa.Array:
    """Write full-width digits and the minus sign as ASCII does."""
    return pc.replace_substring(pc.utf8_normalize(texts, form="NFKC"), "\N{MINUS SIGN}", "-")


def _advice(text: str) -> str:
    plain = _plain(pa.array([text]))
    for pattern, advice in _LOOK_ALIKES:
        if _matches(plain, pattern).all():
            return advice if text.isascii() else "write it with plain 0-9, a point and a hyphen"
    return "correct the cell, write NA if it is missing"
