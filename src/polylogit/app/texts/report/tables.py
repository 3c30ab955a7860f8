"""Sections, tables and numbers as HTML; every text is escaped here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

MOST_CLASSES = 20  # in tables by class; more would not be read
WORD, LONG = 16, 40  # letters beyond which a text may wrap in a column of some, or more, width
NUMBERS = ' class="number"'
NUMBER = re.compile(r"[-+]?[\d∞✓][-+\d.e∞ …–]*")

Cells = Sequence[Sequence[str]]


def section(title: str, *inside: str) -> str:
    """A part of the page under a heading."""
    return f"<section><h2>{escape(title)}</h2>{''.join(inside)}</section>"


def paragraph(text: str) -> str:
    """A sentence."""
    return f"<p>{escape(text)}</p>"


def note(text: str) -> str:
    """A sentence that explains what stands beside it."""
    return f'<p class="soft">{escape(text)}</p>'


def cards(numbers: Mapping[str, str]) -> str:
    """The few numbers that matter most, large."""
    inside = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in numbers.items()
    )
    return f'<dl class="cards">{inside}</dl>'


def table(cells: Cells) -> str:
    """A table whose first row is its head; a head of empty cells is left out."""
    sides = _sides(cells[1:])
    rows = "".join(f"<tr>{_row(row, sides)}</tr>" for row in cells[1:])
    top = f"<thead><tr>{header(cells[0], sides)}</tr></thead>" if any(cells[0]) else ""
    return scrolling(f"<table>{top}<tbody>{rows}</tbody></table>")


def _sides(rows: Cells) -> list[str]:
    """How each column is set: numbers to the right, texts to the left, long ones with room."""
    columns = ([cell for cell in column if cell] for column in zip(*rows, strict=True))
    return [side_of(column) for column in columns]


def side_of(column: Sequence[str]) -> str:
    """The class of a column's cells."""
    if all(NUMBER.fullmatch(cell) for cell in column):
        return NUMBERS
    longest = max(map(len, column))
    return ' class="long"' if longest > LONG else ' class="text"' if longest > WORD else ""


def _row(row: Sequence[str], sides: Sequence[str]) -> str:
    pairs = zip(row, sides, strict=True)
    return "".join(f"<td{side}>{escape(cell)}</td>" for cell, side in pairs)


def grouped(names: Sequence[str], parts: Sequence[tuple[str, Cells]]) -> str:
    """A table in parts, each with a head of its own in the first column."""
    first = side_of([name for name, _ in parts])
    sides = _sides([row for _, rows in parts for row in rows])
    bodies = "".join(f"<tbody>{_part(name, rows, first, sides)}</tbody>" for name, rows in parts)
    head = f"<thead><tr>{header(names, [first, *sides])}</tr></thead>"
    return scrolling(f"<table>{head}{bodies}</table>")


def _part(name: str, rows: Cells, first: str, sides: Sequence[str]) -> str:
    head = f'<th scope="rowgroup" rowspan="{len(rows)}"{first}>{escape(name)}</th>'
    return "".join(
        f"<tr>{head if at == 0 else ''}{_row(row, sides)}</tr>" for at, row in enumerate(rows)
    )


def header(names: Sequence[str], sides: Sequence[str]) -> str:
    """The first row; an empty corner heads nothing, so it is no header."""
    return "".join(
        f'<th scope="col"{side}>{escape(name)}</th>' if name else "<td></td>"
        for name, side in zip(names, sides, strict=True)
    )


def scrolling(inside: str) -> str:
    """What may be wider than the page scrolls in a box of its own."""
    return f'<div class="wide" tabindex="0" role="group">{inside}</div>'


def figure(caption: str, drawing: str) -> str:
    """A drawing under its name."""
    return f"<figure><figcaption>{escape(caption)}</figcaption>{drawing}</figure>"


def beside(*inside: str) -> str:
    """Parts side by side where there is room."""
    return '<div class="beside">' + "".join(f"<div>{part}</div>" for part in inside) + "</div>"


def folded(title: str, inside: str) -> str:
    """What only opens for who asks."""
    return f"<details><summary>{escape(title)}</summary>{inside}</details>"


def more(count: int, words: Mapping[str, str]) -> str:
    """How many are not shown; nothing if none."""
    return note(words["more"].format(count=count)) if count > 0 else ""


def short(value: float | None) -> str:
    """A number in four digits; what JSON has as null was infinite."""
    return "∞" if value is None else f"{value:.4g}"
