"""Centre and scale of every column, in float64, in as few reads of the rows as that takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeGuard

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from polylogit.design.base import Seen, checked, row_slices, rows_of
from polylogit.design.csr import with_values
from polylogit.stored import StoredRows
from polylogit.thin_product import transposed_times

FEW_NUMBERS = 2**15  # up to which numpy looks at them, whose calls cost less
WIDE_ENOUGH, TALL = 512, 32  # numbers in such a row, and rows, to go over columns row by row
SURE, LEAST_SQUARE = 1e-3, 1e-280  # of a mean square: where so much is left, its digits are


class Moments(NamedTuple):
    """What a fit has to know of the columns (D,): c and s, and which vary, if not all do."""

    centre: Tensor
    scale: Tensor
    varying: Tensor | None = None
    seen: Seen | None = None


@np.errstate(over="ignore", invalid="ignore")  # as torch: `checked` sees what comes out
def dense_moments(
    source: Tensor | StoredRows, centred: bool, names: Sequence[str] | None
) -> Moments:
    """By one pass, or two where rounding has taken digits of what the first one adds up.

    torch goes over the rows, numpy over the D numbers, where a call of it is quicker.
    """
    seen, about_mean = _sums_about_mean(source)
    low, high, mean = seen
    # a constant column must come out as exact zeros, and a mean has rounding
    centre = np.where(low == high, low, mean) if centred else np.zeros_like(mean)
    reach = np.maximum(np.abs(low - centre), np.abs(high - centre))
    scale = np.sqrt(about_mean if centred else about_mean + np.square(mean))
    if not ((reach == 0) | np.isfinite(scale)).all():
        scale = _deviations(source, centre, np.where(reach > 0, reach, 1.0))
    scale = checked(np.where(reach > 0, scale, 1.0), names)
    return Moments(torch.from_numpy(centre), torch.from_numpy(scale), _varying(reach), seen)


def sparse_moments(
    features: scipy.sparse.csr_array, centred: bool, names: Sequence[str] | None
) -> Moments:
    """From the stored entries; the zeros are counted, not visited."""
    values = features.data.astype(np.float64)
    centre, scale = _sparse_sums(features, values, centred)
    if not np.isfinite(scale).all():
        centre, scale = _sparse_deviations(features, values, centred)
    checked_scale = checked(np.where(scale > 0, scale, 1.0), names)
    return Moments(torch.from_numpy(centre), torch.from_numpy(checked_scale))


@np.errstate(over="ignore", invalid="ignore")
def _sums_about_mean(source: Tensor | StoredRows) -> tuple[Seen, np.ndarray]:
    """What one pass sees of the columns, and their mean squares about their means (D,).

    Sums are taken about the first row in float64, so an offset of 1e9 loses no digit; nan where the
    first row is so far from the mean that the squares about the mean would lose some.
    """
    sums = _sums_at_once(source.numpy()) if is_small(source) else _sums_in_parts(source)
    shift, about_first = sums.total / len(source), sums.squares / len(source)
    about_mean = about_first - np.square(shift)
    sure = _keeps_digits(about_mean, about_first)
    return (sums.low, sums.high, sums.first + shift), np.where(sure, about_mean, np.nan)


def _keeps_digits(about_mean: np.ndarray, mean_square: np.ndarray) -> np.ndarray:
    """Whether enough of a mean square is left about the mean (D,)."""
    enough: np.ndarray = about_mean >= np.maximum(SURE * mean_square, LEAST_SQUARE)
    return enough


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


def _in_double(source: Tensor | StoredRows) -> Iterator[tuple[Tensor, Tensor]]:
    """As `parts`: the rows as they are, and in float64, where the next ones will overwrite them.

    New memory for every part would come from the system page by page, at ten times the price.
    """
    room: Tensor | None = None
    for _, part in parts(source):
        room = torch.empty_like(part, dtype=torch.float64) if room is None else room[: len(part)]
        yield part, room.copy_(part)


def parts(source: Tensor | StoredRows, step: int = 0) -> Iterator[tuple[slice, Tensor]]:
    """All rows once, as they are, `step` at a time; by default as many as a float64 block holds."""
    stored = not isinstance(source, Tensor)
    step = step or rows_of(source.shape[1], torch.float64, fresh=stored)
    for rows in row_slices(len(source), step):
        yield rows, _part(source, rows)


def _part(source: Tensor | StoredRows, rows: slice) -> Tensor:
    part = source[rows]
    return part if isinstance(part, Tensor) else torch.from_numpy(part)


def is_small(source: Tensor | StoredRows) -> TypeGuard[Tensor]:
    """Whether calls cost more than what they do to all rows together."""
    return isinstance(source, Tensor) and source.numel() <= FEW_NUMBERS


@np.errstate(over="ignore", invalid="ignore")
def _sparse_sums(
    features: scipy.sparse.csr_array, values: np.ndarray, centred: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Means, or zeros, and root mean squares about them (D,); nan where rounding has taken digits.

    A column of zeros has a root mean square of 0.
    """
    n_rows = features.shape[0]
    mean = _column_totals(features, values) * (centred / n_rows)
    mean_square = _column_totals(features, np.square(values)) / n_rows
    about_mean = mean_square - np.square(mean)
    sure = _keeps_digits(about_mean, mean_square)
    if not sure.all():  # most often, words that no row has
        nothing = _column_totals(features, (values != 0).astype(np.float64)) == 0
        sure, about_mean = sure | nothing, np.where(nothing, 0.0, about_mean)
    return mean, np.sqrt(np.where(sure, about_mean, np.nan))


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


def _column_totals(features: scipy.sparse.csr_array, values: np.ndarray) -> np.ndarray:
    """Sums of the columns (D,) for other `values` of the stored entries: quicker than counting."""
    totals: np.ndarray = with_values(features, values).T @ np.ones(features.shape[0])
    return totals
