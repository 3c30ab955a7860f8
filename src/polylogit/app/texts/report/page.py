"""The page as a whole: its frame, its head, and its sections in the order of the questions."""

from __future__ import annotations

from html import escape
from typing import Any

from polylogit.app.texts.report.features import columns, strongest
from polylogit.app.texts.report.fitting import path, proof
from polylogit.app.texts.report.korean import in_korean
from polylogit.app.texts.report.mistakes import confusion, worst
from polylogit.app.texts.report.style import STYLE
from polylogit.app.texts.report.tables import cards, note
from polylogit.app.texts.report.trust import by_class, reliability, sets
from polylogit.app.texts.report.words import WORDS

SECTIONS = (proof, path, confusion, reliability, by_class, sets, strongest, worst, columns)


def page(told: dict[str, Any], lang: str) -> str:
    """The whole page; every name that a user chose is escaped."""
    words = WORDS[lang]
    told = in_korean(told) if lang == "ko" else told
    title = escape(words["title"].format(source=told["source"]))
    parts = "".join(part(told, words) for part in (head, *SECTIONS))
    return (
        f'<!doctype html>\n<html lang="{lang}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>"
        f"{parts}</main></body></html>\n"
    )


def head(told: dict[str, Any], words: dict[str, str]) -> str:
    """Which rows, and the few numbers that matter most."""
    scores = told["scores"]
    rows = words["rows"].format(
        n=scores["n_rows"], where=words[told["where"]], k=len(told["classes"]),
        d=len(told["columns"]),
    )  # fmt: skip
    loss = scores["log_loss"]
    numbers = {
        words["accuracy"]: f"{scores['accuracy']:.4f}",
        words["log_loss"]: words["infinite"] if loss is None else f"{loss:.4f}",
        words["base"]: f"{told['base_rate_loss']:.4f}",
        words["brier"]: f"{scores['brier']:.4f}",
        words["macro_f1"]: f"{scores['macro_f1']:.4f}",
    }
    return f"{note(rows)}<section>{cards(numbers)}</section>"
