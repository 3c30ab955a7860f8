"""Every block of every design is the standardised matrix, to the last digits."""

import threading
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse
import torch
from oracle import stored

from polylogit import design as module
from polylogit.design import (
    FEW_PASSES,
    DenseDesign,
    SparseDesign,
    StreamedDesign,
    column_pairs,
    design_of,
)
from polylogit.errors import DataError
from polylogit.stored import StoredRows

DTYPES = (torch.float32, torch.float64)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 6)) * [1, 1e-12, 1e12, 1, 5, 1] + [0, 0, 0, 7.0, -3, 2]
X[:, 3] = 4.25  # constant
X[RNG.uniform(size=X.shape) < 0.5] *= 0  # sparse
X[:, 3] = 4.25


def standardised(X, centred=True):
    X = X.astype(np.float64)
    centre = X.mean(0) if centred else np.zeros(X.shape[1])
    scale = np.sqrt(np.square(X - centre).mean(0))
    constant = np.ptp(X, 0) == 0 if centred else np.zeros(X.shape[1], bool)
    Z = (X - centre) / np.where(constant, 1, scale)
    Z[:, constant] = 0
    return Z


def variants():
    yield "dense", X
    yield "float32", X.astype(np.float32)
    yield "fortran", np.asfortranarray(X)
    frozen = X.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen
    yield "reversed", X[::-1][::-1]
    yield "big-endian", X.astype(">f8")
    yield "stored", stored(X)
    yield "stored float32", stored(X.astype(np.float32))
    yield "stored big-endian", stored(X.astype(">f8"))
    yield "picked from stored", stored(np.repeat(X, 3, 0)).take(np.arange(1, 150, 3))
    yield "csr", scipy.sparse.csr_array(X)
    fixed = scipy.sparse.csr_array(X)
    for part in (fixed.data, fixed.indices, fixed.indptr):
        part.flags.writeable = False
    yield "csr read-only", fixed
    yield "csr float32", scipy.sparse.csr_array(X.astype(np.float32))


def in_memory(features):
    if isinstance(features, StoredRows):
        return features[:]
    return features.toarray() if scipy.sparse.issparse(features) else features


def used(design, each):
    """Of what belongs to the 6 columns: that of the columns which are used."""
    return each[:, [0, 1, 2, 4, 5]] if design.n_features == 5 else each


@pytest.fixture(params=list(variants()), ids=lambda pair: pair[0])
def features(request):
    return request.param[1]


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("rows", [7, 256])
@pytest.mark.parametrize("copies", [0, 2**28])
def test_blocks_are_the_standardised_rows(features, centred, rows, copies, monkeypatch):
    monkeypatch.setattr(module, "COPY_BYTES", copies)
    monkeypatch.setattr(module, "SMALLEST_BLOCK", rows)
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
    monkeypatch.setattr(module, "SPARSE_BLOCK", 1)
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


