"""Sections, tables and numbers as HTML; every text is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

MOST_CLASSES = 20  # in tables by class; more would not be read

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
    head = header(cells[0])
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells[1:]
    )
    top = f"<thead><tr>{head}</tr></thead>" if any(cells[0]) else ""
    return scrolling(f"<table>{top}<tbody>{rows}</tbody></table>")


def grouped(names: Sequence[str], parts: Sequence[tuple[str, Cells]]) -> str:
    """A table in parts, each with a head of its own in the first column."""
    bodies = "".join(f"<tbody>{_part(name, rows)}</tbody>" for name, rows in parts)
    return scrolling(f"<table><thead><tr>{header(names)}</tr></thead>{bodies}</table>")


def _part(name: str, rows: Cells) -> str:
    head = f'<th scope="rowgroup" rowspan="{len(rows)}">{escape(name)}</th>'
    cells = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return "".join(f"<tr>{head if at == 0 else ''}{row}</tr>" for at, row in enumerate(cells))


def header(names: Sequence[str]) -> str:
    """The first row; an empty corner heads nothing, so it is no header."""
    return "".join(
        f'<th scope="col">{escape(name)}</th>' if name else "<td></td>" for name in names
    )


def scrolling(inside: str) -> str:
    """What may be wider than the page scrolls in a box of its own."""
    return f'<div class="wide" tabindex="0" role="group">{inside}</div>'


def figure(caption: str, drawing: str) -> str:
    """A drawing under its name."""
    return f"<figure><figcaption>{escape(caption)}</figcaption>{drawing}</figure>"


def folded(title: str, inside: str) -> str:
    """What only opens for who asks."""
    return f"<details><summary>{escape(title)}</summary>{inside}</details>"


def more(count: int, words: Mapping[str, str]) -> str:
    """How many are not shown; nothing if none."""
    return note(words["more"].format(count=count)) if count > 0 else ""


def short(value: float | None) -> str:
    """A number in four digits; what JSON has as null was infinite."""
    return "∞" if value is None else f"{value:.4g}"
