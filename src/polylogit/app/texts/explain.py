"""One row explained, in the terminal and as a page of its own, in English and Korean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

MOST_ROWS = 12  # contributions in the terminal; the page and the JSON have all

WORDS = {
    "en": {
        "title": "Why row {row} of {source} is {decision}",
        "decided": "{decision}, with probability {p:.4f}; next is {runner_up} (margin {margin:.4f} "
        "in logits)",
        "class": "class",
        "logit": "logit",
        "probability": "probability",
        "contributions": "What speaks for {decision} against {runner_up}",
        "feature": "feature",
        "value": "value",
        "adds": "adds to the margin",
        "base": "the average row",
        "sum": "sum: the margin",
        "missing": "missing",
        "more": "and {count} more (see --json or --html)",
        "flips": "What alone would change the decision",
        "to": "decides for",
        "change": "change",
        "size": "part of its range",
        "no_flip": "No change of a single feature would change the decision.",
        "outside": "Outside of what training saw:",
        "odd_number": "{feature} is {value:g}; training had {low:g} to {high:g}",
        "odd_word": "{feature} is {value!r}, which training never had",
        "inside": "Every value lies within what training saw.",
        "unknown": "This model does not remember the ranges of its training rows.",
        "caution": "This is the arithmetic of the model, not a cause in the world.",
    },
    "ko": {
        "title": "{source}의 {row}행이 {decision}인 까닭",
        "decided": "{decision}, 확률 {p:.4f}. 다음은 {runner_up} (로짓 차이 {margin:.4f})",
        "class": "클래스",
        "logit": "로짓",
        "probability": "확률",
        "contributions": "{runner_up}보다 {decision} 쪽으로 미는 것",
        "feature": "특성",
        "value": "값",
        "adds": "차이에 더하는 몫",
        "base": "평균 행",
        "sum": "합: 로짓 차이",
        "missing": "없음",
        "more": "그 밖에 {count}개 (--json 또는 --html 참고)",
        "flips": "이것 하나만 바뀌어도 결정이 바뀐다",
        "to": "바뀐 결정",
        "change": "변화",
        "size": "범위에 견준 크기",
        "no_flip": "특성 하나를 바꾸어서는 결정이 바뀌지 않는다.",
        "outside": "학습 때 보지 못한 값:",
        "odd_number": "{feature} 값 {value:g}, 학습 때는 {low:g}부터 {high:g}까지",
        "odd_word": "{feature} 값 {value!r}, 학습 때 없던 것",
        "inside": "모든 값이 학습 때 본 범위 안에 있다.",
        "unknown": "이 모델은 학습 행의 범위를 기억하지 못한다.",
        "caution": "모델의 계산일 뿐, 세상의 원인은 아니다.",
    },
}

Cells = Sequence[Sequence[str]]


def draw(answer: dict[str, Any], lang: str) -> None:
    """The decision, what speaks for it, what would change it, what is odd about the row."""
    console, words = Console(highlight=False, width=100_000), WORDS[lang]
    _say(console, words["decided"].format(**_named(answer)))
    _draw(console, _classes(answer, words))
    contributions = _contributions(answer, words)
    shown, hidden = contributions[: MOST_ROWS + 1], len(contributions) - MOST_ROWS - 3
    _say(console, "\n" + words["contributions"].format(**_named(answer)))
    _draw(console, [*shown, *contributions[-2:]] if hidden > 0 else contributions)
    if hidden > 0:
        _say(console, words["more"].format(count=hidden))
    _say(console, "\n" + (words["flips"] if answer["flips"] else words["no_flip"]))
    if answer["flips"]:
        _draw(console, _flips(answer, words)[: MOST_ROWS + 1])
    _say(console, "")
    for line in (*_odd(answer, words), words["caution"]):
        _say(console, line)


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)


def _draw(console: Console, cells: Cells) -> None:
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(cells[0]):
        table.add_column(Text(name), justify="left" if place == 0 else "right")
    for row in cells[1:]:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


# ------------------------------------------------------------------------------------------ tables


def _named(answer: dict[str, Any]) -> dict[str, Any]:
    best = answer["classes"].index(answer["decision"])
    return answer | {"p": answer["probabilities"][best]}


def _classes(answer: dict[str, Any], words: dict[str, str]) -> Cells:
    rows = zip(answer["classes"], answer["logits"], answer["probabilities"], strict=True)
    ordered = sorted(rows, key=lambda row: -row[1])[:MOST_ROWS]
    head = (words["class"], words["logit"], words["probability"])
    return [head, *((str(k), f"{z:.4f}", f"{p:.6f}") for k, z, p in ordered)]


def _contributions(answer: dict[str, Any], words: dict[str, str]) -> list[Sequence[str]]:
    best = answer["classes"].index(answer["decision"])
    rows = [
        (part["feature"], _shown(part["value"], words), f"{part['differences'][best]:+.4f}")
        for part in answer["contributions"]
    ]
    head = (words["feature"], words["value"], words["adds"])
    tail = (words["base"], "", f"{answer['base'][best]:+.4f}")
    return [head, *rows, tail, (words["sum"], "", f"{answer['margin']:+.4f}")]


def _flips(answer: dict[str, Any], words: dict[str, str]) -> Cells:
    head = (words["feature"], words["value"], words["change"], words["size"], words["to"])
    rows = [
        (
            flip["feature"],
            _shown(flip["value"], words),
            "" if flip["change"] is None else f"{flip['change']:+.6g}",
            "" if flip["size"] is None or flip["change"] is None else f"{flip['size']:.1%}",
            str(flip["to"]),
        )
        for flip in answer["flips"]
    ]
    return [head, *rows]


def _shown(value: object, words: dict[str, str]) -> str:
    if value is None:
        return words["missing"]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _odd(answer: dict[str, Any], words: dict[str, str]) -> Iterator[str]:
    if answer["outside"]:
        yield words["outside"]
    for odd in answer["outside"]:
        yield "  " + words["odd_word" if odd["low"] is None else "odd_number"].format(**odd)
    if not answer["ranges_known"]:
        yield words["unknown"]
    elif not answer["outside"]:
        yield words["inside"]


# -------------------------------------------------------------------------------------------- page

_STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1b1b1b; --paper: #fff; --line: #d0d0d0; --for: #0072b2; --against: #b34700;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #eaeaea; --paper: #151515; --line: #444; --for: #56b4e9; --against: #e69f00; }
}
body {
  font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 46rem; margin: 2rem auto; padding: 0 1rem;
}
h1 { font-size: 1.4rem; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; }
svg .for { fill: var(--for); }
svg .against { fill: var(--against); }
svg text { fill: var(--ink); font-size: 13px; }
@media print { body { margin: 0; } }
"""


