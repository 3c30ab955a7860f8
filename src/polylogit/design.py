"""Row blocks of standardised features, whatever holds the rows.

A fit never sees the user's matrix `X` (N, D). It sees

    Z = (X - 1 c') diag(1/s)          c: column means, s: column standard deviations

so that no user has to scale anything, and it sees `Z` only through row blocks that know four
products. Dense, sparse and streamed rows differ in here and nowhere above. The optimum stays the
user's own: a penalty on the user's weights `W` is a penalty with its own strength per column on
`V = W diag(s)` (see `polylogit.optim.penalty`), and `Design.to_user` leads back exactly.

Without an intercept nothing could absorb the centre, so then `c = 0` and `s` is the root mean
square.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from polylogit.errors import DataError

BLOCK_BYTES = 4 * 2**20  # of one standardised block: the second product finds it in cache
SMALLEST_BLOCK = 256  # rows
SMALLEST_SCALE, LARGEST_SCALE = 1e-100, 1e100  # beyond, s*s leaves float64


class Block(ABC):
    """B consecutive rows of Z: the only thing that a loop over the data can hold."""

    rows: slice  # which rows of the design these are; for a sample, 0 to B

    @abstractmethod
    def matmul(self, weight: Tensor) -> Tensor:
        """Z_b V' (B, K) for V (K, D)."""

    @abstractmethod
    def rmatmul(self, residual: Tensor) -> Tensor:
        """R' Z_b (K, D) for R (B, K)."""

    @abstractmethod
    def gram(self, weights: Tensor) -> Tensor:
        """Z_b' diag(w) Z_b (D, D) for w (B,)."""

    @abstractmethod
    def gram_diagonal(self, weights: Tensor) -> Tensor:
        """The diagonal of `gram` (D,), for designs too wide for a D x D matrix."""

    @abstractmethod
    def dense(self) -> Tensor:
        """Z_b itself (B, D)."""


