"""What every design promises, and its row blocks: the only things that the floors above see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from polylogit.cache import cache_bytes
from polylogit.design.columns import pair_products
from polylogit.errors import DataError

# of one standardised block, so that the second product finds it in cache: with fewer blocks there
# is less to do between products, with larger ones less room for what is made of them
BLOCK_BYTES = min(16 * 2**20, max(4 * 2**20, cache_bytes() // 3))
FRESH_BYTES = 4 * 2**20  # the same of one made anew in every pass: new memory comes page by page
SMALLEST_BLOCK = 256  # rows
SMALLEST_SCALE, LARGEST_SCALE = 1e-100, 1e100  # beyond, s*s leaves float64
ROUNDED = 1e-12  # of the size of a number: more than standardising it can be off by

Seen = tuple[np.ndarray, np.ndarray, np.ndarray]
ALL = slice(None)


class Block(ABC):
    """B consecutive rows of Z: the only thing that a loop over the data can hold."""

    rows: slice  # which rows of the design these are

    @abstractmethod
    def matmul(self, weight: Tensor) -> Tensor:
        """Z_b V' (B, K) for V (K, D)."""

    def affine(self, weight: Tensor, bias: Tensor, out: Tensor) -> Tensor:
        """Z_b V' + 1 b' in `out` (B, K), however that lies in memory."""
        return torch.add(self.matmul(weight), bias, out=out)

    @abstractmethod
    def rmatmul(self, residual: Tensor) -> Tensor:
        """R' Z_b (K, D) for R (B, K)."""

    @abstractmethod
    def gram(self, weights: Tensor) -> Tensor:
        """Z_b' diag(w) Z_b (D, D) for w (B,)."""

    @abstractmethod
    def gram_diagonal(self, weights: Tensor) -> Tensor:
        """Diagonals of Z_b' diag(w_k) Z_b (K, D) for w (B, K): where D x D is too much."""

    @abstractmethod
    def dense(self, part: slice = ALL) -> Tensor:
        """Z_b itself (B, D), or a part of its rows."""

    def columns_of(self, features: Tensor) -> Tensor:
        """Some columns of Z_b (B, n), for `features` (n,)."""
        return self.dense()[:, features]

    def products(self, bordered: bool, part: slice = ALL) -> Tensor:
        """z_id z_ie for d <= e (B, n (n + 1)/2); `bordered` appends a column of ones first."""
        return pair_products(self.dense(part), bordered)


class Design(ABC):
    """N rows of D standardised features.

    Columns of dense rows that never vary say nothing that the bias does not: they are left out, and
    `of_columns` tells which of the user's are still there.

    >>> from polylogit.design import design_of
    >>> design = design_of(np.array([[0.0, 1e9], [2.0, 3e9]]))
    >>> [block.dense().tolist() for block in design.blocks(torch.float64)]
    [[[-1.0, -1.0], [1.0, 1.0]]]
    """

    centred_apart = False  # whether the centre is taken off products, not rows: that costs digits
    keeps_logits = True  # whether what grows with N may be kept in memory, up to a bound
    seen: Seen | None = None  # smallest, largest and mean value of the user's columns, if known

    def __init__(
        self, n_rows: int, centre: Tensor, scale: Tensor, varying: Tensor | None = None
    ) -> None:
        self.n_rows = n_rows
        self._varying = varying  # which of the user's columns are used, if not all
        self._centres = centre  # of all of them
        self.centre, self.scale = self.of_columns(centre), self.of_columns(scale)
        self.n_features = len(self.centre)

    @property
    def device(self) -> torch.device:
        """Where the blocks lie, and so all that is made of them."""
        return self.centre.device

    @property
    def entries(self) -> float:
        """How many numbers a product with the rows reads."""
        return float(self.n_rows) * self.n_features

    @abstractmethod
    def block_rows(self, dtype: torch.dtype) -> int:
        """How many rows one block holds."""

    @abstractmethod
    def blocks(self, dtype: torch.dtype) -> Iterator[Block]:
        """All rows once, in their order, for products in `dtype`: one pass over the data."""

    def to_user(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """(V, b) on Z to (W, a) on X, on the CPU, with the same logits: W = V/s, a = b - W c."""
        user = weight / self.scale
        bias = bias - user @ self.centre
        if self._varying is not None:
            whole = user.new_zeros(len(user), len(self._centres))
            user = whole.index_copy_(1, self._varying, user)
        return user.cpu(), bias.cpu()

    def from_user(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """(W, a) on X to (V, b) on Z with the same logits; undoes `to_user`."""
        weight, bias = weight.to(self.device), bias.to(self.device)
        return self.of_columns(weight) * self.scale, bias + weight @ self._centres

    @property
    def reach(self) -> Tensor | None:
        """The largest |z_id| of every column (D,), rounded up, if what was seen tells."""
        if self.seen is None:
            return None
        low, high = (torch.from_numpy(end).to(self.device) for end in self.seen[:2])
        ends = torch.maximum((low - self._centres).abs(), (high - self._centres).abs())
        return self.of_columns(ends) / self.scale * (1 + ROUNDED)

    def of_columns(self, each: Tensor) -> Tensor:
        """What belongs to the features of this design, of numbers (..., D) for the user's."""
        if self._varying is None:
            return each
        # by `gather`, at half the price of an index
        return each.gather(-1, self._varying.expand(*each.shape[:-1], -1))


def row_slices(n_rows: int, step: int) -> list[slice]:
    """All rows in their order, `step` at a time."""
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def rows_of(n_features: int, dtype: torch.dtype, *, fresh: bool = False) -> int:
    """How many rows a block of so wide ones holds; `fresh` ones are made anew in every pass."""
    size = min(BLOCK_BYTES, FRESH_BYTES) if fresh else BLOCK_BYTES
    return rows_in(size, n_features * dtype.itemsize)


def rows_in(size: int, each: int) -> int:
    """How many rows a block of about `size` holds, where a row has `each` of it."""
    return max(SMALLEST_BLOCK, size // max(1, each))


def checked(scale: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
    """Refuse columns whose scale squared would overflow or vanish in float64."""
    bad = ~((scale >= SMALLEST_SCALE) & (scale <= LARGEST_SCALE))
    if bad.any():
        column = int(bad.argmax())
        name = f" ({names[column]})" if names else ""
        raise DataError(
            f"column {column}{name} has values of size {scale[column]:.0e}, whose squares leave "
            f"float64 (allowed: {SMALLEST_SCALE:.0e} to {LARGEST_SCALE:.0e}); "
            "express it in another unit"
        )
    return scale
