"""Blocks of sparse rows: which way they are multiplied, and what is made once."""

import numpy as np
import pytest
import scipy.sparse
import torch
from standards import DTYPES, RNG, X, standardised

from polylogit.design import base, design_of
from polylogit.design import sparse as module


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gram_matrix_of_sparse_rows_is_the_same_with_the_zeros_written_out(dtype, monkeypatch):
    monkeypatch.setattr(base, "SMALLEST_BLOCK", 7)  # of what is written out at a time
    monkeypatch.setattr(base, "BLOCK_BYTES", 1)
    few = scipy.sparse.random_array((60, 40), density=0.05, rng=RNG, format="csr")
    many = scipy.sparse.random_array((60, 40), density=0.5, rng=RNG, format="csr")
    w = torch.from_numpy(RNG.uniform(size=60)).to(dtype)
    for rows, written_out in ((few, False), (many, True)):
        (block,) = design_of(rows).blocks(dtype)
        assert block._is_quick_as_dense == written_out
        Z = torch.from_numpy(standardised(rows.toarray()))
        truth = Z.T @ (w.double()[:, None] * Z)
        for pair in (0, 1e9):
            close = 1e-9 if dtype == torch.float64 else 1e-4
            with monkeypatch.context() as patch:
                patch.setattr(module, "PAIR", pair)
                gram = block.gram(w).double()
            torch.testing.assert_close(gram, truth, rtol=close, atol=10 * close)


def test_rows_are_turned_round_once(monkeypatch):
    made = []
    first = module.in_strips
    monkeypatch.setattr(module, "in_strips", lambda block: made.append(block.shape) or first(block))
    design = design_of(scipy.sparse.csr_array(X))
    for _ in range(3):
        for block in design.blocks(torch.float32):
            block.rmatmul(torch.ones(50, 2))
    assert made == [(50, 6)]


def test_sparse_rows_are_turned_round_once_for_both_precisions(monkeypatch):
    made = []
    turned_round = module.in_strips
    monkeypatch.setattr(module, "in_strips", lambda m: made.append(m.dtype) or turned_round(m))
    design = design_of(scipy.sparse.csr_array(X))
    residual = torch.ones(len(X), 2, dtype=torch.float64)
    products = {}
    for dtype in (torch.float32, torch.float64):
        (block,) = design.blocks(dtype)
        products[dtype] = block.rmatmul(residual.to(dtype))
        assert products[dtype].dtype == dtype
    assert made == [np.float64]
    close = {"rtol": 1e-5, "atol": 1e-4}
    torch.testing.assert_close(*(product.double() for product in products.values()), **close)
    fast, exact = (next(iter(design.blocks(dtype))) for dtype in products)
    for one, other in zip(fast.strips(), exact.strips(), strict=True):
        assert one.turned.col_indices().data_ptr() == other.turned.col_indices().data_ptr()
    assert np.shares_memory(fast.features.indices, exact.features.indices)  # not twice
