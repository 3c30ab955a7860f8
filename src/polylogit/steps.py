"""The chain from logits to loss, step by step, and two distributions measured against each other.

Each step has a name, the torch expression that makes it from the steps before, and its value: what
a learner would type, and what torch answers. Nothing here draws; the command line, a page or a
notebook does.

    z -> z/T -> minus the largest -> exp -> sum -> p -> argmax
                                                   p, y -> one-hot -> -log p -> picked -> loss

The loss is reached on four routes (low-level with one-hot, the same over log-softmax, `nll_loss`,
`cross_entropy`), which are the same number and, in float32, not always the same bits. The gradient
(p - y)/(N T) stands beside that of autograd and a finite difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from polylogit import formulas, functional
from polylogit.arguments import check_distribution, check_pair, checked_labels
from polylogit.errors import InputError, OptionError

STEP = 1e-6  # of the finite difference, in float64
CLOSE = 1e-6  # relative: what float32 may differ by after a few operations


@dataclass(frozen=True, eq=False)
class Step:
    """`name = expression` and the value that torch gave it."""

    name: str
    expression: str
    value: Tensor

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; `digits` tell any two float32 numbers apart, nan and inf included."""
        values = self.value.tolist()
        return {
            "name": self.name,
            "expression": self.expression,
            "shape": list(self.value.shape),
            "dtype": str(self.value.dtype).removeprefix("torch."),
            "value": _each(lambda x: x if math.isfinite(x) else None, values),
            "digits": _each(digits, values),
        }


