"""Small problems with every feature, and the same by autograd: the tests' other witness."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from polylogit.data.arrays import from_arrays
from polylogit.design import base, design_of, sparse
from polylogit.optim.logits import parts
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.penalty import Ridge
from polylogit.optim.problem import Evaluation
from polylogit.optim.sums import contrast_basis
from polylogit.optim.targets import Distributions, Labels
from polylogit.stored import Spill, StoredRows

ALL = slice(None)
KINDS = ("labels", "smoothed", "distributions")


def stored(X: np.ndarray) -> StoredRows:
    """The rows in a file without a name."""
    spill = Spill("test")
    spill.append(X)
    return spill.rows(X.shape[1], X.dtype)


def small_blocks(monkeypatch, rows: int = 7) -> None:
    """Designs read so many rows at a time."""
    monkeypatch.setattr(base, "SMALLEST_BLOCK", rows)
    monkeypatch.setattr(base, "BLOCK_BYTES", 1)
    monkeypatch.setattr(sparse, "SPARSE_BLOCK", 1)


HOLDERS = {"dense": np.asarray, "sparse": scipy.sparse.csr_array, "stored": stored}
ROWS = tuple(HOLDERS)


@dataclass(frozen=True)
class Problem:
    """X (N, D), targets T (N, K) as rows of the simplex, row weights s and the penalty."""

    X: np.ndarray
    T: np.ndarray
    s: np.ndarray
    alpha: float
    objective: SoftmaxObjective


def problem(
    kind="labels",
    *,
    n=60,
    d=4,
    k=3,
    seed=0,
    alpha=0.05,
    intercept=True,
    contrasts=False,
    rows="dense",
    dtype=np.float64,
    alike=False,
):
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(n, d)) * 10.0 ** np.arange(d) + 3).astype(dtype)
    if rows == "sparse":
        X = np.where(rng.uniform(size=(n, d)) < 0.4, X, 0).astype(dtype)
    codes = np.r_[np.arange(k), rng.integers(k, size=n - k)]
    s = np.ones(n) if alike else rng.uniform(0.2, 2.0, size=n)
    T = np.eye(k)[codes]
    targets = Labels(torch.from_numpy(codes), k)
    if kind == "smoothed":
        T, targets = 0.8 * T + 0.2 / k, Labels(torch.from_numpy(codes), k, 0.2)
    if kind == "distributions":
        T = rng.dirichlet(np.ones(k), size=n)
        targets = Distributions(torch.from_numpy(T))
    design = design_of(HOLDERS[rows](X), centred=intercept)
    objective = SoftmaxObjective(
        design,
        targets,
        torch.from_numpy(s / s.sum()),
        Ridge(alpha / design.scale.square()),
        k,
        intercept,
        contrast_basis(k) if contrasts else None,
        fast=torch.float64,
    )
    return Problem(X, T, s, alpha, objective)


def value(p: Problem, point: Tensor) -> Tensor:
    """F on the user's own X and W, in torch operations that autograd can follow."""
    objective = p.objective
    full = objective.expand(point)
    weight = full[:, :-1] if objective.intercept else full
    bias = full[:, -1] if objective.intercept else torch.zeros(len(full), dtype=torch.float64)
    W = weight / objective.design.scale
    Z = torch.from_numpy(p.X).double() @ W.T + bias - W @ objective.design.centre
    s, T = torch.from_numpy(p.s), torch.from_numpy(p.T)
    losses = torch.logsumexp(Z, 1) - (T * Z).sum(1)
    return (s * losses).sum() / s.sum() + p.alpha / 2 * W.square().sum()


def random_point(p: Problem, seed=1, size=0.5):
    generator = torch.Generator().manual_seed(seed)
    start = p.objective.start()
    move = torch.randn(start.shape, generator=generator, dtype=torch.float64) * size
    if p.objective.basis is None:
        move -= move.mean(0)
    return start + move


def optimum(p: Problem) -> float:
    """F* by plain Newton steps on the autograd Hessian, until nothing moves."""
    objective = p.objective
    if objective.basis is None:
        p = replace(p, objective=replace(objective, basis=contrast_basis(objective.n_classes)))
    start = p.objective.start()

    def f(flat):
        return value(p, flat.reshape(start.shape))

    flat = start.reshape(-1)
    best = float(f(flat))
    for _ in range(100):
        gradient = torch.autograd.functional.jacobian(f, flat)
        step = torch.linalg.solve(torch.autograd.functional.hessian(f, flat), gradient)
        t = 1.0
        while t > 1e-8 and float(f(flat - t * step)) > best:
            t /= 2
        if t <= 1e-8:
            break
        flat = flat - t * step
        best = float(f(flat))
    return best


def slow_optimum(objective: SoftmaxObjective) -> float:
    """F* with an elastic net by accelerated proximal gradient steps on plain matrices.

    Knows nothing of working sets, models or lines: steps of 1/L with L >= the Hessian (Boehning's
    bound, 1/2 for any row), the momentum dropped when it leads uphill, until nothing moves.
    """
    design, s = objective.design, objective.weights[:, None]
    Z = torch.cat([block.dense() for block in design.blocks(torch.float64)])
    X = torch.cat([Z, torch.ones(len(Z), 1, dtype=torch.float64)], 1) if objective.intercept else Z
    T = -objective.targets.subtract_from(torch.zeros(len(X), objective.n_classes).double(), ALL)
    net, free = objective.ridge, torch.zeros(int(objective.intercept), dtype=torch.float64)
    lasso, ridge = torch.cat([net.lasso, free]), torch.cat([net.strength, free])
    offsets = 0.0 if objective.offsets is None else objective.offsets

    def value(V):
        logits = X @ V.T + offsets
        loss = (s[:, 0] * (torch.logsumexp(logits, 1) - (T * logits).sum(1))).sum()
        return float(loss + (V.abs() @ lasso + 0.5 * V.square() @ ridge).sum())

    L = 0.5 * float(torch.linalg.eigvalsh(X.T @ (s * X)).max()) + float(ridge.max())
    V = W = torch.zeros(objective.n_classes, X.shape[1], dtype=torch.float64)
    best, momentum, idle = value(V), 1.0, 0
    for _ in range(30_000):
        residual = s * (torch.softmax(X @ W.T + offsets, 1) - T)
        U = W - (residual.T @ X + ridge * W) / L
        U = U.sign() * (U.abs() - lasso / L).clamp_min(0)
        now, later = value(U), 0.5 + (0.25 + momentum**2) ** 0.5
        uphill = now > best
        idle = idle + 1 if abs(now - best) < 2e-15 else 0
        if idle > 200:
            break
        W = V if uphill else U + (momentum - 1) / later * (U - V)
        V, momentum, best = (V, 1.0, best) if uphill else (U, later, now)
    return best


def nearly_collinear():
    """Rows whose last column the others make but for 1e-7: without a penalty nothing is proven."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 3)), rng.integers(2, size=300)
    return from_arrays(np.c_[X, X.sum(1) + 1e-7 * rng.normal(size=300)], y)


def probabilities(at: Evaluation) -> Tensor:
    """P (N, K) of an evaluation."""
    return torch.cat([torch.softmax(logits, 1) for _, logits in parts(at.state)])
