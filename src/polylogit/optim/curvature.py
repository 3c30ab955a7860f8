"""The Hessian of F, and sums over rows of which it and its models are made.

    H (U, u) : Q = X U' + u,   G = s * P * (Q - sum(P * Q)),   (G' X + ridge U, 1' G)

Derivation: Boehning, "Multinomial logistic regression algorithm", Ann. Inst. Statist. Math. 44
(1992), eq. 2.1 to 2.4.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from polylogit.design import Block, column_pairs, pair_places, row_slices
from polylogit.optim.cost import FEW_PAIRED
from polylogit.optim.logits import Logits, logits_in, row_sums, softmax
from polylogit.optim.sums import SoftmaxSums
from polylogit.thin_product import transposed_times

PRODUCT_BYTES = 4 * 2**20  # of features times probabilities at a time, to stay in cache


@dataclass(frozen=True)
class SoftmaxCurvature:
    """The Hessian of F where the probabilities are P (N, K), kept or made again from logits."""

    objective: SoftmaxSums
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

        image = problem.sum_over_rows(contribution, problem.fast).to(direction.dtype)
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
        pairs = problem.sum_over_rows(self._pairs, problem.fast)
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
            return gram_diagonal(block, p, problem.weights)

        return problem.bordered_diagonal(problem.sum_over_rows(contribution, problem.fast))

    def part_is_cheap(self, count: int) -> bool:
        """Whether H between `count` parameters costs less than the products it saves."""
        return self.objective.cost.part_is_cheap(count)

    def part(self, entries: Tensor) -> Tensor:
        """H between `entries` (n,), which rise, each a class k times D~ plus a column d: one pass.

        With Y_ij = p_ik x~_id for entry j = (k, d): H = [k = l] sum_i s_i p_ik x~_id x~_ie - Y'sY.
        """
        problem = self.objective
        width = problem.design.n_features + problem.intercept
        if problem.cost.whole_is_cheaper(len(entries)):
            return self.matrix()[entries[:, None], entries]
        ridge = problem.ridge_columns()[entries % width]
        part = partial(self._part, entries=entries, width=width)
        return problem.sum_over_rows(part, problem.fast) + torch.diag(ridge)

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
        return torch.stack([bordered_gram(block, w)[first, second] for w in weights.unbind(1)])


@lru_cache(maxsize=8)
def _pair_maps(n_classes: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows e_k - e_l for k < l, and where [d, e] stands among the pairs d <= e (D~, D~)."""
    with device:
        first, second = torch.triu_indices(n_classes, n_classes, 1)
        identity = torch.eye(n_classes, dtype=torch.float64)
        return identity[first] - identity[second], pair_places(columns)


def mean_spread(p: Tensor) -> Tensor:
    """(1 - |p_i|^2)/(K - 1) (B,): the mean over the contrasts of the variance that p_i makes."""
    return (1 - p.square().sum(1)) / (p.shape[1] - 1)


def probabilities_in(logits: Logits, block: Block) -> Tensor:
    """P of a block's rows (B, K); one row, repeated, where all are alike."""
    z = logits_in(logits, block)
    return softmax(z[:1]).expand_as(z) if z.stride(0) == 0 else softmax(z)


def bordered_gram(block: Block, share: Tensor, below: Tensor | None = None) -> Tensor:
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


def gram_diagonal(block: Block, p: Tensor, weights: Tensor) -> Tensor:
    """The diagonal of [X 1]' diag(s p_k (1 - p_k)) [X 1] for every class (K, D + 1)."""
    if p.stride(0) == 0:  # all rows are alike: one diagonal serves every class
        share, one = weights[block.rows, None].to(p.dtype), p[0]
        diagonal = torch.cat([block.gram_diagonal(share), share.sum(0)[:, None]], 1)
        return torch.outer(one - one.square(), diagonal[0])
    return weighted_diagonal(block, class_spreads(p, block, weights))


def class_spreads(p: Tensor, block: Block, weights: Tensor) -> Tensor:
    """s_i p_ik (1 - p_ik) of a block's rows (B, K)."""
    return (p - p.square()).mul_(weights[block.rows, None].to(p.dtype))


def weighted_diagonal(block: Block, weights: Tensor) -> Tensor:
    """The diagonal of [X 1]' diag(w_k) [X 1] (K, D + 1) for w (B, K)."""
    return torch.cat([block.gram_diagonal(weights), weights.sum(0)[:, None]], 1)
