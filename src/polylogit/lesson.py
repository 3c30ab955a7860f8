"""The lesson's training cells, run for real on its eight rows, and why their costs differ.

The course 모두를 위한 딥러닝 시즌 2 (lab 06, softmax classification) trains "the same" model in
three cells and prints three costs after 1000 epochs: 0.738749, 0.399962 and, with nn.Linear,
0.241922.

- "twice": softmax is taken of the logits and then again inside the loss. A second softmax of
  numbers between 0 and 1 cannot be sure of anything: the loss stays above ln(e + K - 1) - 1, for
  three classes 0.551445.
- "shared": the bias is a single number. It shifts all logits alike, which softmax cannot see; its
  gradient is zero, and the model has no bias at all.
- "right": one bias per class. From zeros the cost is 0.248155.
- "head": the same as a layer (`SoftmaxHead`, an nn.Linear that starts at zero): the same cost. The
  0.241922 of the lesson is this cell from the random start of nn.Linear.

Every cell goes on falling, slowly, because without a penalty these separable rows have no optimum;
with one, `polylogit.fit` finds it, with a proof.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from polylogit.data.read import read
from polylogit.errors import OptionError, TargetError, nearest
from polylogit.nn import SoftmaxHead
from polylogit.training import Fit, fit

EPOCHS, RATE, EVERY = 1000, 0.1, 100  # of the lesson: EVERY epochs it prints a cost
DIVERGING = (0.3, 1.0)  # learning rates at which the cost does not settle
GROWTH = (1000, 5000, 20_000)  # epochs without a penalty, over which the weights grow


@dataclass(frozen=True)
class Cell:
    """A training cell: its number of biases, its hypothesis and its cost, as text and as torch."""

    biases: int
    hypothesis: str
    cost: str
    of: Callable[[Tensor, Tensor], Tensor]  # logits (N, K), class numbers (N,) -> cost


def _low(z: Tensor, y: Tensor) -> Tensor:
    """The lesson's own line: one-hot times -log softmax, summed over classes, mean over rows."""
    truth = torch.zeros_like(z).scatter_(1, y.unsqueeze(1), 1)
    return (truth * -torch.log(F.softmax(z, dim=1))).sum(dim=1).mean()


def _twice(z: Tensor, y: Tensor) -> Tensor:
    return _low(F.softmax(z, dim=1), y)


_LOW = (
    "(torch.zeros(8, 3).scatter_(1, y_train.unsqueeze(1), 1) * "
    "-torch.log(F.softmax(hypothesis, dim=1))).sum(dim=1).mean()"
)
_CROSS = "F.cross_entropy(hypothesis, y_train)"
CELLS: Mapping[str, Cell] = {
    "twice": Cell(1, "F.softmax(x_train @ W + b, dim=1)", _LOW, _twice),
    "shared": Cell(1, "x_train @ W + b", _CROSS, F.cross_entropy),
    "right": Cell(3, "x_train @ W + b", _CROSS, F.cross_entropy),
    "low": Cell(3, "x_train @ W + b", _LOW, _low),
    "head": Cell(3, "head(x_train)", _CROSS, F.cross_entropy),
}


@dataclass(frozen=True, eq=False)
class Epoch:
    """Where training stands before its `number`-th step: cost in nats, W (K, D), b."""

    number: int
    cost: float
    weight: Tensor
    bias: Tensor

    @property
    def norm(self) -> float:
        """|W|, which grows for ever where nothing penalises it."""
        return float(self.weight.norm())


@dataclass(frozen=True, eq=False)
class Run:
    """A whole training: the cost at every `EVERY`-th epoch, the last model, its accuracy."""

    cell: str
    learning_rate: float
    costs: tuple[float, ...]
    last: Epoch
    accuracy: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; a cost that is not finite is null."""
        return {
            "cell": self.cell,
            "learning_rate": self.learning_rate,
            "epochs": self.last.number,
            "costs": [cost if math.isfinite(cost) else None for cost in self.costs],
            "printed": [f"{cost:.6f}" for cost in self.costs],
            "norm": self.last.norm,
            "bias": self.last.bias.tolist(),
            "accuracy": self.accuracy,
        }


@lru_cache
def rows() -> tuple[Tensor, Tensor]:
    """x_train (8, 4) float32 and y_train (8,)."""
    data = read("lesson", target="y")
    features = torch.as_tensor(np.asarray(data.features), dtype=torch.float32)
    return features, torch.as_tensor(data.targets)


def floor(n_classes: int) -> float:
    """The least cost that can be reached through two softmaxes: ln(e + K - 1) - 1, in nats.

    The inner softmax is at best one-hot, so the outer one is at best e/(e + K - 1).

    >>> [round(floor(k), 4) for k in (2, 3, 5, 10, 100)]
    [0.3133, 0.5514, 0.9048, 1.4612, 3.6222]
    """
    return math.log(math.e + n_classes - 1) - 1


def train(
    cell: str = "right",
    *,
    epochs: int = EPOCHS,
    learning_rate: float = RATE,
    batch_size: int | None = None,
    seed: int = 0,
) -> Iterator[Epoch]:
    """Run a cell of `CELLS` as the lesson does, from zeros, and hand out every epoch.

    Plain gradient descent on the mean cost of all rows, or of minibatches of `batch_size` rows in
    an order drawn anew each epoch; the cost handed out is that of all rows, before the steps.

    Raises `OptionError` for an unknown cell and options out of range.
    """
    _check(cell, epochs, learning_rate, batch_size)
    x, y = rows()
    model = _model(cell)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    for number in range(epochs + 1):
        whole = CELLS[cell].of(model(x), y)
        yield Epoch(number, float(whole.detach()), *_frozen(model))
        for part in _batches(len(y), batch_size, generator):
            cost = whole if part is None else CELLS[cell].of(model(x[part]), y[part])
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()


class _Plain(torch.nn.Module):
    """x @ W + b with W (D, K) and one bias or K of them, from zeros: the lesson's own tensors."""

    def __init__(self, biases: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4, 3))
        self.bias = torch.nn.Parameter(torch.zeros(biases))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


