"""Whether the probabilities can be believed, and which classes are still possible."""

from __future__ import annotations

from typing import Any

from polylogit.app.figures.reliability import points_of
from polylogit.app.figures.reliability import reliability as diagram
from polylogit.app.texts.report.tables import note, paragraph, section, short, table


def reliability(told: dict[str, Any], words: dict[str, str]) -> str:
    """The reliability diagram of the likeliest class, and what recalibration could win."""
    top = told["calibration"]["top"]
    curve, loss = top["curve"], top["log_loss"]
    facts = [
        [words["smooth"], f"{top['smooth_error']:.4f}"],
        [words["debiased"], f"{top['debiased_error']:.4f}"],
        [words["calibration"], short(loss["calibration"])],
        [words["refinement"], short(loss["refinement"])],
    ]
    cells = [[words["said"], words["seen"], words["bin"]]]
    cells += [
        [f"{p:.4f}", f"{q:.4f}", f"{n:g}"]
        for (p, q), n in zip(points_of(curve), curve["rows"], strict=True)
    ]
    plot = diagram(curve, words["said"], words["seen"]).svg
    return section(words["trust"], plot, table([["", ""], *facts]), table(cells))


def sets(told: dict[str, Any], words: dict[str, str]) -> str:
    """How many classes a set must hold to hold the truth as often as asked."""
    found = told["coverage"]
    if found["why"] is not None:
        return section(words["sets"], paragraph(words[f"no_sets_{found['why']}"]))
    names = ("asked", "size", "single", "holds", "between")
    cells = [[words[name] for name in names], *(_set_cells(one) for one in found["sets"])]
    halves = words["halves"].format(made=found["n_made"], judged=found["n_judged"])
    notes = [halves, *([words["nearly"]] if found["approximate"] else []), words["luck"]]
    full = any(one["full"] for one in found["sets"])
    return section(
        words["sets"],
        note(" ".join(notes)),
        table(cells),
        note(words["full_sets"].format(rows=found["n_made"])) if full else "",
    )


def _set_cells(one: dict[str, Any]) -> list[str]:
    low, high = one["interval"]
    return [
        f"{one['coverage']:g}",
        f"{one['mean_size']:.2f}",
        f"{one['single']:.4f}",
        f"{one['holds_truth']:.4f}",
        f"{low:.3f} – {high:.3f}",
    ]
