"""The panel of honest confidence: how often is the model right when it says 0.9?"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from polylogit import functional
from polylogit.app.lab.value import opened, short
from polylogit.data.arrays import from_arrays
from polylogit.diagnostics.metrics import score
from polylogit.diagnostics.reliability import Curve, reliability_curve, smooth_error
from polylogit.model import SoftmaxModel
from polylogit.steps import Step
from polylogit.training import fit

TRAINED, FRESH = 120, 4000  # rows
FEATURES, CLASSES = 20, 3
BINS = 10
FACTORS = (1, 3, 10, 30)


class ConfidenceRequest(BaseModel):
    """How weak the penalty (C), and at which temperature the probabilities are read."""

    C: float = Field(default=1.0, ge=1e-4, le=1e6, allow_inf_nan=False)
    temperature: float = Field(default=1.0, ge=0.05, le=100, allow_inf_nan=False)


def confidence(asked: ConfidenceRequest) -> dict[str, Any]:
    """Reliability of fresh rows: in each bin of confidence, how sure and how right; and scores."""
    X, y = rows(FRESH, seed=1)
    z = _model(asked.C).logits(X) / asked.temperature
    p = functional.softmax(z, 1)
    sure, guess = p.max(1)
    right = (guess == y).double().numpy()
    scores = score(functional.log_softmax(z, 1).numpy(), y.numpy())
    return {
        "asked": asked.model_dump(),
        "bins": bins(reliability_curve(sure.numpy(), right, BINS)),
        "accuracy": short(scores.accuracy),
        "confidence": short(float(sure.mean())),
        "log_loss": short(scores.log_loss),
        "brier": short(scores.brier),
        "smooth_error": short(smooth_error(sure.numpy(), right)),
        "rows": {"trained": TRAINED, "fresh": FRESH},
        "far": far(),
    }


def bins(curve: Curve) -> list[dict[str, Any]]:
    """The bins of a reliability curve, to be drawn and printed."""
    return [
        {
            "rows": int(count),
            "sure": {"drawn": float(said), "short": short(float(said))},
            "right": {"drawn": float(seen), "short": short(float(seen))},
        }
        for count, said, seen in zip(curve.rows, curve.said, curve.seen, strict=True)
    ]


def rows(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows whose labels follow a softmax model of three of their twenty features."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(count, FEATURES, dtype=torch.float64, generator=generator)
    truth = torch.zeros(CLASSES, FEATURES, dtype=torch.float64)
    truth[:, :CLASSES] = 1.5 * torch.eye(CLASSES, dtype=torch.float64)
    p = functional.softmax(X @ truth.T, 1)
    return X, torch.multinomial(p, 1, generator=generator)[:, 0]


@lru_cache(maxsize=32)
def _model(C: float) -> SoftmaxModel:
    X, y = rows(TRAINED, seed=0)
    return fit(from_arrays(X.numpy(), y.numpy()), C=C).model


@lru_cache(maxsize=1)
def far() -> list[dict[str, Any]]:
    """One row, pushed away from all data: its probability goes to 1 where nothing is known."""
    X, _ = rows(FRESH, seed=1)
    model = _model(1.0)
    W, b = (f"torch.tensor({t.tolist()}, dtype=torch.float64)" for t in (model.weight, model.bias))
    x = f"torch.tensor({X[0].tolist()}, dtype=torch.float64)"
    answer = []
    for factor in FACTORS:
        p = functional.softmax(model.weight @ (factor * X[0]) + model.bias)
        lines = opened([Step("p", f"torch.softmax({W} @ ({factor} * {x}) + {b}, 0)", p)])
        top = int(np.argmax(p.numpy()))
        answer.append({"factor": factor, "p": lines["p"], "top": top})
    return answer
