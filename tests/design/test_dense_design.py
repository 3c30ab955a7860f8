"""Blocks of dense rows: what is kept, what is made anew, and what reads ahead."""

import threading

import numpy as np
import pytest
import torch
from oracle import small_blocks, stored
from standards import DTYPES, RNG, X

from polylogit.design import StreamedDesign, base, design_of
from polylogit.design import dense as module
from polylogit.design.dense import FEW_PASSES


@pytest.mark.parametrize("limit", [0, 2**28])
def test_products_of_columns(limit, monkeypatch):
    monkeypatch.setattr(module, "PRODUCTS_BYTES", limit)
    design = design_of(RNG.normal(size=(30, 4)))
    (block,) = design.blocks(torch.float64)
    rows = torch.cat([block.dense(), torch.ones(30, 1, dtype=torch.float64)], 1)
    upper = torch.triu_indices(5, 5)
    expected = (rows[:, :, None] * rows[:, None, :])[:, upper[0], upper[1]]
    torch.testing.assert_close(block.products(True), expected, rtol=0, atol=0)


def keeps(design, dtype):
    """Whether two passes read the same memory."""
    first, again = (next(block.features for block in design.blocks(dtype)) for _ in range(2))
    return first.data_ptr() == again.data_ptr()


def test_a_large_float64_copy_is_not_kept(monkeypatch):
    design = design_of(X)
    monkeypatch.setattr(module, "COPY_BYTES", int(design.entries) * 8 - 1)
    assert {dtype: keeps(design, dtype) for dtype in DTYPES} == {
        torch.float32: True,
        torch.float64: False,
    }


def test_rows_that_float32_steers_are_copied_in_float64_once_they_are_often_asked_for(monkeypatch):
    monkeypatch.setattr(module, "SMALL_COPY", 0)
    steered, exact = design_of(X), design_of(X)
    assert keeps(exact, torch.float64)
    assert keeps(exact, torch.float32)
    assert keeps(exact, torch.float64)
    assert keeps(steered, torch.float32)
    assert [keeps(steered, torch.float64) for _ in range(FEW_PASSES // 2 + 1)] == [
        *[False] * (FEW_PASSES // 2),
        True,
    ]


@pytest.mark.parametrize("end", ["used up", "left alone", "broken"])
def test_no_reader_is_left_running(end, monkeypatch):
    small_blocks(monkeypatch)
    before = threading.active_count()
    blocks = design_of(stored(X)).blocks(torch.float32)
    first = next(blocks)
    assert first.rows == slice(0, 7)
    if end == "used up":
        assert len(list(blocks)) == 7
    elif end == "left alone":
        blocks.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            blocks.throw(KeyboardInterrupt)
    assert threading.active_count() == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_of_a_block_is_used_again_only_when_nobody_holds_it(dtype, monkeypatch):
    monkeypatch.setattr(module, "COPY_BYTES", 0)
    small_blocks(monkeypatch, 10)
    design = design_of(X.astype(dtype))
    one_by_one = [block.dense().data_ptr() for block in design.blocks(torch.float64)]
    assert len(set(one_by_one)) < len(one_by_one) == 5
    held = [block.dense() for block in design.blocks(torch.float64)]
    assert len({block.data_ptr() for block in held}) == 5


def test_blocks_made_anew_are_no_larger_however_large_the_cache(monkeypatch):
    monkeypatch.setattr(base, "BLOCK_BYTES", 2**30)
    dense, streamed = design_of(X), design_of(stored(X))
    assert isinstance(streamed, StreamedDesign)
    assert dense.block_rows(torch.float64) == 2**30 // (dense.n_features * 8)
    assert streamed.block_rows(torch.float64) == 2**22 // (streamed.n_features * 8)
    monkeypatch.setattr(module, "COPY_BYTES", 0)  # so that blocks are made anew here too
    assert dense.block_rows(torch.float64) == 2**22 // (dense.n_features * 8)
