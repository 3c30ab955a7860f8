"""One fit in a process of its own: seconds of `fit` alone, peak memory, and the parameters found.

    python -m benchmarks.measure WORKLOAD CONTENDER SETTING FILE

A small fit comes first, so that nobody pays for loading libraries and starting threads.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.contenders import ALL
from benchmarks.workloads import WORKLOADS


@dataclass(frozen=True)
class Run:
    """What one process saw; `failure` instead of numbers where it did not end well."""

    seconds: float
    peak_gib: float
    weight: np.ndarray
    bias: np.ndarray
    failure: str = ""


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
            return Run(report["seconds"], report["peak_gib"], file["weight"], file["bias"])


def _failed(why: str) -> Run:
    nothing = np.empty(0)
    return Run(float("nan"), float("nan"), nothing, nothing, why)


def main(workload: str, contender: str, setting: str, path: str) -> None:
    """Fit once, and write down what came out."""
    work, fit = WORKLOADS[workload], ALL[contender].fit
    X, y = work.load()
    fit(*WORKLOADS["iris"].load(), 1.0, float(setting))
    start = time.perf_counter()
    weight, bias = fit(X, y, work.C, float(setting))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    np.savez(path, weight=weight, bias=bias)
    print(json.dumps({"seconds": seconds, "peak_gib": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
