"""The objective of softmax classification, over row blocks of any kind.

    F(V, b) = sum_i s_i [lse(z_i) - t_i . z_i] + R(V),    z_i = V x_i + b + o_i,   sum_i s_i = 1

for standardised rows x_i (`polylogit.design`), targets t_i in the probability simplex (a label is
one-hot), offsets o_i (given, most often none) and a penalty R: a ridge, or an elastic net, whose
kinks appear in the value alone. With P = softmax(Z) and residuals
R_i = s_i (p_i - t_i):

    dF/dV = R' X + R'(V)       dF/db = 1' R
    H (U, u) : Q = X U' + u,   G = s * P * (Q - sum(P * Q)),   (G' X + ridge U, 1' G)

Products with X run in `dtype`, sums over rows in float64 whatever it is. What is computed in
float32 only steers: proofs ask for float64. Hessian products run in `fast`. The logits of a point
are kept up to `LOGITS_BYTES` and made again block by block beyond (`polylogit.optim.logits`).
Derivation: Boehning, "Multinomial logistic regression algorithm", Ann. Inst. Statist. Math. 44
(1992), eq. 2.1 to 2.4.

All sums over rows run through one loop (`_sum`), which ends in one `reduce`: on one machine it
does nothing, over shards it adds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor

from polylogit.design import Block, Design, column_pairs, pair_places, row_slices
from polylogit.optim.bias import BALANCED, SETTLED, BiasCurvature, best_bias_shift, follow
from polylogit.optim.cost import WIDEST_GRAM, Cost
from polylogit.optim.logits import (
    Logits,
    RecomputedLogits,
    Tally,
    chunks,
    column_sums,
    inner,
    inside,
    logits_in,
    parts,
    room,
    row_sums,
    softmax,
)
from polylogit.optim.own_rows import OwnRows, OwnRowsPreconditioner, has_own_rows, own_rows
from polylogit.optim.penalty import ElasticNet, Penalty
from polylogit.optim.preconditioner import (
    ClassDiagonalPreconditioner,
    ClassPreconditioner,
    DiagonalPreconditioner,
    EvenPreconditioner,
    GramPreconditioner,
    Kept,
)
from polylogit.optim.problem import Evaluation, Line, Preconditioner
from polylogit.optim.targets import Labels, Targets
from polylogit.rooms import Rooms
from polylogit.thin_product import transposed_times

LOGITS_BYTES = 2**28  # of one matrix of logits; a line search keeps four, or none
PRODUCT_BYTES = 4 * 2**20  # of features times probabilities at a time, to stay in cache
MUCH, MORE = 4.0, 2.0  # times what one model promises: to look at another, and to prefer it
FEW_BESIDE = 32  # classes for which the bias is settled however few the features are
FEW_PAIRED = 4  # classes: to multiply columns pair by pair takes longer than a matrix for each pair

Reduce = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SoftmaxObjective:
    """F as a `Problem`. A point is (m, D + 1), the bias in the last column; (m, D) without one.

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
    fast: torch.dtype = torch.float32
    reduce: Reduce = lambda part: part
    tally: Tally = field(default_factory=Tally)
    diagonals: int = 0  # so many first preconditioners are the Hessian's diagonal, not a matrix
    kept: Kept | None = None  # sums of the preconditioner that may be used again
    bias_curvature: BiasCurvature = field(default_factory=BiasCurvature)
    rooms: Rooms = field(default_factory=Rooms)
    own: list[OwnRows] = field(default_factory=list)  # one at most: made when first asked for

    # ------------------------------------------------------------------ the Problem's questions

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

        return self._evaluation(point, self._sum(contribution, self.dtype), kept)

    def _evaluate_unkept(self, point: Tensor, recomputed: RecomputedLogits) -> Evaluation:
        """As `evaluate` in the memory of one block."""

        def contribution(block: Block) -> Tensor:
            size = block.rows.stop - block.rows.start, self.n_classes, self.dtype, self.rooms
            z = recomputed.of(block, room(*size))
            return self._gradient_sums(block, z, softmax(z, room(*size)))

        return self._evaluation(point, self._sum(contribution, self.dtype), recomputed)

    def _sees_nothing(self, point: Tensor) -> bool:
        """Whether all rows are alike to a point: then one row of logits, repeated, says it all."""
        return self.offsets is None and not bool(self.split(point)[0].any())

    def evaluate_known(self, point: Tensor, logits: Tensor, probabilities: Tensor) -> Evaluation:
        """As `evaluate` where Z and P (N, K) are known already: half the products. P is used up."""
        loss, sums = self._residuals(logits, probabilities, slice(0, self.design.n_rows))

        def contribution(block: Block) -> Tensor:
            return block.rmatmul(probabilities[block.rows])

        flat = self._sum(contribution, self.dtype, partial(self._packed, loss, sums))
        return self._evaluation(point, flat, logits)

    def line(self, at: Evaluation, direction: Tensor) -> Line:
        """F along a line: one pass for the logits' own direction, none for any trial step.

        Where logits are not kept, a trial costs a pass and the evaluation there is free.
        """
        if isinstance(logits_of(at), RecomputedLogits):
            return RecomputedLine(self, at, direction)
        return LogitLine(self, at, direction, self._products(direction))

    def curvature(self, at: Evaluation) -> SoftmaxCurvature:
        """The Hessian at `at`, its probabilities kept in `fast` if they are kept at all."""
        logits = logits_of(at)
        if isinstance(logits, RecomputedLogits):
            return SoftmaxCurvature(self, logits.to(self.fast))
        return SoftmaxCurvature(self, softmax(logits).to(self.fast))

    def preconditioner(self, at: Evaluation) -> Preconditioner:
        """One matrix for all classes, rows weighted by (1 - |p_i|^2)/(K - 1), scaled for each.

        Designs too wide for a D x D matrix get the diagonal of the Hessian itself, and others the
        first times they ask (`diagonals`). Where a class has few rows, they are apart
        (`polylogit.optim.own_rows`).
        """
        self.tally.models += 1
        logits = logits_of(at)
        if isinstance(logits, RecomputedLogits):
            logits = logits.to(self.fast)
        alike = self.n_classes == 2 or self.basis is not None  # or no longer told apart
        if self.tally.models <= self.diagonals or self.design.n_features > WIDEST_GRAM:
            diagonals = self._bordered_diagonal(self._sums_near(logits, self._curvature_diagonal))
            return (DiagonalPreconditioner if alike else ClassDiagonalPreconditioner)(diagonals)
        ridge = torch.diag(self.ridge_columns())
        if alike:
            return GramPreconditioner(self._sums_near(logits, self._mean_gram) + ridge)
        if isinstance(self.targets, Labels) and self._has_own_rows(at):
            return self._with_own_rows(self.targets.codes, logits, ridge)
        gram, diagonals = self._split_sums(self._sums_near(logits, self._curvatures))
        made = ClassPreconditioner(gram + ridge, self._bordered_diagonal(diagonals))
        return self._better(at, made, made.even())

    def _better(
        self, at: Evaluation, made: Preconditioner, even: EvenPreconditioner
    ) -> Preconditioner:
        """The model whose step down the gradient gains more; one pass where `even` promises much.

        A step d = M^-1 g promises g'd / 2 and gains (g'd)^2 / (2 d'Hd) at its best length.
        """
        gradient = at.gradient.to(self.fast)
        step = even.once(gradient)
        promised, other = (float((gradient * d).sum()) for d in (step, made(gradient)))
        if promised <= MUCH * other:
            return made
        bend = float((step * self.curvature(at).product(step)).sum())
        return even if promised**2 > MORE * other * bend else made

    def _has_own_rows(self, at: Evaluation) -> bool:
        """Whether the rows of a class matter to it alone: there are few, and they are told apart.

        Sums that are kept for other fits are those of all rows.
        """
        few = self.kept is None and has_own_rows(self.design, self.n_classes)
        return few and not self._sees_nothing(at.point)

    def _with_own_rows(self, codes: Tensor, logits: Logits, ridge: Tensor) -> OwnRowsPreconditioner:
        """As `ClassPreconditioner`, with the rows of a class apart from the rest."""
        own, shares = self._own_rows(codes), torch.zeros(len(codes), dtype=self.fast)
        taken = own.is_among(len(codes))

        def contribution(block: Block) -> Tensor:
            spreads = _spreads(_probabilities_in(logits, block).to(self.fast), block, self.weights)
            mine = codes[block.rows, None]
            own_part = spreads.gather(1, mine)
            shares[block.rows] = own_part.squeeze(1)
            spreads.scatter_(1, mine, own_part * ~taken[block.rows, None])
            mean = row_sums(spreads) / (self.n_classes - 1)
            return _bordered_gram(block, mean, _weighted_diagonal(block, spreads))

        gram, diagonals = self._split_sums(self._sum(contribution, self.fast))
        diagonals = self._bordered_diagonal(diagonals)
        return OwnRowsPreconditioner(gram + ridge, diagonals, own.features, own.picked(shares))

    def _own_rows(self, codes: Tensor) -> OwnRows:
        """The rows of every class, copied once in a fit."""
        if not self.own:
            made = own_rows(self.design, codes, self.n_classes, self.intercept, self.fast)
            self.own.append(made)
        return self.own[0]

    def _sums_near(self, logits: Logits, make: Callable[[Logits], Tensor]) -> Tensor:
        """What `make` makes, or has made where the rows' curvature was about the same."""
        if self.kept is None or isinstance(logits, RecomputedLogits):
            # of logits that are not kept, the rows' curvature costs the pass that it could save
            return make(logits)
        return self.kept.renewed(self._total_curvature(logits), partial(make, logits))

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

    # --------------------------------------------------------------------- for the certificate

    def exactly(self) -> Self:
        """The same F with all of it in float64."""
        return self if self.fast == torch.float64 else replace(self, fast=torch.float64)

    def least_curvature(self, at: Evaluation) -> Tensor:
        """M (D~, D~) with I x M nowhere above the Hessian, in float64: one pass.

            M = sum_i s_i min_k p_ik x~_i x~_i'  +  ridge

        For the variance of logits u that sum to zero over the classes is
        min_c sum_k p_k (u_k - c)^2 >= min_k p_k |u|^2.
        """
        gram = self.exactly()._curvature_gram(logits_of(at), lambda p: p.amin(1))
        return gram + torch.diag(self.ridge_columns())

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
        off = self.expand(self.split_gradient(at.gradient)[1]).abs()
        return bool((off <= SETTLED[self.dtype] * self.mass).all())

    def balanced(self, point: Tensor) -> Evaluation:
        """F and its gradient at these V and their best bias, at the price of `evaluate`.

        Where logits are not kept, every step to the best bias costs one more pass.
        """
        if self.keeps_logits:
            return self.balanced_known(point, self._logits(point))
        if not self.intercept:
            return self.evaluate(point)
        return self._balanced_unkept(point, self._recomputed(point))

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

    # ----------------------------------------------------------------------------- coordinates

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

    @property
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

    def split_gradient(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The part of the weights (m, D) and of the bias (m,), zero without one."""
        if self.intercept:
            return gradient[:, :-1], gradient[:, -1]
        return gradient, gradient.new_zeros(len(gradient))

    def ridge_columns(self) -> Tensor:
        """The ridge's strength for every column of a point, zero for the bias."""
        free = torch.zeros(int(self.intercept), dtype=torch.float64)
        return torch.cat([self.ridge.strength, free])

    # ------------------------------------------------------------------------------- the loop

    def _sum(
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

    # ------------------------------------------------------------------- for the preconditioner

    def _total_curvature(self, logits: Tensor) -> float:
        """sum_i s_i (1 - |p_i|^2), without a pass."""
        total = 0.0
        for rows, z in parts(logits):
            spread = 1 - softmax(z).square_().sum(1)
            total += float(self.weights[rows] @ spread.double())
        return total

    def _mean_gram(self, logits: Logits) -> Tensor:
        """`_curvature_gram` of what the contrasts curve on average."""
        return self._curvature_gram(logits, _spread)

    def _curvature_gram(self, logits: Logits, spread: Callable[[Tensor], Tensor]) -> Tensor:
        """X~' diag(w) X~ (D~, D~) for w_i = s_i times the `spread` of p_i; X~ ends in the bias."""

        def contribution(block: Block) -> Tensor:
            return _bordered_gram(
                block, self._share(block, spread(_probabilities_in(logits, block)))
            )

        gram = self._sum(contribution, self.fast)
        return gram if self.intercept else gram[:-1, :-1]

    def _curvatures(self, logits: Logits) -> Tensor:
        """`_mean_gram` above `_curvature_diagonal` (D~ + K, D~), in one pass."""

        def contribution(block: Block) -> Tensor:
            p = _probabilities_in(logits, block).to(self.fast)
            diagonals = _gram_diagonal(block, p, self.weights)
            return _bordered_gram(block, self._share(block, _spread(p)), diagonals)

        return self._sum(contribution, self.fast)

    def _share(self, block: Block, each: Tensor) -> Tensor:
        """s_i times a number `each` (B,) of a block's rows, in `fast`."""
        return (self.weights[block.rows] * each).to(self.fast)

    def _split_sums(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        gram, diagonals = sums[: -self.n_classes], sums[-self.n_classes :]
        return (gram if self.intercept else gram[:-1, :-1]), diagonals

    def _curvature_diagonal(self, logits: Logits) -> Tensor:
        """The diagonal of the Hessian without the ridge, for every class (K, D + 1)."""

        def contribution(block: Block) -> Tensor:
            p = _probabilities_in(logits, block).to(self.fast)
            return _gram_diagonal(block, p, self.weights)

        return self._sum(contribution, self.fast)

    def _bordered_diagonal(self, diagonal: Tensor) -> Tensor:
        kept = diagonal if self.intercept else diagonal[:, :-1]
        full = kept if self.basis is None else self.basis.square().T @ kept
        return full + self.ridge_columns()


def logits_of(at: Evaluation) -> Logits:
    """The logits Z (N, K) of an evaluation of this objective, kept or not."""
    if not isinstance(at.state, Logits):
        raise TypeError(f"an evaluation of another problem: its state is {type(at.state).__name__}")
    return at.state


def _mean_product(p: Tensor, dz: Tensor, share: Tensor, alike: float | None) -> float:
    """sum_i s_i p_i.dz_i, at once where all rows weigh the same."""
    if alike is not None:
        return alike * inner(p, dz)
    return float(share @ row_sums(p * dz).double())


def _spread(p: Tensor) -> Tensor:
    """(1 - |p_i|^2)/(K - 1) (B,): the mean over the contrasts of the variance that p_i makes."""
    return (1 - p.square().sum(1)) / (p.shape[1] - 1)


def _probabilities_in(logits: Logits, block: Block) -> Tensor:
    """P of a block's rows (B, K); one row, repeated, where all are alike."""
    z = logits_in(logits, block)
    return softmax(z[:1]).expand_as(z) if z.stride(0) == 0 else softmax(z)


def _bordered_gram(block: Block, share: Tensor, below: Tensor | None = None) -> Tensor:
    """[X 1]' diag(w) [X 1] (D + 1, D + 1) for the w (B,) of a block, above rows (., D + 1)."""
    gram = block.gram(share)
    width = len(gram)
    out = gram.new_empty(width + 1 + (0 if below is None else len(below)), width + 1)
    out[:width, :width] = gram  # the only copy of what may be large
    out[:width, width] = out[width, :width] = block.rmatmul(share[:, None])[0]  # rows in cache now
    out[width, width] = share.sum()
    if below is not None:
        out[width + 1 :] = below
    return out


def columns_in(block: Block, columns: Tensor, n_features: int) -> Tensor:
    """Some columns of [X 1] (B, n); `columns` rise."""
    real = block.columns_of(columns[columns < n_features])
    if int(columns[-1]) < n_features:
        return real
    return torch.cat([real, real.new_ones(len(real), 1)], 1)


def _gram_diagonal(block: Block, p: Tensor, weights: Tensor) -> Tensor:
    """The diagonal of [X 1]' diag(s p_k (1 - p_k)) [X 1] for every class (K, D + 1)."""
    if p.stride(0) == 0:  # all rows are alike: one diagonal serves every class
        share, one = weights[block.rows, None].to(p.dtype), p[0]
        diagonal = torch.cat([block.gram_diagonal(share), share.sum(0)[:, None]], 1)
        return torch.outer(one - one.square(), diagonal[0])
    return _weighted_diagonal(block, _spreads(p, block, weights))


def _spreads(p: Tensor, block: Block, weights: Tensor) -> Tensor:
    """s_i p_ik (1 - p_ik) of a block's rows (B, K)."""
    return (p - p.square()).mul_(weights[block.rows, None].to(p.dtype))


def _weighted_diagonal(block: Block, weights: Tensor) -> Tensor:
    """The diagonal of [X 1]' diag(w_k) [X 1] (K, D + 1) for w (B, K)."""
    return torch.cat([block.gram_diagonal(weights), weights.sum(0)[:, None]], 1)


def contrast_basis(n_classes: int) -> Tensor:
    """E (K, K-1): orthonormal columns that sum to zero (Helmert's contrasts).

    >>> E = contrast_basis(4)
    >>> torch.allclose(E.T @ E, torch.eye(3).double()), bool(E.sum(0).abs().max() < 1e-15)
    (True, True)
    """
    basis = np.zeros((n_classes, n_classes - 1))
    for j in range(1, n_classes):
        basis[:j, j - 1] = 1.0
        basis[j, j - 1] = -float(j)
        basis[:, j - 1] /= (j * (j + 1)) ** 0.5
    return torch.as_tensor(basis)  # where torch puts new tensors now


class LogitLine:
    """F along V + t dV: the logits are Z + t dZ, so a trial step costs no product with X.

    The probabilities of the last trial are kept, for it is most often the step that is taken.
    """

    trials_are_free = True

    def __init__(
        self, objective: SoftmaxObjective, at: Evaluation, direction: Tensor, change: Tensor
    ) -> None:
        self.objective, self.at, self.direction = objective, at, direction
        self.change = change  # dZ (N, K)
        self._logits: Tensor | None = None
        self._probabilities = objective.room()
        self._sums = torch.zeros(objective.n_classes, dtype=torch.float64)  # sum_i s_i p_i
        self._tried = math.nan

    def slope(self, t: float) -> float:
        """sum_i s_i (p_i - t_i).dz_i at `t`, with the ridge."""
        problem, before, self._tried = self.objective, cast("Tensor", logits_of(self.at)), t
        if self._logits is None:
            self._logits = problem.room()
        slope, self._sums = 0.0, torch.zeros(problem.n_classes, dtype=torch.float64)
        for rows in chunks(*before.shape):
            dz, share = self.change[rows], problem.weights[rows]
            z = torch.add(before[rows], dz, alpha=t, out=self._logits[rows])
            p = softmax(z, self._probabilities[rows])
            self._sums += share.to(p.dtype) @ p  # while they are in cache
            slope += _mean_product(p, dz, share, problem.alike)
            slope -= float(share @ problem.targets.dot(dz, rows).double())
        here, _ = problem.split(self.at.point)
        return slope + float((self._pull * (here + t * self._ahead)).sum())

    def curvature(self, t: float) -> float:
        """sum_i s_i Var_p(dz_i) at `t`, with the ridge."""
        if self._tried != t or self._logits is None:
            self.slope(t)
        curvature = float((self._pull * self._ahead).sum())
        for rows in chunks(*self.change.shape):
            dz = self.change[rows]
            weighted = self._probabilities[rows] * dz
            mean = row_sums(weighted)
            spread = row_sums(weighted.mul_(dz)) - mean.square_()
            curvature += float(self.objective.weights[rows] @ spread.double())
        return curvature

    @cached_property
    def _ahead(self) -> Tensor:
        """The direction of V (K, D)."""
        return self.objective.split(self.direction)[0]

    @cached_property
    def _pull(self) -> Tensor:
        """How fast the ridge's gradient changes along the line (K, D)."""
        return self.objective.ridge.gradient(self._ahead)

    def evaluate(self, t: float) -> Evaluation:
        """F and its gradient there, the bias near its best: one pass, for the gradient alone."""
        point, logits = self._taken(t)  # the probabilities become residuals
        return self.objective.evaluate_settled(point, logits, self._probabilities, self._sums)

    def balanced(self, t: float) -> Evaluation:
        """As `evaluate`, with the best bias up to rounding."""
        return self.objective.balanced_known(*self._taken(t))

    def _taken(self, t: float) -> tuple[Tensor, Tensor]:
        """The point there, and its logits, which are no longer the line's."""
        if self._logits is None or self._tried != t:
            self.slope(t)
        logits, self._logits = cast("Tensor", self._logits), None
        return self.at.point + t * self.direction, logits


class RecomputedLine:
    """F along V + t dV with no logits kept: every trial is an evaluation, so taking it is free.

    The slope is the gradient there times the direction. The curvature at a point would cost two
    more products with X; that between the last two points serves, and costs none.
    """

    trials_are_free = False

    def __init__(self, objective: SoftmaxObjective, at: Evaluation, direction: Tensor) -> None:
        self.objective, self.at, self.direction = objective, at, direction
        self._last, self._curvature = (0.0, at), 0.0

    def slope(self, t: float) -> float:
        """dF.d there."""
        (before, last), there = self._last, self.evaluate(t)
        if t != before:
            rise = float(((there.gradient - last.gradient) * self.direction).sum())
            self._last, self._curvature = (t, there), rise / (t - before)
        return float((there.gradient * self.direction).sum())

    def curvature(self, t: float) -> float:
        """How fast the slope rose from the last other point."""
        self.slope(t)
        return self._curvature

    def evaluate(self, t: float) -> Evaluation:
        """F and its gradient there; free where it was tried last."""
        if self._last[0] == t:
            return self._last[1]
        return self.objective.evaluate(self.at.point + t * self.direction)


@dataclass(frozen=True)
class SoftmaxCurvature:
    """The Hessian of F where the probabilities are P (N, K), kept or made again from logits."""

    objective: SoftmaxObjective
    probabilities: Logits

    def product(self, direction: Tensor) -> Tensor:
        """H times a direction in one pass: diag(p) - pp' between two products with X."""
        problem = self.objective
        weight, bias = (part.to(problem.fast) for part in problem.split(direction))
        weights = problem.weights.to(problem.fast)

        def contribution(block: Block) -> Tensor:
            p = self._probabilities(block)
            pq = block.affine(weight, bias, torch.empty_like(p)).mul_(p)
            pq.addcmul_(p, row_sums(pq)[:, None], value=-1)
            pq.mul_(weights[block.rows, None])
            return torch.cat([block.rmatmul(pq), pq.sum(0)[:, None]], 1)

        image = problem._sum(contribution, problem.fast).to(direction.dtype)
        image = problem.contract(image if problem.intercept else image[:, :-1])
        return image + direction * problem.ridge_columns().to(direction.dtype)

    def matrix(self) -> Tensor:
        """H (m D~, m D~) by one product: pairs of classes times pairs of columns.

        Since diag(p) - pp' = sum_{k<l} p_k p_l (e_k - e_l)(e_k - e_l)', the Hessian is the sum of
        (e_k - e_l)(e_k - e_l)' x G_kl with G_kl = sum_i s_i p_ik p_il x~_i x~_i': only k < l and
        the upper triangle of x~x~' have to be multiplied.
        """
        problem = self.objective
        k, columns = problem.n_classes, problem.design.n_features + problem.intercept
        pairs = problem._sum(self._pairs, problem.fast)
        spread, square = _pair_maps(k, columns, problem.design.device)
        if problem.basis is not None:
            spread = spread @ problem.basis
        m = spread.shape[1]
        mixed = (spread[:, :, None] * spread[:, None, :]).reshape(-1, m * m).T @ pairs
        blocks = mixed[:, square].reshape(m, m, columns, columns)
        hessian = blocks.permute(0, 2, 1, 3).reshape(m * columns, m * columns)
        hessian.diagonal().add_(problem.ridge_columns().repeat(m))
        return hessian

    def diagonal(self) -> Tensor:
        """sum_i s_i p_ik (1 - p_ik) x~_id^2 plus the ridge (K, D~)."""
        problem = self.objective

        def contribution(block: Block) -> Tensor:
            p = self._probabilities(block)
            return _gram_diagonal(block, p, problem.weights)

        return problem._bordered_diagonal(problem._sum(contribution, problem.fast))

    def part_is_cheap(self, count: int) -> bool:
        """Whether H between `count` parameters costs less than the products it saves."""
        return self.objective.cost.part_is_cheap(count)

    def part(self, entries: Tensor) -> Tensor:
        """H between `entries` (n,), which rise, each a class k times D~ plus a column d: one pass.

        With Y_ij = p_ik x~_id for entry j = (k, d): H = [k = l] sum_i s_i p_ik x~_id x~_ie - Y'sY.
        """
        problem = self.objective
        width = problem.design.n_features + problem.intercept
        if self._whole_is_cheaper(len(entries)):
            return self.matrix()[entries[:, None], entries]
        ridge = problem.ridge_columns()[entries % width]
        hessian = problem._sum(lambda block: self._part(block, entries, width), problem.fast)
        return hessian + torch.diag(ridge)

    def _whole_is_cheaper(self, count: int) -> bool:
        """Whether a matrix for each pair of few classes is smaller than one of `count` entries."""
        k, columns = self.objective.n_classes, self.objective.design.n_features + 1.0
        pairs = k * (k - 1) / 2
        return k <= FEW_PAIRED and pairs * columns**2 <= (1 + 1 / k) * float(count) ** 2

    def _part(self, block: Block, entries: Tensor, width: int) -> Tensor:
        """The part of one block's rows."""
        problem = self.objective
        classes, columns = entries // width, entries % width
        used, place = columns.unique(return_inverse=True)
        share = problem.weights[block.rows, None].to(problem.fast)
        p = self._probabilities(block)
        x = columns_in(block, used, problem.design.n_features)
        total = x.new_zeros(len(entries), len(entries))
        ends = torch.bincount(classes, minlength=problem.n_classes).cumsum(0).tolist()
        groups = [slice(*pair) for pair in itertools.pairwise([0, *ends])]  # entries rise
        for rows in row_slices(len(p), max(64, PRODUCT_BYTES // (8 * len(entries)))):
            features = x[rows].index_select(1, place)
            y = p[rows].index_select(1, classes).mul_(features)
            weighted = y * share[rows]
            total.addmm_(y.T, weighted, alpha=-1)
            for mine in groups:
                total[mine, mine].addmm_(features[:, mine].T, weighted[:, mine])
        return total

    def _probabilities(self, block: Block) -> Tensor:
        known = self.probabilities
        return known[block.rows] if isinstance(known, Tensor) else softmax(known.of(block))

    def _pairs(self, block: Block) -> Tensor:
        """G_kl [d, e] for k < l and d <= e over a block (K (K-1)/2, D~ (D~+1)/2)."""
        problem = self.objective
        k, columns = problem.n_classes, problem.design.n_features + problem.intercept
        share = problem.weights[block.rows, None].to(problem.fast)
        p = self._probabilities(block)
        if k <= FEW_PAIRED:
            return self._grams(block, column_pairs(p * share, p, 1))
        total = p.new_zeros(k * (k - 1) // 2, columns * (columns + 1) // 2)
        width = max(total.shape) * problem.fast.itemsize
        for rows in row_slices(len(p), max(64, PRODUCT_BYTES // width)):
            q = p[rows]
            products = block.products(problem.intercept, rows)
            total += transposed_times(column_pairs(q * share[rows], q, 1), products)
        return total

    def _grams(self, block: Block, weights: Tensor) -> Tensor:
        """The same, a Gram matrix for each of the few columns of `weights` (B, K (K-1)/2)."""
        columns = self.objective.design.n_features + self.objective.intercept
        first, second = torch.triu_indices(columns, columns)
        return torch.stack([_bordered_gram(block, w)[first, second] for w in weights.unbind(1)])


@lru_cache(maxsize=8)
def _pair_maps(n_classes: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows e_k - e_l for k < l, and where [d, e] stands among the pairs d <= e (D~, D~)."""
    with device:
        first, second = torch.triu_indices(n_classes, n_classes, 1)
        identity = torch.eye(n_classes, dtype=torch.float64)
        return identity[first] - identity[second], pair_places(columns)
