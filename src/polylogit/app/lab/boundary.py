"""The boundary panel: gradient descent on points in the plane, a step at a time, and its goal."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from polylogit import formulas, functional
from polylogit.app.lab.value import drawn, long, opened, short
from polylogit.data.arrays import from_arrays
from polylogit.data.read import read
from polylogit.errors import InputError, OptionError
from polylogit.steps import Step
from polylogit.training import fit

FRAMES = 60  # a second, at most
EACH = 50  # generated points of a class
TOL = 1e-9  # nats per row: what the certified optimum is fitted to

Name = Literal["blobs", "separable", "ring", "penguins"]
Number = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, eq=False)
class Points:
    """N points x (N, 2) in the plane, and their class numbers y (N,)."""

    x: Tensor
    y: Tensor
    features: tuple[str, str]
    classes: tuple[str, ...]


class PointsRequest(BaseModel):
    """Which points, and the penalty alpha of alpha/2 |W|^2 on the mean loss."""

    data: Name
    penalty: float = Field(default=0.0, ge=0, le=10, allow_inf_nan=False)


class ModelRequest(PointsRequest):
    """A model W (K, 2), b (K,); zeros where it is left out."""

    weight: list[Annotated[list[Number], Field(min_length=2, max_length=2)]] | None = None
    bias: list[Number] | None = None


class TrainRequest(ModelRequest):
    """How gradient descent goes on from there: `per_frame` steps between two pictures."""

    learning_rate: float = Field(gt=0, le=100, allow_inf_nan=False)
    step: int = Field(default=0, ge=0, le=10**7)
    steps: int = Field(default=2000, ge=1, le=20_000)
    per_frame: int = Field(default=1, ge=1, le=100)


@dataclass(frozen=True, eq=False)
class Model:
    """Where gradient descent stands."""

    weight: Tensor
    bias: Tensor


# ------------------------------------------------------------------------------------ the points


@lru_cache
def points(name: str) -> Points:
    """The points of a name."""
    return _MADE[name]()


def _around(centres: list[list[float]], spread: float) -> Points:
    """A cloud of `EACH` points around every centre."""
    noise = torch.randn(len(centres), EACH, 2, generator=torch.Generator().manual_seed(0))
    x = torch.tensor(centres)[:, None] + spread * noise
    y = torch.arange(len(centres)).repeat_interleave(EACH)
    return Points(x.flatten(0, 1), y, ("x1", "x2"), tuple("ABC"[: len(centres)]))


def _ring() -> Points:
    """A disc within a ring, which no straight line parts."""
    generator = torch.Generator().manual_seed(0)
    angle = torch.rand(2 * EACH, generator=generator) * 2 * math.pi
    radius = torch.cat((torch.rand(EACH, generator=generator) * 0.9, torch.full((EACH,), 1.8)))
    radius = radius + 0.1 * torch.randn(2 * EACH, generator=generator)
    x = radius[:, None] * torch.stack((angle.cos(), angle.sin()), 1)
    return Points(x, torch.arange(2).repeat_interleave(EACH), ("x1", "x2"), ("A", "B"))


def _penguins() -> Points:
    """Bills of penguins, in standard deviations."""
    data = read("penguins", target="species")
    names = ("bill_length_mm", "bill_depth_mm")
    columns = [data.schema.names.index(name) for name in names]
    x = torch.as_tensor(np.asarray(data.features)[:, columns], dtype=torch.float32)
    x = (x - x.mean(0)) / x.std(0)
    return Points(x, torch.as_tensor(data.targets), names, tuple(map(str, data.schema.classes)))


_CORNERS = [[-1.4, -0.8], [1.4, -0.8], [0.0, 1.4]]
_MADE: Mapping[str, Callable[[], Points]] = {
    "blobs": lambda: _around(_CORNERS, 0.8),
    "separable": lambda: _around(_CORNERS, 0.35),
    "ring": _ring,
    "penguins": _penguins,
}


# ---------------------------------------------------------------------------- the certified goal


def scene(asked: PointsRequest) -> dict[str, Any]:
    """The points, and the optimum that gradient descent approaches, with its proof."""
    here = points(asked.data)
    chance = math.log(len(here.classes))
    return {
        "asked": asked.model_dump(),
        "x": here.x.tolist(),
        "y": here.y.tolist(),
        "features": here.features,
        "classes": here.classes,
        "chance": {"drawn": chance, "short": short(chance)},
        "optimum": optimum(asked.data, asked.penalty),
    }


@lru_cache(maxsize=64)
def optimum(name: str, penalty: float) -> dict[str, Any]:
    """The certified optimum, or the library's sentence on why there is none."""
    here = points(name)
    try:
        found = fit(
            from_arrays(here.x.double().numpy(), here.y.numpy()),
            C=_strength(penalty, here),
            tol=TOL,
        )
    except InputError as error:
        return {"exists": False, "message": str(error)}
    best = found.solution
    return {
        "exists": True,
        "message": str(best.certificate),
        "objective": {"drawn": best.objective, "short": short(best.objective)},
        "weight": best.weight.tolist(),
        "bias": best.bias.tolist(),
    }


