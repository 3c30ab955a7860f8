"""What DINOv2's sweep over 45 values of C costs, in default fits of the same data.

    python -m benchmarks.sweep [ROWS]

The protocol fits 10**linspace(-6, 5, 45), each cold (`dinov2/eval/log_regression.py`). Here one
path fits them all, each to the same certified gap. Both are run in this process, by turns; the
figures are medians of three, and seconds are those of the processor, which other work on the
machine disturbs least.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from benchmarks.workloads import WORKLOADS
from polylogit import from_arrays
from polylogit.data.dataset import Dataset
from polylogit.optim.problem import Solution
from polylogit.path import fit_path
from polylogit.training import fit

WORKLOAD, REPEATS = "embeddings-20", 3


@dataclass(frozen=True)
class Cost:
    """Passes over the data, seconds of the processor and of the clock, and the largest gap."""

    passes: int
    cpu: float
    seconds: float
    gap: float


def measured(work: Callable[[], list[Solution]]) -> Cost:
    cpu, clock = time.process_time(), time.perf_counter()
    solutions = work()
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    passes = sum(solution.statistics.passes for solution in solutions)
    return Cost(passes, cpu, clock, max(solution.certificate.gap for solution in solutions))


def one(data: Dataset, C: float) -> list[Solution]:
    return [fit(data, C=C).solution]


def sweep(data: Dataset) -> list[Solution]:
    return [found.solution for found in fit_path(data).fits]


def main(rows: str = "") -> None:
    work = WORKLOADS[WORKLOAD]
    X, y = work.load()
    count = int(rows) if rows else len(y)
    data = from_arrays(X[:count], y[:count])
    one(from_arrays(X[:500], y[:500]), work.C)  # nobody pays for loading libraries
    fits, sweeps = [], []
    for _ in range(REPEATS):
        fits.append(measured(lambda: one(data, work.C)))
        sweeps.append(measured(lambda: sweep(data)))
    print(f"{WORKLOAD}, {count} rows: one fit at C = {work.C:g}, and 45 from 1e-6 to 1e5")
    for name, runs in (("fit", fits), ("sweep", sweeps)):
        middle = [median(getattr(run, field) for run in runs) for field in ("passes", "cpu")]
        clock, gap = median(run.seconds for run in runs), max(run.gap for run in runs)
        print(
            f"{name:<6} {middle[0]:5d} passes {middle[1]:7.2f} s cpu {clock:7.2f} s, gap {gap:.1e}"
        )
    for field in ("passes", "cpu", "seconds"):
        pairs = zip(fits, sweeps, strict=True)
        ratio = median(getattr(many, field) / getattr(single, field) for single, many in pairs)
        print(f"ratio of {field:<8} {ratio:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
