"""What every plot is made of: axes, curves, dots, a band, and the text that says the same.

An SVG from here stands alone: its colours are attributes, which the style of a page overrides by
class, and its ink is the colour of the text around it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

SMALLEST = 1e-300  # what a logarithmic axis makes of 0
MOST_TOLD = 12  # points in a text alternative

INK = 'fill="currentColor"'
GRID = 'class="grid" stroke="currentColor" stroke-opacity="0.15"'
FRAME = 'class="axis" stroke="currentColor" stroke-opacity="0.5" fill="none"'
GUIDE = 'class="guide" stroke="currentColor" stroke-opacity="0.6" stroke-dasharray="5 4"'
ONE = 'class="one" stroke="#0072b2" fill="none" stroke-width="2"'
TWO = 'class="two" stroke="#b34700" fill="none" stroke-width="2" stroke-dasharray="2 3"'
DOT = 'class="dot" fill="#0072b2" fill-opacity="0.8"'
BAND = 'class="band" fill="#0072b2" fill-opacity="0.18"'

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Figure:
    """One drawing; a notebook shows it, and `svg` is the text of a file of its own."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg


@dataclass(frozen=True)
class Axis:
    """A named axis from `low` to `high`, perhaps logarithmic, with `most` numbers beside it."""

    name: str
    low: float
    high: float
    log: bool = False
    most: int = 6

    def part(self, value: float) -> float:
        """Where a value stands between the ends, 0 to 1.

        >>> Axis("C", 0.01, 100.0, log=True).part(1.0)
        0.5
        """
        low, high, value = (self._scaled(number) for number in (self.low, self.high, value))
        return 0.5 if high <= low else (value - low) / (high - low)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, SMALLEST)) if self.log else value

    def ticks(self) -> list[float]:
        """Round numbers on the axis, few enough to be read.

        >>> Axis("p", 0.0, 1.0).ticks(), Axis("C", 0.02, 300.0, log=True).ticks()
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.1, 1.0, 10.0, 100.0])
        """
        step = 1.0 if self.log else _round_step(self.high - self.low, self.most)
        low, high = self._scaled(self.low) / step, self._scaled(self.high) / step
        marks = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
        if len(marks) < 2:
            return sorted({self.low, self.high})
        chosen = marks[:: math.ceil(len(marks) / self.most)]
        return [10.0**mark if self.log else round(mark * step, 12) for mark in chosen]


def _round_step(length: float, most: int) -> float:
    """1, 2 or 5 times a power of ten, `most` - 1 of which cover the length."""
    if length <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(length / (most - 1)))
    steps = (power * times for times in (1, 2, 5, 10))
    return next(step for step in steps if length / step <= most - 1 + 1e-9)


def spanning(name: str, values: Iterable[float], *, log: bool = False) -> Axis:
    """The axis from the least to the largest value."""
    known = list(values)
    return Axis(name, min(known), max(known), log)


@dataclass(frozen=True)
class Frame:
    """A pair of axes, and where the rectangle between them lies, in pixels."""

    x: Axis
    y: Axis
    left: float = 64.0
    top: float = 28.0
    width: float = 470.0
    height: float = 200.0

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A point in pixels."""
        return (
            self.left + self.width * self.x.part(x),
            self.top + self.height * (1 - self.y.part(y)),
        )


def drawn(width: float, height: float, alternative: str, *marks: str) -> Figure:
    """Everything in one SVG, which reads as `alternative` where it is not seen."""
    return Figure(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" font-family="system-ui, sans-serif" '
        f'font-size="12" aria-label="{escape(alternative, quote=True)}">{"".join(marks)}</svg>'
    )


def told(name: str, points: Points) -> str:
    """Points in words, at most a dozen of them.

    >>> told("loss", [(0.1, 0.5), (1.0, 0.25)])
    'loss: 0.1: 0.5, 1: 0.25'
    """
    few = points[:: max(1, math.ceil(len(points) / MOST_TOLD))]
    return f"{name}: " + ", ".join(f"{x:.3g}: {y:.3g}" for x, y in few)


# ------------------------------------------------------------------------------------------- marks


def axes(frame: Frame, *, x_labels: bool = True) -> str:
    """Both axes with their names, and a faint line at every tick."""
    left, foot = frame.left, frame.top + frame.height
    marks = [f'<path {FRAME} d="M{left:g},{frame.top:g}V{foot:g}H{left + frame.width:g}"/>']
    for tick in frame.y.ticks():
        _, y = frame.at(frame.x.low, tick)
        marks.append(f'<path {GRID} d="M{left:g},{y:.1f}h{frame.width:g}"/>')
        marks.append(words(left - 6, y + 4, f"{tick:.4g}", "end"))
    for tick in frame.x.ticks():
        x, _ = frame.at(tick, frame.y.low)
        marks.append(f'<path {GRID} d="M{x:.1f},{frame.top:g}v{frame.height:g}"/>')
        if x_labels:
            marks.append(words(x, foot + 16, f"{tick:.4g}", "middle"))
    marks.append(words(left, frame.top - 12, frame.y.name, "start"))
    if x_labels:
        marks.append(words(left + frame.width / 2, foot + 36, frame.x.name, "middle"))
    return "".join(marks)


def words(x: float, y: float, text: str, anchor: str) -> str:
    """A text that begins, ends or has its middle at x."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {INK}>{escape(text)}</text>'


def curve(frame: Frame, points: Points, look: str = ONE) -> str:
    """Points joined by a line."""
    return f'<polyline {look} points="{_path(frame, points)}"/>'


def dots(frame: Frame, points: Points, radii: Sequence[float] | None = None) -> str:
    """A dot at every point."""
    sizes = [3.5] * len(points) if radii is None else radii
    places = (frame.at(*point) for point in points)
    return "".join(
        f'<circle {DOT} cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}"/>'
        for (x, y), r in zip(places, sizes, strict=True)
    )


def band(frame: Frame, lows: Points, highs: Points) -> str:
    """The area between two lines."""
    return f'<polygon {BAND} points="{_path(frame, lows)} {_path(frame, highs[::-1])}"/>'


def upright(frame: Frame, x: float) -> str:
    """A dashed line at x, from top to bottom."""
    place, _ = frame.at(x, frame.y.low)
    return f'<path {GUIDE} d="M{place:.1f},{frame.top:g}v{frame.height:g}"/>'


def diagonal(frame: Frame) -> str:
    """A dashed line from corner to corner: where what is said is what is seen."""
    foot = frame.top + frame.height
    return (
        f'<path {GUIDE} d="M{frame.left:g},{foot:g}L{frame.left + frame.width:g},{frame.top:g}"/>'
    )


def _path(frame: Frame, points: Points) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in (frame.at(*point) for point in points))
