"""One fit in a process of its own: seconds of `fit` alone, peak memory, and the parameters found.

    python -m benchmarks.measure WORKLOAD CONTENDER SETTING FILE

A small fit comes first, so that nobody pays for loading libraries and starting threads; a fit of
milliseconds is timed several times, and the median counts.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import ALL, Fitted
from benchmarks.peak import peak_mib
from benchmarks.workloads import WORKLOADS

QUICK, MOST_FITS = 0.3, 15  # seconds in all that are spent on fits which take less, and how many
LARGE = 1e8  # flops of a pass whose speed is worth a comparison


@dataclass(frozen=True)
class Run:
    """What one process saw; `failure` instead of numbers where it did not end well."""

    seconds: float
    peak_gib: float
    weight: np.ndarray
    bias: np.ndarray
    failure: str = ""
    said: dict[str, Any] = field(default_factory=dict)


def run(workload: str, contender: str, setting: float, limit: float) -> Run:
    """Fit in a child process that is stopped after `limit` seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        python = ALL[contender].python
        if not Path(python).exists():
            return _failed(f"not installed: {python} (make bench sets it up)")
        command = [python, "-W", "ignore", "-m", "benchmarks.measure"]
        command += [workload, contender, repr(setting), str(path)]
        try:
            done = subprocess.run(command, timeout=limit, capture_output=True, text=True)
        except subprocess.TimeoutExpired:
            return _failed(f"stopped after {limit:.0f} s")
        if done.returncode != 0:
            return _failed((done.stderr.strip().splitlines() or ["killed"])[-1][:200])
        with np.load(path) as file:
            report = json.loads(done.stdout.splitlines()[-1])
            times = report["seconds"], report["peak_gib"]
            return Run(*times, file["weight"], file["bias"], said=report["said"])


def _failed(why: str) -> Run:
    nothing = np.empty(0)
    return Run(float("nan"), float("nan"), nothing, nothing, why)


def main(workload: str, contender: str, setting: str, path: str) -> None:
    """Fit once, and write down what came out."""
    work, fit = WORKLOADS[workload], ALL[contender].fit
    X, y = work.load()
    fit(*WORKLOADS["iris"].load(), 1.0, float(setting))
    again = partial(fit, X, y, work.C, float(setting))
    fitted, seconds = _timed(again)
    peak = peak_mib() / 2**10
    said = fitted.said | _speed(again, X, fitted, seconds)
    np.savez(path, weight=fitted.weight, bias=fitted.bias)
    print(json.dumps({"seconds": seconds, "peak_gib": peak, "said": said}))


def _timed(fit: Callable[[], Fitted]) -> tuple[Fitted, float]:
    """The outcome and the median time; what is done in a moment is done again and again."""
    seconds: list[float] = []
    while not seconds or (sum(seconds) < QUICK and len(seconds) < MOST_FITS):
        start = time.perf_counter()
        fitted = fit()
        seconds.append(time.perf_counter() - start)
    return fitted, statistics.median(seconds)


def _speed(fit: Callable[[], Fitted], X: Any, fitted: Fitted, seconds: float) -> dict[str, float]:
    """GF/s of all products of matrices in a large dense fit, and of the same ones done alone."""
    product = 2.0 * fitted.weight.size * X.shape[0]
    if "passes" not in fitted.said or not isinstance(X, np.ndarray) or product < LARGE:
        return {}
    from benchmarks.flops import by_shape, plain_seconds

    flops = by_shape(fit, len(fitted.bias))
    total, alone = sum(flops.values()), plain_seconds(X, fitted.weight, flops)
    return {"gflops": total / seconds / 1e9, "plain_gflops": total / alone / 1e9}


if __name__ == "__main__":
    main(*sys.argv[1:])
