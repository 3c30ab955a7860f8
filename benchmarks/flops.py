"""How much a fit multiplies, and how long the same products of matrices take by themselves.

A fit of a large dense set multiplies its rows with matrices of K columns (logits, gradients,
products with the Hessian) and with each other (Gram matrices). Both are counted as torch runs them,
and both are timed bare, in float32 and by `@`, over the same rows in the same process. The fit has
thin products made by oneDNN, and sums over rows by batches, where that is quicker than `@`
(`polylogit.thin_product`).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCT, GRAM = "with K columns", "of rows with each other"
REPEATS = 3
_LEFT_AND_RIGHT = {
    torch.ops.aten.mm: slice(0, 2),
    torch.ops.aten.bmm: slice(0, 2),
    torch.ops.aten.addmm: slice(1, 3),
    torch.ops.aten.addmm_: slice(1, 3),
    torch.ops.mkldnn._linear_pointwise: slice(0, 2),
}
_TURNED = {torch.ops.mkldnn._linear_pointwise}  # the right one is given as its transpose


class _Count(TorchDispatchMode):
    """Flops of the products of matrices that run inside, by kind."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.n_classes, self.flops = n_classes, Counter[str]()

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        sides = [side.shape for side in args[_LEFT_AND_RIGHT.get(func.overloadpacket, slice(0, 0))]]
        if sides:
            (*batch, m, k), n = sides[0], sides[1][-2 if func.overloadpacket in _TURNED else -1]
            kind = PRODUCT if self.n_classes in (m, k, n) else GRAM
            self.flops[kind] += 2 * math.prod(batch) * m * k * n
        return func(*args, **(kwargs or {}))


def by_shape(fit: Callable[[], object], n_classes: int) -> Counter[str]:
    """Flops of all products of matrices in a fit, by kind."""
    with _Count(n_classes) as count:
        fit()
    return count.flops


def plain_seconds(X: np.ndarray, weight: np.ndarray, flops: Counter[str]) -> float:
    """How long as many flops take in plain products of rows X (N, D) with W (K, D), and in X'X."""
    rows, small = torch.from_numpy(X).float(), torch.from_numpy(weight).float()
    residuals = rows @ small.T
    there_and_back = 4.0 * small.shape[0] * rows.numel()
    pair = _seconds(lambda: (rows @ small.T, residuals.T @ rows)) / there_and_back
    square = _seconds(lambda: rows.T @ rows) / (2.0 * rows.shape[1] * rows.numel())
    return flops[PRODUCT] * pair + flops[GRAM] * square


def _seconds(product: Callable[[], object]) -> float:
    """The quickest of a few: what the machine can do."""
    product()  # the first run wakes the threads
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
