"""How the fit went: its certificate, and how C was chosen."""

from __future__ import annotations

from typing import Any

from polylogit.app.figures.convergence import convergence
from polylogit.app.figures.path import path_figure
from polylogit.app.texts.report.tables import (
    note,
    paragraph,
    scrolling,
    section,
    short,
    table,
)


def proof(told: dict[str, Any], words: dict[str, str]) -> str:
    """What is proven about the fit, and how the proven gap fell."""
    record = told["record"]
    if "status" not in record:
        return section(words["proof"], paragraph(words["no_proof"]))
    made = words["made"].format(version=record.get("polylogit", ""), status=record["status"])
    steps = [(float(passes), float(gap)) for passes, gap in told["convergence"]]
    plot = ""
    if len(steps) > 1:
        plot = scrolling(convergence(steps, words["passes"], words["gap"]).svg)
    return section(words["proof"], paragraph(made), plot)


def path(told: dict[str, Any], words: dict[str, str]) -> str:
    """How C was chosen: every C that was tried, drawn and listed; not for a fit made elsewhere."""
    choice = told["choice"]
    if choice is None:
        return ""
    lines, chosen = choice["table"], choice["C"]
    if not lines:
        return section(words["path"], *(paragraph(text) for text in _given(choice, words)))
    plot = scrolling(path_figure(lines, chosen, words).svg) if len(lines) > 1 else ""
    names = ("", "C", "train", "loo", "error", "accuracy", "dof")
    cells = [[words.get(name, "") for name in names], *(_line(line, chosen) for line in lines)]
    return section(words["path"], note(choice["note"] or ""), plot, table(cells))


def _given(choice: dict[str, Any], words: dict[str, str]) -> list[str]:
    """Why there is no path."""
    return [choice["note"]] if choice["note"] else [words["given"].format(C=short(choice["C"]))]


def _line(line: dict[str, Any], chosen: float | None) -> list[str]:
    keys = ("C", "train_loss", "loss", "standard_error", "accuracy", "effective_dof")
    return ["✓" if line["C"] == chosen else "", *(short(line[key]) for key in keys)]
