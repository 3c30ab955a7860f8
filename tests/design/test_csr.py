"""Sparse rows turned round, strip by strip."""

import numpy as np
import pytest
import scipy.sparse
import torch
from standards import DTYPES, RNG

from polylogit.design import csr as module


@pytest.mark.parametrize("shortest", [1, 7, 4096])
@pytest.mark.parametrize("dtype", DTYPES)
def test_transposed_sparse_products_go_strip_by_strip(dtype, shortest, monkeypatch):
    monkeypatch.setattr(module, "SHORTEST_STRIP", shortest)
    monkeypatch.setattr(module, "ENTRIES_A_ROW", 0)
    matrix = scipy.sparse.random_array((200, 90), density=0.01, rng=RNG, format="csr")
    matrix = matrix.astype(np.float32 if dtype == torch.float32 else np.float64)
    strips = module.in_strips(matrix)
    assert [row for strip in strips for row in range(200)[strip.rows]] == list(range(200))
    assert len(strips) == -(-200 // shortest)
    tall = torch.from_numpy(RNG.normal(size=(200, 4))).to(dtype)
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-13, "atol": 0}
    for ours, truth in (
        (module.transposed_product(strips, tall), matrix.T @ tall.numpy()),
        (
            module.transposed_product([strip.squared() for strip in strips], tall),
            matrix.power(2).T @ tall.numpy(),
        ),
    ):
        torch.testing.assert_close(ours, torch.from_numpy(truth), **close)


def test_a_strip_holds_some_entries_for_every_row_of_what_it_is_turned_round_to(monkeypatch):
    monkeypatch.setattr(module, "SHORTEST_STRIP", 5)
    matrix = scipy.sparse.random_array((200, 90), density=0.05, rng=RNG, format="csr")
    first, *_ = module.in_strips(matrix)
    assert first.turned.values().numel() == pytest.approx(module.ENTRIES_A_ROW * 90, rel=0.2)
