"""What the model looks at: the features that move each class, and all columns."""

from __future__ import annotations

from typing import Any

from polylogit.app.texts.report.tables import MOST_CLASSES, more, note, section, table


def strongest(told: dict[str, Any], words: dict[str, str]) -> str:
    """The features that move the logit of each class most."""
    classes = told["classes"][:MOST_CLASSES]
    rows = [
        [name, ", ".join(f"{feature} {size:+.2f}" for feature, size in features)]
        for name, features in zip(classes, told["strongest"], strict=False)
    ]
    return section(
        words["strongest"],
        note(words["strongest_note"]),
        table([[words["class"], ""], *rows]),
        more(len(told["classes"]) - len(classes), words),
    )


def columns(told: dict[str, Any], words: dict[str, str]) -> str:
    """The columns of the table, and what each was read as."""
    shown = told["columns"][:MOST_CLASSES]
    cells = [[words["column"], words["kind"], words["categories"]]]
    cells += [[name, kind, str(count) if count else ""] for name, kind, count in shown]
    return section(words["columns"], table(cells), more(len(told["columns"]) - len(shown), words))
