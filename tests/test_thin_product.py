"""Thin products: the same numbers whoever multiplies, and each way only where it is of use."""

import pytest
import torch

from polylogit import thin_product as module
from polylogit.optim.threads import threads
from polylogit.thin_product import (
    FEWEST,
    LONGER,
    SHORT,
    WORTH_A_CALL,
    few_rows_are_quick,
    is_quick_in_rows,
    onednn_is_quicker,
    onednn_product,
    times_transposed,
    transposed_times,
)

FEW, INNER, MANY = 10, 300, 1000  # enough work for oneDNN


def matrices(dtype=torch.float32, seed=0):
    """L (few, n) and R (many, n)."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (FEW, INNER), (MANY, INNER)
    return [
        torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype) for size in sizes
    ]


def turned(matrix):
    """The same numbers, column by column in memory."""
    return matrix.T.contiguous().T


@pytest.fixture
def calls(monkeypatch):
    """The sizes of what oneDNN was asked for."""
    asked = []

    def counting(left, right):
        asked.append((len(left), len(right)))
        return onednn_product(left, right)

    monkeypatch.setattr(module, "onednn_product", counting)
    monkeypatch.setattr(module, "onednn_is_quicker", lambda *_: True)
    return asked


LAYOUTS = {
    "rows": (lambda m: m, lambda m: m),
    "turned right": (lambda m: m, turned),
    "a slice on the left": (lambda m: torch.cat([m, m], 1)[:, : m.shape[1]], lambda m: m),
    "turned left": (turned, lambda m: m),
    "a slice on the right": (lambda m: m, lambda m: torch.cat([m, m], 1)[:, : m.shape[1]]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("swapped", [False, True])
def test_the_product_is_that_of_float64(layout, swapped, calls):
    left, right = matrices()[:: -1 if swapped else 1]
    truth = left.double() @ right.double().T
    change_left, change_right = LAYOUTS[layout]
    product = times_transposed(change_left(left), change_right(right))
    assert product.dtype == torch.float32
    torch.testing.assert_close(product.double(), truth, rtol=1e-5, atol=1e-4)
    assert len(calls) == (layout in list(LAYOUTS)[:3])  # the others it reads slowly


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_sum_over_rows_is_the_same_product_turned(layout, swapped, calls):
    left, right = matrices()[:: -1 if swapped else 1]
    change_left, change_right = LAYOUTS[layout]
    product = transposed_times(change_left(left).T, change_right(right).T)
    torch.testing.assert_close(
        product.double(), left.double() @ right.double().T, rtol=1e-5, atol=1e-4
    )
    assert len(calls) == (layout in list(LAYOUTS)[:3])


@pytest.fixture
def batches(monkeypatch):
    """How many shares each sum over rows was split into."""
    asked, bmm = [], torch.bmm

    def counting(left, right):
        asked.append(len(left))
        return bmm(left, right)

    monkeypatch.setattr(torch, "bmm", counting)
    monkeypatch.setattr(module, "WORTH_SHARING", 2 * MANY * INNER)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    return asked


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "left_lies", [lambda m: m, turned, lambda m: torch.cat([m, m], 1)[:, :FEW]]
)
def test_every_thread_sums_over_rows_of_its_own(dtype, left_lies, batches):
    generator = torch.Generator().manual_seed(1)
    rows = 2 * MANY + 1  # which no number of threads below divides
    L, R = (torch.randn(rows, n, generator=generator).to(dtype) for n in (FEW, INNER))
    close = (
        {"rtol": 1e-5, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    )
    for count in (2, 4):
        with threads(count):
            product = transposed_times(left_lies(L), R)
        torch.testing.assert_close(product.double(), L.double().T @ R.double(), **close)
    assert batches == [2, 4]


def test_rows_that_are_few_are_summed_at_once(batches):
    L, R = torch.ones(2 * MANY, FEW), torch.ones(2 * MANY, INNER)
    with threads(2):
        torch.testing.assert_close(transposed_times(L[:-1], R[:-1]), L[:-1].T @ R[:-1])
        wide = torch.ones(FEW, 2 * MANY * INNER // FEW)  # its product is the larger matrix
        torch.testing.assert_close(
            transposed_times(wide[:, :INNER], wide), wide[:, :INNER].T @ wide
        )
    with threads(1):
        torch.testing.assert_close(transposed_times(L, R), L.T @ R)
    assert batches == []


@pytest.mark.parametrize(
    "without",
    [
        lambda left, right: (left.double(), right.double()),
        lambda left, right: (left[:1], right.repeat(FEW, 1)),  # a vector
        lambda left, right: (left[:, :5].contiguous(), right[:, :5].contiguous()),  # too little
    ],
)
def test_the_rest_is_for_the_plain_product(without, calls):
    left, right = without(*matrices())
    torch.testing.assert_close(times_transposed(left, right), left @ right.T)
    assert calls == []


def test_who_switches_onednn_off_is_heard(calls, monkeypatch):
    left, right = matrices()
    assert len(left) * right.numel() >= WORTH_A_CALL
    times_transposed(left, right)
    assert calls == [(FEW, MANY)]
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    torch.testing.assert_close(times_transposed(left, right), left @ right.T)
    assert len(calls) == 1


@pytest.mark.parametrize("sums", [True, False])
@pytest.mark.parametrize("quicker", [True, False])
def test_onednn_is_tried_and_left_alone_where_it_is_slower(sums, quicker, monkeypatch):
    asked = []

    def seconds(product, left, right):
        asked.append((left @ right.T).shape)  # they fit
        return (product is onednn_product) ^ quicker

    monkeypatch.setattr(module, "_seconds", seconds)
    onednn_is_quicker.cache_clear()
    assert onednn_is_quicker(sums, 1) == quicker
    few, n_features, n_rows = module.TRIAL
    assert asked == [(few, n_features if sums else n_rows)] * 2
    onednn_is_quicker(sums, 1)
    assert len(asked) == 2
    onednn_is_quicker(sums, 2)  # may be another matter
    assert len(asked) == 4
    onednn_is_quicker.cache_clear()


def test_a_trial_takes_time():
    few, rows = torch.ones(4, 300), torch.ones(2000, 300)
    assert 0 < module._seconds(module._plain, few, rows) < 1


def test_a_torch_without_it_is_no_trouble(monkeypatch):
    onednn_is_quicker.cache_clear()
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    left, right = matrices()
    torch.testing.assert_close(times_transposed(left, right), left @ right.T)
    assert not onednn_is_quicker(False, 1)
    onednn_is_quicker.cache_clear()


@pytest.mark.parametrize("quick", [True, False])
def test_which_order_is_quick_for_few_rows_is_tried(quick, monkeypatch):
    few_rows_are_quick.cache_clear()
    asked = []

    def seconds(_, left, right):
        asked.append((left.dtype, right.dtype))
        return (len(left) > len(right)) ^ quick

    monkeypatch.setattr(module, "_seconds", seconds)
    for dtype, few in FEWEST.items():
        long = max(SHORT, LONGER * few)
        sizes = (few, long), (few, long - 1), (few + 1, 2 * long)
        found = [is_quick_in_rows(torch.ones(size, dtype=dtype)) for size in sizes]
        assert found == [quick, False, False]
        assert asked == 2 * [(dtype, dtype)]
        asked.clear()
    assert not is_quick_in_rows(torch.ones(1, SHORT, dtype=torch.float16))
    few_rows_are_quick.cache_clear()