def _strength(penalty: float, here: Points) -> float:
    """C of the same penalty; two classes count double there (see `polylogit.fit`)."""
    if penalty == 0:
        return math.inf
    return (2 if len(here.classes) == 2 else 1) / (penalty * len(here.y))


# -------------------------------------------------------------------------------- gradient descent


def start(asked: ModelRequest) -> Model:
    """The model asked for, or zeros; an OptionError where its shape is another."""
    count = len(points(asked.data).classes)
    weight = torch.tensor(asked.weight or [[0.0, 0.0]] * count)
    bias = torch.tensor(asked.bias or [0.0] * count)
    if len(weight) != count or len(bias) != count:
        raise OptionError(
            f"{count} classes need weight ({count}, 2) and bias ({count},), not "
            f"{tuple(weight.shape)} and {tuple(bias.shape)}"
        )
    return Model(weight, bias)


def stepped(model: Model, here: Points, learning_rate: float, penalty: float) -> Model:
    """One step down the gradient of the mean loss + penalty/2 |W|^2: dW = R'X + penalty W."""
    residual = formulas.cross_entropy_gradient(here.x @ model.weight.T + model.bias, here.y)
    slope = residual.T @ here.x + penalty * model.weight
    return Model(model.weight - learning_rate * slope, model.bias - learning_rate * residual.sum(0))


def pictures(asked: TrainRequest) -> Iterator[dict[str, Any]]:
    """What to paint, every `per_frame` steps; it ends early where the weights leave float32."""
    here, model = points(asked.data), start(asked)
    for done in range(0, asked.steps + 1, asked.per_frame):
        if not bool(model.weight.isfinite().all()):
            return
        yield {"step": asked.step + done, **picture(model, here, asked.penalty)}
        for _ in range(asked.per_frame):
            model = stepped(model, here, asked.learning_rate, asked.penalty)


def picture(model: Model, here: Points, penalty: float) -> dict[str, Any]:
    """The model to paint, and its measures to print."""
    printed = {
        line.name: {"drawn": drawn(float(line.value)), "short": short(float(line.value))}
        for line in measures(model, here, penalty)
    }
    return {"weight": model.weight.tolist(), "bias": model.bias.tolist(), **printed}


def measures(model: Model, here: Points, penalty: float) -> list[Step]:
    """Loss, objective, accuracy and the length of the weights."""
    z = here.x @ model.weight.T + model.bias
    loss, size = functional.cross_entropy(z, here.y), model.weight.norm()
    return [
        Step("loss", "F.cross_entropy(X @ W.T + b, y)", loss),
        Step(
            "objective",
            f"loss + {penalty} / 2 * W.square().sum()",
            loss + penalty / 2 * model.weight.square().sum(),
        ),
        Step(
            "accuracy",
            "((X @ W.T + b).argmax(1) == y).float().mean()",
            (functional.argmax(z) == here.y).float().mean(),
        ),
        Step("norm", "W.norm()", size),
    ]


def values(asked: ModelRequest) -> dict[str, Any]:
    """The measures of one model, to be opened and taken home."""
    here, model = points(asked.data), start(asked)
    given = [
        Step("X", f"torch.tensor({_rounded(here.x)})", here.x),
        Step("y", f"torch.tensor({here.y.tolist()})", here.y),
        Step("W", f"torch.tensor({model.weight.tolist()})", model.weight),
        Step("b", f"torch.tensor({model.bias.tolist()})", model.bias),
    ]
    lines = opened([*given, *measures(model, here, asked.penalty)])
    return {name: lines[name] for name in ("loss", "objective", "accuracy", "norm")}


def _rounded(x: Tensor) -> str:
    """Nine digits say exactly which float32 is meant."""
    return "[" + ", ".join(f"[{', '.join(long(v) for v in row)}]" for row in x.tolist()) + "]"


async def paced(asked: TrainRequest) -> AsyncIterator[bytes]:
    """`pictures` as lines of JSON, no faster than a screen shows them."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    for frame in pictures(asked):
        yield json.dumps(frame, allow_nan=False).encode() + b"\n"
        due += 1 / FRAMES
        await asyncio.sleep(max(0.0, due - loop.time()))
