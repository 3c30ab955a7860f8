"""The chain from logits to loss in the terminal, in English and Korean."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_STEPS = {
    "en": {
        "z": "logits",
        "T": "temperature",
        "scaled": "divided by T",
        "shifted": "minus the largest: exp cannot overflow",
        "powers": "exp: none below 0",
        "totals": "their sum",
        "p": "softmax: probabilities, sum 1",
        "winner": "argmax: the likeliest class",
        "y": "the true class",
        "y_one_hot": "one-hot of y, by scatter_",
        "surprise": "-log p",
        "picked": "-log p of the true class",
        "loss": "cross entropy: mean over rows, in nats",
        "by_formula": "gradient by formula: (p - y)/(N T)",
        "by_autograd": "by autograd",
        "by_difference": "by finite difference, in float64",
        "step": "step",
        "torch": "torch",
        "value": "value",
        "route": "route to the loss",
    },
    "ko": {
        "z": "로짓",
        "T": "온도",
        "scaled": "온도로 나눈 값",
        "shifted": "최댓값을 뺀 값: exp가 넘치지 않는다",
        "powers": "exp: 음수가 없다",
        "totals": "그 합",
        "p": "소프트맥스: 합이 1인 확률",
        "winner": "argmax: 가장 그럴듯한 클래스",
        "y": "정답 클래스",
        "y_one_hot": "scatter_로 만든 y의 원-핫",
        "surprise": "-log p",
        "picked": "정답 클래스의 -log p",
        "loss": "크로스 엔트로피: 행 평균, 단위는 냇",
        "by_formula": "공식으로 구한 기울기: (p - y)/(N T)",
        "by_autograd": "autograd로",
        "by_difference": "유한 차분으로, float64",
        "step": "단계",
        "torch": "torch 식",
        "value": "값",
        "route": "손실에 이르는 길",
    },
}
_AGREEMENT = {
    "en": {
        "equal": "The four routes give the same float32 bits here; for other logits they may not.",
        "close": "One number, four routes: they differ in the last float32 digits, by rounding "
        "alone; in float64 nine digits agree.",
        "broken": "The low-level route broke: log(softmax) met p = 0 and gave 0 x -inf. "
        "log_softmax does not.",
    },
    "ko": {
        "equal": "여기서는 네 길의 float32 비트까지 같다. 다른 로짓에서는 다를 수 있다.",
        "close": "네 길은 같은 수에 이른다. float32 끝자리가 다른 것은 반올림 때문이며, "
        "float64로는 아홉 자리가 같다.",
        "broken": "직접 쓴 길이 깨졌다: log(softmax)에서 p = 0을 만나 0 x -inf가 되었다. "
        "log_softmax는 깨지지 않는다.",
    },
}
_MEASURES = {
    "en": {
        "measure": "measure",
        "nats": "nats",
        "bits": "bits",
        "entropy": "H(P), entropy of P",
        "entropy_q": "H(Q), entropy of Q",
        "cross_entropy": "H(P, Q), cross entropy = H(P) + KL(P|Q)",
        "divergence": "KL(P|Q)",
        "divergence_reversed": "KL(Q|P)",
        "infinite": "infinite",
    },
    "ko": {
        "measure": "척도",
        "nats": "냇",
        "bits": "비트",
        "entropy": "H(P), P의 엔트로피",
        "entropy_q": "H(Q), Q의 엔트로피",
        "cross_entropy": "H(P, Q), 크로스 엔트로피 = H(P) + KL(P|Q)",
        "divergence": "KL(P|Q)",
        "divergence_reversed": "KL(Q|P)",
        "infinite": "무한대",
    },
}
WORDS = {"steps": _STEPS, "agreement": _AGREEMENT, "measures": _MEASURES}


def draw_walk(answer: dict[str, Any], lang: str) -> None:
    """Steps, the four routes with nine digits, and the gradient three times."""
    console, words = Console(highlight=False, width=100_000), _STEPS[lang]
    table = Table("", words["value"], words["torch"], box=None, pad_edge=False)
    for step in (*answer["steps"], *answer["gradient"]):
        cells = (f"{step['name']}  {words[step['name']]}", _value(step), step["expression"])
        table.add_row(*(Text(cell) for cell in _short(cells)))
    console.print(table)
    routes = Table(words["route"], "float32", "float64", words["torch"], box=None, pad_edge=False)
    for route in answer["routes"]:
        names = ("name", "float32", "float64", "expression")
        routes.add_row(*(Text(route[name]) for name in names))
    console.print()
    console.print(routes)
    console.print(Text(_AGREEMENT[lang][answer["agreement"]]))


def draw_measures(answer: dict[str, Any], lang: str) -> None:
    """Entropies and divergences, in nats and bits."""
    console, words = Console(highlight=False, width=100_000), _MEASURES[lang]
    table = Table(words["measure"], box=None, pad_edge=False)
    for unit in ("nats", "bits"):
        table.add_column(words[unit], justify="right")
    for name, nats in answer["nats"].items():
        numbers = (nats, answer["bits"][name])
        cells = [words["infinite"] if number is None else f"{number:.9f}" for number in numbers]
        table.add_row(Text(words[name]), *cells)
    console.print(table)


def _value(step: dict[str, Any]) -> str:
    """Four decimals, row by row; the loss with nine digits."""
    if step["name"] == "loss":
        return str(step["digits"])
    return _rows(step["value"], step["digits"])


def _rows(value: Any, digits: Any) -> str:
    if isinstance(value, list):
        gap = " ; " if value and isinstance(value[0], list) else "  "
        return gap.join(_rows(v, d) for v, d in zip(value, digits, strict=True))
    if value is None or isinstance(value, int):
        return str(digits)
    return f"{value:.4f}" if value == 0 or 1e-4 <= abs(value) < 1e5 else f"{value:.3e}"


def _short(cells: tuple[str, ...]) -> tuple[str, ...]:
    """A long expression, of many logits or of the finite difference, is cut in the terminal."""
    return tuple(cell if len(cell) <= WIDEST else f"{cell[: WIDEST - 3]}..." for cell in cells)


WIDEST = 72  # characters of a cell
