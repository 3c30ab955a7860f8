"""How quick a pass over few classes is, by where its numbers lie: the ground of `logits.room`.

    python -m benchmarks.products [THREADS]

Microseconds for one block of rows (4 MiB) of D features and K classes, row by row and class by
class: the logits X V' + b, their softmax, and the product R'X of the gradient.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

from polylogit.design import BLOCK_BYTES

FEATURES = (16, 64, 384, 784)
CLASSES = (2, 5, 10, 20, 26, 48, 58, 100)
REPEATS = 25


def main(threads: int) -> None:
    """Print a line for every shape and precision."""
    torch.set_num_threads(threads)
    print(f"{'':17}{'logits':^16}{'softmax':^16}{'gradient':^16}{'all':^16}")
    print(f"{'D':>5}{'K':>5}  {'':5}" + f"{'row':>8}{'class':>8}" * 4)
    for dtype in (torch.float32, torch.float64):
        for n_features in FEATURES:
            for n_classes in CLASSES:
                by_row, by_class = _times(n_features, n_classes, dtype)
                pairs = [*zip(by_row, by_class, strict=True), (sum(by_row), sum(by_class))]
                name = str(dtype).removeprefix("torch.float")
                print(f"{n_features:>5}{n_classes:>5}  {name:5}", end="")
                print("".join(f"{row:>8.0f}{column:>8.0f}" for row, column in pairs), flush=True)


def _times(n_features: int, n_classes: int, dtype: torch.dtype) -> tuple[list[float], list[float]]:
    """Of the three steps, row by row and class by class."""
    rows = torch.randn(BLOCK_BYTES // (n_features * dtype.itemsize), n_features, dtype=dtype)
    weight, bias = torch.randn(n_classes, n_features, dtype=dtype), torch.randn(n_classes).to(dtype)
    z, out = (torch.empty(len(rows), n_classes, dtype=dtype) for _ in range(2))
    turned, out_turned = (torch.empty(n_classes, len(rows), dtype=dtype) for _ in range(2))
    by_row = (
        lambda: torch.addmm(bias, rows, weight.T, out=z),
        lambda: torch.softmax(z, 1, out=out),
        lambda: out.T @ rows,
    )
    by_class = (
        lambda: torch.addmm(bias[:, None], weight, rows.T, out=turned),
        lambda: torch.softmax(turned, 0, out=out_turned),
        lambda: out_turned @ rows,
    )
    return [_microseconds(step) for step in by_row], [_microseconds(step) for step in by_class]


def _microseconds(way: Callable[[], object]) -> float:
    way()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        way()
        seconds.append(time.perf_counter() - start)
    return 1e6 * statistics.median(seconds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())