def page(answer: dict[str, Any], lang: str) -> str:
    """One page without scripts and without anything from elsewhere; every name is escaped."""
    words, named = WORDS[lang], _named(answer)
    title = escape(words["title"].format(**named))
    flips = _html(_flips(answer, words)) if answer["flips"] else ""
    odd = "".join(f"<p>{escape(line)}</p>" for line in _odd(answer, words))
    return (
        f'<!doctype html>\n<html lang="{lang}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{title}</h1><p>{escape(words['decided'].format(**named))}</p>"
        f"{_html(_classes(answer, words))}"
        f"<h2>{escape(words['contributions'].format(**named))}</h2>{_bars(answer, words)}"
        f"{_html(_contributions(answer, words))}"
        f"<h2>{escape(words['flips'] if answer['flips'] else words['no_flip'])}</h2>{flips}"
        f"{odd}<p><small>{escape(words['caution'])}</small></p></main></body></html>\n"
    )


def _html(cells: Cells) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in cells[0])
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells[1:]
    )
    return (
        f'<div class="wide" tabindex="0" role="group"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _bars(answer: dict[str, Any], words: dict[str, str]) -> str:
    """The largest contributions as bars to either side; the table beside it says the same."""
    best = answer["classes"].index(answer["decision"])
    parts = [(p["feature"], p["differences"][best]) for p in answer["contributions"][:MOST_ROWS]]
    most = max((abs(size) for _, size in parts), default=0.0) or 1.0
    label = escape(words["contributions"].format(**answer), quote=True)
    bars = []
    for place, (name, size) in enumerate(parts):
        length, top = 200 * abs(size) / most, 24 * place
        start = 400 if size >= 0 else 400 - length
        side = "for" if size >= 0 else "against"
        bars.append(
            f'<text x="0" y="{top + 16}">{escape(name[:26])}</text>'
            f'<rect class="{side}" x="{start:.1f}" y="{top + 4}" width="{length:.1f}" height="16"/>'
        )
    return (
        f'<svg viewBox="0 0 600 {24 * len(parts)}" role="img" aria-label="{label}">'
        f"{''.join(bars)}</svg>"
    )
