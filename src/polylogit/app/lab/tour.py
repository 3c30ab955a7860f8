"""The three-numbers tour: the lesson's cells run as they stand, and why their costs differ."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from polylogit import lesson
from polylogit.app.lab.value import long, opened, short
from polylogit.steps import Step

LONGER = 5000  # epochs: what the cells still do when the lesson has stopped

_SCRIPT = """import torch
import torch.nn.functional as F

x_train = torch.tensor({x})
y_train = torch.tensor({y})
W = torch.zeros(4, 3, requires_grad=True)
b = torch.zeros({biases}, requires_grad=True)
optimizer = torch.optim.SGD([W, b], lr={rate})
for epoch in range({epochs} + 1):
    hypothesis = {hypothesis}
    cost = {cost}
    if epoch % {every} == 0:
        print(f"Epoch {{epoch:4d}}/{epochs} Cost: {{cost.item():.6f}}")
    if epoch < {epochs}:
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
print({shown})
"""


@lru_cache(maxsize=1)
def tour() -> dict[str, Any]:
    """Every number that the tour reveals."""
    cells = {name: _cell(name, lesson.EPOCHS) for name in ("twice", "shared", "right")}
    cells |= {f"{name}_longer": _cell(name, LONGER) for name in ("twice", "right")}
    z = torch.tensor([1.0, 2.0, 3.0])
    spelled = "torch.tensor([1.0, 2.0, 3.0])"
    steps = [
        Step("start", "torch.tensor(3.0).log()", torch.tensor(3.0).log()),
        Step("floor", "torch.tensor(math.log(math.e + 2) - 1)", torch.tensor(lesson.floor(3))),
        Step("p", f"torch.softmax({spelled}, 0)", torch.softmax(z, 0)),
        Step("p_shifted", f"torch.softmax({spelled} + 5, 0)", torch.softmax(z + 5, 0)),
    ]
    best = lesson.optimum().solution
    return {
        "cells": cells,
        "lines": opened(steps),
        "optimum": {
            "objective": short(best.objective),
            "objective_long": long(best.objective),
            "proof": str(best.certificate),
        },
        "without": lesson.without(),
    }


def _cell(name: str, epochs: int) -> dict[str, Any]:
    """A run with its numbers, each to be opened into the script of the whole cell."""
    cell, run = lesson.CELLS[name], lesson.run(name, epochs)
    steps = [
        Step("cost", cell.cost, torch.tensor(run.costs[-1])),
        Step("b", "b.detach()", run.last.bias),
        Step("norm", "W.detach().norm()", run.last.weight.norm()),
        Step(
            "accuracy",
            "((x_train @ W + b).argmax(1) == y_train).float().mean()",
            torch.tensor(run.accuracy),
        ),
    ]
    lines = opened(steps)
    printed = run.to_json()["printed"]
    for step in steps:
        shown = "cost.item()" if step.name == "cost" else step.expression
        lines[step.name]["python"] = script(name, epochs, shown)
    lines["cost"]["long"] = printed[-1]  # with the six digits of the lesson
    return {
        "epochs": epochs,
        "hypothesis": cell.hypothesis,
        "curve": [[lesson.EVERY * i, cost] for i, cost in enumerate(run.costs)],
        "printed": printed,
        "lines": lines,
    }


def script(name: str, epochs: int, shown: str) -> str:
    """The cell to take home; it prints the lesson's lines, and what was opened."""
    x, y = lesson.rows()
    cell = lesson.CELLS[name]
    return _SCRIPT.format(
        x=x.tolist(),
        y=y.tolist(),
        biases=cell.biases,
        rate=lesson.RATE,
        every=lesson.EVERY,
        epochs=epochs,
        hypothesis=cell.hypothesis,
        cost=cell.cost,
        shown=shown,
    )
