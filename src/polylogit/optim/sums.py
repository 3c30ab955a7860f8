"""The value of softmax classification and its slope, over row blocks of any kind.

    F(V, b) = sum_i s_i [lse(z_i) - t_i . z_i] + R(V),    z_i = V x_i + b + o_i,   sum_i s_i = 1

for standardised rows x_i (`polylogit.design`), targets t_i in the probability simplex (a label is
one-hot), offsets o_i (given, most often none) and a penalty R: a ridge, or an elastic net, whose
kinks appear in the value alone. With P = softmax(Z) and residuals R_i = s_i (p_i - t_i):

    dF/dV = R' X + R'(V)       dF/db = 1' R

Products with X run in `dtype`, sums over rows in float64 whatever it is. What is computed in
float32 only steers: proofs ask for float64. The logits of a point are kept up to `LOGITS_BYTES` and
made again block by block beyond (`polylogit.optim.logits`).

All sums over rows run through one loop (`sum_over_rows`), which ends in one `reduce`: on one
machine it does nothing, over shards it adds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor

from polylogit.design import Block, Design
from polylogit.optim.bias import (
    BALANCED,
    SETTLED,
    STEADY,
    BiasCurvature,
    best_bias_shift,
    follow,
    newton_step,
)
from polylogit.optim.cost import Cost
from polylogit.optim.logits import (
    Logits,
    RecomputedLogits,
    Tally,
    chunks,
    column_sums,
    inside,
    logits_of,
    room,
    softmax,
)
from polylogit.optim.penalty import ElasticNet, Penalty
from polylogit.optim.problem import Evaluation
from polylogit.optim.targets import Targets
from polylogit.rooms import Rooms

LOGITS_BYTES = 2**28  # of one matrix of logits; a line search keeps four, or none
NEARLY = 1e-4  # of a class's mass: squared, what is left of a bias by logits in float32
FEW_BESIDE = 32  # classes for which the bias is settled however few the features are

Reduce = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SoftmaxSums:
    """F and its gradient. A point is (m, D + 1), the bias in the last column; (m, D) without one.

    With `basis` None, m = K. With an orthonormal basis E (K, K-1) of the vectors that sum to zero
    a point U stands for V = E U: the common shift of all classes, which softmax cannot see, is
    gone, and |V| = |U|, so the ridge and its gap are the same.
    """

    design: Design
    targets: Targets
    weights: Tensor  # (N,) float64, sums to 1
    ridge: Penalty
    n_classes: int
    intercept: bool = True
    basis: Tensor | None = None
    offsets: Tensor | None = None  # (N, K) float64
    dtype: torch.dtype = torch.float64
    fast: torch.dtype = torch.float32  # of Hessian products
    reduce: Reduce = lambda part: part
    tally: Tally = field(default_factory=Tally)
    bias_curvature: BiasCurvature = field(default_factory=BiasCurvature)
    rooms: Rooms = field(default_factory=Rooms)

    def evaluate(self, point: Tensor) -> Evaluation:
        """F and its gradient in one pass."""
        recomputed = self._recomputed(point)
        if not self.keeps_logits:
            return self._evaluate_unkept(point, recomputed)
        if self._sees_nothing(point):
            z = recomputed.bias.expand(self.design.n_rows, -1)
            return self.evaluate_known(point, z, self.room().copy_(softmax(z[:1])))
        kept, p = self.room(), self.room()

        def contribution(block: Block) -> Tensor:
            z = recomputed.of(block, kept[block.rows])
            return self._gradient_sums(block, z, softmax(z, p[block.rows]))

        return self._evaluation(point, self.sum_over_rows(contribution, self.dtype), kept)

    def _evaluate_unkept(self, point: Tensor, recomputed: RecomputedLogits) -> Evaluation:
        """As `evaluate` in the memory of one block."""

        def contribution(block: Block) -> Tensor:
            size = block.rows.stop - block.rows.start, self.n_classes, self.dtype, self.rooms
            z = recomputed.of(block, room(*size))
            return self._gradient_sums(block, z, softmax(z, room(*size)))

        return self._evaluation(point, self.sum_over_rows(contribution, self.dtype), recomputed)

    def _sees_nothing(self, point: Tensor) -> bool:
        """Whether all rows are alike to a point: then one row of logits, repeated, says it all."""
        return self.offsets is None and not bool(self.split(point)[0].any())

    def evaluate_known(self, point: Tensor, logits: Tensor, probabilities: Tensor) -> Evaluation:
        """As `evaluate` where Z and P (N, K) are known already: half the products. P is used up."""
        loss, sums = self._residuals(logits, probabilities, slice(0, self.design.n_rows))

        def contribution(block: Block) -> Tensor:
            return block.rmatmul(probabilities[block.rows])

        flat = self.sum_over_rows(contribution, self.dtype, partial(self._packed, loss, sums))
        return self._evaluation(point, flat, logits)

    def recast(self, at: Evaluation) -> Evaluation:
        """An evaluation in another precision as one in this: at no cost where logits are kept."""
        logits = logits_of(at)
        if self.keeps_logits and not isinstance(logits, Tensor):
            return self.evaluate(at.point)  # float32 has room for logits where float64 has not
        return Evaluation(at.point, at.value, at.gradient, logits.to(self.dtype))

    @property
    def keeps_logits(self) -> bool:
        """Whether the logits of a point stay in memory."""
        size = self.design.n_rows * self.n_classes * self.dtype.itemsize
        return self.design.keeps_logits and size <= LOGITS_BYTES

    def room(self) -> Tensor:
        """Memory for a number of each row and class (N, K)."""
        return room(self.design.n_rows, self.n_classes, self.dtype, self.rooms)

    def _recomputed(self, point: Tensor) -> RecomputedLogits:
        weight, bias = (part.to(self.dtype) for part in self.split(point))
        return RecomputedLogits(self.design, weight, bias, self.offsets, self.tally)

    def _logits(self, point: Tensor) -> Tensor:
        """Z = X V' + b + O (N, K)."""
        logits = self._products(point)
        return logits if self.offsets is None else logits.add_(self.offsets)

    def _products(self, point: Tensor) -> Tensor:
        """X V' + b (N, K) in one pass."""
        weight, bias = (part.to(self.dtype) for part in self.split(point))
        products = self.room()
        self.tally.passes += 1
        for block in self.design.blocks(self.dtype):
            block.affine(weight, bias, products[block.rows])
        return products

    # ---------------------------------------------------------------- the best bias for the weights

    def with_best_bias(self, at: Evaluation) -> Evaluation:
        """The same V with its best bias: then the residuals of every class sum to zero.

        Newton's method on K unknowns over kept logits; one pass, for the gradient, at the end.
        """
        slope = self.split_gradient(at.gradient)[1]
        if not self.intercept or float(slope.abs().max()) <= BALANCED:
            return at
        logits = logits_of(at)
        if isinstance(logits, Tensor):
            return self._balanced(at.point, self.room().copy_(logits))
        return self._balanced_unkept(at.point, logits, self.mass + self.expand(slope))

    def is_settled(self, at: Evaluation) -> bool:
        """Whether the bias is so near its best that it hides nothing of the gap worth a look."""
        return self.is_balanced(at, SETTLED[self.dtype])

    def is_balanced(self, at: Evaluation, share: float) -> bool:
        """Whether no class lacks, or has too much, more than a share of its mass."""
        off = self.expand(self.split_gradient(at.gradient)[1]).abs()
        return bool((off <= share * self.mass).all())

    def balanced(self, point: Tensor) -> Evaluation:
        """F and its gradient at these V and their best bias, at the price of `evaluate`.

        Where logits are not kept, every step to the best bias costs one more pass.
        """
        if self.keeps_logits:
            return self.balanced_known(point, self._logits(point))
        if not self.intercept:
            return self.evaluate(point)
        return self._balanced_unkept(point, self._recomputed(point))

    def nearly_balanced(self, at: Evaluation) -> Evaluation:
        """F and its gradient in one pass at V and the best bias that the logits of `at` tell of.

        In float32 these tell of it to some eight digits.
        """
        logits, here = cast("Tensor", logits_of(at)).double(), BiasCurvature()
        shift = best_bias_shift(logits, self.mass, self.weights, here, leave=NEARLY, steps=2)
        there = self.evaluate(self._with_bias(at.point, shift))
        if here.solve is not None and float(shift.abs().max()) <= STEADY:
            self.bias_curvature.beside = there.point, here.solve
        return there

    def bias_shift(self, at: Evaluation) -> Tensor:
        """Newton's step (K,) from the bias of `at` to its best, without a pass."""
        point, solve = self.bias_curvature.beside or (None, None)
        if solve is not None and point is at.point:
            return newton_step(solve, self.expand(self.split_gradient(at.gradient)[1]))
        known = self.mass, self.weights, BiasCurvature()
        return best_bias_shift(logits_of(at), *known, steps=1)

    def moved_slope(self, at: Evaluation, shift: Tensor) -> Tensor:
        """What a shift u (K,) of the bias adds to dF/dV (m, D), in `fast`; rows weigh the same.

        One pass: sum_i s_i (softmax(z_i + u) - softmax(z_i)) x_i'.
        """
        logits, alike = cast("Tensor", logits_of(at)), cast("float", self.alike)

        def contribution(block: Block) -> Tensor:
            z = logits[block.rows]
            return block.rmatmul(softmax(z + shift).sub_(softmax(z)).to(self.fast))

        return self.contract(alike * self.sum_over_rows(contribution, self.fast))

    @property
    def bounds_bias(self) -> bool:
        """Whether a bias near its best can be bounded, and that costs less than a pass.

        The bound is for rows that weigh the same; it looks at all logits and at pairs of classes.
        """
        few = 2 * self.n_classes <= self.design.entries / self.design.n_rows
        return few and self.intercept and self.keeps_logits and self.alike is not None

    def balanced_known(self, point: Tensor, logits: Tensor) -> Evaluation:
        """As `balanced` where Z (N, K) is known already: half the products. Z is used up."""
        if not self.intercept:
            return self.evaluate_known(point, logits, softmax(logits, self.room()))
        return self._balanced(point, logits)

    def _balanced(self, point: Tensor, logits: Tensor) -> Evaluation:
        p, sums = self.room(), torch.zeros(self.n_classes, dtype=torch.float64)
        for rows in chunks(*logits.shape):
            softmax(logits[rows], p[rows])
            sums += self.weights[rows].to(p.dtype) @ p[rows]
        return self._followed(point, logits, p, sums, best=True)

    def _balanced_unkept(
        self, point: Tensor, logits: RecomputedLogits, sums: Tensor | None = None
    ) -> Evaluation:
        known = self.mass, self.weights, self.bias_curvature
        shift = best_bias_shift(logits, *known, sums=sums)
        return self.evaluate(self._with_bias(point, shift))

    def _with_bias(self, point: Tensor, shift: Tensor) -> Tensor:
        """The point with its bias moved by u (K,)."""
        moved = point.clone()
        moved[:, -1] += self.contract(shift[:, None]).squeeze(1)
        return moved

    def evaluate_settled(
        self, point: Tensor, logits: Tensor, probabilities: Tensor, sums: Tensor
    ) -> Evaluation:
        """As `evaluate_known`, with the bias near its best. Z and P are used up.

        `sums` are sum_i s_i p_i (K,).

        The bias can follow the weights by Newton's method on what is known, without a product: so
        F is minimised over the weights alone, min_b F(V, b), in a third fewer steps (variable
        projection: Golub & Pereyra, SIAM J. Numer. Anal. 10 (1973)).
        """
        if self.intercept and self.n_classes <= max(FEW_BESIDE, self.design.n_features // 2):
            return self._followed(point, logits, probabilities, sums)
        return self.evaluate_known(point, logits, probabilities)

    def _followed(
        self, point: Tensor, z: Tensor, p: Tensor, sums: Tensor, *, best: bool = False
    ) -> Evaluation:
        """F and its gradient with a bias near its best, or the best. Z and P are used up."""
        shift = follow(z, p, sums, self.mass, self.weights, self.bias_curvature, best=best)
        return self.evaluate_known(self._with_bias(point, shift), z, p)

    # ---------------------------------------------------------------------------------- coordinates

    def start(self) -> Tensor:
        """V = 0 and the bias of the class frequencies: the best model that sees no feature."""
        columns = self.design.n_features + self.intercept
        point = torch.zeros(self.n_classes, columns, dtype=torch.float64)
        if self.intercept:
            logs = self.mass.log()
            point[:, -1] = logs - logs.mean()
        return self.contract(point)

    def split(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """V (K, D) and b (K,) of a point."""
        full = self.expand(point)
        if self.intercept:
            return full[:, :-1], full[:, -1]
        return full, torch.zeros(self.n_classes, dtype=full.dtype)

    def join(self, weight: Tensor, bias: Tensor) -> Tensor:
        """The point of V and b, freed of the common shift that softmax cannot see."""
        weight, bias = self.ridge.centred(weight), bias - bias.mean()
        return self.contract(torch.cat([weight, bias[:, None]], 1) if self.intercept else weight)

    def contrasts(self, gradient: Tensor) -> Tensor:
        """A gradient in orthonormal contrasts (K - 1, D~), whatever its coordinates are."""
        return gradient if self.basis is not None else contrast_basis(self.n_classes).T @ gradient

    def contract(self, full: Tensor) -> Tensor:
        """Coordinates (m, .) of a (K, .) tensor whose columns sum to zero; gradients likewise."""
        return full if self.basis is None else self.basis.T @ full

    def expand(self, coordinates: Tensor) -> Tensor:
        """The (K, .) tensor of coordinates (m, .); undoes `contract`."""
        return coordinates if self.basis is None else self.basis @ coordinates

    def thresholds(self) -> Tensor:
        """The lasso's strength for every parameter (K, D + 1), zero for the bias."""
        lasso = self.ridge.lasso if isinstance(self.ridge, ElasticNet) else None
        each = torch.zeros_like(self.ridge.strength) if lasso is None else lasso
        free = torch.zeros(int(self.intercept), dtype=torch.float64)
        return torch.cat([each, free]).expand(self.n_classes, -1)

    def centred(self, part: Tensor, columns: Tensor) -> Tensor:
        """The same logits, but for a shift common to all classes, at the least penalty."""
        moved, penalised = part - part.mean(0), columns < self.design.n_features
        if isinstance(self.ridge, ElasticNet):
            net = self.ridge.of(columns[penalised])
            moved[:, penalised] = net.centred(part[:, penalised])
        return moved

    def split_gradient(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The part of the weights (m, D) and of the bias (m,), zero without one."""
        if self.intercept:
            return gradient[:, :-1], gradient[:, -1]
        return gradient, gradient.new_zeros(len(gradient))

    def ridge_columns(self) -> Tensor:
        """The ridge's strength for every column of a point, zero for the bias."""
        free = torch.zeros(int(self.intercept), dtype=torch.float64)
        return torch.cat([self.ridge.strength, free])

    def bordered_diagonal(self, diagonal: Tensor) -> Tensor:
        """One for every class (K, D + 1), in the coordinates of a point and with the ridge."""
        kept = diagonal if self.intercept else diagonal[:, :-1]
        full = kept if self.basis is None else self.basis.square().T @ kept
        return full + self.ridge_columns()

    # ---------------------------------------------------------------- what is known of F beforehand

    def exactly(self) -> Self:
        """The same F with all of it in float64."""
        return self if self.fast == torch.float64 else replace(self, fast=torch.float64)

    @cached_property
    def mass(self) -> Tensor:
        """sum_i s_i t_i (K,): the weight of each class."""
        return self.targets.mass(self.weights)

    @cached_property
    def alike(self) -> float | None:
        """The weight of every row where all have the same; None otherwise."""
        if self.weights.device.type != "cpu":  # a look is a wait there
            return None
        first = float(self.weights[0])
        return first if bool((self.weights == first).all()) else None

    @cached_property
    def cost(self) -> Cost:
        """How long the ways to the lowest F take."""
        return Cost.of(self.design, self.n_classes)

    @cached_property
    def penalised(self) -> bool:
        """Whether every column has a penalty, so that there is one optimum and a dual bound."""
        return bool(self.ridge.costly.all())

    def energy(self, gradient: Tensor) -> float:
        """R*(dF/dV) + sum_k (dF/db_k)^2 / (2 mass_k): roughly the gap, where R is a ridge."""
        return self.weight_energy(gradient) + self.bias_energy(gradient)

    def weight_energy(self, gradient: Tensor) -> float:
        """R*(dF/dV): at the best bias a bound on the gap, where R is a ridge."""
        return self.ridge.conjugate(self.split_gradient(gradient)[0])

    def bias_energy(self, gradient: Tensor) -> float:
        """sum_k (dF/db_k)^2 / (2 mass_k): roughly what a better bias would gain."""
        shift = self.expand(self.split_gradient(gradient)[1])
        return 0.5 * float(shift @ (shift / self.mass))

    # ------------------------------------------------------------------------------------- the loop

    def sum_over_rows(
        self,
        contribution: Callable[[Block], Tensor],
        dtype: torch.dtype,
        pack: Callable[[Tensor], Tensor] = lambda total: total,
    ) -> Tensor:
        """sum over all row blocks in float64, in their order; the only loop that reduces.

        What else is to be reduced is added by `pack`.
        """
        self.tally.passes += 1
        total: Tensor | None = None
        for block in self.design.blocks(dtype):
            part = contribution(block)
            total = part.double() if total is None else total.add_(part)
        if total is None:
            raise ValueError("a design without rows")
        return self.reduce(pack(total))

    def _gradient_sums(self, block: Block, logits: Tensor, probabilities: Tensor) -> Tensor:
        """[loss, (dF/dV, dF/db) class by class] of a block's rows; residuals replace P."""
        loss, sums = self._residuals(logits, probabilities, block.rows)
        return self._packed(loss, sums, block.rmatmul(probabilities))

    def _residuals(
        self, logits: Tensor, probabilities: Tensor, rows: slice
    ) -> tuple[Tensor, Tensor]:
        """The loss of some rows, and dF/db; residuals, over `alike` if there is one, replace P."""
        loss = torch.zeros((), dtype=torch.float64)
        sums = torch.zeros(self.n_classes, dtype=torch.float64)
        for part in chunks(*logits.shape):
            z, p, these = logits[part], probabilities[part], inside(rows, part)
            loss += self.weights[these] @ self.targets.losses(z, p, these).double()
            self.targets.subtract_from(p, these)
            if self.alike is None:
                p.mul_(self.weights[these, None].to(p.dtype))
            sums += column_sums(p)
        return loss, sums

    def _packed(self, loss: Tensor, sums: Tensor, products: Tensor) -> Tensor:
        """[loss, (dF/dV, dF/db) class by class] from sums over `_residuals`."""
        flat = torch.empty(1 + self.n_classes * (self.design.n_features + 1), dtype=torch.float64)
        slopes = flat[1:].view(self.n_classes, -1)
        flat[0], slopes[:, :-1], slopes[:, -1] = loss, products, sums
        if self.alike is not None:
            slopes.mul_(self.alike)
        return flat

    def _evaluation(self, point: Tensor, flat: Tensor, logits: Logits) -> Evaluation:
        weight, _ = self.split(point)
        gradient = flat[1:].view(self.n_classes, -1)
        gradient[:, :-1] += self.ridge.gradient(weight)
        if not self.intercept:
            gradient = gradient[:, :-1].contiguous()
        value = float(flat[0]) + self.ridge.value(weight)
        return Evaluation(point, value, self.contract(gradient), logits)


def contrast_basis(n_classes: int) -> Tensor:
    """E (K, K-1): orthonormal columns that sum to zero (Helmert's contrasts).

    >>> E = contrast_basis(4)
    >>> torch.allclose(E.T @ E, torch.eye(3).double()), bool(E.sum(0).abs().max() < 1e-15)
    (True, True)
    """
    return torch.tensor(_helmert(n_classes))  # where torch puts new tensors now


@lru_cache(maxsize=4)
def _helmert(n_classes: int) -> np.ndarray:
    basis = np.zeros((n_classes, n_classes - 1))
    for j in range(1, n_classes):
        basis[:j, j - 1] = 1.0
        basis[j, j - 1] = -float(j)
        basis[:, j - 1] /= (j * (j + 1)) ** 0.5
    return basis
