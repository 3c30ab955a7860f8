"""A report as one page: no script, nothing from elsewhere, light and dark, to be printed.

Every plot is SVG with a text alternative, every number of it stands in a table as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

MOST_CLASSES = 20  # in tables by class; more would not be read
WIDE, HIGH, EDGE = 560, 280, 58  # of a plot

WORDS = {
    "en": {
        "title": "Report on {source}",
        "rows": "{n} rows {where}, {k} classes, {d} columns",
        "holdout": "held out from the fit",
        "training": "that the fit was made on (optimistic)",
        "data": "that are new to the model",
        "accuracy": "accuracy",
        "log_loss": "log loss, nats",
        "base": "with base rates alone",
        "brier": "Brier score",
        "macro_f1": "macro F1",
        "infinite": "infinite",
        "proof": "How good the fit is",
        "no_proof": "The model file holds no certificate.",
        "gap": "proven gap to the best possible, nats a row",
        "passes": "passes over the data",
        "path": "How C was chosen",
        "C": "C",
        "loo": "leave-one-out loss",
        "train": "loss in training",
        "error": "standard error",
        "dof": "effective parameters",
        "confusion": "Where it errs",
        "truth": "truth",
        "confusion_note": "Rows: truth. Columns: prediction.",
        "precision": "precision",
        "recall": "recall",
        "support": "rows",
        "class": "class",
        "trust": "Whether its probabilities can be believed",
        "said": "probability of the likeliest class",
        "seen": "how often it was right",
        "smooth": "smooth calibration error",
        "debiased": "debiased calibration error",
        "calibration": "of the log loss, calibration could win",
        "refinement": "and this is left to better features",
        "bin": "rows in the bin",
        "strongest": "What moves each class most",
        "strongest_note": "Change of the logit, against the mean class, over the range of the "
        "column in training.",
        "worst": "The rows it got most wrong",
        "row": "row",
        "decision": "decision",
        "p_truth": "p of the truth",
        "because": "what spoke for the decision",
        "columns": "The columns",
        "kind": "kind",
        "categories": "categories",
        "column": "column",
        "more": "and {count} more",
        "missing": "missing",
        "made": "polylogit {version}: {status}",
    },
    "ko": {
        "title": "{source} 보고서",
        "rows": "{where} {n}개 행, {k}개 클래스, {d}개 열",
        "holdout": "학습에 쓰지 않은",
        "training": "학습에 쓴 (낙관적인)",
        "data": "모델이 처음 보는",
        "accuracy": "정확도",
        "log_loss": "로그 손실, 냇",
        "base": "클래스 비율만 알 때",
        "brier": "브라이어 점수",
        "macro_f1": "매크로 F1",
        "infinite": "무한대",
        "proof": "얼마나 잘 맞추었나",
        "no_proof": "모델 파일에 증명서가 없다.",
        "gap": "최선과의 증명된 차이, 행마다 냇",
        "passes": "데이터를 읽은 횟수",
        "path": "C를 고른 과정",
        "C": "C",
        "loo": "하나 빼기 손실",
        "train": "학습 손실",
        "error": "표준 오차",
        "dof": "실효 매개변수 수",
        "confusion": "어디서 틀리나",
        "truth": "정답",
        "confusion_note": "행은 정답, 열은 예측이다.",
        "precision": "정밀도",
        "recall": "재현율",
        "support": "행 수",
        "class": "클래스",
        "trust": "확률을 믿을 수 있나",
        "said": "가장 그럴듯한 클래스의 확률",
        "seen": "실제로 맞은 비율",
        "smooth": "매끄러운 보정 오차",
        "debiased": "편향을 뺀 보정 오차",
        "calibration": "로그 손실 가운데 보정으로 줄일 수 있는 몫",
        "refinement": "더 나은 특성이 있어야 줄어드는 몫",
        "bin": "구간의 행 수",
        "strongest": "클래스마다 가장 크게 움직이는 것",
        "strongest_note": "학습 때 열의 범위만큼 바뀔 때 로짓의 변화 (클래스 평균과의 차이).",
        "worst": "가장 크게 틀린 행",
        "row": "행",
        "decision": "결정",
        "p_truth": "정답의 확률",
        "because": "결정을 떠받친 것",
        "columns": "열",
        "kind": "종류",
        "categories": "범주 수",
        "column": "열",
        "more": "그 밖에 {count}개",
        "missing": "없음",
        "made": "polylogit {version}: {status}",
    },
}

_STYLE = """
:root {
  color-scheme: light dark; --ink: #1b1d22; --soft: #5a6068; --paper: #fbfbf9; --card: #fff;
  --line: #d9dbdf; --one: #0072b2; --two: #b34700; --shade: 0,114,178;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e8e9ec; --soft: #a3a9b2; --paper: #131417; --card: #1c1e22; --line: #3a3d44;
    --one: #56b4e9; --two: #e69f00; --shade: 86,180,233;
  }
}
* { box-sizing: border-box; }
body {
  font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; word-break: keep-all;
}
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
h2 { font-size: 1.15rem; margin: 0 0 .6rem; }
p { margin: .3rem 0; }
.soft { color: var(--soft); }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1rem 1.2rem; margin: 1rem 0; break-inside: avoid;
}
.cards { display: flex; flex-wrap: wrap; gap: 1rem 2.4rem; }
.cards dt { color: var(--soft); font-size: .9rem; }
.cards dd { margin: 0; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
svg { max-width: 100%; height: auto; }
svg text { fill: var(--ink); font-size: 12px; }
svg .axis { stroke: var(--line); fill: none; }
svg .one { stroke: var(--one); fill: none; stroke-width: 2; }
svg .dot { fill: var(--one); }
svg .ideal { stroke: var(--soft); stroke-dasharray: 5 4; fill: none; }
@media print { body { margin: 0; max-width: none; } section { border: 0; padding: 0; } }
"""

Cells = Sequence[Sequence[str]]
Points = Sequence[tuple[float, float]]


def page(told: dict[str, Any], lang: str) -> str:
    """The whole page; every name that a user chose is escaped."""
    words = WORDS[lang]
    title = escape(words["title"].format(source=told["source"]))
    parts = (
        _head(told, words), _proof(told, words), _path(told, words), _confusion(told, words),
        _trust(told, words), _strongest(told, words), _worst(told, words), _columns(told, words),
    )  # fmt: skip
    return (
        f'<!doctype html>\n<html lang="{lang}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main><h1>{title}</h1>"
        f"{''.join(parts)}</main></body></html>\n"
    )


# ---------------------------------------------------------------------------------------- sections


def _section(title: str, *inside: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(inside)}</section>"


def _head(told: dict[str, Any], words: dict[str, str]) -> str:
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
    cards = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in numbers.items()
    )
    return f'<p class="soft">{escape(rows)}</p><section><dl class="cards">{cards}</dl></section>'


def _proof(told: dict[str, Any], words: dict[str, str]) -> str:
    record = told["record"]
    if "status" not in record:
        return _section(words["proof"], f"<p>{escape(words['no_proof'])}</p>")
    made = words["made"].format(version=record.get("polylogit", ""), status=record["status"])
    steps = [(float(passes), float(gap)) for passes, gap in told["convergence"]]
    plot = _plot(steps, words["passes"], words["gap"], log_y=True) if len(steps) > 1 else ""
    return _section(words["proof"], f"<p>{escape(made)}</p>", plot)


def _path(told: dict[str, Any], words: dict[str, str]) -> str:
    lines = told["path"]
    if not lines:
        return ""
    names = ("C", "train", "loo", "error", "accuracy", "dof")
    keys = ("C", "train_loss", "loss", "standard_error", "accuracy", "effective_dof")
    cells = [
        [words[name] for name in names],
        *([_short(line[key]) for key in keys] for line in lines),
    ]
    points = [(line["C"], line["loss"]) for line in lines if line["C"] and line["loss"] is not None]
    plot = _plot(points, words["C"], words["loo"], log_x=True) if len(points) > 1 else ""
    return _section(words["path"], plot, _table(cells))


def _confusion(told: dict[str, Any], words: dict[str, str]) -> str:
    scores, classes = told["scores"], told["classes"][:MOST_CLASSES]
    shown = len(classes)
    counts = [row[:shown] for row in scores["confusion"][:shown]]
    head = _header(["", *classes])
    body = "".join(_confusion_row(name, row) for name, row in zip(classes, counts, strict=True))
    matrix = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    names = ("class", "precision", "recall", "support")
    rows = zip(classes, scores["precision"], scores["recall"], scores["support"], strict=False)
    table = [[words[name] for name in names]]
    table += [[k, f"{p:.4f}", f"{r:.4f}", f"{n:g}"] for k, p, r, n in rows]
    return _section(
        words["confusion"],
        f'<p class="soft">{escape(words["confusion_note"])}</p>{_scrolling(matrix)}',
        _more(len(told["classes"]) - shown, words),
        _table(table),
    )


def _confusion_row(name: str, counts: Sequence[float]) -> str:
    total = sum(counts) or 1
    cells = "".join(
        f'<td style="background:rgba(var(--shade),{0.35 * count / total:.3f})">{count:g}</td>'
        for count in counts
    )
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'


def _trust(told: dict[str, Any], words: dict[str, str]) -> str:
    top = told["calibration"]["top"]
    curve = top["curve"]
    points = list(zip(curve["said"], curve["seen"], strict=True))
    loss = top["log_loss"]
    facts = [
        [words["smooth"], f"{top['smooth_error']:.4f}"],
        [words["debiased"], f"{top['debiased_error']:.4f}"],
        [words["calibration"], _short(loss["calibration"])],
        [words["refinement"], _short(loss["refinement"])],
    ]
    cells = [[words["said"], words["seen"], words["bin"]]]
    cells += [
        [f"{p:.4f}", f"{q:.4f}", f"{n:g}"] for (p, q), n in zip(points, curve["rows"], strict=True)
    ]
    plot = _plot(points, words["said"], words["seen"], square=True)
    return _section(words["trust"], plot, _table([["", ""], *facts]), _table(cells))


def _strongest(told: dict[str, Any], words: dict[str, str]) -> str:
    classes = told["classes"][:MOST_CLASSES]
    rows = [
        [name, ", ".join(f"{feature} {size:+.2f}" for feature, size in strongest)]
        for name, strongest in zip(classes, told["strongest"], strict=False)
    ]
    return _section(
        words["strongest"],
        f'<p class="soft">{escape(words["strongest_note"])}</p>',
        _table([[words["class"], ""], *rows]),
        _more(len(told["classes"]) - len(classes), words),
    )


def _worst(told: dict[str, Any], words: dict[str, str]) -> str:
    names = ("row", "truth", "decision", "p_truth", "because")
    rows = [
        [
            str(row["row"]),
            row["truth"],
            f"{row['decision']} ({row['p_decision']:.4f})",
            f"{row['p_truth']:.2e}" if row["p_truth"] < 1e-4 else f"{row['p_truth']:.4f}",
            ", ".join(
                f"{feature} = {_value(value, words)} ({size:+.2f})"
                for feature, value, size in row["because"]
            ),
        ]
        for row in told["worst"]
    ]
    return _section(words["worst"], _table([[words[name] for name in names], *rows]))


def _columns(told: dict[str, Any], words: dict[str, str]) -> str:
    shown = told["columns"][:MOST_CLASSES]
    cells = [[words["column"], words["kind"], words["categories"]]]
    cells += [[name, kind, str(count) if count else ""] for name, kind, count in shown]
    return _section(
        words["columns"], _table(cells), _more(len(told["columns"]) - len(shown), words)
    )


def _more(count: int, words: dict[str, str]) -> str:
    return f'<p class="soft">{escape(words["more"].format(count=count))}</p>' if count > 0 else ""


def _value(value: object, words: dict[str, str]) -> str:
    if value is None:
        return words["missing"]
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _short(value: float | None) -> str:
    return "∞" if value is None else f"{value:.4g}"


# ------------------------------------------------------------------------------- tables and plots


def _table(cells: Cells) -> str:
    head = _header(cells[0])
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells[1:]
    )
    top = f"<thead><tr>{head}</tr></thead>" if any(cells[0]) else ""
    return _scrolling(f"<table>{top}<tbody>{rows}</tbody></table>")


def _header(names: Sequence[str]) -> str:
    """The first row; an empty corner heads nothing, so it is no header."""
    return "".join(
        f'<th scope="col">{escape(name)}</th>' if name else "<td></td>" for name in names
    )


def _scrolling(table: str) -> str:
    return f'<div class="wide" tabindex="0" role="group">{table}</div>'


def _plot(
    points: Points,
    x_name: str,
    y_name: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    square: bool = False,
) -> str:
    """Points joined by a line between named axes; `square` is [0, 1]^2 with its diagonal."""
    xs, ys = ([p[i] for p in points] for i in (0, 1))
    x_ends, y_ends = ((0.0, 1.0), (0.0, 1.0)) if square else (_ends(xs), _ends(ys))
    places = [
        (
            EDGE + (WIDE - 2 * EDGE) * _part(x, x_ends, log_x),
            HIGH - EDGE - (HIGH - 2 * EDGE) * _part(y, y_ends, log_y),
        )
        for x, y in points
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in places)
    ideal = (
        f'<line class="ideal" x1="{EDGE}" y1="{HIGH - EDGE}" x2="{WIDE - EDGE}" y2="{EDGE}"/>'
        if square
        else ""
    )
    told = f"{y_name}: " + ", ".join(f"{x:.3g}: {y:.3g}" for x, y in _thinned(points))
    return (
        f'<svg viewBox="0 0 {WIDE} {HIGH}" width="{WIDE}" height="{HIGH}" role="img" '
        f'aria-label="{escape(told, quote=True)}">'
        f'<path class="axis" d="M{EDGE},{EDGE}V{HIGH - EDGE}H{WIDE - EDGE}"/>{ideal}'
        f'<polyline class="one" points="{line}"/>{dots}{_labels(x_ends, y_ends, x_name, y_name)}'
        "</svg>"
    )


def _labels(
    x_ends: tuple[float, float], y_ends: tuple[float, float], x_name: str, y_name: str
) -> str:
    low, foot = HIGH - EDGE + 16, HIGH - 8
    texts = (
        (EDGE, low, "start", f"{x_ends[0]:.3g}"),
        (WIDE - EDGE, low, "end", f"{x_ends[1]:.3g}"),
        (WIDE / 2, foot, "middle", x_name),
        (EDGE - 6, HIGH - EDGE, "end", f"{y_ends[0]:.2g}"),
        (EDGE - 6, EDGE + 8, "end", f"{y_ends[1]:.2g}"),
        (EDGE, EDGE - 14, "start", y_name),
    )
    return "".join(
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(label)}</text>'
        for x, y, anchor, label in texts
    )


def _ends(values: Iterable[float]) -> tuple[float, float]:
    known = list(values)
    return min(known), max(known)


def _part(value: float, ends: tuple[float, float], log: bool) -> float:
    """Where a value stands between the ends, 0 to 1."""
    low, high = ends
    if log:
        value, low, high = (math.log10(max(number, 1e-300)) for number in (value, low, high))
    return 0.5 if high <= low else (value - low) / (high - low)


def _thinned(points: Points, most: int = 12) -> Points:
    step = max(1, math.ceil(len(points) / most))
    return points[::step]
