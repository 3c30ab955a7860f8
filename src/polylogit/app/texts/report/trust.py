"""Whether the probabilities can be believed, and which classes are still possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polylogit.app.figures.reliability import points_of, small_reliability
from polylogit.app.figures.reliability import reliability as diagram
from polylogit.app.texts.report.tables import (
    Cells,
    beside,
    figure,
    folded,
    note,
    paragraph,
    scrolling,
    section,
    table,
)

MOST_DIAGRAMS = 12  # of classes; the rarer ones have few rows, so their dots would be chance
MOST_NAMED = 20

Events = Sequence[tuple[str, dict[str, Any]]]
"""Names of classes with their `EventCalibration` as plain data."""


def reliability(told: dict[str, Any], words: dict[str, str]) -> str:
    """The reliability diagram of the likeliest class, and what recalibration could win."""
    top = told["calibration"]["top"]
    curve, loss = top["curve"], top["log_loss"]
    facts = [
        [words["smooth"], f"{top['smooth_error']:.4f}"],
        [words["debiased"], f"{top['debiased_error']:z.4f}"],
        [words["calibration"], _nats(loss["calibration"])],
        [words["refinement"], _nats(loss["refinement"])],
    ]
    cells = [[words["probability"], words["seen"], words["bin"]]]
    cells += [
        [f"{p:.4f}", f"{q:.4f}", f"{n:g}"]
        for (p, q), n in zip(points_of(curve), curve["rows"], strict=True)
    ]
    plot = scrolling(diagram(curve, words["said"], words["seen"]).svg)
    return section(words["trust"], beside(plot, table([["", ""], *facts]) + table(cells)))


def _nats(value: float | None) -> str:
    return "∞" if value is None else f"{value:z.4f}"


def by_class(told: dict[str, Any], words: dict[str, str]) -> str:
    """A small diagram for each class, as far as there are rows to draw it from."""
    events: Events = list(zip(told["classes"], told["calibration"]["classes"], strict=True))
    common = sorted(events, key=lambda event: -float(event[1]["seen"]))
    shown, left = common[:MOST_DIAGRAMS], [name for name, _ in common[MOST_DIAGRAMS:]]
    drawings = "".join(
        figure(name, small_reliability(event["curve"], name).svg) for name, event in shown
    )
    return section(
        words["by_class"],
        note(words["by_class_note"]),
        f'<div class="small">{drawings}</div>',
        note(_rarer(left, words)) if left else "",
        table(_event_cells(shown, words)),
        folded(words["numbers"], table(_curve_cells(shown, words))),
    )


def _rarer(left: Sequence[str], words: dict[str, str]) -> str:
    """Which classes have no diagram."""
    named = ", ".join(left[:MOST_NAMED])
    rest = len(left) - MOST_NAMED
    more = [words["more"].format(count=rest)] if rest > 0 else []
    return " ".join([words["rarer"].format(count=MOST_DIAGRAMS, names=named), *more])


def _event_cells(events: Events, words: dict[str, str]) -> Cells:
    names = ("class", "mean_said", "share", "smooth", "debiased")
    keys = ("said", "seen", "smooth_error", "debiased_error")
    rows = ([name, *(f"{event[key]:z.4f}" for key in keys)] for name, event in events)
    return [[words[name] for name in names], *rows]


def _curve_cells(events: Events, words: dict[str, str]) -> Cells:
    names = ("class", "probability", "share", "bin")
    curves = ((name, event["curve"]) for name, event in events)
    rows = (
        [name, f"{said:.4f}", f"{seen:.4f}", f"{count:g}"]
        for name, curve in curves
        for said, seen, count in zip(curve["said"], curve["seen"], curve["rows"], strict=True)
    )
    return [[words[name] for name in names], *rows]


def sets(told: dict[str, Any], words: dict[str, str]) -> str:
    """How many classes a set must hold to hold the truth as often as asked."""
    found = told["coverage"]
    if found["why"] is not None:
        return section(words["sets"], paragraph(words[f"no_sets_{found['why']}"]))
    names = ("asked", "size", "single", "holds", "between")
    cells = [[words[name] for name in names], *(_set_cells(one) for one in found["sets"])]
    full = any(one["full"] for one in found["sets"])
    return section(
        words["sets"],
        note(" ".join(_set_notes(told, words))),
        table(cells),
        note(words["full_sets"].format(rows=found["n_made"])) if full else "",
    )


def _set_notes(told: dict[str, Any], words: dict[str, str]) -> list[str]:
    """Where the sets are from, and how their numbers are meant."""
    found = told["coverage"]
    halves = words["halves"].format(made=found["n_made"], judged=found["n_judged"])
    groups = words["whole_groups" if found["grouped"] else "no_groups"]
    nearly = [words["nearly"]] if found["approximate"] else []
    once = [words["once"]] if told["weighted"] else []
    return [halves, groups, *nearly, words["luck"], words["never_empty"], *once]


def _set_cells(one: dict[str, Any]) -> list[str]:
    low, high = one["interval"]
    return [
        f"{one['coverage']:g}",
        f"{one['mean_size']:.2f}",
        f"{one['single']:.4f}",
        f"{one['holds_truth']:.4f}",
        f"{low:.3f} – {high:.3f}",
    ]
