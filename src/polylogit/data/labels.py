"""A file that holds labels alone: an npy array (N,), or a table of a single column."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from polylogit.data.arrays import loaded
from polylogit.data.dataset import Rows
from polylogit.data.read import read_table
from polylogit.data.source import called
from polylogit.data.targets import Targets, from_column, from_memory
from polylogit.errors import DataError
from polylogit.schema import Table, listed


def read_labels(source: str) -> Targets:
    """Labels (N,) and their classes; the header of a CSV file is not a label.

    Raises `DataError` for a file with more than one column, `TargetError` for what is no label.
    """
    path = Path(source)
    if path.suffix.lower() == ".npy":
        labels = loaded(path)
        if labels.ndim != 1:
            raise DataError(
                f"{called(path)}: labels must be an array (N,), not of shape {labels.shape}"
            )
        return from_memory(labels, len(labels), Rows(called(path)))
    table = read_table(source)
    if not isinstance(table, Table) or len(table.columns) != 1:
        names = listed(table.names) if isinstance(table, Table) else "a matrix"
        raise DataError(
            f"{source}: holds {names}, but a file of labels has one column under a header, or is "
            "an npy array (N,)"
        )
    return from_column(table.columns[0], cast("Rows", table))
