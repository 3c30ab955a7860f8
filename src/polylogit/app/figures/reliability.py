"""Reliability diagrams: how often an event happened, over the probability that it was given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from polylogit.app.figures.frame import Axis, Figure, Frame, Points, axes, diagonal, dots, drawn
from polylogit.app.figures.frame import curve as joined
from polylogit.app.figures.frame import told as in_words

LARGEST_DOT, SMALLEST_DOT = 6.0, 2.5


def reliability(curve: Mapping[str, Any], said: str, seen: str) -> Figure:
    """A `Curve` as plain data between axes of these names; the area of a dot shows its rows."""
    points = points_of(curve)
    frame = Frame(Axis(said, 0.0, 1.0), Axis(seen, 0.0, 1.0), width=300.0, height=300.0)
    return drawn(400, 380, in_words(f"{said}: {seen}", points), axes(frame), *_marks(frame, curve))


def small_reliability(curve: Mapping[str, Any], name: str) -> Figure:
    """The same without the names of the axes, to stand among others; `name` tells it apart."""
    side = Axis("", 0.0, 1.0, most=3)
    frame = Frame(side, side, left=32.0, top=8.0, width=120.0, height=120.0)
    return drawn(164, 150, in_words(name, points_of(curve)), axes(frame), *_marks(frame, curve))


def points_of(curve: Mapping[str, Any]) -> Points:
    """(said, seen) of every bin."""
    return list(zip(curve["said"], curve["seen"], strict=True))


def _marks(frame: Frame, curve: Mapping[str, Any]) -> tuple[str, str, str]:
    points = points_of(curve)
    return diagonal(frame), joined(frame, points), dots(frame, points, _radii(curve["rows"]))


def _radii(rows: Sequence[float]) -> list[float]:
    most = max(rows)
    return [max(SMALLEST_DOT, LARGEST_DOT * math.sqrt(count / most)) for count in rows]
