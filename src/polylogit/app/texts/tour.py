"""The lesson's three numbers in the terminal, in English and Korean."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_CELLS = {
    "en": {
        "twice": "softmax twice, one shared bias",
        "shared": "F.cross_entropy, one shared bias",
        "right": "F.cross_entropy, a bias per class",
        "low": "low-level loss, a bias per class",
        "head": "SoftmaxHead (nn.Linear from zeros)",
    },
    "ko": {
        "twice": "소프트맥스 두 번, 공유 편향 하나",
        "shared": "F.cross_entropy, 공유 편향 하나",
        "right": "F.cross_entropy, 클래스마다 편향",
        "low": "직접 쓴 손실, 클래스마다 편향",
        "head": "SoftmaxHead (0에서 시작한 nn.Linear)",
    },
}
_TEXT = {
    "en": {
        "epoch": "epoch",
        "why": "Why the costs differ:",
        "twice": "Softmax of a softmax: the cost can never fall below "
        "ln(e + K - 1) - 1 = {floor:.6f}. F.cross_entropy takes logits.",
        "shared": "A single bias shifts all logits alike; softmax cannot see it, so it never "
        "learns. Write b = torch.zeros(3).",
        "right": "With one bias per class every way gives the same cost.",
        "rates": "Too large a learning rate does not settle: {costs}.",
        "batches": "Two rows at a time end at {cost:.6f}.",
        "growth": "Without a penalty the weights grow for ever: |W| = {norms}.",
        "without": "What a fit without a penalty says: {message}",
        "optimum": "With a penalty (C = {C:g}) there is an optimum: {objective:.6f}. {status}",
    },
    "ko": {
        "epoch": "에폭",
        "why": "비용이 다른 까닭:",
        "twice": "소프트맥스를 두 번 하면 비용은 ln(e + K - 1) - 1 = {floor:.6f}보다 "
        "작아질 수 없다. F.cross_entropy에는 로짓을 넣는다.",
        "shared": "편향이 하나뿐이면 모든 로짓이 똑같이 밀린다. 소프트맥스는 이를 볼 수 없으므로 "
        "편향은 배우지 못한다. b = torch.zeros(3)으로 쓴다.",
        "right": "클래스마다 편향을 두면 어느 길로 가도 비용이 같다.",
        "rates": "학습률이 너무 크면 비용이 가라앉지 않는다: {costs}.",
        "batches": "두 행씩 나누어 배우면 {cost:.6f}에서 끝난다.",
        "growth": "벌점이 없으면 가중치는 끝없이 커진다: |W| = {norms}.",
        "without": "벌점 없이 맞추려 하면 이렇게 답한다: {message}",
        "optimum": "벌점이 있으면 (C = {C:g}) 최적점이 있다: {objective:.6f}. {status}",
    },
}
WORDS = {"cells": _CELLS, "text": _TEXT}


def draw(story: dict[str, Any], lang: str) -> None:
    """The costs of every cell, and a sentence on each surprise."""
    console, words = Console(highlight=False, width=100_000), _TEXT[lang]
    table = Table(words["epoch"], box=None, pad_edge=False)
    for cell in story["cells"]:
        table.add_column(Text(_CELLS[lang][cell["cell"]]), justify="right")
    for i, costs in enumerate(zip(*(cell["printed"] for cell in story["cells"]), strict=True)):
        table.add_row(str(100 * i), *costs)
    console.print(table)
    console.print()
    for line in _sentences(story, words):
        console.print(Text(line), soft_wrap=True)


def _sentences(story: dict[str, Any], words: dict[str, str]) -> list[str]:
    rates = ", ".join(
        f"{run['learning_rate']:g} -> {run['printed'][-1]}" for run in story["diverging"]
    )
    norms = ", ".join(f"{point['norm']:.1f} ({point['epochs']})" for point in story["growth"])
    return [
        words["why"],
        f"  {words['twice'].format(floor=story['floor'])}",
        f"  {words['shared']}",
        f"  {words['right']}",
        words["rates"].format(costs=rates),
        words["batches"].format(cost=story["minibatches"]["costs"][-1]),
        words["growth"].format(norms=norms),
        words["without"].format(message=story["without"]),
        words["optimum"].format(**story["optimum"]),
    ]
