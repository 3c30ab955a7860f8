"""The best bias for given weights, by Newton's method on the K numbers of a shift.

    minimise over u, sum u = 0:  sum_i s_i lse(z_i + u) - mass.u        (nats per row)

    gradient  sum_i s_i p_i - mass        Hessian  diag(sum_i s_i p_i) - sum_i s_i p_i p_i'

at p_i = softmax(z_i + u). It is convex, and needs the logits Z (N, K) but no product with X.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from polylogit.optim.logits import Logits, chunks, parts, softmax
from polylogit.optim.preconditioner import cholesky

MANY_CLASSES = 2048  # from here on a K x K matrix is made in float32, and not in every step
BALANCED = 4e-16  # sums of residuals that are but rounding
SQUARED_AWAY = 1e-8  # of the mass of a class: one more step of Newton's leaves but rounding
SETTLED = {torch.float32: 1e-5, torch.float64: 1e-9}  # of a class's mass: near enough on the way
FOLLOWING_STEPS = 2
LONGEST_STEP = 2.0  # nats
PACE = 0.2  # of a residual, left by a step: where more is left, the Hessian is out of date

_Solver = Callable[[Tensor], Tensor]


def best_bias_shift(logits: Logits, mass: Tensor, weights: Tensor, steps: int = 30) -> Tensor:
    """The shift u (K,) at the optimum, up to rounding.

    With many classes a Hessian serves as long as the residual falls to a fifth with every step.
    """
    shift, last, solve = torch.zeros_like(mass), math.inf, None
    many, slow = len(mass) >= MANY_CLASSES, False
    for _ in range(steps):
        sums, square = _sums_at(logits, shift, weights, _wanted(many, solve is None or slow))
        residual = sums - mass
        size = float(residual.abs().max())
        if size <= BALANCED or (size < 1e-12 and size >= 0.5 * last):
            break  # what is left is rounding
        slow, last = size > PACE * last, size
        if square is not None:
            solve = _solver(sums, square)
            del square
        shift += _step(cast("_Solver", solve), residual)
        if not many and size <= SQUARED_AWAY * float(mass.min()):
            break
    return shift


@dataclass
class BiasCurvature:
    """The last Hessian, factored: near the optimum it serves for many steps of a fit."""

    solve: _Solver | None = None


def follow(
    logits: Tensor, probabilities: Tensor, mass: Tensor, weights: Tensor, curvature: BiasCurvature
) -> Tensor:
    """Move Z and P (N, K), in place, to near the best bias; returns the shift u (K,).

    Cheap enough for every step of a fit: at most two steps, most often with a Hessian of before.
    `curvature` keeps it, and is renewed here where it no longer leads down fast.
    """
    total, last = torch.zeros_like(mass), math.inf
    enough = SETTLED[logits.dtype]
    for _ in range(FOLLOWING_STEPS):
        sums = _sums(probabilities, weights)
        residual = sums - mass
        size = float((residual.abs() / mass).max())
        if size <= enough:
            break
        if curvature.solve is None or size > PACE * last:
            curvature.solve = _solver(sums, _square(probabilities, weights))
        last, shift = size, _step(curvature.solve, residual)
        total += shift
        for rows in chunks(*logits.shape):
            softmax(logits[rows].add_(shift.to(logits.dtype)), probabilities[rows])
    return total


def _step(solve: _Solver, residual: Tensor) -> Tensor:
    """Newton's step (K,), of sum zero and at most two nats."""
    step = solve(residual)
    step -= step.mean()
    return step * -min(1.0, LONGEST_STEP / float(step.abs().max().clamp_min(1e-300)))


def _wanted(many: bool, renew: bool) -> torch.dtype | None:
    """In which precision the Hessian of a step is made; None if the last one serves."""
    if not many:
        return torch.float64
    return torch.float32 if renew else None


def _solver(sums: Tensor, square: Tensor) -> _Solver:
    """r -> (diag(sums) - square)^-1 r for residuals that sum to zero; `square` is used up."""
    hessian = square.neg_()
    hessian.diagonal().add_(sums)
    # the all-ones direction is the shift that softmax cannot see; the lift, for saturated rows
    hessian.add_(1.0 / len(sums)).diagonal().add_(torch.finfo(hessian.dtype).eps)
    if hessian.dtype == torch.float64:
        return lambda residual: torch.linalg.solve(hessian, residual)
    factor = cholesky(hessian)
    return lambda r: torch.cholesky_solve(r.to(factor.dtype)[:, None], factor)[:, 0].to(r.dtype)


def _sums_at(
    logits: Logits, shift: Tensor, weights: Tensor, hessian: torch.dtype | None
) -> tuple[Tensor, Tensor | None]:
    """sum_i s_i p_i (K,) and, if a type for it is given, sum_i s_i p_i p_i' (K, K) at z + u."""
    sums, n_classes, square = torch.zeros_like(shift), len(shift), None
    if hessian is not None:
        square = torch.zeros(n_classes, n_classes, dtype=hessian)
    for rows, z in parts(logits, 1 if square is None else n_classes // 16):
        p = softmax(z + shift)
        sums += weights[rows] @ p
        if square is not None:
            _add_squares(square, p.to(square.dtype), weights[rows])
    return sums, square


def _sums(probabilities: Tensor, weights: Tensor) -> Tensor:
    """sum_i s_i p_i (K,) of probabilities that are known."""
    shares = weights.to(probabilities.dtype)
    every = [shares[rows] @ probabilities[rows] for rows in chunks(*probabilities.shape)]
    return torch.stack(every).sum(0, dtype=torch.float64)


def _square(probabilities: Tensor, weights: Tensor) -> Tensor:
    """sum_i s_i p_i p_i' (K, K), as precise as they are."""
    n_rows, n_classes = probabilities.shape
    square = torch.zeros(n_classes, n_classes, dtype=probabilities.dtype)
    for rows in chunks(n_rows, n_classes):
        _add_squares(square, probabilities[rows], weights[rows])
    return square


def _add_squares(square: Tensor, p: Tensor, weights: Tensor) -> None:
    """Add sum_i s_i p_i p_i' of some rows, in place."""
    square.addmm_((p * weights[:, None].to(p.dtype)).T, p)
