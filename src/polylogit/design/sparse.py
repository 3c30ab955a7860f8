"""Sparse rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from polylogit.design.base import ALL, Block, Design, row_slices, rows_in, rows_of
from polylogit.design.columns import weighted_gram
from polylogit.design.csr import Strip, as_torch, in_strips, transposed_product, with_values
from polylogit.design.moments import sparse_moments

SPARSE_BLOCK = 2**28  # stored entries of a sparse block: one block, most often
PAIR = 4  # times as long to find a pair of entries of a sparse row as to write a zero
ZEROS_AT_A_TIME = 64  # are multiplied meanwhile


@dataclass(frozen=True)
class SparseBlock(Block):
    """CSR rows, scaled; the centre is taken off by a rank-one term so that zeros stay zeros."""

    features: scipy.sparse.csr_array  # (B, D), X_b diag(1/s)
    rows: slice
    shift: Tensor  # (D,), c/s
    turn: Callable[[], scipy.sparse.csr_array]  # the features turned round (D, B), made if needed
    strips: Callable[[], list[Strip]]  # the same in strips

    def matmul(self, weight: Tensor) -> Tensor:
        out = torch.empty(self.features.shape[0], len(weight), dtype=weight.dtype)
        return self.affine(weight, weight.new_zeros(len(weight)), out)

    def affine(self, weight: Tensor, bias: Tensor, out: Tensor) -> Tensor:
        out.copy_((bias - weight @ self._shift(weight)).expand_as(out))
        return torch.addmm(out, as_torch(self.features), weight.T.contiguous(), out=out)

    def rmatmul(self, residual: Tensor) -> Tensor:
        sums = residual.new_ones(len(residual)) @ residual  # in a third of the time of `sum(0)`
        start = torch.outer(self._shift(residual).neg(), sums)
        return transposed_product(self.strips(), residual.contiguous(), start).T

    def gram(self, weights: Tensor) -> Tensor:
        if self._is_quick_as_dense:
            return self._gram_written_out(weights)
        weighted = self.features.multiply(weights.numpy()[:, None]).tocsr()
        raw = torch.from_numpy((self.turn() @ weighted).toarray())
        sums = torch.from_numpy(self.features.T @ weights.numpy())
        cross = sums[:, None] * self._shift(weights)
        return raw - cross - cross.T + weights.sum() * torch.outer(*[self._shift(weights)] * 2)

    def _gram_written_out(self, weights: Tensor) -> Tensor:
        total = weights.new_zeros([self.features.shape[1]] * 2)
        step = rows_of(len(total), self._dtype)
        for part in row_slices(len(weights), step):
            total += weighted_gram(self.dense(part), weights[part])
        return total

    @property
    def _is_quick_as_dense(self) -> bool:
        """Whether zeros written out are multiplied sooner than pairs of entries are found."""
        n_rows, n_features = self.features.shape
        pairs = float(self.features.nnz) ** 2 / max(1, n_rows)
        zeros = n_rows * n_features * (1 + n_features / ZEROS_AT_A_TIME)
        return bool(zeros < PAIR * pairs)

    def gram_diagonal(self, weights: Tensor) -> Tensor:
        shift = self._shift(weights)
        weights, strips = weights.contiguous(), self.strips()
        squares = transposed_product([strip.squared() for strip in strips], weights).T
        cross = transposed_product(strips, weights).T * shift
        return squares - 2 * cross + weights.sum(0)[:, None] * shift.square()

    def dense(self, part: slice = ALL) -> Tensor:
        return torch.from_numpy(self.features[part].toarray()) - self.shift.to(self._dtype)

    def columns_of(self, features: Tensor) -> Tensor:
        picked = torch.from_numpy(self.turn()[features.numpy()].toarray()).T
        return picked - self.shift[features].to(self._dtype)

    def _shift(self, like: Tensor) -> Tensor:
        return self.shift.to(like.dtype)

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float64 if self.features.dtype == np.float64 else torch.float32


class SparseDesign(Design):
    """Rows in a CSR matrix."""

    centred_apart = True

    def __init__(self, source: scipy.sparse.csr_array, centre: Tensor, scale: Tensor) -> None:
        super().__init__(source.shape[0], centre, scale)
        self._source = source
        self._copies: dict[torch.dtype, scipy.sparse.csr_array] = {}
        self._turned: dict[torch.dtype, scipy.sparse.csr_array] = {}
        self._strips: dict[tuple[int, int, torch.dtype], list[Strip]] = {}

    @classmethod
    def over(
        cls, features: scipy.sparse.csr_array, centred: bool, names: Sequence[str] | None
    ) -> SparseDesign:
        """The design with its centre and scale."""
        if not (features.indices.flags.writeable and features.indptr.flags.writeable):
            features = features.copy()  # torch reads no other memory
        found = sparse_moments(features, centred, names)
        return cls(features, found.centre, found.scale)

    @property
    def entries(self) -> float:
        return float(self._source.nnz)

    def block_rows(self, dtype: torch.dtype) -> int:  # noqa: ARG002
        return rows_in(SPARSE_BLOCK, int(self._source.nnz) // self.n_rows)

    def blocks(self, dtype: torch.dtype) -> Iterator[SparseBlock]:
        for rows in row_slices(self.n_rows, self.block_rows(dtype)):
            yield self._block(rows, dtype)

    def _block(self, rows: slice, dtype: torch.dtype) -> SparseBlock:
        part, shift = self._part(rows, dtype), self.centre / self.scale
        turn = partial(self._turned_round, dtype) if self._is_all(rows) else part.T.tocsr
        return SparseBlock(part, rows, shift, turn, partial(self._kept_strips, rows, dtype))

    def _part(self, rows: slice, dtype: torch.dtype) -> scipy.sparse.csr_array:
        scaled = self._scaled(dtype)
        return scaled if self._is_all(rows) else scaled[rows]

    def _is_all(self, rows: slice) -> bool:
        return bool(rows.start == 0 and rows.stop >= self.n_rows)

    def _kept_strips(self, rows: slice, dtype: torch.dtype) -> list[Strip]:
        """Those of a block's rows: turned round once, in float64, which a proof asks for anyway."""
        key = rows.start, rows.stop, dtype
        if key not in self._strips and dtype == torch.float64:
            self._strips[key] = in_strips(self._part(rows, dtype))
        elif key not in self._strips:
            exact = self._kept_strips(rows, torch.float64)
            self._strips[key] = [strip.rounded() for strip in exact]
        return self._strips[key]

    def _turned_round(self, dtype: torch.dtype) -> scipy.sparse.csr_array:
        if dtype not in self._turned:
            self._turned[dtype] = self._scaled(dtype).T.tocsr()
        return self._turned[dtype]

    def _scaled(self, dtype: torch.dtype) -> scipy.sparse.csr_array:
        if dtype not in self._copies and dtype == torch.float64:
            values = self._source.data.astype(np.float64)
            values /= self.scale.numpy()[self._source.indices]
            self._copies[dtype] = with_values(self._source, values)
        elif dtype not in self._copies:
            exact = self._scaled(torch.float64)
            self._copies[dtype] = with_values(exact, exact.data.astype(np.float32))
        return self._copies[dtype]
