"""How quick a pass over few classes is, by where its numbers lie and by who multiplies.

    python -m benchmarks.products [THREADS]

Microseconds for one block of rows (4 MiB) of D features and K classes: the logits X V' + b, their
softmax, and the product R'X of the gradient; row by row (every thread sums over rows of its own),
class by class with torch's `@`, and class by class with oneDNN, which knows float32 alone. It is
the ground of `logits.room` and of `polylogit.thin_product`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

from polylogit.design.base import BLOCK_BYTES
from polylogit.thin_product import onednn_product, transposed_times

FEATURES = (16, 64, 384, 784, 4096)
CLASSES = (2, 5, 10, 20, 26, 48, 58, 100)
REPEATS = 25
STEPS = ("logits", "softmax", "gradient", "all")

Way = Callable[[], object]


def main(threads: int) -> None:
    """Print a line for every shape and precision."""
    torch.set_num_threads(threads)
    print(f"{'':17}" + "".join(f"{step:^24}" for step in STEPS))
    print(f"{'D':>5}{'K':>5}  {'':5}" + f"{'row':>8}{'class':>8}{'oneDNN':>8}" * len(STEPS))
    for dtype in (torch.float32, torch.float64):
        for n_features in FEATURES:
            for n_classes in CLASSES:
                name = str(dtype).removeprefix("torch.float")
                print(f"{n_features:>5}{n_classes:>5}  {name:5}", end="")
                print(_line(_times(n_features, n_classes, dtype)), flush=True)


def _line(times: list[list[float]]) -> str:
    """Step by step, each in all ways; `times` is way by way."""
    whole = [[*way, sum(way)] for way in times]
    steps = zip(*whole, strict=True)
    return "".join("".join(f"{t:>8.0f}" for t in step).ljust(24) for step in steps)


def _times(n_features: int, n_classes: int, dtype: torch.dtype) -> list[list[float]]:
    """Of the three steps, in the two or three ways."""
    rows = torch.randn(BLOCK_BYTES // (n_features * dtype.itemsize), n_features, dtype=dtype)
    weight, bias = torch.randn(n_classes, n_features, dtype=dtype), torch.randn(n_classes).to(dtype)
    z, out = (torch.empty(len(rows), n_classes, dtype=dtype) for _ in range(2))
    turned, out_turned = (torch.empty(n_classes, len(rows), dtype=dtype) for _ in range(2))
    by_row: list[Way] = [
        lambda: torch.addmm(bias, rows, weight.T, out=z),
        lambda: torch.softmax(z, 1, out=out),
        lambda: transposed_times(out, rows),
    ]
    by_class: list[Way] = [
        lambda: torch.addmm(bias[:, None], weight, rows.T, out=turned),
        lambda: torch.softmax(turned, 0, out=out_turned),
        lambda: out_turned @ rows,
    ]
    by_onednn: list[Way] = [
        lambda: torch.add(onednn_product(weight, rows), bias[:, None], out=turned),
        by_class[1],
        lambda: onednn_product(out_turned, rows.T),
    ]
    ways = [by_row, by_class] + [by_onednn] * (dtype == torch.float32)
    return [[_microseconds(step) for step in way] for way in ways]


def _microseconds(way: Way) -> float:
    way()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        way()
        seconds.append(time.perf_counter() - start)
    return 1e6 * statistics.median(seconds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())
