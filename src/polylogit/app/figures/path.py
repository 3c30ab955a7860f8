"""The path that C was chosen from: both losses over log C, and how free each fit is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polylogit.app.figures.frame import (
    ONE,
    TWO,
    Axis,
    Figure,
    Frame,
    Points,
    axes,
    band,
    curve,
    dots,
    drawn,
    spanning,
    told,
    upright,
    words,
)
from polylogit.app.texts.report.words import WORDS
from polylogit.choice import Choice
from polylogit.errors import OptionError

WIDE, HIGH = 560.0, 412.0
LOSSES, FREE = (46.0, 190.0), (288.0, 74.0)  # where the two frames begin, and how high they are

Lines = Sequence[Mapping[str, Any]]


def plot_path(choice: Choice, *, lang: str = "en") -> Figure:
    """Draw the table of a `Choice`: what every C lost, on its own rows and on rows left out.

    `choice` is of `polylogit.fit`, `polylogit.choose_C` or `SoftmaxClassifier.choice_`. Above, the
    loss in nats per row over log C, in training and left out, the latter with a band of one
    standard error; below, the effective parameters; a dashed line at the C that was chosen. A
    notebook shows the figure, and its `svg` is the text of a file. `lang` is "en" or "ko".

    Raises `OptionError` where there is no path to draw, because C was given.

    >>> from polylogit.choice import choose_C
    >>> from polylogit.data.arrays import from_arrays
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]], ["a", "a", "b", "a", "b", "b"]
    >>> figure = plot_path(choose_C(from_arrays(X, y), (0.01, 0.1, 1.0, 10.0)))
    >>> figure.svg.startswith("<svg"), "chosen: C = 1;" in figure.svg
    (True, True)
    """
    if lang not in WORDS:
        raise OptionError(f"lang must be {' or '.join(WORDS)}, not {lang!r}")
    if not choice.table:
        why = choice.note or f"its C = {choice.C:g} was given; fit with C='auto'"
        raise OptionError(f"this fit has no path to draw: {why}")
    return path_figure([line.to_json() for line in choice.table], choice.C, WORDS[lang])


def path_figure(lines: Lines, chosen: float | None, names: Mapping[str, str]) -> Figure:
    """Lines as of `Candidate.to_json`; `names` are `WORDS` of a language."""
    known = [line for line in lines if line["C"] is not None and line["loss"] is not None]
    C = spanning(names["C"], (line["C"] for line in known), log=True)
    losses = Frame(C, _losses_axis(known, names["loss"]), top=LOSSES[0], height=LOSSES[1])
    free = Frame(C, _free_axis(known, names["dof"]), top=FREE[0], height=FREE[1])
    marks = [axes(losses, x_labels=False), *_losses(losses, known), _legend(losses, names)]
    marks += [axes(free), *_free(free, known)]
    if chosen is not None:
        marks += [upright(losses, chosen), upright(free, chosen), _mark(losses, chosen, names)]
    return drawn(WIDE, HIGH, _alternative(known, chosen, names), *marks)


def _points(lines: Lines, key: str, errors: float = 0.0) -> Points:
    """(C, value + so many standard errors), where the value is finite."""
    return [
        (line["C"], line[key] + errors * (line["standard_error"] or 0.0) if errors else line[key])
        for line in lines
        if line[key] is not None
    ]


def _losses_axis(lines: Lines, name: str) -> Axis:
    shown = (*_points(lines, "train_loss"), *_points(lines, "loss", -1), *_points(lines, "loss", 1))
    return spanning(name, (y for _, y in shown))


def _free_axis(lines: Lines, name: str) -> Axis:
    return Axis(name, 0.0, max(y for _, y in _points(lines, "effective_dof")))


def _losses(frame: Frame, lines: Lines) -> tuple[str, ...]:
    left_out = _points(lines, "loss")
    return (
        band(frame, _points(lines, "loss", -1), _points(lines, "loss", 1)),
        curve(frame, _points(lines, "train_loss"), TWO),
        curve(frame, left_out),
        dots(frame, left_out),
    )


def _free(frame: Frame, lines: Lines) -> tuple[str, str]:
    points = _points(lines, "effective_dof")
    return curve(frame, points), dots(frame, points)


def _legend(frame: Frame, names: Mapping[str, str]) -> str:
    """A piece of each line with its name, above the frame."""
    y, right = 12.0, frame.left + frame.width
    pieces = ((right - 330, names["loo_band"], ONE), (right - 130, names["train"], TWO))
    return "".join(
        f'<path {look} d="M{x:g},{y:g}h24"/>{words(x + 30, y + 4, name, "start")}'
        for x, name, look in pieces
    )


def _mark(frame: Frame, chosen: float, names: Mapping[str, str]) -> str:
    """Which C was chosen, under the frame, and within the drawing at its ends as well."""
    place, foot = frame.at(chosen, frame.y.low)
    part = frame.x.part(chosen)
    anchor = "start" if part < 0.2 else "end" if part > 0.8 else "middle"
    return words(place, foot + 16, names["chosen"].format(C=f"{chosen:.3g}"), anchor)


def _alternative(lines: Lines, chosen: float | None, names: Mapping[str, str]) -> str:
    said = [
        told(names[name], _points(lines, key))
        for name, key in (
            ("loo", "loss"),
            ("error", "standard_error"),
            ("train", "train_loss"),
            ("dof", "effective_dof"),
        )
    ]
    mark = [] if chosen is None else [names["chosen"].format(C=f"{chosen:.3g}")]
    return "; ".join([*mark, *said])
