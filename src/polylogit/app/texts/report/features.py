"""What the model looks at: the features that move each class, and all columns."""

from __future__ import annotations

from typing import Any

from polylogit.app.texts.report.tables import (
    MOST_CLASSES,
    grouped,
    more,
    note,
    paragraph,
    section,
    table,
)

MOST_CATEGORIES = 12  # named of a column


def strongest(told: dict[str, Any], words: dict[str, str]) -> str:
    """The features that move the logit of each class most, with intervals where there are any."""
    found, classes = told["features"], told["classes"][:MOST_CLASSES]
    parts = [
        (name, [_cells(one, words) for one in features])
        for name, features in zip(classes, found["classes"], strict=False)
    ]
    width = max(len(row) for _, rows in parts for row in rows)
    names = ("feature", "move", "refit", "interval", "note")[:width]
    parts = [(name, [row + [""] * (width - len(row)) for row in rows]) for name, rows in parts]
    return section(
        words["strongest"],
        note(words["strongest_note"]),
        paragraph(_origin(found, words)),
        grouped([words[name] for name in ("class", *names)], parts),
        more(len(told["classes"]) - len(classes), words),
    )


def _origin(found: dict[str, Any], words: dict[str, str]) -> str:
    """Which fit the intervals are from, or why there are none."""
    if found["why"]:
        return words[f"no_intervals_{found['why']}"].format(message=found["message"])
    return words[f"from_{found['method']}"].format(n=f"{found['n']:g}", level=found["level"])


def _cells(one: dict[str, Any], words: dict[str, str]) -> list[str]:
    """Feature, model and, as far as they are known, refit, interval and a note."""
    start = [one["feature"], f"{one['move']:+.4g}"]
    if "estimate" not in one:
        return start
    if one["estimate"] is None:
        return [*start, "", "", words["repeats"]]
    ends = f"{one['low']:+.4g} … {one['high']:+.4g}"
    mark = [words["separated"]] if one["separated"] else []
    return [*start, f"{one['estimate']:+.4g}", ends, *mark]


def columns(told: dict[str, Any], words: dict[str, str]) -> str:
    """The columns of the table: what each was read as, what it held, and what was missing."""
    shown = told["columns"][:MOST_CLASSES]
    names = ("column", "kind", "held", "empty")
    cells = [[words[name] for name in names], *(_column(one) for one in shown)]
    return section(words["columns"], table(cells), more(len(told["columns"]) - len(shown), words))


def _column(one: dict[str, Any]) -> list[str]:
    few = ", ".join(one["categories"][:MOST_CATEGORIES])
    rest = " …" if len(one["categories"]) > MOST_CATEGORIES else ""
    held = few + rest
    if one["range"] is not None:
        low, high = one["range"]
        held = f"{low:.5g} … {high:.5g}"
    return [one["name"], one["kind"], held, str(one["missing"])]
