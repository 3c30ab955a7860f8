"""How quick thin products are, by the way they are written: the ground of `design._thin_product`.

    python -m benchmarks.products [THREADS]

Rows of one block (4 MiB) times V' for D features and K classes, into a contiguous result, in
microseconds: as written, with V padded to 16 classes, and as the transposed product.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch.nn.functional import pad

from polylogit.design import BLOCK_BYTES, LANES

FEATURES = (16, 64, 384, 784)
CLASSES = (2, 5, 10, 20, 26, 58, 100)
REPEATS = 25


def main(threads: int) -> None:
    """Print a line for every shape and precision."""
    torch.set_num_threads(threads)
    print(f"{'D':>5}{'K':>5}  {'type':8}{'plain':>8}{'padded':>8}{'transposed':>12}")
    for dtype in (torch.float32, torch.float64):
        for n_features in FEATURES:
            for n_classes in CLASSES:
                times = [_microseconds(way) for way in _ways(n_features, n_classes, dtype)]
                name = str(dtype).removeprefix("torch.")
                print(f"{n_features:>5}{n_classes:>5}  {name:8}", end="")
                print(f"{times[0]:>8.0f}{times[1]:>8.0f}{times[2]:>12.0f}")


def _ways(
    n_features: int, n_classes: int, dtype: torch.dtype
) -> tuple[Callable[[], object], Callable[[], object], Callable[[], object]]:
    rows = torch.randn(BLOCK_BYTES // (n_features * dtype.itemsize), n_features, dtype=dtype)
    weight, bias = torch.randn(n_classes, n_features, dtype=dtype), torch.randn(n_classes).to(dtype)
    out = torch.empty(len(rows), n_classes, dtype=dtype)
    wide = (0, 0, 0, -n_classes % LANES)
    return (
        lambda: torch.add(rows @ weight.T, bias, out=out),
        lambda: torch.add((rows @ pad(weight, wide).T)[:, :n_classes], bias, out=out),
        lambda: torch.add((weight @ rows.T).T, bias, out=out),
    )


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
