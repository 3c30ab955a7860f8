"""Products with all rows of the data, which are many, and a few classes or columns.

**Who multiplies.** torch has two libraries for float32 on a CPU. MKL, behind `@`, first copies both
matrices into an order of its own; oneDNN reads them where they lie. A thin product is over before
such a copy has paid, so oneDNN takes a third to three quarters of the time (`python -m
benchmarks.products`): on AMD's processors in all products, on Intel's for logits on two threads,
not for sums over rows. torch's compiler calls it by the name used here. Where that is missing,
switched off (`torch.backends.mkldnn`) or slower, `@` stays.

**Who reads what.** torch gives every thread rows of its own to write. MKL shares out a sum over
rows by columns, so half of what it reads has to be carried from core to core, which takes as long
as a thin product. A batch of shares of the rows keeps every thread at its own.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

WORTH_A_CALL = 2e6  # multiply-adds from which the dearer call pays
WORTH_SHARING = 2**17  # numbers to sum over
# rows of R up to which MKL may read L once, where it lies, if they are not short: of fewer numbers,
# or of not so many times as there are rows, for what comes out has to be turned round
FEWEST = {torch.float32: 4, torch.float64: 32}  # beyond, oneDNN does, which knows float32 alone
SHORT, LONGER = 64, 16
TRIAL = 16, 256, 2048  # K, D and B of the products by which oneDNN has to prove itself
TRIALS = 3  # of which the best counts


def times_transposed(left: Tensor, right: Tensor) -> Tensor:
    """L R' (M, P) for L (M, n) and R (P, n), in new memory.

    >>> times_transposed(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
    tensor([[11., 17.]])
    """
    if _is_for_onednn(left, right, sums=False):
        return onednn_product(left, right)
    return _plain(left, right)


def transposed_times(left: Tensor, right: Tensor) -> Tensor:
    """L' R (m, n) for L (B, m) and R (B, n), a sum over rows, in new memory.

    >>> transposed_times(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[3., 4.],
            [6., 8.]])
    """
    if right.numel() < WORTH_SHARING and left.numel() * right.shape[1] < WORTH_A_CALL:
        return left.T @ right
    if _is_for_onednn(left.T, right.T, sums=True):
        return onednn_product(left.T, right.T)
    shares = _shares(left, right)
    if shares == 1:
        return left.T @ right
    step = len(left) // shares
    whole = step * shares
    one, other = (part[:whole].unflatten(0, (shares, step)) for part in (left, right))
    product = torch.bmm(one.transpose(1, 2), other).sum(0)
    return product if whole == len(left) else product.addmm_(left[whole:].T, right[whole:])


def _shares(left: Tensor, right: Tensor) -> int:
    """Into how many shares of rows a sum is split: one for each thread, where that pays."""
    threads = torch.get_num_threads()
    long = len(left) >= threads * left.shape[1]  # else the sums of the shares are what is large
    pays = long and right.numel() >= WORTH_SHARING and left.device.type == "cpu"
    return threads if pays else 1


def onednn_product(left: Tensor, right: Tensor) -> Tensor:
    """L R' (M, P) by oneDNN, for float32 on a CPU."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
    return product


def _is_for_onednn(left: Tensor, right: Tensor, *, sums: bool) -> bool:
    fit = _is_worth_it(left, right) and _lie_well(left, right)
    return fit and onednn_is_quicker(sums, torch.get_num_threads())


def _is_worth_it(left: Tensor, right: Tensor) -> bool:
    on_cpu = left.device.type == "cpu" and bool(torch.backends.mkldnn.enabled)
    fits = left.dtype == torch.float32 and len(left) > 1 and not is_quick_in_rows(right)
    return on_cpu and fits and left.numel() * len(right) >= WORTH_A_CALL


def is_quick_in_rows(right: Tensor) -> bool:
    """Whether L R' takes less time than R L', its transpose, for an L of many rows."""
    few, threads, dtype = len(right), torch.get_num_threads(), right.dtype
    fits = few <= FEWEST.get(dtype, 0) and right.shape[1] >= max(SHORT, LONGER * few)
    return fits and few_rows_are_quick(few, threads, dtype)


def _lie_well(left: Tensor, right: Tensor) -> bool:
    """Whether oneDNN can read both in place; in another order it is slower by magnitudes."""
    return left.stride(1) == 1 and (right.is_contiguous() or right.T.is_contiguous())


@lru_cache(maxsize=8)
def onednn_is_quicker(sums: bool, threads: int) -> bool:  # noqa: ARG001
    """Whether oneDNN is there, and takes less time than `@`, for sums over rows or for L R'.

    It depends on the processor and on the number of threads, so it is tried: once for each in a
    process, in some milliseconds.
    """
    few, n_features, n_rows = TRIAL
    rows = torch.ones(n_rows, n_features, device="cpu")
    left = torch.ones(few, n_rows if sums else n_features, device="cpu")
    pair = left, rows.T if sums else rows
    there = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return there and _seconds(onednn_product, *pair) <= _seconds(_plain, *pair)


@lru_cache(maxsize=64)
def few_rows_are_quick(count: int, threads: int, dtype: torch.dtype) -> bool:  # noqa: ARG001
    """Whether `@` does L R' sooner than R L' for an R of `count` rows: tried, as above.

    One takes up to three times as long as the other, by processor, count, threads and precision.
    """
    _, n_features, n_rows = TRIAL
    rows, few = (torch.ones(n, n_features, dtype=dtype, device="cpu") for n in (n_rows, count))
    return _seconds(_plain, rows, few) <= _seconds(_plain, few, rows)


def _plain(left: Tensor, right: Tensor) -> Tensor:
    return left @ right.T


def _seconds(product: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor) -> float:
    product(left, right)  # makes what later calls find made
    return min(timeit.repeat(lambda: product(left, right), repeat=TRIALS, number=1))
