"""Columns times columns: every pair of them, row by row or summed over the rows."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from polylogit.thin_product import transposed_times

WIDE_GRAM, BANDS = 128, 4  # features from which a triangle pays, and its bands


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


def pair_places(width: int) -> Tensor:
    """Where [k, l] and [l, k] stand among the pairs k <= l of `column_pairs` (width, width)."""
    upper = torch.triu_indices(width, width)
    places = torch.empty(width, width, dtype=torch.long)
    places[upper[0], upper[1]] = places[upper[1], upper[0]] = torch.arange(upper.shape[1])
    return places


def pair_products(rows: Tensor, bordered: bool) -> Tensor:
    """x_id x_ie for d <= e (B, n (n + 1)/2); `bordered` appends a column of ones first."""
    if bordered:
        rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
    return column_pairs(rows, rows, 0)


def lies_by_column(matrix: Tensor) -> bool:
    """Whether the numbers of a column lie side by side, and not those of a row."""
    return matrix.stride(0) < matrix.stride(1)


def _like(matrix: Tensor, width: int) -> Tensor:
    """Memory for `width` columns (B, width) that lie as those of a matrix (B, .) do."""
    if lies_by_column(matrix):
        return matrix.new_empty(width, len(matrix)).T
    return matrix.new_empty(len(matrix), width)


def weighted_gram(rows: Tensor, weights: Tensor) -> Tensor:
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
