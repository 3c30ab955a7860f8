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

from polylogit.design import row_slices
from polylogit.optim.logits import Logits, chunks, parts, row_sums, softmax
from polylogit.optim.preconditioner import cholesky

MANY_CLASSES = 2048  # from here on a K x K matrix is made in float32, and not in every step
PANELS = 8  # of a matrix of which only the part below the diagonal is made: 9/16 of the work
BALANCED = 4e-16  # sums of residuals that are but rounding
BLURRED = {torch.float32: 1e-4, torch.float64: 1e-12}  # sums that may be, if they fall no more
SQUARED_AWAY = 1e-8  # of the mass of a class: one more step of Newton's leaves but rounding
NEAR = 1e-3  # of the mass of a class: a Hessian made there leaves about that much of a residual
SETTLED = {torch.float32: 1e-5, torch.float64: 1e-9}  # of a class's mass: near enough on the way
BEST = {torch.float32: 1e-6, torch.float64: 0.0}  # the same at the end of it
FOLLOWING_STEPS, BEST_STEPS = 2, 30
LONGEST_STEP = 2.0  # nats
STEADY = 1e-3  # nats: a shift that changes the Hessian by no more than a few thousandths
PACE = 0.2  # of a residual, left by a step: where more is left, the Hessian is out of date

_Solver = Callable[[Tensor], Tensor]


@dataclass
class BiasCurvature:
    """The last Hessian, factored: near the optimum it serves again and again."""

    solve: _Solver | None = None
    beside: tuple[Tensor, _Solver] | None = None  # a point, and one made at next to its bias


def best_bias_shift(
    logits: Logits,
    mass: Tensor,
    weights: Tensor,
    curvature: BiasCurvature,
    *,
    sums: Tensor | None = None,
    leave: float = SQUARED_AWAY,
    steps: int = BEST_STEPS,
) -> Tensor:
    """The shift u (K,) at the optimum, up to rounding of the logits.

    A Hessian made near the optimum serves for all further steps; with many classes one serves as
    long as the residual falls to a fifth with every step, one of before (`curvature`) too: then
    `sums`, sum_i s_i p_i (K,) at no shift, save a look at the logits. It ends where the next step
    would leave the square of `leave` of the mass of the smallest class.
    """
    shift, least, enough = torch.zeros_like(mass), float(mass.min()), BEST[logits.dtype]
    last = made = math.inf  # the residual at the last step, and where the Hessian was made
    many, slow = len(mass) >= MANY_CLASSES, curvature.solve is None
    precision = torch.float32 if many else torch.float64
    for _ in range(steps):
        square, renew = None, slow if many else made > NEAR * least
        if renew:
            curvature.solve = None  # its memory serves the next one
        if renew or sums is None:
            sums, square = _sums_at(logits, shift, weights, precision if renew else None)
        residual, sums = sums - mass, None
        size = float(residual.abs().max())
        near = float((residual.abs() / mass).max()) <= enough
        if near or is_rounding(size, size / last, logits.dtype):
            break
        slow, last = size > PACE * last, size
        if square is not None:
            curvature.solve, made = _solver(residual + mass, square), size
            del square
        shift += newton_step(cast("_Solver", curvature.solve), residual)
        if not many and made * size <= (leave * least) ** 2:
            break
    return shift


