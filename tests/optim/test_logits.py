"""Logits that are made again are the logits that are kept."""

import pytest
import torch
from oracle import ROWS, problem, random_point, small_blocks

from polylogit.optim import logits as module
from polylogit.optim.logits import (
    FEW_CLASSES,
    RecomputedLogits,
    chunks,
    column_sums,
    inner,
    logits_in,
    parts,
    room,
)
from polylogit.rooms import Rooms


@pytest.fixture(params=ROWS)
def pair(request, monkeypatch):
    """The same logits, kept and recomputed, with offsets, over many blocks."""
    small_blocks(monkeypatch)
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 9)
    p = problem(rows=request.param)
    generator = torch.Generator().manual_seed(3)
    offsets = torch.randn(60, 3, dtype=torch.float64, generator=generator)
    weight, bias = p.objective.split(random_point(p))
    blocks = list(p.objective.design.blocks(torch.float64))
    kept = torch.cat([block.matmul(weight) + bias for block in blocks]) + offsets
    return kept, RecomputedLogits(p.objective.design, weight, bias, offsets)


def whole(logits, least=1):
    return torch.cat([z for _, z in parts(logits, least)])


@pytest.mark.parametrize("least", [1, 5])
def test_parts_are_all_rows_once(pair, least):
    for logits in pair:
        slices = [rows for rows, _ in parts(logits, least)]
        assert [row for rows in slices for row in range(rows.start, rows.stop)] == list(range(60))
        torch.testing.assert_close(whole(logits, least), pair[0], rtol=1e-12, atol=1e-12)


def test_the_rows_of_a_block(pair):
    kept, made = pair
    for block in made.design.blocks(torch.float64):
        torch.testing.assert_close(
            logits_in(made, block), logits_in(kept, block), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("n_classes", [3, FEW_CLASSES + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_of_columns_and_of_products(dtype, n_classes):
    generator = torch.Generator().manual_seed(1)
    one, other = (
        room(50, n_classes, dtype).copy_(torch.randn(50, n_classes, generator=generator))
        for _ in range(2)
    )
    close = {torch.float32: 1e-5, torch.float64: 1e-13}[dtype]
    for rows in (slice(None), slice(7, 50)):
        sums, total = one[rows].double().sum(0), float((one[rows] * other[rows]).double().sum())
        torch.testing.assert_close(column_sums(one[rows]), sums, rtol=close, atol=close)
        assert column_sums(one[rows]).dtype == torch.float64
        assert inner(one[rows], other[rows]) == pytest.approx(total, rel=close, abs=10 * close)


def test_another_precision(pair):
    fast = pair[1].to(torch.float32)
    assert fast.dtype == torch.float32
    assert whole(fast).dtype == torch.float32
    torch.testing.assert_close(whole(fast).double(), pair[0], rtol=1e-4, atol=1e-4)


def test_going_through_recomputed_logits_is_a_pass(pair):
    kept, made = pair
    whole(kept), whole(made), whole(made)
    assert made.tally.passes == 2


def test_chunks_of_many_classes_still_hold_rows():
    assert chunks(3, 10**9) == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert chunks(3, 10**9, least=2) == [slice(0, 2), slice(2, 3)]


@pytest.mark.parametrize("rooms", [None, Rooms()])
@pytest.mark.parametrize("n_classes", [3, 40])
def test_logits_of_few_classes_lie_class_by_class(n_classes, rooms):
    made = room(50, n_classes, torch.float32, rooms)
    assert made.shape == (50, n_classes)
    assert (made.stride(0) == 1) == (n_classes <= FEW_CLASSES)
    assert (made.stride(1) == 1) == (n_classes > FEW_CLASSES)


def test_rooms_lend_what_logits_lie_in():
    rooms = Rooms()
    where = room(50, 3, torch.float32, rooms).data_ptr()
    assert room(50, 3, torch.float32, rooms).data_ptr() == where
