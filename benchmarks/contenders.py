"""Who competes: each contender fits the same objective, at settings from loose to tight.

A contender is a function of (X, y, C, setting) that returns W (K, D) and b (K,). Its settings are
ordered: the first that reaches the accuracy asked for is the one that is timed, so nobody is made
to work harder than the comparison needs.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

OTHER_PYTHON = str(Path(__file__).parents[1] / ".venv-peers" / "bin" / "python")
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8, 1e-10)


@dataclass(frozen=True)
class Fitted:
    """W (K, D), b (K,), and what the contender says of its fit."""

    weight: np.ndarray
    bias: np.ndarray
    said: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """A name, how to fit, and the settings to try in order."""

    name: str
    fit: Callable[[Any, np.ndarray, float, float], Fitted]
    settings: Sequence[float]
    python: str = sys.executable


def _polylogit(X: Any, y: np.ndarray, C: float, tol: float) -> Fitted:
    from polylogit import SoftmaxClassifier

    options = {} if math.isnan(tol) else {"tol": tol}
    fitted = SoftmaxClassifier(C=C, **options).fit(X, y)
    said = {
        "gap": fitted.certificate_.gap,
        "status": fitted.solution_.status.name.lower(),
        "solver": fitted.solution_.statistics.solver,
        "iterations": fitted.solution_.statistics.iterations,
        "passes": fitted.solution_.statistics.passes,
    }
    return Fitted(fitted.model_.weight.numpy(), fitted.model_.bias.numpy(), said)


def _scikit_learn(solver: str, X: Any, y: np.ndarray, C: float, tol: float) -> Fitted:
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what counts is the objective, measured by ourselves
        fitted = LogisticRegression(solver=solver, C=C, tol=tol, max_iter=1_000_000).fit(X, y)
    return both_rows(fitted.coef_, fitted.intercept_)


def both_rows(coef: np.ndarray, intercept: np.ndarray) -> Fitted:
    """Two classes in softmax form: half of the one difference each way."""
    if len(coef) > 1:
        return Fitted(coef, intercept)
    return Fitted(np.vstack([-coef, coef]) / 2, np.r_[-intercept, intercept] / 2)


def _torch_lbfgs(X: Any, y: np.ndarray, C: float, tol: float) -> Fitted:
    """`torch.optim.LBFGS` on `nn.Linear` in float64: what a torch user writes first."""
    import torch

    rows = X.toarray() if hasattr(X, "toarray") else X
    features, labels = torch.tensor(rows, dtype=torch.float64), torch.tensor(y)
    n_classes = int(y.max()) + 1
    head = torch.nn.Linear(features.shape[1], n_classes, dtype=torch.float64)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    alpha = (2.0 if n_classes == 2 else 1.0) / (C * len(y))
    optimizer = torch.optim.LBFGS(
        head.parameters(),
        max_iter=1_000_000,
        max_eval=10_000_000,
        tolerance_grad=tol * 1e-2,
        tolerance_change=0.0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(features), labels)
        loss = loss + 0.5 * alpha * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return Fitted(head.weight.detach().numpy(), head.bias.detach().numpy())


def _adelie(X: Any, y: np.ndarray, C: float, tol: float) -> Fitted:
    """adelie's group elastic net with alpha = 0: ridge, the intercept free."""
    import adelie

    rows = np.asfortranarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float64)
    n_classes = int(y.max()) + 1
    one_hot = np.eye(n_classes)[y]
    # adelie divides the loss by K as well
    strength = (2.0 if n_classes == 2 else 1.0) / (C * len(y) * n_classes)
    state = adelie.grpnet(
        rows,
        adelie.glm.multinomial(one_hot),
        alpha=0.0,
        lmda_path=[strength],
        penalty=np.ones(rows.shape[1]),
        tol=tol * 1e-4,
        irls_tol=tol * 1e-4,
        max_iters=10_000_000,
        irls_max_iters=10_000_000,
        early_exit=False,
        progress_bar=False,
        n_threads=2,
    )
    beta = state.betas.toarray()[0].reshape(rows.shape[1], n_classes)
    return Fitted(beta.T.copy(), state.intercepts[0].copy())


OURS = Contender("polylogit", _polylogit, (math.nan,))  # its defaults, nothing else
BEST = Contender("best known", _polylogit, (1e-11,))
PEERS = (
    Contender("sklearn lbfgs", partial(_scikit_learn, "lbfgs"), TOLERANCES),
    Contender("sklearn newton-cg", partial(_scikit_learn, "newton-cg"), TOLERANCES),
    Contender("sklearn newton-cholesky", partial(_scikit_learn, "newton-cholesky"), TOLERANCES),
    Contender("sklearn sag", partial(_scikit_learn, "sag"), TOLERANCES),
    Contender("sklearn saga", partial(_scikit_learn, "saga"), TOLERANCES),
    Contender("torch LBFGS", _torch_lbfgs, TOLERANCES),
    Contender("adelie", _adelie, TOLERANCES, OTHER_PYTHON),
)
ALL = {contender.name: contender for contender in (OURS, BEST, *PEERS)}
