"""Where the model errs: classes taken for each other, and the rows it got most wrong."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from polylogit.app.texts.report.tables import (
    MOST_CLASSES,
    header,
    more,
    note,
    scrolling,
    section,
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
    rows = zip(classes, counts, strict=False)
    body = "".join(_row(name, row[: len(classes)]) for name, row in rows)
    head = f"<thead><tr>{header(['', *classes])}</tr></thead>"
    return scrolling(f"<table>{head}<tbody>{body}</tbody></table>")


def _row(name: str, counts: Sequence[float]) -> str:
    total = sum(counts) or 1
    cells = "".join(
        f'<td style="background:rgba(var(--shade),{0.35 * count / total:.3f})">{count:g}</td>'
        for count in counts
    )
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'


def worst(told: dict[str, Any], words: dict[str, str]) -> str:
    """The rows with the largest loss, and what spoke for the decision."""
    names = ("row", "truth", "decision", "p_truth", "because")
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
