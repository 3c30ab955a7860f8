"""Exact refits with some rows left out, many at a time, from an optimum with all rows.

A unit is a set of rows that leave together. Without unit u the objective is F - sum_R rho_i l_i,
its Hessian at the optimum H - M M' with M = [sqrt(rho_i) (E' R_i) x x~_i] and R_i R_i' = S_i, so
with Q = L^-1 M

    (H - M M')^-1 = L^-T [I + Q (I - Q'Q)^-1 Q'] L^-1         (Woodbury)

The first step with this matrix is Newton's: approximate leave-one-out. From there L-BFGS goes on,
with this matrix where it usually has a multiple of one, and all units of a batch share their
products with the rows. A unit that does not come to rest is finished by Newton's method alone.
Nocedal & Wright, Numerical Optimization (2006), algorithm 7.4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from polylogit.design import row_slices
from polylogit.diagnostics.optimum import Optimum, lowest
from polylogit.diagnostics.outcome import INFLUENCE

CELLS = 2**21  # numbers of a batch, over all its units
BATCH = 64  # units
STEPS = 40  # before Newton's method takes over
MEMORY = 10  # pairs of L-BFGS
FLAT, TRIALS = 0.5, 6  # of the first slope along a direction; and how often it is searched for
SHORTEST, LONGEST = 0.1, 4.0  # change of a step between two trials
AT_REST, SLOW = 1e-4, 1e-2  # change of a logit by a step: less does not show in a loss; in a mean
LARGEST = 1 - 1e-12  # of the share of the curvature that one unit holds, before rounding


@dataclass(frozen=True, eq=False)
class Removal:
    """B units of n rows each, and the Hessian without them.

    `rows` (B, n) and `removed` (B, n): which rows leave, and how much of their weight rho.
    `spread` (B, P, q) is Q, `core` (B, q, q) is (I - Q'Q)^-1; `influence` (B,) the largest
    eigenvalue of Q'Q: the share of the curvature in some direction that is the unit's own.
    """

    optimum: Optimum
    rows: Tensor
    removed: Tensor
    spread: Tensor
    core: Tensor
    influence: Tensor

    @classmethod
    def of(cls, optimum: Optimum, rows: Tensor, removed: Tensor) -> Removal:
        """What these units take away."""
        spread = _spread(optimum, rows, removed)
        values, vectors = torch.linalg.eigh(spread.mT @ spread)
        values = values.clamp(0, LARGEST)
        core = (vectors / (1 - values)[:, None, :]) @ vectors.mT
        return cls(optimum, rows, removed, spread, core, values[:, -1])

    def take(self, units: Tensor) -> Removal:
        """Some of the units."""
        parts = (self.rows, self.removed, self.spread, self.core, self.influence)
        return Removal(self.optimum, *[part[units] for part in parts])

    def solve(self, vectors: Tensor) -> Tensor:
        """(H - M M')^-1 v (B, P)."""
        factor = self.optimum.factor
        half = torch.linalg.solve_triangular(factor, vectors.T, upper=False).T[..., None]
        half = half + self.spread @ (self.core @ (self.spread.mT @ half))
        solved: Tensor = torch.linalg.solve_triangular(factor.T, half[..., 0].T, upper=True)
        return solved.T

    def gradient(self, moves: Tensor) -> Tensor:
        """The gradient (B, P) of every unit's own objective, moved from the optimum by (B, P)."""
        optimum = self.optimum
        return optimum.pulls(moves) + optimum.ridge * moves - self.own(moves)

    def own(self, moves: Tensor) -> Tensor:
        """What the rows that leave bring to the gradient with all rows (B, P).

        That gradient is 0 at the optimum, so there the one without them is minus this.
        """
        z = self.logits(moves)
        residual = (torch.softmax(z, 2) - self.optimum.aims[self.rows]) * self.removed[..., None]
        pull = (residual @ self.optimum.basis).mT @ self.optimum.rows[self.rows]
        return pull.flatten(1)

    def logits(self, moves: Tensor) -> Tensor:
        """z (B, n, K) of the rows that leave, after the moves (B, P)."""
        return self.optimum.logits[self.rows] + self.optimum.products(moves, self.rows)


def batches(count: int, size: int, optimum: Optimum) -> list[slice]:
    """`count` units of `size` rows in parts whose Q stay within `CELLS`."""
    each = optimum.logits.shape[1] * size * len(optimum.factor)
    return row_slices(count, max(1, min(BATCH, CELLS // each)))


def stepped(removal: Removal) -> Tensor:
    """z (B, n, K) of the left-out rows after one Newton step: approximate leave-one-out."""
    return removal.logits(removal.solve(removal.own(_nowhere(removal))))


def refitted(removal: Removal, rest: float = AT_REST) -> Tensor:
    """z (B, n, K) of the left-out rows where each unit's own objective is lowest.

    A unit is there when a step changes none of its logits by more than `rest`.
    """
    moves = _nowhere(removal)
    for unit in _descend(removal, moves, rest).tolist():
        moves[unit] = _alone(removal, unit) - removal.optimum.point.flatten()
    return removal.logits(moves)


def _nowhere(removal: Removal) -> Tensor:
    return torch.zeros(len(removal.rows), len(removal.optimum.factor), dtype=torch.float64)


def _descend(removal: Removal, moves: Tensor, rest: float) -> Tensor:
    """Bring each of `moves` (B, P) from 0 to rest, in place; which units did not come to rest."""
    active = torch.arange(len(moves))
    here, gradient = removal, -removal.own(moves)
    pairs: list[Pair] = []
    for _ in range(STEPS):
        direction = -_secant_step(here, pairs, gradient)
        t, there = _advance(here, moves[active], gradient, direction)
        step = t[:, None] * direction
        moves[active] += step
        pairs = [*pairs[1 - MEMORY :], Pair.of(step, there - gradient)]
        moving = here.optimum.products(step, here.rows).abs().amax((1, 2)) > rest
        active, gradient = active[moving], there[moving]
        if not len(active):
            break
        here, pairs = here.take(moving), [pair.take(moving) for pair in pairs]
    return active


@dataclass(frozen=True, eq=False)
class Pair:
    """A step of each unit (B, P), the change of its gradient (B, P), and 1 over their product."""

    step: Tensor
    change: Tensor
    scale: Tensor

    @classmethod
    def of(cls, step: Tensor, change: Tensor) -> Pair:
        """A pair that bends downwards, by rounding alone, does not count."""
        product = (step * change).sum(1, keepdim=True)
        return cls(step, change, torch.where(product > 0, 1 / product, 0.0))

    def take(self, units: Tensor) -> Pair:
        """Some of the units."""
        return Pair(self.step[units], self.change[units], self.scale[units])


def _secant_step(removal: Removal, pairs: list[Pair], gradient: Tensor) -> Tensor:
    """The inverse Hessian times the gradient (B, P) by L-BFGS's two loops."""
    along = []
    for pair in reversed(pairs):
        along.append(pair.scale * (pair.step * gradient).sum(1, keepdim=True))
        gradient = gradient - along[-1] * pair.change
    step = removal.solve(gradient)
    for pair, before in zip(pairs, reversed(along), strict=True):
        after = pair.scale * (pair.change * step).sum(1, keepdim=True)
        step = step + (before - after) * pair.step
    return step


def _advance(
    removal: Removal, moves: Tensor, gradient: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor]:
    """How far along (B,), and the gradient there: 1, unless the slope is not halved there."""
    t, first = moves.new_ones(len(moves)), (gradient * direction).sum(1)
    there, open_ = removal.gradient(moves + direction), torch.arange(len(moves))
    for _ in range(TRIALS):
        slope = (there * direction).sum(1)[open_]
        steep = slope.abs() > FLAT * first[open_].abs()
        open_, slope = open_[steep], slope[steep]
        if not len(open_):
            break
        root_of_secant = first[open_] / (first[open_] - slope)
        t[open_] *= root_of_secant.nan_to_num(1.0).clamp(SHORTEST, LONGEST)
        trial = moves[open_] + t[open_, None] * direction[open_]
        there[open_] = removal.take(open_).gradient(trial)
    return t, there


def _alone(removal: Removal, unit: int) -> Tensor:
    """The lowest point (P,) without one unit, by Newton's method from the optimum with it."""
    optimum = removal.optimum
    weights = optimum.objective.weights.index_add(
        0, removal.rows[unit], removal.removed[unit], alpha=-1
    )
    objective = replace(optimum.objective, weights=weights)
    return lowest(objective, objective.evaluate(optimum.point)).point.flatten()


def _spread(optimum: Optimum, rows: Tensor, removed: Tensor) -> Tensor:
    """Q = L^-1 M (B, P, q); q = n K, or P where that is less."""
    count, size = len(rows), len(optimum.factor)
    curving = optimum.basis.T @ root(torch.softmax(optimum.logits[rows], 2))
    x = optimum.rows[rows] * removed[..., None].sqrt()
    M = torch.einsum("bnmk,bnd->mdbnk", curving, x).reshape(size, -1)
    Q = torch.linalg.solve_triangular(optimum.factor, M, upper=False)
    spread: Tensor = Q.view(size, count, -1).permute(1, 0, 2)
    if spread.shape[2] <= size:
        return spread
    values, vectors = torch.linalg.eigh(spread @ spread.mT)  # the same QQ' with fewer columns
    narrow: Tensor = vectors * values.clamp_min(0).sqrt()[:, None, :]
    return narrow


def root(probabilities: Tensor) -> Tensor:
    """R (..., K, K) with R R' = diag(p) - p p', for p (..., K): diag(sqrt p) - p sqrt(p)'."""
    roots = probabilities.sqrt()
    return torch.diag_embed(roots) - probabilities[..., :, None] * roots[..., None, :]


def resolvent(M: Tensor, y: Tensor, largest: float) -> tuple[Tensor, Tensor]:
    """(I - M)^-1 y (B, n), M's eigenvalues (B, n, n) cut at `largest`, and each influence (B,).

    That is the largest eigenvalue, or the trace where this bound is within `INFLUENCE` already:
    most often, and then no eigenvalue is needed.
    """
    influence = M.diagonal(dim1=1, dim2=2).sum(1)
    high = influence > INFLUENCE
    solved = torch.empty_like(y)
    identity = torch.eye(M.shape[1], dtype=M.dtype)
    solved[~high] = torch.linalg.solve(identity - M[~high], y[~high])
    values, vectors = torch.linalg.eigh(M[high])
    along = (vectors.mT @ y[high][..., None]) / (1 - values.clamp(0, largest))[..., None]
    solved[high], influence[high] = (vectors @ along)[..., 0], values[:, -1]
    return solved, influence
