"""Built-in tables: small, free to use, and enough to try everything.

    penguins   344 penguins of three species; numbers, categories and missing cells. CC0.
    lesson     the eight rows of the softmax lesson, x1 to x4 and a class y from 0 to 2

>>> [example.target for example in EXAMPLES.values()]
['species', 'y']
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from polylogit.errors import DataError, nearest
from polylogit.schema import listed, shown


@dataclass(frozen=True)
class Example:
    """A table that comes with the package: its file, its label column, one line about it."""

    path: Path
    target: str
    about: str


_TABLES = Path(__file__).with_name("tables")

EXAMPLES: Mapping[str, Example] = {
    "penguins": Example(
        _TABLES / "penguins.csv",
        "species",
        "344 penguins, three species, measured on three islands of Antarctica (CC0)",
    ),
    "lesson": Example(
        _TABLES / "lesson.csv",
        "y",
        "eight rows of four numbers in three classes, from the softmax lesson",
    ),
}


def resolved(source: str | Path) -> Path:
    """Return the file that `source` means: a file of that name, or else a built-in table.

    A DataError lists the built-in names if it is neither.

    >>> resolved("penguins").name
    'penguins.csv'
    """
    path = Path(source)
    if path.exists() or path.is_symlink():
        return path
    name = str(source)
    if name in EXAMPLES:
        return EXAMPLES[name].path
    raise DataError(
        f"there is no file {shown(name, 200)}, and no built-in table of that name "
        f"({listed(EXAMPLES)}){nearest(name, EXAMPLES)}"
    )
