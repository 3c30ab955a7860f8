"""The objective of softmax classification, over row blocks of any kind.

    F(V, b) = sum_i s_i [lse(z_i) - t_i . z_i] + R(V),    z_i = V x_i + b,   sum_i s_i = 1

for standardised rows x_i (`polylogit.design`), targets t_i in the probability simplex (a label is
one-hot) and a ridge R. With P = softmax(Z) and residuals R_i = s_i (p_i - t_i):

    dF/dV = R' X + R'(V)       dF/db = 1' R
    H (U, u) : Q = X U' + u,   G = s * P * (Q - sum(P * Q)),   (G' X + ridge U, 1' G)

Values and gradients are computed in float64; Hessian products, which only steer, in `fast`.
Derivation: Boehning, "Multinomial logistic regression algorithm", Ann. Inst. Statist. Math. 44
(1992), eq. 2.1 to 2.4.

All sums over rows run through one loop (`_sum`), which ends in one `reduce`: on one machine it
does nothing, over shards it adds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from polylogit.design import Block, Design
from polylogit.optim.penalty import Ridge
from polylogit.optim.preconditioner import DiagonalPreconditioner, GramPreconditioner
from polylogit.optim.problem import Evaluation, Preconditioner

LOGITS_BYTES = 2**30  # keep the logits of a point up to this size, recompute them beyond
CHUNK_ELEMENTS = 2**18  # of logits per elementwise step, so that temporaries stay in cache
PRODUCT_BYTES = 4 * 2**20  # of features times probabilities at a time, to stay in cache
WIDEST_GRAM = 4096  # features; beyond, the preconditioner is diagonal

Reduce = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Labels:
    """Targets given as class codes (N,): t_i = (1 - e) onehot(y_i) + e/K with smoothing e."""

    codes: Tensor
    n_classes: int
    smoothing: float = 0.0

    def dot(self, logits: Tensor, rows: slice) -> Tensor:
        """t_i . z_i (B,)."""
        picked = logits.gather(1, self.codes[rows, None]).squeeze(1)
        if not self.smoothing:
            return picked
        return (1 - self.smoothing) * picked + self.smoothing * logits.mean(1)

    def subtract_from(self, probabilities: Tensor, rows: slice) -> Tensor:
        """P - T (B, K), in place."""
        codes = self.codes[rows, None]
        taken = torch.full(codes.shape, self.smoothing - 1.0, dtype=probabilities.dtype)
        probabilities.scatter_add_(1, codes, taken)
        return (
            probabilities.sub_(self.smoothing / self.n_classes) if self.smoothing else probabilities
        )

    def mass(self, weights: Tensor) -> Tensor:
        """sum_i s_i t_i (K,): the weight of each class."""
        counts = torch.bincount(self.codes, weights, self.n_classes)
        return (1 - self.smoothing) * counts + self.smoothing * weights.sum() / self.n_classes


@dataclass(frozen=True)
class Distributions:
    """Targets given as rows of the simplex (N, K)."""

    rows_of: Tensor

    def dot(self, logits: Tensor, rows: slice) -> Tensor:
        """t_i . z_i (B,)."""
        return (self.rows_of[rows] * logits).sum(1)

    def subtract_from(self, probabilities: Tensor, rows: slice) -> Tensor:
        """P - T (B, K), in place."""
        return probabilities.sub_(self.rows_of[rows])

    def mass(self, weights: Tensor) -> Tensor:
        """sum_i s_i t_i (K,): the weight of each class."""
        return weights @ self.rows_of


Targets = Labels | Distributions


@dataclass
class Tally:
    """How often the rows were read."""

    passes: int = 0


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
    ridge: Ridge
    n_classes: int
    intercept: bool = True
    basis: Tensor | None = None
    fast: torch.dtype = torch.float32
    reduce: Reduce = lambda partial: partial
    tally: Tally = field(default_factory=Tally)

    # ------------------------------------------------------------------ the Problem's questions

    def evaluate(self, point: Tensor) -> Evaluation:
        """F and its gradient in one pass."""
        weight, bias = self.split(point)
        logits = torch.empty(self.design.n_rows, self.n_classes, dtype=torch.float64)

        def contribution(block: Block) -> Tensor:
            logits[block.rows] = block.matmul(weight) + bias
            return self._loss_and_gradient(block, logits[block.rows])

        return self._evaluation(point, self._sum(contribution, torch.float64), logits)

    def line(self, at: Evaluation, direction: Tensor) -> LogitLine:
        """F along a line: one pass for the logits' own direction, none for any trial step."""
        weight, bias = self.split(direction)
        change = torch.empty_like(logits_of(at))
        self.tally.passes += 1
        for block in self.design.blocks(torch.float64):
            change[block.rows] = block.matmul(weight) + bias
        return LogitLine(self, at, direction, change)

    def curvature(self, at: Evaluation) -> SoftmaxCurvature:
        """The Hessian at `at`, its probabilities kept in `fast`."""
        return SoftmaxCurvature(self, torch.softmax(logits_of(at), 1).to(self.fast))

    def preconditioner(self, at: Evaluation) -> Preconditioner:
        """One curvature for all classes: rows weighted by (1 - |p_i|^2)/(K - 1)."""
        probabilities = torch.softmax(logits_of(at), 1)
        spread = (1 - probabilities.square().sum(1)) / (self.n_classes - 1)
        weights = (self.weights * spread).to(self.fast)
        if self.design.n_features > WIDEST_GRAM:
            diagonal = self._sum(lambda block: _gram_diagonal(block, weights), self.fast)
            return DiagonalPreconditioner(self._bordered_diagonal(diagonal.double()))
        return GramPreconditioner(self._curvature_gram(weights))

    # --------------------------------------------------------------------- for the certificate

    def with_best_bias(self, at: Evaluation) -> Evaluation:
        """The same V with its best bias: then the residuals of every class sum to zero.

        Newton's method on K unknowns over kept logits; one pass, for the gradient, at the end.
        """
        if not self.intercept or float(self.split_gradient(at.gradient)[1].abs().max()) <= 1e-16:
            return at
        shift = best_bias_shift(logits_of(at), self.targets.mass(self.weights), self.weights)
        step = torch.zeros_like(at.point)
        step[:, -1] = self.contract(shift[:, None]).squeeze(1)
        logits = logits_of(at) + shift
        return self._evaluation_from_logits(at.point + step, logits)

    # ----------------------------------------------------------------------------- coordinates

    def start(self) -> Tensor:
        """V = 0 and the bias of the class frequencies: the best model that sees no feature."""
        columns = self.design.n_features + self.intercept
        point = torch.zeros(self.n_classes, columns, dtype=torch.float64)
        if self.intercept:
            logs = self.targets.mass(self.weights).log()
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
        full = torch.cat([weight, bias[:, None]], 1) if self.intercept else weight
        return self.contract(full - full.mean(0))

    def contract(self, full: Tensor) -> Tensor:
        """Coordinates (m, .) of a (K, .) tensor whose columns sum to zero; gradients likewise."""
        return full if self.basis is None else self.basis.T @ full

    def expand(self, coordinates: Tensor) -> Tensor:
        """The (K, .) tensor of coordinates (m, .); undoes `contract`."""
        return coordinates if self.basis is None else self.basis @ coordinates

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

    def _sum(self, contribution: Callable[[Block], Tensor], dtype: torch.dtype) -> Tensor:
        """sum over all row blocks, in their order; the only loop that reduces."""
        self.tally.passes += 1
        total: Tensor | None = None
        for block in self.design.blocks(dtype):
            part = contribution(block)
            total = part if total is None else total.add_(part)
        if total is None:
            raise ValueError("a design without rows")
        return self.reduce(total)

    def _loss_and_gradient(self, block: Block, logits: Tensor) -> Tensor:
        """[loss, dF/dV, dF/db] of a block's rows, flat."""
        loss, residual = self._loss_and_residual(logits, block.rows)
        parts = [loss.reshape(1), block.rmatmul(residual).flatten()]
        return torch.cat([*parts, residual.sum(0)])

    def _loss_and_residual(self, logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """sum_i s_i [lse(z_i) - t_i.z_i] and s_i (p_i - t_i) (B, K), in chunks that fit a cache."""
        residual = torch.empty_like(logits)
        loss = logits.new_zeros(())
        for part in _chunks(*logits.shape):
            z, inside = logits[part], _inside(rows, part)
            lse = z.logsumexp(1)
            p = torch.sub(z, lse[:, None], out=residual[part]).exp_()
            share = self.weights[inside]
            loss += share @ (lse - self.targets.dot(z, inside))
            self.targets.subtract_from(p, inside).mul_(share[:, None])
        return loss, residual

    def _evaluation(self, point: Tensor, flat: Tensor, logits: Tensor) -> Evaluation:
        weight, _ = self.split(point)
        size = weight.numel()
        gradient = flat[1 : 1 + size].view_as(weight) + self.ridge.gradient(weight)
        if self.intercept:
            gradient = torch.cat([gradient, flat[1 + size :, None]], 1)
        value = float(flat[0]) + self.ridge.value(weight)
        return Evaluation(point, value, self.contract(gradient), logits)

    def _evaluation_from_logits(self, point: Tensor, logits: Tensor) -> Evaluation:
        """As `evaluate`, for a point whose logits are known: half the products."""

        def contribution(block: Block) -> Tensor:
            return self._loss_and_gradient(block, logits[block.rows])

        return self._evaluation(point, self._sum(contribution, torch.float64), logits)

    # ------------------------------------------------------------------- for the preconditioner

    def _curvature_gram(self, weights: Tensor) -> Tensor:
        """X~' diag(w) X~ + ridge, with the bias as last column of X~."""
        gram = self._sum(lambda block: _bordered_gram(block, weights), self.fast).double()
        if not self.intercept:
            gram = gram[:-1, :-1]
        return gram + torch.diag(self.ridge_columns())

    def _bordered_diagonal(self, diagonal: Tensor) -> Tensor:
        kept = diagonal if self.intercept else diagonal[:-1]
        return kept + self.ridge_columns()


def logits_of(at: Evaluation) -> Tensor:
    """The logits Z (N, K) that an evaluation of this objective keeps."""
    if not isinstance(at.state, Tensor):
        raise TypeError(f"an evaluation of another problem: its state is {type(at.state).__name__}")
    return at.state


def _chunks(n_rows: int, n_classes: int) -> list[slice]:
    step = max(1, CHUNK_ELEMENTS // n_classes)
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def _inside(rows: slice, part: slice) -> slice:
    """The rows of `part`, counted within `rows`, as rows of the whole."""
    return slice(rows.start + part.start, rows.start + part.stop)


def _bordered_gram(block: Block, weights: Tensor) -> Tensor:
    """[X 1]' diag(w) [X 1] (D + 1, D + 1)."""
    share = weights[block.rows]
    edge = block.rmatmul(share[:, None])
    corner = share.sum().reshape(1, 1)
    return torch.cat([torch.cat([block.gram(share), edge.T], 1), torch.cat([edge, corner], 1)])


def _gram_diagonal(block: Block, weights: Tensor) -> Tensor:
    share = weights[block.rows]
    return torch.cat([block.gram_diagonal(share), share.sum().reshape(1)])


def contrast_basis(n_classes: int) -> Tensor:
    """E (K, K-1): orthonormal columns that sum to zero (Helmert's contrasts).

    >>> E = contrast_basis(4)
    >>> torch.allclose(E.T @ E, torch.eye(3).double()), bool(E.sum(0).abs().max() < 1e-15)
    (True, True)
    """
    basis = torch.zeros(n_classes, n_classes - 1, dtype=torch.float64)
    for j in range(1, n_classes):
        basis[:j, j - 1] = 1.0
        basis[j, j - 1] = -float(j)
        basis[:, j - 1] /= (j * (j + 1)) ** 0.5
    return basis


def best_bias_shift(logits: Tensor, mass: Tensor, weights: Tensor, steps: int = 30) -> Tensor:
    """The shift u (K,), sum u = 0, with sum_i s_i softmax(z_i + u) = mass.

    Newton's method on the convex function sum_i s_i lse(z_i + u) - mass.u, at most two nats a step.
    """
    shift, last = torch.zeros_like(mass), math.inf
    for _ in range(steps):
        p = torch.softmax(logits + shift, 1)
        sp = p * weights[:, None]
        residual = sp.sum(0) - mass
        size = float(residual.abs().max())
        if size <= 1e-16 or (size < 1e-12 and size >= 0.5 * last):
            break  # what is left is rounding
        last = size
        hessian = torch.diag(sp.sum(0)) - sp.T @ p
        # the all-ones direction is the shift that softmax cannot see
        step = torch.linalg.solve(hessian + 1.0 / len(mass), residual)
        step -= step.mean()
        shift -= step * min(1.0, 2.0 / float(step.abs().max().clamp_min(1e-300)))
    return shift


@dataclass(frozen=True)
class LogitLine:
    """F along V + t dV: the logits are Z + t dZ, so a trial step costs no product with X."""

    objective: SoftmaxObjective
    at: Evaluation
    direction: Tensor
    change: Tensor  # dZ (N, K)

    def derivatives(self, t: float) -> tuple[float, float]:
        """Slope sum_i s_i (p_i - t_i).dz_i and curvature sum_i s_i Var_p(dz_i), with the ridge."""
        problem = self.objective
        slope = curvature = 0.0
        logits = logits_of(self.at)
        for rows in _chunks(*logits.shape):
            dz, share = self.change[rows], problem.weights[rows]
            p = torch.softmax(torch.add(logits[rows], dz, alpha=t), 1)
            weighted = p.mul_(dz)
            mean = weighted.sum(1)
            slope += float(share @ (mean - problem.targets.dot(dz, rows)))
            curvature += float(share @ (weighted.mul_(dz).sum(1) - mean.square()))
        ahead, _ = problem.split(self.direction)
        here, _ = problem.split(self.at.point)
        pull = problem.ridge.gradient(ahead)
        slope += float((pull * (here + t * ahead)).sum())
        return slope, curvature + float((pull * ahead).sum())

    def evaluate(self, t: float) -> Evaluation:
        """F and its gradient there: one pass, for the gradient alone."""
        logits = torch.add(logits_of(self.at), self.change, alpha=t)
        point = self.at.point + t * self.direction
        return self.objective._evaluation_from_logits(point, logits)


@dataclass(frozen=True)
class SoftmaxCurvature:
    """The Hessian of F where the probabilities are P (N, K)."""

    objective: SoftmaxObjective
    probabilities: Tensor

    def product(self, direction: Tensor) -> Tensor:
        """H times a direction in one pass: diag(p) - pp' between two products with X."""
        problem = self.objective
        weight, bias = (part.to(problem.fast) for part in problem.split(direction))
        weights = problem.weights.to(problem.fast)

        def contribution(block: Block) -> Tensor:
            p = self.probabilities[block.rows]
            pq = block.matmul(weight).add_(bias).mul_(p)
            pq.addcmul_(p, pq.sum(1, keepdim=True), value=-1)
            pq.mul_(weights[block.rows, None])
            return torch.cat([block.rmatmul(pq), pq.sum(0)[:, None]], 1)

        image = problem._sum(contribution, problem.fast).to(direction.dtype)
        image = problem.contract(image if problem.intercept else image[:, :-1])
        return image + direction * problem.ridge_columns().to(direction.dtype)

    def matrix(self) -> Tensor:
        """H (m D~, m D~), from the blocks of class pairs k < l.

        The block of k and l is minus G_kl = sum_i s_i p_ik p_il x~_i x~_i'; since every row of
        diag(p) - pp' sums to zero, H_kk = sum_l G_kl and nothing else has to be multiplied.
        """
        problem = self.objective
        k, columns = self.probabilities.shape[1], problem.design.n_features + problem.intercept
        blocks = -problem._sum(self._pairs_of_classes, problem.fast).double()  # (K, D~, K, D~)
        blocks += blocks.permute(2, 3, 0, 1).clone()
        classes = torch.arange(k)
        blocks[classes, :, classes, :] = -blocks.sum(2)
        if problem.basis is not None:
            basis = problem.basis
            blocks = torch.einsum("ka,kdle,lb->adbe", basis, blocks, basis)
        hessian = blocks.reshape(len(blocks) * columns, -1)
        hessian.diagonal().add_(problem.ridge_columns().repeat(len(blocks)))
        return hessian

    def _pairs_of_classes(self, block: Block) -> Tensor:
        """G_kl for k < l over a block, zero elsewhere, as (K, D~, K, D~)."""
        problem = self.objective
        features = block.dense()
        if problem.intercept:
            features = torch.cat([features, features.new_ones(len(features), 1)], 1)
        p = self.probabilities[block.rows]
        share = problem.weights[block.rows, None].to(problem.fast)
        (_, columns), k = features.shape, p.shape[1]
        total = features.new_zeros(k * columns, k * columns)
        step = max(256, PRODUCT_BYTES // (k * columns * problem.fast.itemsize))
        for x, q, w in zip(features.split(step), p.split(step), share.split(step), strict=True):
            scaled = (q[:, :, None] * x[:, None, :]).reshape(len(x), k * columns)
            for one in range(k - 1):
                here = slice(one * columns, (one + 1) * columns)
                after = slice((one + 1) * columns, None)
                total[here, after] += (scaled[:, here] * w).T @ scaled[:, after]
        return total.reshape(k, columns, k, columns)
