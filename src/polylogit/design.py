"""Row blocks of standardised features, whatever holds the rows.

A fit never sees the user's matrix `X` (N, D). It sees

    Z = (X - 1 c') diag(1/s)          c: column means, s: column standard deviations

so that no user has to scale anything, and it sees `Z` only through row blocks that know four
products. Dense, sparse and stored rows differ in here and nowhere above. The optimum stays the
user's own: a penalty on the user's weights `W` is a penalty with its own strength per column on
`V = W diag(s)` (see `polylogit.optim.penalty`), and `Design.to_user` leads back exactly.

Without an intercept nothing could absorb the centre, so then `c = 0` and `s` is the root mean
square.
"""

from __future__ import annotations

import itertools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import NamedTuple, TypeGuard, TypeVar

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from polylogit.cache import cache_bytes
from polylogit.errors import DataError, OptionError
from polylogit.rooms import Rooms
from polylogit.stored import StoredRows
from polylogit.thin_product import is_quick_in_rows, times_transposed, transposed_times

# of one standardised block, so that the second product finds it in cache: with fewer blocks there
# is less to do between products, with larger ones less room for what is made of them
BLOCK_BYTES = min(16 * 2**20, max(4 * 2**20, cache_bytes() // 3))
FRESH_BYTES = 4 * 2**20  # the same of one made anew in every pass: new memory comes page by page
COPY_BYTES = 2**28  # of a standardised float64 copy; beyond, blocks are made when asked for
SMALL_COPY, FEW_PASSES = 2**22, 8  # bytes up to which, passes from which a copy pays for proofs
PRODUCTS_BYTES = 2**28  # of products of columns that are kept for a written-out Hessian
SPARSE_BLOCK = 2**28  # stored entries of a sparse block: one block, most often
SHORTEST_STRIP = 4096  # rows of a sparse block that are turned round together
ENTRIES_A_ROW = 3  # of what a strip is turned round to, at least
PAIR = 4  # times as long to find a pair of entries of a sparse row as to write a zero
ZEROS_AT_A_TIME = 64  # are multiplied meanwhile
SMALLEST_BLOCK = 256  # rows
FEW_NUMBERS = 2**15  # up to which numpy looks at them, whose calls cost less
WIDE_ENOUGH, TALL = 512, 32  # numbers in such a row, and rows, to go over columns row by row
WIDE_GRAM, BANDS = 128, 4  # features from which a triangle pays, and its bands
SMALLEST_SCALE, LARGEST_SCALE = 1e-100, 1e100  # beyond, s*s leaves float64
SURE, LEAST_SQUARE = 1e-3, 1e-280  # of a mean square: where so much is left, its digits are
ROUNDED = 1e-12  # of the size of a number: more than standardising it can be off by

Seen = tuple[np.ndarray, np.ndarray, np.ndarray]
_Item = TypeVar("_Item")
_ALL = slice(None)


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
    def dense(self, part: slice = _ALL) -> Tensor:
        """Z_b itself (B, D), or a part of its rows."""

    def columns_of(self, features: Tensor) -> Tensor:
        """Some columns of Z_b (B, n), for `features` (n,)."""
        return self.dense()[:, features]

    def products(self, bordered: bool, part: slice = _ALL) -> Tensor:
        """z_id z_ie for d <= e (B, n (n + 1)/2); `bordered` appends a column of ones first."""
        return _products(self.dense(part), bordered)


class Design(ABC):
    """N rows of D standardised features.

    Columns of dense rows that never vary say nothing that the bias does not: they are left out, and
    `of_columns` tells which of the user's are still there.

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


def design_of(
    features: np.ndarray | scipy.sparse.csr_array | StoredRows,
    *,
    centred: bool = True,
    names: Sequence[str] | None = None,
    device: torch.device | None = None,
) -> Design:
    """The design over `features` (N, D), dense, CSR or stored in a file, with blocks on `device`.

    Raises `DataError` for a column whose scale squared leaves float64, `OptionError` for CSR rows
    on a device other than the CPU: scipy multiplies them.
    """
    place = device or torch.device("cpu")
    if isinstance(features, StoredRows):
        return StreamedDesign.over(features, centred, names, place)
    if isinstance(features, np.ndarray):
        return DenseDesign.over(features, centred, names, place)
    if place.type != "cpu":
        raise OptionError(f"sparse rows are multiplied on the CPU, not on {place}; omit device")
    return SparseDesign.over(features, centred, names)


def column_pairs(left: Tensor, right: Tensor, distance: int) -> Tensor:
    """left_ik right_il for k + distance <= l (B, .), in the order of `torch.triu_indices`.

    They lie in memory as `right` does, row by row or column by column.
    """
    width = right.shape[1]
    starts = [0]
    for k in range(width):
        starts.append(starts[-1] + max(0, width - k - distance))
    out = _like(right, starts[-1])
    for k in range(width - distance):
        here = out[:, starts[k] : starts[k + 1]]
        torch.mul(left[:, k, None], right[:, k + distance :], out=here)
    return out


def row_slices(n_rows: int, step: int) -> list[slice]:
    """All rows in their order, `step` at a time."""
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def lies_by_column(matrix: Tensor) -> bool:
    """Whether the numbers of a column lie side by side, and not those of a row."""
    return matrix.stride(0) < matrix.stride(1)


def _like(matrix: Tensor, width: int) -> Tensor:
    """Memory for `width` columns (B, width) that lie as those of a matrix (B, .) do."""
    if lies_by_column(matrix):
        return matrix.new_empty(width, len(matrix)).T
    return matrix.new_empty(len(matrix), width)


def pair_places(width: int) -> Tensor:
    """Where [k, l] and [l, k] stand among the pairs k <= l of `column_pairs` (width, width)."""
    upper = torch.triu_indices(width, width)
    places = torch.empty(width, width, dtype=torch.long)
    places[upper[0], upper[1]] = places[upper[1], upper[0]] = torch.arange(upper.shape[1])
    return places


def _products(rows: Tensor, bordered: bool) -> Tensor:
    if bordered:
        rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
    return column_pairs(rows, rows, 0)


# --------------------------------------------------------------------------------------- dense


def _weighted_gram(rows: Tensor, weights: Tensor) -> Tensor:
    """rows' diag(w) rows (D, D); of a wide one only the upper triangle is multiplied, in bands."""
    weighted, n_features = rows * weights[:, None], rows.shape[1]
    if n_features < WIDE_GRAM:
        return transposed_times(rows, weighted)
    gram = rows.new_empty(n_features, n_features)
    edges = [n_features * band // BANDS for band in range(BANDS + 1)]
    for start, end in itertools.pairwise(edges):
        gram[start:end, start:] = transposed_times(rows[:, start:end], weighted[:, start:])
        gram[end:, start:end] = gram[start:end, end:].T
    return gram


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
        return _weighted_gram(self.features, weights)

    def gram_diagonal(self, weights: Tensor) -> Tensor:
        return transposed_times(weights, self.features.square())

    def dense(self, part: slice = _ALL) -> Tensor:
        return self.features[part]

    def products(self, bordered: bool, part: slice = _ALL) -> Tensor:
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
        seen, about_mean = _moments(source)
        centre, scale, varying = _centre_and_scale(source, seen, about_mean, centred, names)
        varying = None if varying is None else varying.to(device)
        design = cls(source, centre.to(device), scale.to(device), varying)
        design.seen = seen
        return design

    def block_rows(self, dtype: torch.dtype) -> int:
        fresh = self.device.type == "cpu" and not self._keeps_copy(dtype)
        return _rows_of(self.n_features, dtype, fresh=fresh)

    def blocks(self, dtype: torch.dtype) -> Iterator[Block]:
        step = self.block_rows(dtype)
        if self._keeps_copy(dtype):
            for rows, part in _parts(self._copy(dtype), step):
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
            self._products[key] = _products(self._copy(dtype), bordered)
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
        if _is_small(source):  # in few calls
            exact = torch.empty(size, dtype=torch.float64, device=self.device)
            return self._standardise(source, exact).to(dtype)
        copy, rooms = torch.empty(size, dtype=dtype, device=self.device), Rooms()
        for rows, part in _parts(source):
            if dtype == torch.float64:
                self._standardise(part, copy[rows])
            else:
                copy[rows] = self._standardise(part, self._room(len(part), rooms))
        return copy

    def _read(self, step: int) -> Iterator[tuple[slice, Tensor]]:
        """All rows once, as they are, `step` at a time."""
        return _parts(self._source, step)

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


def _part(source: Tensor | StoredRows, rows: slice) -> Tensor:
    part = source[rows]
    return part if isinstance(part, Tensor) else torch.from_numpy(part)


def _parts(source: Tensor | StoredRows, step: int = 0) -> Iterator[tuple[slice, Tensor]]:
    """All rows once, as they are, `step` at a time; by default as many as a float64 block holds."""
    stored = not isinstance(source, Tensor)
    step = step or _rows_of(source.shape[1], torch.float64, fresh=stored)
    for rows in row_slices(len(source), step):
        yield rows, _part(source, rows)


def _in_double(source: Tensor | StoredRows) -> Iterator[tuple[Tensor, Tensor]]:
    """As `_parts`: the rows as they are, and in float64, where the next ones will overwrite them.

    New memory for every part would come from the system page by page, at ten times the price.
    """
    room: Tensor | None = None
    for _, part in _parts(source):
        room = torch.empty_like(part, dtype=torch.float64) if room is None else room[: len(part)]
        yield part, room.copy_(part)


def _as_tensor(features: np.ndarray) -> Tensor:
    """A view where torch can read the memory, a copy where it cannot."""
    if not features.flags.writeable or not features.dtype.isnative:
        features = np.array(features, dtype=features.dtype.newbyteorder("="))
    return torch.from_numpy(np.ascontiguousarray(features))


@np.errstate(over="ignore", invalid="ignore")  # as torch: `_checked` sees what comes out
def _centre_and_scale(
    source: Tensor | StoredRows,
    seen: Seen,
    about_mean: np.ndarray,
    centred: bool,
    names: Sequence[str] | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """c and s (D,) of the columns, and which vary, if not all do.

    `about_mean` (D,) is the mean square about the mean, or nan where rounding has taken its digits:
    then one more pass finds it. torch goes over the rows, numpy over the D numbers, where a call of
    it is quicker.
    """
    low, high, mean = seen
    # a constant column must come out as exact zeros, and a mean has rounding
    centre = np.where(low == high, low, mean) if centred else np.zeros_like(mean)
    reach = np.maximum(np.abs(low - centre), np.abs(high - centre))
    scale = np.sqrt(about_mean if centred else about_mean + np.square(mean))
    if not ((reach == 0) | np.isfinite(scale)).all():
        scale = _deviations(source, centre, np.where(reach > 0, reach, 1.0))
    scale = np.where(reach > 0, scale, 1.0)
    return torch.from_numpy(centre), torch.from_numpy(_checked(scale, names)), _varying(reach)


def _deviations(source: Tensor | StoredRows, centre: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Root mean squares (D,) about `centre`, of columns in units that keep their squares finite."""
    middle, size, total = torch.from_numpy(centre), torch.from_numpy(unit), np.zeros(len(unit))
    for _, exact in _in_double(source):
        total += _column_sums(exact.sub_(middle).div_(size).square_())
    deviations: np.ndarray = unit * np.sqrt(total / len(source))
    return deviations


def _varying(reach: np.ndarray) -> Tensor | None:
    """The places (n,) of the columns that are not constant; of none at all the first stays."""
    if (reach > 0).all():
        return None
    return torch.from_numpy(np.flatnonzero(reach)) if reach.any() else torch.zeros(1).long()


@np.errstate(over="ignore", invalid="ignore")
def _moments(source: Tensor | StoredRows) -> tuple[Seen, np.ndarray]:
    """What one pass sees of the columns, and their mean squares about their means (D,).

    Sums are taken about the first row in float64, so an offset of 1e9 loses no digit; nan where the
    first row is so far from the mean that the squares about the mean would lose some.
    """
    sums = _sums_at_once(source.numpy()) if _is_small(source) else _sums_in_parts(source)
    shift, about_first = sums.total / len(source), sums.squares / len(source)
    about_mean = about_first - np.square(shift)
    sure = about_mean >= np.maximum(SURE * about_first, LEAST_SQUARE)
    return (sums.low, sums.high, sums.first + shift), np.where(sure, about_mean, np.nan)


def _is_small(source: Tensor | StoredRows) -> TypeGuard[Tensor]:
    """Whether calls cost more than what they do to all rows together."""
    return isinstance(source, Tensor) and source.numel() <= FEW_NUMBERS


class _Sums(NamedTuple):
    """What is seen of the columns (D,) in float64; sums and squares are about the first row."""

    first: np.ndarray
    low: np.ndarray
    high: np.ndarray
    total: np.ndarray
    squares: np.ndarray


def _sums_in_parts(source: Tensor | StoredRows) -> _Sums:
    """Of many rows, as many at a time as stay in cache."""
    first = _part(source, slice(0, 1))[0].double()
    low = high = first.numpy()
    total, squares = np.zeros(len(low)), np.zeros(len(low))
    for part, exact in _in_double(source):
        low = np.minimum(low, _by_column(torch.amin, part).double().numpy())
        high = np.maximum(high, _by_column(torch.amax, part).double().numpy())
        total += _column_sums(exact.sub_(first))
        squares += _column_sums(exact.square_())
    return _Sums(first.numpy(), low, high, total, squares)


def _sums_at_once(rows: np.ndarray) -> _Sums:
    """Of few rows: numpy's calls take a third of the time of torch's."""
    exact = rows.astype(np.float64)
    first = exact[0].copy()
    low, high = np.minimum.reduce(exact), np.maximum.reduce(exact)
    exact -= first
    ones = np.ones(len(exact))
    total = ones.dot(exact)
    return _Sums(first, low, high, total, ones.dot(np.square(exact, out=exact)))


def _by_column(extreme: Callable[[Tensor, int], Tensor], rows: Tensor) -> Tensor:
    """The least or the largest number of every column (D,), narrow rows side by side."""
    beside, width = max(1, WIDE_ENOUGH // rows.shape[1]), rows.shape[1]
    if beside == 1 or len(rows) < TALL * beside:
        return extreme(rows, 0)
    whole = len(rows) // beside * beside
    of_whole = extreme(rows[:whole].reshape(-1, beside * width), 0).view(beside, width)
    return extreme(torch.cat([of_whole, rows[whole:]]), 0)


def _column_sums(rows: Tensor) -> np.ndarray:
    return transposed_times(rows.new_ones(len(rows), 1), rows)[0].numpy()


def _rows_of(n_features: int, dtype: torch.dtype, *, fresh: bool = False) -> int:
    size = min(BLOCK_BYTES, FRESH_BYTES) if fresh else BLOCK_BYTES
    return max(SMALLEST_BLOCK, size // max(1, n_features * dtype.itemsize))


def _checked(scale: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
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


# -------------------------------------------------------------------------------------- sparse


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
        return torch.addmm(out, _as_torch(self.features), weight.T.contiguous(), out=out)

    def rmatmul(self, residual: Tensor) -> Tensor:
        sums = residual.new_ones(len(residual)) @ residual  # in a third of the time of `sum(0)`
        start = torch.outer(self._shift(residual).neg(), sums)
        return _transposed_product(self.strips(), residual.contiguous(), start).T

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
        step = _rows_of(len(total), self._dtype)
        for part in row_slices(len(weights), step):
            total += _weighted_gram(self.dense(part), weights[part])
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
        squares = _transposed_product([strip.squared() for strip in strips], weights).T
        cross = _transposed_product(strips, weights).T * shift
        return squares - 2 * cross + weights.sum(0)[:, None] * shift.square()

    def dense(self, part: slice = _ALL) -> Tensor:
        return torch.from_numpy(self.features[part].toarray()) - self.shift.to(self._dtype)

    def columns_of(self, features: Tensor) -> Tensor:
        picked = torch.from_numpy(self.turn()[features.numpy()].toarray()).T
        return picked - self.shift[features].to(self._dtype)

    def _shift(self, like: Tensor) -> Tensor:
        return self.shift.to(like.dtype)

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float64 if self.features.dtype == np.float64 else torch.float32


@np.errstate(over="ignore", invalid="ignore")
def _sparse_moments(
    features: scipy.sparse.csr_array, values: np.ndarray, centred: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Means, or zeros, and root mean squares about them (D,); nan where rounding has taken digits.

    A column of zeros has a root mean square of 0.
    """
    n_rows = features.shape[0]
    mean = _column_totals(features, values) * (centred / n_rows)
    mean_square = _column_totals(features, np.square(values)) / n_rows
    about_mean = mean_square - np.square(mean)
    sure = about_mean >= np.maximum(SURE * mean_square, LEAST_SQUARE)
    if not sure.all():  # most often, words that no row has
        nothing = _column_totals(features, (values != 0).astype(np.float64)) == 0
        sure, about_mean = sure | nothing, np.where(nothing, 0.0, about_mean)
    return mean, np.sqrt(np.where(sure, about_mean, np.nan))


def _column_totals(features: scipy.sparse.csr_array, values: np.ndarray) -> np.ndarray:
    """Sums of the columns (D,) for other `values` of the stored entries: quicker than counting."""
    totals: np.ndarray = _with_values(features, values).T @ np.ones(features.shape[0])
    return totals


def _with_values(matrix: scipy.sparse.csr_array, values: np.ndarray) -> scipy.sparse.csr_array:
    """Other numbers in the same places, which take no more memory."""
    return scipy.sparse.csr_array((values, matrix.indices, matrix.indptr), matrix.shape)


def _sparse_deviations(
    features: scipy.sparse.csr_array, values: np.ndarray, centred: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The same, deviation by deviation; 0 where a column is constant but for rounding."""
    n_rows, n_features = features.shape
    stored = np.bincount(features.indices, minlength=n_features)
    unit = np.zeros(n_features)
    np.maximum.at(unit, features.indices, np.abs(values))
    unit[unit == 0] = 1.0
    relative = values / unit[features.indices]
    mean = _column_totals(features, relative) * (centred / n_rows)
    variance = _column_totals(features, np.square(relative - mean[features.indices]))
    variance = (variance + (n_rows - stored) * np.square(mean)) / n_rows
    return mean * unit, np.where(variance > 1e-30, unit * np.sqrt(variance), 0.0)


def _as_torch(matrix: scipy.sparse.csr_array) -> Tensor:
    """The same numbers for torch, which multiplies them on all of its threads."""
    _hear_that_csr_is_in_beta()
    rows, columns, values = (
        torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data)
    )
    # they were checked where they came in (`polylogit.data.features`)
    return torch.sparse_csr_tensor(rows, columns, values, matrix.shape, check_invariants=False)


@lru_cache(maxsize=1)
def _hear_that_csr_is_in_beta() -> None:
    """torch says so once in a process: to us, and not to the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.zeros(1, 1).to_sparse_csr()


@dataclass(frozen=True)
class Strip:
    """Consecutive rows of a CSR matrix S, turned round."""

    rows: slice
    turned: Tensor  # CSR (D, b)

    def squared(self) -> Strip:
        """The same of S entry by entry squared."""
        return self._with_values(self.turned.values().square())

    def rounded(self) -> Strip:
        """The same in float32."""
        return self._with_values(self.turned.values().float())

    def _with_values(self, values: Tensor) -> Strip:
        """Other numbers in the same places, which take no more memory."""
        turned = self.turned
        places = turned.crow_indices(), turned.col_indices()
        other = torch.sparse_csr_tensor(*places, values, turned.shape, check_invariants=False)
        return replace(self, turned=other)


def _strips(matrix: scipy.sparse.csr_array) -> list[Strip]:
    """A matrix in strips as short as their products allow: D rows of a result are read for each."""
    n_rows, n_features = matrix.shape
    step = max(SHORTEST_STRIP, ENTRIES_A_ROW * n_features * n_rows // max(1, matrix.nnz))
    slices = row_slices(n_rows, step)
    return [Strip(rows, _as_torch(scipy.sparse.csr_array(matrix[rows].T))) for rows in slices]


def _transposed_product(strips: list[Strip], dense: Tensor, start: Tensor | None = None) -> Tensor:
    """S' R (D, K) for R (B, K), on all of torch's threads; added to `start`, in place, if given.

    A row of S' picks rows of R from all over. Those of one strip stay in cache meanwhile.
    """
    n_features = strips[0].turned.shape[0]
    total = dense.new_zeros(n_features, dense.shape[1]) if start is None else start
    for strip in strips:
        torch.addmm(total, strip.turned, dense[strip.rows], out=total)
    return total


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
        """Centre and scale from the stored entries; the zeros are counted, not visited."""
        if not (features.indices.flags.writeable and features.indptr.flags.writeable):
            features = features.copy()  # torch reads no other memory
        values = features.data.astype(np.float64)
        centre, scale = _sparse_moments(features, values, centred)
        if not np.isfinite(scale).all():
            centre, scale = _sparse_deviations(features, values, centred)
        checked = torch.from_numpy(_checked(np.where(scale > 0, scale, 1.0), names))
        return cls(features, torch.from_numpy(centre), checked)

    @property
    def entries(self) -> float:
        return float(self._source.nnz)

    def block_rows(self, dtype: torch.dtype) -> int:  # noqa: ARG002
        return max(SMALLEST_BLOCK, SPARSE_BLOCK // max(1, int(self._source.nnz) // self.n_rows))

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
            self._strips[key] = _strips(self._part(rows, dtype))
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
            self._copies[dtype] = _with_values(self._source, values)
        elif dtype not in self._copies:
            exact = self._scaled(torch.float64)
            self._copies[dtype] = _with_values(exact, exact.data.astype(np.float32))
        return self._copies[dtype]
