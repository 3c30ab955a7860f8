"""Dense rows, in memory or in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from polylogit.design.base import ALL, Block, Design, rows_of
from polylogit.design.columns import lies_by_column, pair_products, weighted_gram
from polylogit.design.moments import dense_moments, is_small, parts
from polylogit.rooms import Rooms
from polylogit.stored import StoredRows
from polylogit.thin_product import is_quick_in_rows, times_transposed, transposed_times

COPY_BYTES = 2**28  # of a standardised float64 copy; beyond, blocks are made when asked for
SMALL_COPY, FEW_PASSES = 2**22, 8  # bytes up to which, passes from which a copy pays for proofs
PRODUCTS_BYTES = 2**28  # of products of columns that are kept for a written-out Hessian

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class DenseBlock(Block):
    """Rows that lie in memory, already standardised."""

    features: Tensor  # (B, D)
    rows: slice
    whole: DenseDesign

    def matmul(self, weight: Tensor) -> Tensor:
        return self.features @ weight.T

    def affine(self, weight: Tensor, bias: Tensor, out: Tensor) -> Tensor:
        if lies_by_column(out) and not is_quick_in_rows(weight):
            torch.add(times_transposed(weight, self.features), bias[:, None], out=out.T)
            return out
        return torch.add(times_transposed(self.features, weight), bias, out=out)

    def rmatmul(self, residual: Tensor) -> Tensor:
        return transposed_times(residual, self.features)

    def gram(self, weights: Tensor) -> Tensor:
        return weighted_gram(self.features, weights)

    def gram_diagonal(self, weights: Tensor) -> Tensor:
        return transposed_times(weights, self.features.square())

    def dense(self, part: slice = ALL) -> Tensor:
        return self.features[part]

    def products(self, bordered: bool, part: slice = ALL) -> Tensor:
        kept = self.whole.products(self.features.dtype, bordered)
        return super().products(bordered, part) if kept is None else kept[self.rows][part]


class DenseDesign(Design):
    """Rows in a dense matrix; standardised copies are kept, in float64 where that pays."""

    def __init__(
        self,
        source: Tensor | StoredRows,
        centre: Tensor,
        scale: Tensor,
        varying: Tensor | None = None,
    ) -> None:
        super().__init__(len(source), centre, scale, varying)
        self._source = source
        self._copies: dict[torch.dtype, Tensor] = {}
        self._products: dict[tuple[torch.dtype, bool], Tensor] = {}
        self._passes_without = 0  # a copy
        self._per_unit = self.scale.reciprocal()

    @classmethod
    def over(
        cls,
        features: np.ndarray | StoredRows,
        centred: bool,
        names: Sequence[str] | None,
        device: torch.device,
    ) -> DenseDesign:
        """Centre and scale by a pass or two in float64, where the rows are; blocks on `device`."""
        source = _as_tensor(features) if isinstance(features, np.ndarray) else features
        found = dense_moments(source, centred, names)
        varying = None if found.varying is None else found.varying.to(device)
        design = cls(source, found.centre.to(device), found.scale.to(device), varying)
        design.seen = found.seen
        return design

    def block_rows(self, dtype: torch.dtype) -> int:
        fresh = self.device.type == "cpu" and not self._keeps_copy(dtype)
        return rows_of(self.n_features, dtype, fresh=fresh)

    def blocks(self, dtype: torch.dtype) -> Iterator[Block]:
        step = self.block_rows(dtype)
        if self._keeps_copy(dtype):
            for rows, part in parts(self._copy(dtype), step):
                yield DenseBlock(part, rows, self)
            return
        self._passes_without += 1
        rooms = Rooms()  # as many as blocks are held at a time, and no longer than the pass takes
        for rows, part in self._read(step):
            yield self._block(part, rows, dtype, rooms)

    def products(self, dtype: torch.dtype, bordered: bool) -> Tensor | None:
        """`Block.products` of all rows, made once; None where that would take too much memory."""
        columns = self.n_features + bordered
        size = self.n_rows * columns * (columns + 1) // 2 * dtype.itemsize
        if size > PRODUCTS_BYTES or not self._has_room(dtype):
            return None
        key = dtype, bordered
        if key not in self._products:
            self._products[key] = pair_products(self._copy(dtype), bordered)
        return self._products[key]

    def _has_room(self, dtype: torch.dtype) -> bool:
        """Whether memory allows for a copy."""
        return dtype == torch.float32 or self._bytes(dtype) <= COPY_BYTES

    def _keeps_copy(self, dtype: torch.dtype) -> bool:
        """Whether there is a copy, or is to be one.

        Where float32 steers, a proof asks for float64 twice. Blocks standardised anew, in cache,
        then take less time than the system does to find memory for a copy.
        """
        if dtype in self._copies:
            return True
        proves = dtype == torch.float64 and torch.float32 in self._copies
        pays = self._bytes(dtype) <= SMALL_COPY or self._passes_without >= FEW_PASSES
        return self._has_room(dtype) and (pays or not proves or self.device.type != "cpu")

    def _bytes(self, dtype: torch.dtype) -> int:
        return self.n_rows * self.n_features * dtype.itemsize

    def _copy(self, dtype: torch.dtype) -> Tensor:
        if dtype not in self._copies:
            exact = self._copies.get(torch.float64)
            self._copies[dtype] = self._standardised(dtype) if exact is None else exact.to(dtype)
        return self._copies[dtype]

    def _standardised(self, dtype: torch.dtype) -> Tensor:
        source, size = self._source, (self.n_rows, self.n_features)
        if is_small(source):  # in few calls
            exact = torch.empty(size, dtype=torch.float64, device=self.device)
            return self._standardise(source, exact).to(dtype)
        copy, rooms = torch.empty(size, dtype=dtype, device=self.device), Rooms()
        for rows, part in parts(source):
            if dtype == torch.float64:
                self._standardise(part, copy[rows])
            else:
                copy[rows] = self._standardise(part, self._room(len(part), rooms))
        return copy

    def _read(self, step: int) -> Iterator[tuple[slice, Tensor]]:
        """All rows once, as they are, `step` at a time."""
        return parts(self._source, step)

    def _block(self, part: Tensor, rows: slice, dtype: torch.dtype, rooms: Rooms) -> DenseBlock:
        room = self._standardise(part, self._room(len(part), rooms))
        return DenseBlock(room.to(dtype), rows, self)

    def _room(self, n_rows: int, rooms: Rooms) -> Tensor:
        with self.device:
            room = rooms.lend(n_rows * self.n_features, torch.float64)
        return room.view(n_rows, self.n_features)

    def _standardise(self, part: Tensor, room: Tensor) -> Tensor:
        """Rows as they are to (x - c) / s in `room` (B, D), in float64."""
        part = self.of_columns(part.to(self.device))
        return room.copy_(part).sub_(self.centre).mul_(self._per_unit)


def _as_tensor(features: np.ndarray) -> Tensor:
    """A view where torch can read the memory, a copy where it cannot."""
    if not features.flags.writeable or not features.dtype.isnative:
        features = np.array(features, dtype=features.dtype.newbyteorder("="))
    return torch.from_numpy(np.ascontiguousarray(features))


class StreamedDesign(DenseDesign):
    """Rows that stay in a file: two blocks of them are in memory, the second read ahead."""

    keeps_logits = False

    def _read(self, step: int) -> Iterator[tuple[slice, Tensor]]:
        return _ahead(super()._read(step))

    def _has_room(self, dtype: torch.dtype) -> bool:  # noqa: ARG002
        return False


def _ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """The same items, the next one already fetched by a thread while this one is used."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(next, items, None)
        while (item := following.result()) is not None:
            following = reader.submit(next, items, None)
            yield item