def _model(cell: str) -> Any:
    return SoftmaxHead(4, 3) if cell == "head" else _Plain(CELLS[cell].biases)


def _frozen(model: Any) -> tuple[Tensor, Tensor]:
    """W (K, D) and b, copied, for the step after this changes them in place."""
    weight = model.weight.detach().clone()
    return weight if len(weight) == 3 else weight.T, model.bias.detach().clone()


def _batches(n_rows: int, size: int | None, generator: torch.Generator) -> Iterator[Tensor | None]:
    """Row numbers of each minibatch, or None for all rows."""
    if size is None:
        yield None
        return
    order = torch.randperm(n_rows, generator=generator)
    yield from order.split(size)


def _check(cell: str, epochs: int, learning_rate: float, batch_size: int | None) -> None:
    if cell not in CELLS:
        advice = nearest(str(cell), CELLS)
        raise OptionError(f"the lesson's cells are {', '.join(CELLS)}, not {cell!r}{advice}")
    if isinstance(epochs, bool) or not isinstance(epochs, int) or not 0 <= epochs <= 10**6:
        raise OptionError(f"epochs must be a whole number from 0 to 1000000, not {epochs!r}")
    if not 0 < learning_rate < math.inf:
        raise OptionError(f"learning_rate must be a finite number above 0, not {learning_rate!r}")
    if batch_size is not None and not 1 <= batch_size <= 8:
        raise OptionError(f"batch_size must be from 1 to the 8 rows there are, not {batch_size!r}")


@lru_cache
def run(
    cell: str = "right",
    epochs: int = EPOCHS,
    learning_rate: float = RATE,
    batch_size: int | None = None,
) -> Run:
    """A whole training, with the costs that the lesson prints.

    >>> [f"{cost:.6f}" for cost in run("shared", 300).costs]
    ['1.098612', '0.761050', '0.689991', '0.643229']
    """
    costs, last = [], None
    for epoch in train(cell, epochs=epochs, learning_rate=learning_rate, batch_size=batch_size):
        last = epoch
        if epoch.number % EVERY == 0:
            costs.append(epoch.cost)
    if last is None:
        raise OptionError("a training has at least its start")
    x, y = rows()
    hits = (x @ last.weight.T + last.bias).argmax(1) == y
    return Run(cell, learning_rate, tuple(costs), last, float(hits.float().mean()))


@dataclass(frozen=True, eq=False)
class Tour:
    """The lesson's story in numbers.

    `cells`: every cell for the lesson's 1000 epochs. `diverging`: the right cell at learning rates
    too large for it. `minibatches`: two rows at a time. `growth`: |W| after ever more epochs
    without a penalty. `optimum`: the certified optimum with one, and `without`: what the library
    says to a fit of these rows without.
    """

    cells: tuple[Run, ...]
    diverging: tuple[Run, ...]
    minibatches: Run
    growth: tuple[Epoch, ...]
    optimum: Fit
    without: str
    floor: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        best = self.optimum.solution
        return {
            "cells": [run.to_json() for run in self.cells],
            "floor": self.floor,
            "diverging": [run.to_json() for run in self.diverging],
            "minibatches": self.minibatches.to_json(),
            "growth": [
                {"epochs": epoch.number, "cost": epoch.cost, "norm": epoch.norm}
                for epoch in self.growth
            ],
            "optimum": {
                "C": self.optimum.C,
                "objective": best.objective,
                "gap": best.certificate.gap,
                "status": best.message,
            },
            "without": self.without,
        }


@lru_cache
def tour() -> Tour:
    """Run all of the lesson: some 30 000 steps, a few seconds.

    >>> told = tour()
    >>> [(run.cell, f"{run.costs[-1]:.6f}") for run in told.cells]
    [('twice', '0.738749'), ('shared', '0.399962'), ('right', '0.248155'), ('low', '0.248155'),
     ('head', '0.248155')]
    """
    return Tour(
        cells=tuple(run(name) for name in CELLS),
        diverging=tuple(run("right", 300, rate) for rate in DIVERGING),
        minibatches=run("right", EPOCHS, RATE, 2),
        growth=tuple(epoch for epoch in train(epochs=GROWTH[-1]) if epoch.number in GROWTH),
        optimum=optimum(),
        without=without(),
        floor=floor(3),
    )


@lru_cache
def optimum() -> Fit:
    """The certified optimum with a penalty, where every training of it must end."""
    return fit(read("lesson", target="y"), C=1.0)


@lru_cache
def without() -> str:
    """What a fit without a penalty is told."""
    try:
        return fit(read("lesson", target="y"), C=math.inf).solution.message
    except TargetError as error:
        return str(error)
