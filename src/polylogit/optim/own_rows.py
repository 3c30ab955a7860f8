"""A stand-in for the Hessian where every class has few rows.

The block of class k is H_k = X~' diag(s p_k (1 - p_k)) X~ + ridge. With many classes and few rows
in each, two kinds of rows share in it: those of the class itself, few and heavy, each of which
curves F along its own x_i far more than all others together, and the rest, many and light, which
one matrix A for all classes describes (`ClassPreconditioner`). So

    M_k = B_k + U_k' U_k,    B_k = diag(r_k)^1/2 A diag(r_k)^1/2 of the rest,
                             U_k (n, D~) = the rows x~_i of class k times (s_i p_ik (1 - p_ik))^1/2

and no D~ x D~ matrix is needed for any class (Woodbury, "Inverting modified matrices", 1950):

    M_k^-1 = B_k^-1 - B_k^-1 U_k' (1 + U_k B_k^-1 U_k')^-1 U_k B_k^-1

With ten rows a class L-BFGS takes a third fewer steps with it than with A alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from polylogit.design import Design, row_slices
from polylogit.optim.preconditioner import ClassPreconditioner, Factor, Precise

MOST_ROWS = 32  # of a class, on average: beyond, its rows are as many as its columns, or cheap
OWN_BYTES = 2**29  # of the rows, which are copied
PART_BYTES = 2**26  # of rows that are multiplied at a time


@dataclass(frozen=True, eq=False)
class OwnRows:
    """The first `MOST_ROWS` rows of every class.

    `features` (K, n, D~) are x~_i, zero where a class has fewer; `numbers` (K, n) say which rows
    they are, N where there is none.
    """

    features: Tensor
    numbers: Tensor

    def picked(self, values: Tensor) -> Tensor:
        """Values of all rows (N,) as those of these (K, n), zero where there is none."""
        return torch.cat([values, values.new_zeros(1)])[self.numbers]

    def is_among(self, n_rows: int) -> Tensor:
        """Whether a row is among them (N,)."""
        among = torch.zeros(n_rows + 1, dtype=torch.bool)
        among[self.numbers] = True
        return among[:-1]


def has_own_rows(design: Design, n_classes: int) -> bool:
    """Whether the classes have so few rows, and there is room for them."""
    size = min(design.n_rows, MOST_ROWS * n_classes) * (design.n_features + 1) * 4
    return design.n_rows <= MOST_ROWS * n_classes and size <= OWN_BYTES and design.keeps_logits


def own_rows(
    design: Design, codes: Tensor, n_classes: int, bordered: bool, dtype: torch.dtype
) -> OwnRows:
    """The rows of every class, for class codes (N,); `bordered` appends a column of ones."""
    place = _places(codes, n_classes)
    most = min(MOST_ROWS, 1 + int(place.max()))
    numbers = torch.full((n_classes, most), len(codes), dtype=torch.long)
    features = torch.zeros(n_classes, most, design.n_features + bordered, dtype=dtype)
    for block in design.blocks(dtype):
        among = (place[block.rows] < most).nonzero().squeeze(1)
        rows = among + block.rows.start
        numbers[codes[rows], place[rows]] = rows
        features[codes[rows], place[rows], : design.n_features] = block.dense()[among]
        features[codes[rows], place[rows], design.n_features :] = 1.0
    return OwnRows(features, numbers)


def _places(codes: Tensor, n_classes: int) -> Tensor:
    """The how manieth of its class every row is (N,), from 0."""
    order = torch.argsort(codes, stable=True)
    counts = torch.bincount(codes, minlength=n_classes)
    first = counts.cumsum(0) - counts
    place = torch.empty_like(codes)
    place[order] = torch.arange(len(codes)) - first[codes[order]]
    return place


@dataclass(frozen=True)
class OwnRowsPreconditioner(ClassPreconditioner):
    """G -> u as `ClassPreconditioner`, with M_k = B_k + U_k' U_k as written above.

    `gram` and `diagonals` are those of the rest, `rows` (K, n, D~) and `shares` (K, n) make U_k.
    """

    rows: Tensor
    shares: Tensor

    @cached_property
    def _roots(self) -> Tensor:
        return self.shares.sqrt()[:, :, None].to(self.rows.dtype)

    @cached_property
    def _moved(self) -> Tensor:
        """U_k B_k^-1 (K, n, D~)."""
        inverse, narrow = self._inverse.like(self.rows), self._narrow.like(self.rows)
        moved = torch.empty_like(self.rows)
        for part in self._parts:
            each = narrow[part, None]
            mine = (self.rows[part] * self._roots[part]).mul_(each)
            torch.matmul(mine, inverse, out=moved[part]).mul_(each)
        return moved

    @cached_property
    def _inner(self) -> Tensor:
        """(1 + U_k B_k^-1 U_k')^-1 (K, n, n)."""
        product = (self.rows @ self._moved.mT).mul_(self._roots)
        inverse: Tensor = torch.linalg.inv(_one_more(product))
        return inverse

    @cached_property
    def _common(self) -> Precise:
        """(sum_k M_k^-1)^-1."""
        lost = torch.zeros_like(self.gram)  # sum_k B_k^-1 - M_k^-1
        for part in self._parts:
            moved = self._moved[part]
            lost += moved.flatten(0, 1).T @ (self._inner[part] @ moved).flatten(0, 1)
        return Precise(Factor.of(self._inverses_summed - lost).inverse())

    @property
    def _parts(self) -> list[slice]:
        """Classes, as many at a time as `PART_BYTES` holds."""
        n_classes, most, width = self.rows.shape
        return row_slices(n_classes, max(1, PART_BYTES // (4 * most * width)))

    def _apart(self, residual: Tensor) -> Tensor:
        """M_k^-1 times the residual of each class."""
        through = self._inner @ (self._moved @ self._columns(residual))
        return super()._apart(residual).sub_(_rows_of(self._moved, through, residual))

    def curvature(self, direction: Tensor) -> Tensor:
        own = (self.rows @ self._columns(direction)).mul_(self._roots.square())
        return super().curvature(direction) + _rows_of(self.rows, own, direction)

    def _columns(self, vectors: Tensor) -> Tensor:
        """Vectors (..., K, D~) as columns for every class (K, D~, m)."""
        n_classes, _, width = self.rows.shape
        return vectors.to(self.rows.dtype).reshape(-1, n_classes, width).permute(1, 2, 0)


def _rows_of(rows: Tensor, shares: Tensor, like: Tensor) -> Tensor:
    """The rows of every class, added up by shares (K, n, m), in the shape of `like`."""
    return (rows.mT @ shares).permute(2, 0, 1).reshape(like.shape).to(like.dtype)


def _one_more(matrices: Tensor) -> Tensor:
    """1 + each of some matrices (K, n, n), in place."""
    matrices.diagonal(dim1=1, dim2=2).add_(1.0)
    return matrices