class Design(ABC):
    """N rows of D standardised features.

    >>> design = design_of(np.array([[0.0, 1e9], [2.0, 3e9]]))
    >>> [block.dense().tolist() for block in design.blocks(torch.float64)]
    [[[-1.0, -1.0], [1.0, 1.0]]]
    """

    def __init__(self, n_rows: int, centre: Tensor, scale: Tensor) -> None:
        self.n_rows = n_rows
        self.n_features = len(centre)
        self.centre = centre
        self.scale = scale

    @abstractmethod
    def block(self, rows: slice, dtype: torch.dtype) -> Block:
        """The standardised block of these rows, for products in `dtype`."""

    @abstractmethod
    def sample(self, rows: Tensor, dtype: torch.dtype) -> Block:
        """A block of these rows (B,), wherever they lie."""

    @abstractmethod
    def block_rows(self, dtype: torch.dtype) -> int:
        """How many rows one block holds."""

    def blocks(self, dtype: torch.dtype) -> Iterator[Block]:
        """All rows once, in their order: one pass over the data."""
        step = self.block_rows(dtype)
        for start in range(0, self.n_rows, step):
            yield self.block(slice(start, min(start + step, self.n_rows)), dtype)

    def to_user(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """(V, b) on Z to (W, a) on X with the same logits: W = V/s, a = b - W c."""
        user = weight / self.scale
        return user, bias - user @ self.centre

    def from_user(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """(W, a) on X to (V, b) on Z with the same logits; undoes `to_user`."""
        return weight * self.scale, bias + weight @ self.centre


def design_of(
    features: np.ndarray | scipy.sparse.csr_array,
    *,
    centred: bool = True,
    names: Sequence[str] | None = None,
) -> Design:
    """The design over `features` (N, D), dense or CSR.

    Raises `DataError` for a column whose scale squared leaves float64.
    """
    if isinstance(features, np.ndarray):
        return DenseDesign.over(features, centred, names)
    return SparseDesign.over(features, centred, names)


# --------------------------------------------------------------------------------------- dense


@dataclass(frozen=True)
class DenseBlock(Block):
    """Rows that lie in memory, already standardised."""

    features: Tensor  # (B, D)
    rows: slice

    def matmul(self, weight: Tensor) -> Tensor:
        return self.features @ weight.T

    def rmatmul(self, residual: Tensor) -> Tensor:
        return residual.T @ self.features

    def gram(self, weights: Tensor) -> Tensor:
        return self.features.T @ (self.features * weights[:, None])

    def gram_diagonal(self, weights: Tensor) -> Tensor:
        return weights @ self.features.square()

    def dense(self) -> Tensor:
        return self.features


class DenseDesign(Design):
    """Rows in a dense matrix; a standardised copy is kept per dtype."""

    def __init__(self, source: Tensor, centre: Tensor, scale: Tensor) -> None:
        super().__init__(len(source), centre, scale)
        self._source = source
        self._copies: dict[torch.dtype, Tensor] = {}

    @classmethod
    def over(cls, features: np.ndarray, centred: bool, names: Sequence[str] | None) -> DenseDesign:
        """Centre and scale by two passes in float64."""
        source = _as_tensor(features)
        low, high = source.amin(0).double(), source.amax(0).double()
        centre = _column_means(source) if centred else torch.zeros_like(low)
        # a constant column must come out as exact zeros, and a mean has rounding
        centre = torch.where((low == high) & centred, low, centre)
        reach = torch.maximum((low - centre).abs(), (high - centre).abs())
        unit = torch.where(reach > 0, reach, 1.0)  # squares of extreme columns stay finite
        mean_square = torch.zeros_like(centre)
        for part in source.split(_rows_of(source.shape[1], torch.float64)):
            mean_square += ((part.double() - centre) / unit).square().sum(0)
        scale = unit * (mean_square / len(source)).sqrt()
        return cls(source, centre, _checked(torch.where(reach > 0, scale, 1.0), names))

    def block_rows(self, dtype: torch.dtype) -> int:
        return _rows_of(self.n_features, dtype)

    def block(self, rows: slice, dtype: torch.dtype) -> DenseBlock:
        return DenseBlock(self._standardised(dtype)[rows], rows)

    def sample(self, rows: Tensor, dtype: torch.dtype) -> DenseBlock:
        return DenseBlock(self._standardised(dtype)[rows], slice(0, len(rows)))

    def _standardised(self, dtype: torch.dtype) -> Tensor:
        if dtype not in self._copies:
            copy = torch.empty(self._source.shape, dtype=dtype)
            step = self.block_rows(torch.float64)
            for start in range(0, self.n_rows, step):
                part = self._source[start : start + step].double()
                copy[start : start + step] = (part - self.centre) / self.scale
            self._copies[dtype] = copy
        return self._copies[dtype]


def _as_tensor(features: np.ndarray) -> Tensor:
    """A view where torch can read the memory, a copy where it cannot."""
    if not features.flags.writeable or not features.dtype.isnative:
        features = np.array(features, dtype=features.dtype.newbyteorder("="))
    return torch.from_numpy(np.ascontiguousarray(features))


def _column_means(source: Tensor) -> Tensor:
    """Column means in float64, taken about the first row: an offset of 1e9 loses no digit."""
    origin = source[0].double()
    total = torch.zeros_like(origin)
    for part in source.split(_rows_of(source.shape[1], torch.float64)):
        total += (part.double() - origin).sum(0)
    return origin + total / len(source)


def _rows_of(n_features: int, dtype: torch.dtype) -> int:
    return max(SMALLEST_BLOCK, BLOCK_BYTES // max(1, n_features * dtype.itemsize))


def _checked(scale: Tensor, names: Sequence[str] | None) -> Tensor:
    """Refuse columns whose scale squared would overflow or vanish in float64."""
    bad = ~((scale >= SMALLEST_SCALE) & (scale <= LARGEST_SCALE))
    if bad.any():
        column = int(bad.nonzero()[0, 0])
        name = f" ({names[column]})" if names else ""
        raise DataError(
            f"column {column}{name} has values of size {scale[column]:.0e}, whose squares leave "
            f"float64 (allowed: {SMALLEST_SCALE:.0e} to {LARGEST_SCALE:.0e}); "
            "express it in another unit"
        )
    return scale


# -------------------------------------------------------------------------------------- sparse


@dataclass(frozen=True)
class SparseBlock(Block):
    """CSR rows, scaled; the centre is taken off by a rank-one term so that zeros stay zeros."""

    features: scipy.sparse.csr_array  # (B, D), X_b diag(1/s)
    rows: slice
    shift: Tensor  # (D,), c/s

    def matmul(self, weight: Tensor) -> Tensor:
        product = self.features @ np.ascontiguousarray(weight.T.numpy())
        return torch.from_numpy(product) - weight @ self.shift.to(weight.dtype)

    def rmatmul(self, residual: Tensor) -> Tensor:
        product = torch.from_numpy(self.features.T @ residual.contiguous().numpy()).T
        return product - residual.sum(0)[:, None] * self.shift.to(residual.dtype)

    def gram(self, weights: Tensor) -> Tensor:
        weighted = self.features.multiply(weights.numpy()[:, None]).tocsr()
        raw = torch.from_numpy((self.features.T @ weighted).toarray())
        cross = torch.from_numpy(self.features.T @ weights.numpy())[:, None] * self._shift(weights)
        return raw - cross - cross.T + weights.sum() * torch.outer(*[self._shift(weights)] * 2)

    def gram_diagonal(self, weights: Tensor) -> Tensor:
        squares = torch.from_numpy(self.features.power(2).T @ weights.numpy())
        cross = torch.from_numpy(self.features.T @ weights.numpy()) * self._shift(weights)
        return squares - 2 * cross + weights.sum() * self._shift(weights).square()

    def dense(self) -> Tensor:
        return torch.from_numpy(self.features.toarray()) - self.shift.to(self._dtype)

    def _shift(self, like: Tensor) -> Tensor:
        return self.shift.to(like.dtype)

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float64 if self.features.dtype == np.float64 else torch.float32


class SparseDesign(Design):
    """Rows in a CSR matrix."""

    def __init__(self, source: scipy.sparse.csr_array, centre: Tensor, scale: Tensor) -> None:
        super().__init__(source.shape[0], centre, scale)
        self._source = source
        self._copies: dict[torch.dtype, scipy.sparse.csr_array] = {}

    @classmethod
    def over(
        cls, features: scipy.sparse.csr_array, centred: bool, names: Sequence[str] | None
    ) -> SparseDesign:
        """Centre and scale from the stored entries; the zeros are counted, not visited."""
        n_rows, n_features = features.shape
        stored = np.bincount(features.indices, minlength=n_features)
        values = features.data.astype(np.float64)
        unit = np.zeros(n_features)
        np.maximum.at(unit, features.indices, np.abs(values))
        unit[unit == 0] = 1.0
        relative = values / unit[features.indices]
        mean = np.bincount(features.indices, relative, n_features) * (centred / n_rows)
        deviation = np.square(relative - mean[features.indices])
        variance = np.bincount(features.indices, deviation, n_features)
        variance = (variance + (n_rows - stored) * np.square(mean)) / n_rows
        # less than rounding: the column is constant
        scale = np.where(variance > 1e-30, unit * np.sqrt(variance), 1.0)
        checked = _checked(torch.from_numpy(scale), names)
        return cls(features, torch.from_numpy(mean * unit), checked)

    def block_rows(self, dtype: torch.dtype) -> int:
        per_row = max(1, int(self._source.nnz) // self.n_rows) * (dtype.itemsize + 4)
        return max(SMALLEST_BLOCK, BLOCK_BYTES // per_row)

    def block(self, rows: slice, dtype: torch.dtype) -> SparseBlock:
        scaled = self._scaled(dtype)
        whole = rows.start == 0 and rows.stop >= self.n_rows
        return SparseBlock(scaled if whole else scaled[rows], rows, self.centre / self.scale)

    def sample(self, rows: Tensor, dtype: torch.dtype) -> SparseBlock:
        chosen = self._scaled(dtype)[rows.numpy()]
        return SparseBlock(chosen, slice(0, len(rows)), self.centre / self.scale)

    def _scaled(self, dtype: torch.dtype) -> scipy.sparse.csr_array:
        if dtype not in self._copies:
            copy = self._source.astype(np.float64)
            copy.data /= self.scale.numpy()[copy.indices]
            self._copies[dtype] = copy.astype(np.float64 if dtype == torch.float64 else np.float32)
        return self._copies[dtype]