def test_a_gram_matrix_is_the_same_in_bands(monkeypatch):
    (block,) = design_of(X).blocks(torch.float64)
    w = torch.from_numpy(RNG.uniform(size=50))
    plain = block.gram(w)
    monkeypatch.setattr(module, "WIDE_GRAM", 1)
    monkeypatch.setattr(module, "BANDS", 3)
    torch.testing.assert_close(block.gram(w), plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gram_matrix_of_sparse_rows_is_the_same_with_the_zeros_written_out(dtype, monkeypatch):
    monkeypatch.setattr(module, "SMALLEST_BLOCK", 7)
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
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


def test_products_in_float32_stay_close(features):
    design = design_of(features)
    V = used(design, torch.from_numpy(RNG.normal(size=(3, 6))))
    for block in design.blocks(torch.float32):
        fast = block.matmul(V.float())
        assert fast.dtype == torch.float32
        Z = torch.cat([b.dense() for b in design.blocks(torch.float64)])
        torch.testing.assert_close(fast.double(), Z @ V.T, rtol=1e-4, atol=1e-4)


def test_an_offset_of_1e9_loses_no_digit():
    column = RNG.integers(0, 1000, size=200).astype(np.float64)
    plain = next(iter(design_of(column[:, None]).blocks(torch.float64))).dense()
    far = next(iter(design_of(column[:, None] + 1e9).blocks(torch.float64))).dense()
    # a centre near 1e9 is rounded to 1e-7: a common shift of the column, which the bias absorbs
    shift = (far - plain).mean()
    assert abs(shift) < 1e-9
    torch.testing.assert_close(far - shift, plain, rtol=0, atol=1e-12)


CONSTANT = np.c_[np.full(30, 0.1), np.arange(30.0), np.full(30, 1e9 + 0.1)]


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


@pytest.mark.parametrize("shortest", [1, 7, 4096])
@pytest.mark.parametrize("dtype", DTYPES)
def test_transposed_sparse_products_go_strip_by_strip(dtype, shortest, monkeypatch):
    monkeypatch.setattr(module, "SHORTEST_STRIP", shortest)
    monkeypatch.setattr(module, "ENTRIES_A_ROW", 0)
    matrix = scipy.sparse.random_array((200, 90), density=0.01, rng=RNG, format="csr")
    matrix = matrix.astype(np.float32 if dtype == torch.float32 else np.float64)
    strips = module._strips(matrix)
    assert [row for strip in strips for row in range(200)[strip.rows]] == list(range(200))
    assert len(strips) == -(-200 // shortest)
    tall = torch.from_numpy(RNG.normal(size=(200, 4))).to(dtype)
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-13, "atol": 0}
    for ours, truth in (
        (module._transposed_product(strips, tall), matrix.T @ tall.numpy()),
        (
            module._transposed_product([strip.squared() for strip in strips], tall),
            matrix.power(2).T @ tall.numpy(),
        ),
    ):
        torch.testing.assert_close(ours, torch.from_numpy(truth), **close)


def test_a_strip_holds_some_entries_for_every_row_of_what_it_is_turned_round_to(monkeypatch):
    monkeypatch.setattr(module, "SHORTEST_STRIP", 5)
    matrix = scipy.sparse.random_array((200, 90), density=0.05, rng=RNG, format="csr")
    first, *_ = module._strips(matrix)
    assert first.turned.values().numel() == pytest.approx(module.ENTRIES_A_ROW * 90, rel=0.2)


def test_rows_are_turned_round_once(monkeypatch):
    made = []
    first = module._strips
    monkeypatch.setattr(module, "_strips", lambda block: made.append(block.shape) or first(block))
    design = design_of(scipy.sparse.csr_array(X))
    for _ in range(3):
        for block in design.blocks(torch.float32):
            block.rmatmul(torch.ones(50, 2))
    assert made == [(50, 6)]


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
    monkeypatch.setattr(module, "SMALLEST_BLOCK", 7)
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_of_a_block_is_used_again_only_when_nobody_holds_it(dtype, monkeypatch):
    monkeypatch.setattr(module, "COPY_BYTES", 0)
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
    monkeypatch.setattr(module, "SMALLEST_BLOCK", 10)
    design = design_of(X.astype(dtype))
    one_by_one = [block.dense().data_ptr() for block in design.blocks(torch.float64)]
    assert len(set(one_by_one)) < len(one_by_one) == 5
    held = [block.dense() for block in design.blocks(torch.float64)]
    assert len({block.data_ptr() for block in held}) == 5


def test_blocks_made_anew_are_no_larger_however_large_the_cache(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 2**30)
    dense, streamed = design_of(X), design_of(stored(X))
    assert isinstance(streamed, StreamedDesign)
    assert dense.block_rows(torch.float64) == 2**30 // (dense.n_features * 8)
    assert streamed.block_rows(torch.float64) == 2**22 // (streamed.n_features * 8)
    monkeypatch.setattr(module, "COPY_BYTES", 0)  # so that blocks are made anew here too
    assert dense.block_rows(torch.float64) == 2**22 // (dense.n_features * 8)


def test_what_a_design_has_seen_of_the_columns():
    low, high, mean = design_of(X).seen
    assert (low.tolist(), high.tolist()) == (X.min(0).tolist(), X.max(0).tolist())
    np.testing.assert_allclose(mean, X.mean(0), rtol=1e-13)


def deviations(rows, centred):
    """Root mean squares about the means, or about zero, by exact arithmetic."""
    exact = np.array([[Fraction(v) for v in row] for row in rows])
    about = exact - (exact.sum(0) / len(exact) if centred else 0)
    return np.sqrt([float(v) for v in (about**2).sum(0) / len(exact)])


def outlier_first(X):
    return np.concatenate([X[:1] + 1e3, X[1:]])


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    ("change", "passes"),
    [
        (lambda X: X, 1),
        (lambda X: 1e-3 * X + 1e9, 1),
        (outlier_first, 2),  # squares about the first row say little of those about the mean
        (lambda X: 1e-3 * outlier_first(X), 2),
        (lambda X: 1e99 * X, 1),
        (lambda X: 1e-99 * X, 1),
    ],
    ids=["plain", "an offset", "an outlier first", "and small", "extremely large", "and small too"],
)
def test_scales_are_those_of_the_columns_after_as_few_passes_as_that_takes(
    change, passes, centred, monkeypatch
):
    rows = change(np.random.default_rng(0).normal(size=(4000, 3)))
    true = deviations(rows, centred)
    at_once = design_of(rows, centred=centred)
    np.testing.assert_allclose(at_once.scale.numpy(), true, rtol=1e-12)
    seen, read = [], module._in_double
    monkeypatch.setattr(module, "_in_double", lambda source: seen.append(1) or read(source))
    monkeypatch.setattr(module, "FEW_NUMBERS", 0)
    in_parts = design_of(rows, centred=centred)
    np.testing.assert_allclose(in_parts.scale.numpy(), true, rtol=1e-12)
    assert len(seen) == passes
    rounding = 1e-14 * np.abs(rows).max()
    for one, other in zip(at_once.seen, in_parts.seen, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=rounding)
    whole, parts = (
        torch.cat([block.dense() for block in design.blocks(torch.float64)])
        for design in (at_once, in_parts)
    )
    np.testing.assert_allclose(whole, parts, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    ("size", "offset", "sure"),
    [
        (1.0, 0.0, True),
        (1.0, 20.0, True),
        (1.0, 1e4, False),  # a dense column, all but constant
        (1e90, 0.0, True),
        (1e-90, 0.0, True),
        (1e-150, 0.0, False),  # its squares vanish
    ],
)
def test_scales_of_sparse_columns_are_found_from_sums_where_those_keep_digits(
    size, offset, sure, centred, monkeypatch
):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 4)) * (rng.uniform(size=(500, 4)) < 0.1)
    rows[:, 2] = 0.0  # a word that no row has
    rows[:, 3] = size * (rng.normal(size=500) + offset)
    called, second = [], module._sparse_deviations
    monkeypatch.setattr(module, "_sparse_deviations", lambda *a: called.append(1) or second(*a))
    monkeypatch.setattr(module, "SMALLEST_SCALE", 0.0)
    scale = design_of(scipy.sparse.csr_array(rows), centred=centred).scale.numpy()
    expected = deviations(rows, centred)
    expected[2] = 1.0
    np.testing.assert_allclose(scale, expected, rtol=1e-12)
    assert bool(called) is not (sure or (offset > 0 and not centred))