@dataclass(frozen=True)
class Route:
    """One way to the loss: its expression, and what it gives in both precisions."""

    name: str
    expression: str
    float32: float
    float64: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, nine digits of each."""
        return {
            "name": self.name,
            "expression": self.expression,
            "float32": digits(self.float32),
            "float64": digits(self.float64),
        }


@dataclass(frozen=True, eq=False)
class Chain:
    """Logits z (N, K), class numbers y (N,) and all that lies between them and the mean loss."""

    steps: tuple[Step, ...]
    routes: tuple[Route, ...]
    gradient: tuple[Step, ...]

    def __getitem__(self, name: str) -> Tensor:
        """The value of a step or of a gradient."""
        for step in (*self.steps, *self.gradient):
            if step.name == name:
                return step.value
        names = ", ".join(step.name for step in (*self.steps, *self.gradient))
        raise KeyError(f"{name!r} is no step; there are {names}")

    @property
    def loss(self) -> float:
        """Cross entropy in nats, the mean over rows, as `F.cross_entropy` gives it in float32."""
        return self.routes[-1].float32

    @property
    def agreement(self) -> str:
        """How the four routes compare in float32: "equal" bits, "close", or "broken"."""
        values = [route.float32 for route in self.routes]
        if not all(map(math.isfinite, values)):
            return "broken"
        if len(set(values)) == 1:
            return "equal"
        spread = max(values) - min(values)
        return "close" if spread <= CLOSE * max(1.0, abs(values[-1])) else "broken"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "steps": [step.to_json() for step in self.steps],
            "routes": [route.to_json() for route in self.routes],
            "agreement": self.agreement,
            "gradient": [step.to_json() for step in self.gradient],
            "loss": self.loss if math.isfinite(self.loss) else None,
        }


def chain(logits: Any, target: Any, temperature: float = 1.0) -> Chain:
    """Every step from logits (K,) or (N, K) and class numbers to the mean loss, in float32.

    `temperature` T divides the logits: above 1 the distribution is flatter, below 1 sharper.

    Raises `InputError` for logits that are not finite numbers in one or two dimensions,
    `TargetError` for class numbers that do not fit, `OptionError` for T out of range.

    >>> walked = chain([1.0, 2.0, 3.0], 2)
    >>> [round(p, 4) for p in walked["p"][0].tolist()], round(walked.loss, 6)
    ([0.09, 0.2447, 0.6652], 0.407606)
    >>> [digits(route.float32) for route in walked.routes]
    ['0.407605976', '0.407605946', '0.407605946', '0.407605946']
    """
    z = _logits(logits)
    y = _labels(target, z)
    temperature = _temperature(temperature)
    steps = (*_to_probabilities(z, temperature), *_to_loss(z, y, temperature))
    return Chain(steps, _routes(z, y, temperature), _gradients(z, y, temperature))


# ---------------------------------------------------------------------------------- the arguments


def _logits(logits: Any) -> Tensor:
    """(N, K) in float32, finite."""
    try:
        given = logits if isinstance(logits, Tensor) else torch.tensor(np.asarray(logits))
        z = given.detach().to(torch.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"logits must be numbers, in rows of one length: {error}") from error
    if z.ndim not in (1, 2) or 0 in z.shape or z.shape[-1] < 2:
        raise InputError(
            f"logits must be (K,) or (N, K) for at least 2 classes, not of shape {tuple(z.shape)}"
        )
    z = z.reshape(-1, z.shape[-1])
    bad = (~z.isfinite()).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        raise InputError(
            f"the logit of row {row}, class {column} is {float(z[row, column])} in float32; "
            "logits must be finite, and below 3.4e38"
        )
    return z


def _labels(target: Any, z: Tensor) -> Tensor:
    """(N,) int64."""
    given = target if isinstance(target, Tensor) else torch.tensor(np.asarray(target))
    if given.is_floating_point() and bool((given == given.round()).all()):
        given = given.long()
    labels = checked_labels(given.reshape(-1).to(_whole(given)), z.shape[1])
    if len(labels) != len(z):
        raise InputError(f"{len(z)} rows of logits need as many class numbers, not {len(labels)}")
    return labels


def _whole(given: Tensor) -> torch.dtype:
    """int64 for every type of whole numbers; another type stays, to be refused by its name."""
    whole = not (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool)
    return torch.int64 if whole else given.dtype


def _temperature(temperature: object) -> float:
    number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
    if not number or not 0 < float(temperature) < math.inf:  # type: ignore[arg-type]
        raise OptionError(f"temperature must be a finite number above 0, not {temperature!r}")
    return float(temperature)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------- the steps


def _to_probabilities(z: Tensor, temperature: float) -> list[Step]:
    T = torch.tensor(temperature)
    scaled = z / T
    shifted = scaled - scaled.max(1, keepdim=True).values
    powers = shifted.exp()
    totals = powers.sum(1, keepdim=True)
    return [
        Step("z", _literal(z), z),
        Step("T", f"torch.tensor({temperature})", T),
        Step("scaled", "z / T", scaled),
        Step("shifted", "scaled - scaled.max(1, keepdim=True).values", shifted),
        Step("powers", "shifted.exp()", powers),
        Step("totals", "powers.sum(1, keepdim=True)", totals),
        Step("p", "powers / totals", powers / totals),
        Step("winner", "scaled.argmax(1)", functional.argmax(scaled, 1)),
    ]


def _to_loss(z: Tensor, y: Tensor, temperature: float) -> list[Step]:
    surprise = -functional.log_softmax(z / temperature, 1)
    picked = surprise.gather(1, y[:, None]).squeeze(1)
    return [
        Step("y", f"torch.tensor({y.tolist()})", y),
        Step(
            "y_one_hot",
            "torch.zeros_like(p).scatter_(1, y.unsqueeze(1), 1)",
            functional.one_hot(y, z.shape[1]),
        ),
        Step("surprise", "-torch.log_softmax(scaled, 1)", surprise),
        Step("picked", "surprise.gather(1, y.unsqueeze(1)).squeeze(1)", picked),
        Step("loss", "picked.mean()", picked.mean()),
    ]


_ROUTES = {
    "low_level": (
        "(y_one_hot * -torch.log(torch.softmax(scaled, 1))).sum(1).mean()",
        functional.naive_cross_entropy,
    ),
    "one_hot": (
        "(y_one_hot * -torch.log_softmax(scaled, 1)).sum(1).mean()",
        functional.one_hot_cross_entropy,
    ),
    "nll_loss": (
        "F.nll_loss(torch.log_softmax(scaled, 1), y)",
        lambda z, y: functional.nll_loss(functional.log_softmax(z, 1), y),
    ),
    "cross_entropy": ("F.cross_entropy(scaled, y)", functional.cross_entropy),
}


def _routes(z: Tensor, y: Tensor, temperature: float) -> tuple[Route, ...]:
    exact, rounded = z.double() / temperature, z / temperature
    return tuple(
        Route(name, expression, float(route(rounded, y)), float(route(exact, y)))
        for name, (expression, route) in _ROUTES.items()
    )


def _gradients(z: Tensor, y: Tensor, temperature: float) -> tuple[Step, ...]:
    """dloss/dz (N, K) three times: (p - y)/(N T), by autograd, by a difference in float64."""

    def loss(at: Tensor) -> Tensor:
        return F.cross_entropy(at / temperature, y)

    formula = formulas.cross_entropy_gradient(z / temperature, y) / temperature
    spelled = f"lambda z: F.cross_entropy(z / {temperature}, y)"
    difference = (
        f"torch.stack([(f(z.double() + e) - f(z.double() - e)) / {2 * STEP} for f in [{spelled}] "
        f"for e in {STEP} * torch.eye(z.numel(), dtype=torch.float64).reshape(-1, *z.shape)])"
        ".reshape(z.shape)"
    )
    return (
        Step("by_formula", "(p - y_one_hot) / (len(z) * T)", formula),
        Step("by_autograd", f"torch.func.grad({spelled})(z)", torch.func.grad(loss)(z)),
        Step("by_difference", difference, _difference(loss, z.double())),
    )


def _difference(loss: Any, z: Tensor) -> Tensor:
    steps = STEP * torch.eye(z.numel(), dtype=torch.float64).reshape(-1, *z.shape)
    slopes = [(loss(z + e) - loss(z - e)) / (2 * STEP) for e in steps]
    return torch.stack(slopes).reshape(z.shape)


# ---------------------------------------------------------------------------------- distributions


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two distributions over K outcomes, measured in nats; in bits divided by ln 2.

    cross_entropy = entropy + divergence: what it costs to believe Q where P is true is what P
    costs anyway, and what the error adds.
    """

    p: Tensor
    q: Tensor
    entropy: float
    entropy_q: float
    cross_entropy: float
    divergence: float
    divergence_reversed: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; an infinite measure is null."""
        names = ("entropy", "entropy_q", "cross_entropy", "divergence", "divergence_reversed")
        nats = {name: getattr(self, name) for name in names}
        return {
            "p": self.p.tolist(),
            "q": self.q.tolist(),
            "nats": {name: _finite(value) for name, value in nats.items()},
            "bits": {name: _finite(value / math.log(2)) for name, value in nats.items()},
        }


def compare(p: Any, q: Any = None) -> Comparison:
    """H(P), H(Q), H(P, Q), KL(P|Q) and KL(Q|P) of two distributions (K,); Q is even by default.

    Raises `InputError` for what is no distribution, or two of different length.

    >>> fair, loaded = [1 / 6] * 6, [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]
    >>> measured = compare(fair, loaded)
    >>> round(measured.entropy, 4), round(measured.cross_entropy, 4), round(measured.divergence, 4)
    (1.7918, 2.0343, 0.2426)
    """
    true = _distribution(p, "P")
    believed = torch.full_like(true, 1 / len(true)) if q is None else _distribution(q, "Q")
    check_pair(true, believed, 0)
    return Comparison(
        true,
        believed,
        float(functional.entropy(true)),
        float(functional.entropy(believed)),
        float(functional.distribution_cross_entropy(true, believed)),
        float(functional.kl_divergence(true, believed)),
        float(functional.kl_divergence(believed, true)),
    )


def _distribution(values: Any, name: str) -> Tensor:
    try:
        given = values if isinstance(values, Tensor) else torch.tensor(np.asarray(values))
        p = given.detach().double()
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be numbers: {error}") from error
    if p.ndim != 1 or len(p) < 1 or not bool(p.isfinite().all()):
        raise InputError(
            f"{name} must be finite probabilities (K,) of one distribution, not "
            f"{p.tolist() if p.numel() < 8 else tuple(p.shape)}"
        )
    if given.dtype in (torch.float32, torch.float16, torch.bfloat16):
        check_distribution(given, 0, name)  # one within its own rounding, which float64 would see
        return p / p.sum()
    return p


# ------------------------------------------------------------------------------------- the digits


def digits(value: float) -> str:
    """Nine significant digits, which tell any two float32 numbers apart.

    >>> digits(0.4170299768), digits(float("nan")), digits(3)
    ('0.417029977', 'nan', '3')
    """
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    return f"{value:#.9g}"


def _each(change: Any, values: Any) -> Any:
    """`change` of every number of nested lists."""
    return list(map(partial(_each, change), values)) if isinstance(values, list) else change(values)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _literal(z: Tensor) -> str:
    """`torch.tensor([...])` that makes the same float32 numbers."""
    rows: Sequence[Sequence[float]] = z.tolist()
    return "torch.tensor([" + ", ".join(_row(row) for row in rows) + "])"


def _row(row: Sequence[float]) -> str:
    return "[" + ", ".join(repr(float(f"{value:.9g}")) for value in row) + "]"