def follow(
    logits: Tensor,
    probabilities: Tensor,
    sums: Tensor,
    mass: Tensor,
    weights: Tensor,
    curvature: BiasCurvature,
    *,
    best: bool = False,
) -> Tensor:
    """Move Z and P (N, K), in place, to near the best bias; returns the shift u (K,).

    `sums` are sum_i s_i p_i (K,). Cheap enough for every step of a fit: at most two steps, most
    often with a Hessian of before. `curvature` keeps it, and is renewed here where it no longer
    leads down fast. With `best` it goes on, with one of its own, until what is left is rounding.
    """
    total, last, factor = torch.zeros_like(mass), math.inf, None
    enough, steps = (BEST, BEST_STEPS) if best else (SETTLED, FOLLOWING_STEPS)
    for _ in range(steps):
        residual = sums - mass
        largest, size = float(residual.abs().max()), float((residual.abs() / mass).max())
        pace = size / last
        if size <= enough[logits.dtype] or is_rounding(largest, pace, logits.dtype):
            break
        solve = None if best and factor is None else curvature.solve
        if solve is None or size > PACE * last:
            solve = curvature.solve = _solver(sums, _square(probabilities, weights, factor))
        last, shift = size, newton_step(solve, residual)
        total += shift
        sums, factor = _moved(probabilities, shift, weights)
        if 0 < largest * pace <= BALANCED:  # so much is left at that pace
            break
    if factor is not None:
        _settle(logits, probabilities, total, factor)
    return total


def is_rounding(size: float, pace: float, dtype: torch.dtype = torch.float64) -> bool:
    """Whether the largest residual is no more, for the last step left so much of what was."""
    return size <= BALANCED or (size < BLURRED[dtype] and pace >= 0.5)


def _moved(probabilities: Tensor, shift: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply Q, in place, by exp(u); returns sum_i s_i p_i (K,) and c (N,) with P = diag(c) Q.

    So softmax(Z + u) is known for a third of the price of another softmax.
    """
    factor, shares = shift.to(probabilities.dtype).exp(), weights.to(probabilities.dtype)
    sums, scale = torch.zeros_like(shift, dtype=torch.float64), torch.empty_like(shares)
    for rows in chunks(*probabilities.shape):
        q = probabilities[rows].mul_(factor)
        scale[rows] = row_sums(q).reciprocal_()
        sums += (shares[rows] * scale[rows]) @ q
    return sums, scale


def _settle(logits: Tensor, probabilities: Tensor, shift: Tensor, scale: Tensor) -> None:
    """Make Z + u of Z, and P of Q with P = diag(c) Q, in place."""
    shift = shift.to(logits.dtype)
    for rows in chunks(*logits.shape):
        logits[rows].add_(shift)
        probabilities[rows].mul_(scale[rows, None])


def newton_step(solve: _Solver, residual: Tensor) -> Tensor:
    """Newton's step (K,), of sum zero and at most two nats."""
    step = solve(residual)
    step -= step.mean()
    return step * -min(1.0, LONGEST_STEP / float(step.abs().max().clamp_min(1e-300)))


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
        p = softmax(z + shift.to(z.dtype))
        sums += (weights[rows].to(p.dtype) @ p).double()
        if square is not None:
            _add_squares(square, p.to(square.dtype), weights[rows])
    return sums, square


def _square(probabilities: Tensor, weights: Tensor, scale: Tensor | None) -> Tensor:
    """sum_i s_i p_i p_i' (K, K) for P = diag(c) Q; c is 1 if not given."""
    n_rows, n_classes = probabilities.shape
    shares = weights if scale is None else weights * scale.square()
    precision = torch.float32 if n_classes >= MANY_CLASSES else probabilities.dtype
    square = torch.zeros(n_classes, n_classes, dtype=precision)
    for rows in chunks(n_rows, n_classes):
        _add_squares(square, probabilities[rows].to(precision), shares[rows])
    return square


def _add_squares(square: Tensor, p: Tensor, weights: Tensor) -> None:
    """Add sum_i s_i p_i p_i' of some rows, in place; of a large one, all that `cholesky` reads."""
    weighted, n_classes = p * weights[:, None].to(p.dtype), len(square)
    panel = n_classes if n_classes < MANY_CLASSES else -(-n_classes // PANELS)
    for columns in row_slices(n_classes, panel):
        below = slice(columns.start, n_classes)
        square[below, columns].addmm_(weighted[:, below].T, p[:, columns])
