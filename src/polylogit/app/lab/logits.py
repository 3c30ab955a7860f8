"""The logits panel: from K numbers to a loss and its gradient, each step by its own expression."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field
from torch import Tensor

from polylogit import functional
from polylogit.app.lab.value import literal, opened, short, vector
from polylogit.errors import OptionError
from polylogit.steps import STEP, Step

ROUTES = ("low", "low_stable", "nll", "cross")
CLOSE = 1e-5  # relative; float32 keeps about seven digits

Logit = Annotated[float, Field(ge=-1e4, le=1e4, allow_inf_nan=False)]


class LogitsRequest(BaseModel):
    """Logits of one row, its class, a temperature; with the largest subtracted; softmax twice."""

    logits: list[Logit] = Field(min_length=2, max_length=10)
    target: int = Field(ge=0)
    temperature: float = Field(default=1.0, ge=0.01, le=1000, allow_inf_nan=False)
    shift: bool = True
    again: bool = False


def walk(asked: LogitsRequest) -> dict[str, Any]:
    """Every step, whether the four routes agree, and the floor of a loss behind two softmaxes."""
    count = len(asked.logits)
    if asked.target >= count:
        raise OptionError(
            f"the target {asked.target} is no class: {count} logits have the classes 0 to "
            f"{count - 1}"
        )
    lines = [*_softmax(asked), *_loss(asked), *_gradient(asked)]
    losses = torch.stack([line.value for line in lines if line.name in ROUTES])
    floor = math.log(math.e + count - 1) - 1
    return {
        "asked": asked.model_dump(),
        "lines": opened(lines),
        "agreement": agreement(losses),
        "floor": {"drawn": floor, "short": short(floor)},
    }


def agreement(losses: Tensor) -> str:
    """Whether the routes give the same bits, the same up to rounding, or not even numbers.

    >>> agreement(torch.tensor([0.1, 0.1])), agreement(torch.tensor([0.1, 0.10000001]))
    ('equal', 'close')
    >>> agreement(torch.tensor([0.1, math.nan]))
    'broken'
    """
    if bool((losses == losses[0]).all()):
        return "equal"
    nearly = torch.allclose(losses, losses[-1].expand_as(losses), rtol=CLOSE, atol=CLOSE)
    return "close" if nearly else "broken"


def _softmax(asked: LogitsRequest) -> list[Step]:
    """z, z/T, minus the largest if asked, exp, the sum, p; as written, so that it can overflow."""
    z, T = vector(asked.logits), torch.tensor(asked.temperature)
    scaled = z / T
    shifted = scaled - scaled.max() if asked.shift else scaled
    powers = shifted.exp()
    total = powers.sum()
    return [
        Step("z", literal(asked.logits), z),
        Step("y", f"torch.tensor({asked.target})", torch.tensor(asked.target)),
        Step("T", f"torch.tensor({asked.temperature})", T),
        Step("scaled", "z / T", scaled),
        Step("shifted", "scaled - scaled.max()" if asked.shift else "scaled", shifted),
        Step("powers", "shifted.exp()", powers),
        Step("total", "powers.sum()", total),
        Step("p", "powers / total", powers / total),
        Step("entropy", "torch.special.entr(p).sum()", torch.special.entr(powers / total).sum()),
        Step("winner", "z.argmax()", functional.argmax(z)),
    ]


def _fed(asked: LogitsRequest) -> Tensor:
    """What the loss is given: the logits, or by mistake their softmax."""
    scaled = vector(asked.logits) / torch.tensor(asked.temperature)
    return functional.softmax(scaled) if asked.again else scaled


def _loss(asked: LogitsRequest) -> list[Step]:
    """One-hot by scatter, the surprise of every class, the one picked, and four routes to it."""
    fed, y = _fed(asked), torch.tensor(asked.target)
    truth = functional.one_hot(y, len(fed))
    surprise = -functional.log_softmax(fed)
    return [
        Step("fed", "torch.softmax(scaled, -1)" if asked.again else "scaled", fed),
        Step("one_hot", "torch.zeros(len(z)).scatter_(0, y.unsqueeze(0), 1)", truth),
        Step("surprise", "-torch.log_softmax(fed, -1)", surprise),
        Step("picked", "surprise[y]", surprise[y]),
        Step(
            "low",
            "(one_hot * -torch.log(torch.softmax(fed, -1))).sum()",
            functional.naive_cross_entropy(fed, y),
        ),
        Step(
            "low_stable",
            "(one_hot * -torch.log_softmax(fed, -1)).sum()",
            functional.one_hot_cross_entropy(fed, y),
        ),
        Step(
            "nll",
            "F.nll_loss(torch.log_softmax(fed, -1), y)",
            functional.nll_loss(functional.log_softmax(fed), y),
        ),
        Step("cross", "F.cross_entropy(fed, y)", functional.cross_entropy(fed, y)),
    ]


def _gradient(asked: LogitsRequest) -> list[Step]:
    """dL/dz by the formula, by autograd, and by a finite difference in float64."""
    z, T, y = vector(asked.logits), torch.tensor(asked.temperature), torch.tensor(asked.target)
    spelled = (
        "F.cross_entropy(torch.softmax(z / T, -1), y)"
        if asked.again
        else ("F.cross_entropy(z / T, y)")
    )

    def loss(at: Tensor) -> Tensor:
        return F.cross_entropy(torch.softmax(at / T, -1) if asked.again else at / T, y)

    fed = _fed(asked)
    upstream = functional.softmax(fed) - functional.one_hot(y, len(fed))
    through = fed * (upstream - (fed * upstream).sum()) if asked.again else upstream
    formula = "fed * (upstream - (fed * upstream).sum()) / T" if asked.again else "upstream / T"
    return [
        Step("upstream", "torch.softmax(fed, -1) - one_hot", upstream),
        Step("by_formula", formula, through / T),
        Step("by_autograd", f"torch.func.grad(lambda z: {spelled})(z)", torch.func.grad(loss)(z)),
        Step(
            "by_difference",
            f"torch.stack([(lambda f: f(z.double() + e) - f(z.double() - e))(lambda z: {spelled})"
            f" / {2 * STEP} for e in {STEP} * torch.eye(len(z), dtype=torch.float64)])",
            _difference(loss, z.double()),
        ),
    ]


def _difference(loss: Any, z: Tensor) -> Tensor:
    steps = STEP * torch.eye(len(z), dtype=torch.float64)
    return torch.stack([(loss(z + e) - loss(z - e)) / (2 * STEP) for e in steps])
