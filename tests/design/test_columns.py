"""Pairs of columns, and sums of their products."""

import pytest
import torch
from standards import RNG, X

from polylogit.design import column_pairs, design_of
from polylogit.design import columns as module


def test_a_gram_matrix_is_the_same_in_bands(monkeypatch):
    (block,) = design_of(X).blocks(torch.float64)
    w = torch.from_numpy(RNG.uniform(size=50))
    plain = block.gram(w)
    monkeypatch.setattr(module, "WIDE_GRAM", 1)
    monkeypatch.setattr(module, "BANDS", 3)
    torch.testing.assert_close(block.gram(w), plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("by_column", [True, False])
@pytest.mark.parametrize("distance", [0, 1])
def test_pairs_of_columns_lie_as_the_columns_do(distance, by_column):
    left, right = (torch.from_numpy(RNG.normal(size=(4, 30))).T for _ in range(2))
    if not by_column:
        left, right = left.contiguous(), right.contiguous()
    pairs = column_pairs(left, right, distance)
    first, second = torch.triu_indices(4, 4, distance)
    torch.testing.assert_close(pairs, left[:, first] * right[:, second], rtol=0, atol=0)
    assert pairs.T.is_contiguous() == by_column
