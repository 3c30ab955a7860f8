"""The die panel: a die P that can be loaded, what Q believes of it, and rolls."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from polylogit import functional
from polylogit.app.lab.value import each, literal, long, opened, short, vector
from polylogit.errors import OptionError
from polylogit.steps import Step

POINTS = 160  # of the curve of running means

Weights = Annotated[
    list[Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]],
    Field(min_length=2, max_length=12),
]


class DieRequest(BaseModel):
    """Weights of the faces under P and Q, made to sum to one here; how many rolls, which seed."""

    p: Weights
    q: Weights
    rolls: int = Field(default=1000, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


def die(asked: DieRequest) -> dict[str, Any]:
    """Both distributions, their entropies and divergences in nats and bits, and the rolls."""
    if len(asked.p) != len(asked.q):
        raise OptionError(
            f"P has {len(asked.p)} faces and Q has {len(asked.q)}; both must have as many"
        )
    p, q = _distribution(asked.p, "P"), _distribution(asked.q, "Q")
    lines = _lines(asked, p, q)
    return {"asked": asked.model_dump(), "lines": opened(lines), "rolls": _rolls(asked, p, q)}


def _distribution(weights: list[float], name: str) -> Tensor:
    total = vector(weights)
    if not float(total.sum()) > 0:
        raise OptionError(f"every face of {name} has weight 0; one must be able to come up")
    return total / total.sum()


def _lines(asked: DieRequest, p: Tensor, q: Tensor) -> list[Step]:
    nats = [
        Step("entropy", "torch.special.entr(p).sum()", functional.entropy(p)),
        Step("entropy_q", "torch.special.entr(q).sum()", functional.entropy(q)),
        Step(
            "cross_entropy",
            "-torch.special.xlogy(p, q).sum()",
            functional.distribution_cross_entropy(p, q),
        ),
        Step(
            "kl",
            "(torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum()",
            functional.kl_divergence(p, q),
        ),
        Step(
            "kl_reverse",
            "(torch.special.xlogy(q, q) - torch.special.xlogy(q, p)).sum()",
            functional.kl_divergence(q, p),
        ),
    ]
    return [
        Step("weights_p", literal(asked.p), vector(asked.p)),
        Step("weights_q", literal(asked.q), vector(asked.q)),
        Step("p", "weights_p / weights_p.sum()", p),
        Step("q", "weights_q / weights_q.sum()", q),
        Step("surprise", "-q.log()", -q.log()),
        *nats,
        *(_in_bits(line) for line in nats),
    ]


def _in_bits(line: Step) -> Step:
    """One bit is ln 2 nats."""
    two = torch.tensor(2.0).log()
    return Step(f"{line.name}_bits", f"{line.name} / torch.tensor(2.0).log()", line.value / two)


def _rolls(asked: DieRequest, p: Tensor, q: Tensor) -> dict[str, Any]:
    """Roll P, and follow the mean surprise -log Q(x) on its way to H(P, Q)."""
    generator = torch.Generator().manual_seed(asked.seed)
    seen = torch.multinomial(p, asked.rolls, replacement=True, generator=generator)
    counts = torch.arange(1, asked.rolls + 1)
    running = (-q.log()[seen]).double().cumsum(0) / counts
    at = torch.unique(torch.logspace(0, _log10(asked.rolls), POINTS).round().long()) - 1
    frequency = torch.bincount(seen, minlength=len(p)) / asked.rolls
    return {
        "counts": counts[at].tolist(),
        "running": [value if value < torch.inf else None for value in running[at].tolist()],
        "mean": {"short": short(float(running[-1])), "long": long(float(running[-1]))},
        "frequency": {"drawn": frequency.tolist(), "short": each(short, frequency.tolist())},
    }


def _log10(value: int) -> float:
    return float(torch.tensor(float(value)).log10())
