"""The three-numbers tour: the lesson's cells run as they stand, and why their costs differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from polylogit.app.lab.value import Line, long, opened, short
from polylogit.data.dataset import Dataset
from polylogit.data.read import read
from polylogit.errors import InputError
from polylogit.training import fit

RATE = 0.1
EPOCHS, LONGER = 1000, 5000
EVERY = 100  # epochs between the costs that the lesson prints

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
    if epoch % 100 == 0:
        print(f"Epoch {{epoch:4d}}/{epochs} Cost: {{cost.item():.6f}}")
    optimizer.zero_grad()
    cost.backward()
    optimizer.step()
"""


@dataclass(frozen=True)
class Cell:
    """A training cell: how many biases, its hypothesis and its cost, as text and as torch."""

    biases: int
    hypothesis: str
    cost: str
    run: Callable[[Tensor, Tensor], Tensor]  # logits, class numbers -> cost


def _twice(z: Tensor, y: Tensor) -> Tensor:
    truth = torch.zeros_like(z).scatter_(1, y.unsqueeze(1), 1)
    return (truth * -torch.log(F.softmax(F.softmax(z, dim=1), dim=1))).sum(dim=1).mean()


_LOW = "(y_one_hot * -torch.log(F.softmax(hypothesis, dim=1))).sum(dim=1).mean()".replace(
    "y_one_hot", "torch.zeros(8, 3).scatter_(1, y_train.unsqueeze(1), 1)"
)
_CROSS = "F.cross_entropy(hypothesis, y_train)"
CELLS: Mapping[str, Cell] = {
    "twice": Cell(1, "F.softmax(x_train @ W + b, dim=1)", _LOW, _twice),
    "shared": Cell(1, "x_train @ W + b", _CROSS, F.cross_entropy),
    "right": Cell(3, "x_train @ W + b", _CROSS, F.cross_entropy),
}


@dataclass(frozen=True, eq=False)
class Run:
    """What training a cell gave: the cost at every `EVERY`-th epoch, and the last model."""

    costs: Tensor
    weight: Tensor
    bias: Tensor
    accuracy: Tensor


@lru_cache
def lesson() -> Dataset:
    """The lesson's eight rows."""
    return read("lesson", target="y")


def rows() -> tuple[Tensor, Tensor]:
    """x (8, 4) float32 and y (8,)."""
    data = lesson()
    features = torch.as_tensor(np.asarray(data.features), dtype=torch.float32)
    return features, torch.as_tensor(data.targets)


@lru_cache
def train(name: str, epochs: int) -> Run:
    """Run a cell as the lesson does: zeros, SGD at 0.1, the cost before each step."""
    x, y = rows()
    cell = CELLS[name]
    W = torch.zeros(4, 3, requires_grad=True)
    b = torch.zeros(cell.biases, requires_grad=True)
    optimizer = torch.optim.SGD([W, b], lr=RATE)
    costs = []
    for epoch in range(epochs + 1):
        cost = cell.run(x @ W + b, y)
        if epoch % EVERY == 0:
            costs.append(cost.detach())
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
    W, b = W.detach(), b.detach()
    accuracy = ((x @ W + b).argmax(1) == y).float().mean()
    return Run(torch.stack(costs), W, b, accuracy)


def script(name: str, epochs: int) -> str:
    """The cell to take home; it prints the lesson's lines."""
    x, y = rows()
    cell = CELLS[name]
    return _SCRIPT.format(
        x=x.tolist(),
        y=y.tolist(),
        biases=cell.biases,
        rate=RATE,
        epochs=epochs,
        hypothesis=cell.hypothesis,
        cost=cell.cost,
    )


def tour() -> dict[str, Any]:
    """Every number that the tour reveals."""
    values = {name: _trained(name, EPOCHS) for name in CELLS}
    values |= {f"{name}_longer": _trained(name, LONGER) for name in ("twice", "right")}
    floor = torch.tensor(math.log(math.e + 2) - 1)
    start = torch.tensor(3.0).log()
    plain = [
        Line("start", "torch.tensor(3.0).log()", start),
        Line("floor", "torch.tensor(math.log(math.e + 2) - 1)", floor),
        *_shifted(),
    ]
    return {"cells": values, "lines": opened(plain), "optimum": optimum(), "without": without()}


def _shifted() -> list[Line]:
    z = torch.tensor([1.0, 2.0, 3.0])
    return [
        Line("p", "torch.softmax(torch.tensor([1.0, 2.0, 3.0]), 0)", torch.softmax(z, 0)),
        Line(
            "p_shifted",
            "torch.softmax(torch.tensor([1.0, 2.0, 3.0]) + 5, 0)",
            torch.softmax(z + 5, 0),
        ),
    ]


def _trained(name: str, epochs: int) -> dict[str, Any]:
    """A run with its numbers, each to be opened into the script of the whole cell."""
    run, code = train(name, epochs), script(name, epochs)
    lines = opened(
        [
            Line("cost", CELLS[name].cost, run.costs[-1]),
            Line("b", "b.detach()", run.bias),
            Line("norm", "W.detach().norm()", run.weight.norm()),
            Line(
                "accuracy", "((x_train @ W + b).argmax(1) == y_train).float().mean()", run.accuracy
            ),
        ]
    )
    endings = {"cost": "cost.item()", "accuracy": lines["accuracy"]["expression"]}
    for key, line in lines.items():
        line["python"] = f"{code}print({endings.get(key, line['expression'])})\n"
        line["long"] = f"{run.costs[-1]:.6f}" if key == "cost" else line["long"]
    return {
        "epochs": epochs,
        "hypothesis": CELLS[name].hypothesis,
        "cost_code": CELLS[name].cost,
        "curve": [[EVERY * i, float(cost)] for i, cost in enumerate(run.costs)],
        "printed": [f"{float(cost):.6f}" for cost in run.costs],
        "lines": lines,
    }


@lru_cache
def optimum() -> dict[str, str]:
    """The certified optimum with a penalty: where every training of it must end."""
    best = fit(lesson(), C=1.0).solution
    return {
        "objective": short(best.objective),
        "objective_long": long(best.objective),
        "proof": str(best.certificate),
    }


@lru_cache
def without() -> str:
    """What the library says to a fit of these rows without a penalty."""
    try:
        return fit(lesson(), C=math.inf).solution.message
    except InputError as error:
        return str(error)
