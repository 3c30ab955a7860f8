"""Every block of every design is the standardised matrix, to the last digits."""

import numpy as np
import pytest
import scipy.sparse
import torch
from oracle import small_blocks, stored
from standards import RNG, X, in_memory, standardised, used

from polylogit.design import DenseDesign, SparseDesign, StreamedDesign, dense, design_of
from polylogit.errors import DataError

CONSTANT = np.c_[np.full(30, 0.1), np.arange(30.0), np.full(30, 1e9 + 0.1)]


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("rows", [7, 256])
@pytest.mark.parametrize("copies", [0, 2**28])
def test_blocks_are_the_standardised_rows(features, centred, rows, copies, monkeypatch):
    monkeypatch.setattr(dense, "COPY_BYTES", copies)
    small_blocks(monkeypatch, rows)
    design = design_of(features, centred=centred)
    Z = used(design, torch.from_numpy(standardised(in_memory(features), centred)))
    V = used(design, torch.from_numpy(RNG.normal(size=(3, 6))))
    R = torch.from_numpy(RNG.normal(size=(50, 3)))
    w = torch.from_numpy(RNG.uniform(size=50))
    close = {"rtol": 1e-9, "atol": 1e-9}
    blocks = list(design.blocks(torch.float64))
    assert len(blocks) == -(-50 // rows)
    torch.testing.assert_close(torch.cat([b.dense() for b in blocks]), Z, **close)
    torch.testing.assert_close(torch.cat([b.matmul(V) for b in blocks]), Z @ V.T, **close)
    sums = {
        "rmatmul": (sum(b.rmatmul(R[b.rows]) for b in blocks), R.T @ Z),
        "gram": (sum(b.gram(w[b.rows]) for b in blocks), Z.T @ (w[:, None] * Z)),
        "diagonal": (
            sum(b.gram_diagonal(R[b.rows].square()) for b in blocks),
            R.square().T @ Z.square(),
        ),
    }
    for ours, truth in sums.values():
        torch.testing.assert_close(ours, truth, **close)


def test_some_columns_of_a_block(features):
    some = torch.tensor([1, 2, 4])
    for block in design_of(features).blocks(torch.float64):
        torch.testing.assert_close(
            block.columns_of(some), block.dense()[:, some], rtol=1e-14, atol=1e-14
        )
        assert block.columns_of(some[:0]).shape == (len(block.dense()), 0)


def test_a_design_knows_how_much_it_reads():
    assert design_of(X).entries == X[:, 1:].size  # one is constant
    assert design_of(scipy.sparse.csr_array(X)).entries == np.count_nonzero(X)


def test_products_in_float32_stay_close(features):
    design = design_of(features)
    V = used(design, torch.from_numpy(RNG.normal(size=(3, 6))))
    for block in design.blocks(torch.float32):
        fast = block.matmul(V.float())
        assert fast.dtype == torch.float32
        Z = torch.cat([b.dense() for b in design.blocks(torch.float64)])
        torch.testing.assert_close(fast.double(), Z @ V.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [np.asarray, stored])
def test_constant_columns_are_left_out(kind):
    design = design_of(kind(CONSTANT))
    assert design.n_features == 1
    Z = next(iter(design.blocks(torch.float64))).dense()
    torch.testing.assert_close(Z, torch.from_numpy(standardised(CONSTANT[:, 1:2])))
    for each in (torch.arange(3.0), torch.arange(6.0).view(2, 3)):
        assert torch.equal(design.of_columns(each), each[..., 1:2])
    assert design_of(kind(CONSTANT), centred=False).n_features == 3


def test_what_weights_of_constant_columns_say_goes_to_the_bias():
    design, W = design_of(CONSTANT), torch.tensor([[3.0, 1.0, 2e-9], [-1.0, 2.0, 5e-9]]).double()
    V, b = design.from_user(W, torch.tensor([0.5, -0.5]).double())
    user, bias = design.to_user(V, b)
    assert torch.equal(user[:, [0, 2]], torch.zeros(2, 2).double())
    rows = torch.from_numpy(CONSTANT)
    before = rows @ W.T + torch.tensor([0.5, -0.5])
    torch.testing.assert_close(rows @ user.T + bias, before, rtol=1e-12, atol=1e-12)


def test_where_every_column_is_constant_one_stays_and_is_zero():
    design = design_of(CONSTANT[:, [0, 2]])
    (block,) = design.blocks(torch.float64)
    assert block.dense().shape == (30, 1)
    assert not bool(block.dense().any())


def test_constant_columns_of_sparse_rows_are_zeros():
    Z = next(iter(design_of(scipy.sparse.csr_array(CONSTANT)).blocks(torch.float64))).dense()
    assert float(Z[:, [0, 2]].abs().max()) < 1e-6


@pytest.mark.parametrize("size", [1e160, 1e-200])
@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array, stored])
def test_columns_whose_squares_leave_float64_are_refused_by_name(size, kind):
    features = kind(np.c_[np.arange(5.0), np.arange(5.0) * size])
    with pytest.raises(DataError, match=r"column 1 \(width\) .* another unit"):
        design_of(features, names=["height", "width"])


@pytest.mark.parametrize("centred", [True, False])
def test_the_way_to_the_users_scale_and_back(features, centred):
    design = design_of(features, centred=centred)
    V = used(design, torch.from_numpy(RNG.normal(size=(3, 6))))
    b = torch.from_numpy(RNG.normal(size=3))
    W, a = design.to_user(V, b)
    back = design.from_user(W, a)
    torch.testing.assert_close(back[0], V, rtol=1e-12, atol=0)
    torch.testing.assert_close(back[1], b, rtol=1e-9, atol=1e-9)
    dense = np.array(in_memory(features), dtype=float)
    ours = torch.cat([block.matmul(V) for block in design.blocks(torch.float64)]) + b
    theirs = torch.from_numpy(dense.astype(np.float64)) @ W.T + a
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_the_kind_of_design_follows_the_kind_of_features():
    assert isinstance(design_of(X), DenseDesign)
    assert isinstance(design_of(stored(X)), StreamedDesign)
    assert isinstance(design_of(scipy.sparse.csr_array(X)), SparseDesign)


@pytest.mark.parametrize("by_class", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
def test_logits_go_where_they_are_wanted(kind, dtype, by_class):
    block = next(design_of(kind(np.round(X))).blocks(dtype))
    rows, D = block.dense().shape
    V, b = (torch.from_numpy(RNG.normal(size=size)).to(dtype) for size in ((3, D), (3,)))
    out = torch.full((3, rows), torch.nan, dtype=dtype).T
    out = out if by_class else out.contiguous()
    assert block.affine(V, b, out).data_ptr() == out.data_ptr()
    expected = block.dense().to(dtype) @ V.T + b
    torch.testing.assert_close(
        out, expected, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-6
    )


@pytest.mark.parametrize("centred", [True, False])
def test_no_row_is_beyond_the_reach_of_its_columns(centred):
    X = np.random.default_rng(0).normal(size=(50, 4)) * [1e-3, 1, 0, 1e5] + [1e9, 3, 2, 0]
    design = design_of(X, centred=centred)
    rows = torch.cat([block.dense() for block in design.blocks(torch.float64)])
    most = rows.abs().amax(0)
    assert bool((most <= design.reach).all())
    torch.testing.assert_close(most, design.reach, rtol=1e-6, atol=0)
    assert design_of(scipy.sparse.csr_array(X)).reach is None
