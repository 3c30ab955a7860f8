"""Where the model errs: classes taken for each other, and the rows it got most wrong."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from polylogit.app.texts.report.tables import (
    MOST_CLASSES,
    NUMBERS,
    WORD,
    header,
    more,
    note,
    scrolling,
    section,
    side_of,
    table,
)


def confusion(told: dict[str, Any], words: dict[str, str]) -> str:
    """How often each class was taken for which, and precision and recall of each."""
    scores, classes = told["scores"], told["classes"][:MOST_CLASSES]
    names = ("class", "precision", "recall", "support")
    rows = zip(classes, scores["precision"], scores["recall"], scores["support"], strict=False)
    cells = [[words[name] for name in names]]
    cells += [[k, f"{p:.4f}", f"{r:.4f}", f"{n:g}"] for k, p, r, n in rows]
    return section(
        words["confusion"],
        note(words["confusion_note"]),
        _matrix(classes, scores["confusion"]),
        more(len(told["classes"]) - len(classes), words),
        table(cells),
    )


def _matrix(classes: Sequence[str], counts: Sequence[Sequence[float]]) -> str:
    heads, names = _heads(classes)
    side = side_of(names)
    rows = zip(names, counts, strict=False)
    body = "".join(_row(name, row[: len(classes)], side) for name, row in rows)
    top = header(["", *heads], ["", *(len(classes) * [NUMBERS])])
    return scrolling(f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>")


def _heads(classes: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What stands above the columns and before the rows: long names are numbered, not repeated."""
    if max(map(len, classes)) <= WORD:
        return classes, classes
    numbers = [str(at) for at in range(1, len(classes) + 1)]
    return numbers, [f"{at} {name}" for at, name in zip(numbers, classes, strict=True)]


def _row(name: str, counts: Sequence[float], side: str) -> str:
    total = sum(counts) or 1
    shades = (f"background:rgba(var(--shade),{0.35 * count / total:.3f})" for count in counts)
    cells = "".join(
        f'<td{NUMBERS} style="{shade}">{count:g}</td>'
        for count, shade in zip(counts, shades, strict=True)
    )
    return f'<tr><th scope="row"{side}>{escape(name)}</th>{cells}</tr>'


def worst(told: dict[str, Any], words: dict[str, str]) -> str:
    """The rows with the largest loss, and what spoke for the decision."""
    names = (told["counted"], "truth", "decision", "p_truth", "because")
    rows = [_told(row, words) for row in told["worst"]]
    return section(words["worst"], table([[words[name] for name in names], *rows]))


def _told(row: dict[str, Any], words: dict[str, str]) -> list[str]:
    p = row["p_truth"]
    return [
        str(row["row"]),
        row["truth"],
        f"{row['decision']} ({row['p_decision']:.4f})",
        f"{p:.2e}" if p < 1e-4 else f"{p:.4f}",
        ", ".join(
            f"{feature} = {_value(value, words)} ({size:+.2f})"
            for feature, value, size in row["because"]
        ),
    ]


def _value(value: object, words: dict[str, str]) -> str:
    if value is None:
        return words["missing"]
    return f"{value:.5g}" if isinstance(value, float) else str(value)