@pytest.mark.parametrize("n_rows", [1, 3, 4, 11, 12])
def test_extremes_of_narrow_columns_are_those_of_any_others(n_rows, monkeypatch):
    X = np.random.default_rng(n_rows).normal(size=(n_rows, 3))
    monkeypatch.setattr(module, "WIDE_ENOUGH", 14)  # four rows side by side
    monkeypatch.setattr(module, "TALL", 1)
    low, high, _ = design_of(X).seen
    np.testing.assert_array_equal(low, X.min(0))
    np.testing.assert_array_equal(high, X.max(0))


@pytest.mark.parametrize("centred", [True, False])
def test_no_row_is_beyond_the_reach_of_its_columns(centred):
    X = np.random.default_rng(0).normal(size=(50, 4)) * [1e-3, 1, 0, 1e5] + [1e9, 3, 2, 0]
    design = design_of(X, centred=centred)
    rows = torch.cat([block.dense() for block in design.blocks(torch.float64)])
    most = rows.abs().amax(0)
    assert bool((most <= design.reach).all())
    torch.testing.assert_close(most, design.reach, rtol=1e-6, atol=0)
    assert design_of(scipy.sparse.csr_array(X)).reach is None


def test_sparse_rows_are_turned_round_once_for_both_precisions(monkeypatch):
    made = []
    turned_round = module._strips
    monkeypatch.setattr(module, "_strips", lambda m: made.append(m.dtype) or turned_round(m))
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
