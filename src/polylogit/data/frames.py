"""DataFrames of pandas, polars and pyarrow, through narwhals: columns in memory -> `Table`.

The index of a pandas DataFrame is ignored. Kinds are those of `polylogit.data.arrow`; a column of
Python objects is taken if all of them are of one type.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import narwhals as nw
import pyarrow as pa

from polylogit.data import arrow
from polylogit.data.dataset import Placed, Rows
from polylogit.errors import DataError, nearest
from polylogit.schema import Column, Table, listed, shown


def is_frame(value: object) -> bool:
    """Whether `value` is a DataFrame (or a lazy one) of a library that is known here.

    >>> is_frame([[1, 2]])
    False
    """
    return nw.dependencies.is_into_dataframe(value) or nw.dependencies.is_polars_lazyframe(value)


def read_frame(frame: Any, *, source: str = "DataFrame", ignore: Iterable[str] = ()) -> Table:
    """Turn a DataFrame into a `Table`, columns named in `ignore` left out.

    A DataError names a column of mixed types with the two rows that differ, a column of a type that
    is neither numbers nor text, infinite numbers, and repeated column names.
    """
    known = _known(frame, source)
    names = [str(name) for name in known.columns]
    ignore = tuple(ignore)
    _refuse_names(names, ignore, source)
    if len(known) == 0:
        raise DataError(f"{source}: the DataFrame has no rows")
    where = Rows(source)
    columns = tuple(
        _column(name, known.get_column(key), where)
        for key, name in zip(known.columns, names, strict=True)
        if name not in ignore
    )
    return Table(columns, source, len(known))


def _known(frame: Any, source: str) -> nw.DataFrame[Any]:
    try:
        return nw.from_native(frame, eager_only=True)
    except TypeError as error:
        raise DataError(
            f"{source}: {type(frame).__name__} is not a DataFrame in memory; a lazy one must be "
            "collected first (.collect())"
        ) from error
    except nw.exceptions.DuplicateError as error:
        raise DataError(
            f"{source}: several columns have one name; give every column its own name"
        ) from error


def _refuse_names(names: list[str], ignore: tuple[str, ...], source: str) -> None:
    if len(set(names)) < len(names):
        raise DataError(f"{source}: two columns have one name among {listed(names)}")
    for name in ignore:
        if name not in names:
            raise DataError(
                f"{source} has no column {shown(name)}{nearest(name, names)} (columns: "
                f"{listed(names)})"
            )


def _column(name: str, series: nw.Series[Any], where: Placed) -> Column:
    try:
        cells = series.to_arrow()
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise DataError(_mixed_message(name, series, where, error)) from error
    return arrow.column_of(name, cells, where)


def _mixed_message(name: str, series: nw.Series[Any], where: Placed, error: Exception) -> str:
    entries = [(row, entry) for row, entry in enumerate(series.to_list()) if entry is not None]
    first = entries[0] if entries else (0, None)
    other = next(((row, e) for row, e in entries if type(e) is not type(first[1])), None)
    if other is None:
        return (
            f"{where.source}: column {shown(name)} cannot be used: {shown(str(error), 150)}; "
            "convert it to numbers or text"
        )
    found = " and ".join(
        f"{type(entry).__name__} ({shown(entry)} in row {row})" for row, entry in (first, other)
    )
    return (
        f"{where.source}: column {shown(name)} mixes {found}; give the column one type, such as "
        "with .astype(str)"
    )
