"""How fast to one accuracy: 1e-6 nats per row above the best objective known.

    python -m benchmarks.speed [--only iris,mnist] [--repeats 3] [--limit 120]

For every workload each contender is tried at its settings from loose to tight; the first that
arrives is timed again, in turns with the others, and the median counts. A peer is given up after
`--limit` seconds of tries, or thirty times our own time (twenty seconds at least). Every fit has a
process of its own. The objective is computed here, in float64, from the parameters that were handed
back. The figure is the time of the fastest peer over ours; results go to
`benchmarks/results/speed.json`, where the rows of workloads that were not raced this time stay.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special

from benchmarks.contenders import BEST, OURS, PEERS, Contender
from benchmarks.measure import Run, run
from benchmarks.workloads import WORKLOADS, Workload

ACCURACY = 1e-6  # nats per row
STARTING = 15.0  # seconds that a process may take before and after its fit
PATIENCE, LEAST = 30.0, 20.0  # times ours, and at least so many seconds, that a peer may try
RESULTS = Path(__file__).with_name("results")


@dataclass
class Entry:
    """A contender on a workload: the setting that arrives, and every time it took."""

    contender: str
    setting: float
    excess: float = math.inf
    seconds: list[float] = field(default_factory=list)
    peak_gib: float = math.nan
    failure: str = ""
    said: list[dict[str, Any]] = field(default_factory=list)  # by each process

    @property
    def arrived(self) -> bool:
        return self.excess <= ACCURACY

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds else math.inf

    def to_json(self) -> dict[str, Any]:
        row = {"contender": self.contender, "arrived": self.arrived, "peak_gib": self.peak_gib}
        row |= {"setting": self.setting, "excess": self.excess, "failure": self.failure}
        row |= {"median_seconds": self.median, "seconds": self.seconds} | self._middle()
        return {name: _finite(value) for name, value in row.items()}

    def _middle(self) -> dict[str, Any]:
        """What the process said whose share of plain products is the median."""
        ordered = sorted(self.said, key=lambda said: _share(said) or 0.0)
        return ordered[(len(ordered) - 1) // 2] if ordered else {}


def _share(said: dict[str, Any]) -> float | None:
    """GF/s of the whole fit over those of plain products of the same shapes."""
    return said["gflops"] / said["plain_gflops"] if "gflops" in said else None


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def objective(X: Any, y: np.ndarray, C: float, weight: np.ndarray, bias: np.ndarray) -> float:
    """F in nats per row, in float64; for two classes with scikit-learn's penalty on W1 - W0."""
    weight, bias = weight.astype(np.float64), bias.astype(np.float64)
    penalised = weight - weight.mean(0)  # the common shift is free: take it as small as it can be
    alpha = (2.0 if len(bias) == 2 else 1.0) / (C * len(y))
    total = 0.0
    for start in range(0, len(y), 4096):
        rows = X[start : start + 4096]
        logits = rows.astype(np.float64) @ weight.T + bias
        picked = logits[np.arange(len(logits)), y[start : start + 4096]]
        total += float((scipy.special.logsumexp(logits, axis=1) - picked).sum())
    return total / len(y) + 0.5 * alpha * float(np.square(penalised).sum())


class Race:
    """All contenders on one workload."""

    def __init__(self, work: Workload, repeats: int, limit: float) -> None:
        self.work, self.repeats, self.limit = work, repeats, limit
        self.X, self.y = work.load()
        self.best = math.inf

    def held(self, peers: tuple[Contender, ...]) -> list[Entry]:
        """Find every contender's setting, then time them in turns."""
        self._excess(run(self.work.name, BEST.name, BEST.settings[0], 10 * self.limit))
        ours = self._first_that_arrives(OURS)
        self.limit = min(self.limit, max(LEAST, PATIENCE * ours.median))
        entries = [ours, *(self._first_that_arrives(contender) for contender in peers)]
        quickest = min(entry.median for entry in entries if entry.arrived)
        for turn in range(self.repeats):
            order = entries if turn % 2 else entries[::-1]
            for entry in order:
                if entry.arrived and (entry.median < 20 * quickest or turn < 1):
                    self._again(entry)
        return entries

    def _first_that_arrives(self, contender: Contender) -> Entry:
        entry, left = Entry(contender.name, math.nan), self.limit
        for setting in contender.settings:
            outcome = run(self.work.name, contender.name, setting, left + STARTING)
            entry = self._entry(contender.name, setting, outcome)
            if entry.arrived or entry.failure:
                break
            left -= outcome.seconds
            if left <= 0:
                entry.failure = f"not there after {self.limit:.0f} s of tries"
                break
        self._say(entry)
        return entry

    def _entry(self, name: str, setting: float, outcome: Run) -> Entry:
        if outcome.failure:
            return Entry(name, setting, failure=outcome.failure)
        excess = self._excess(outcome)
        return Entry(
            name, setting, excess, [outcome.seconds], outcome.peak_gib, said=[outcome.said]
        )

    def _excess(self, outcome: Run) -> float:
        if outcome.failure:
            raise SystemExit(f"{self.work.name}: no reference: {outcome.failure}")
        value = objective(self.X, self.y, self.work.C, outcome.weight, outcome.bias)
        self.best = min(self.best, value)
        return value - self.best

    def _again(self, entry: Entry) -> None:
        outcome = run(self.work.name, entry.contender, entry.setting, 10 * self.limit)
        if not outcome.failure:
            entry.seconds.append(outcome.seconds)
            entry.said.append(outcome.said)

    def _say(self, entry: Entry) -> None:
        how = entry.failure or f"excess {entry.excess:.1e} after {entry.median:.3g} s"
        print(f"  {entry.contender:24} setting {entry.setting:<6g} {how}", flush=True)


def summary(name: str, entries: list[Entry]) -> dict[str, Any]:
    """One row of the result: our time, and the ratio to the fastest peer that arrives."""
    ours = entries[0]
    arrived = [entry for entry in entries[1:] if entry.arrived]
    learn = [entry for entry in arrived if entry.contender.startswith("sklearn")]
    return {
        "workload": name,
        "about": WORKLOADS[name].about,
        "C": WORKLOADS[name].C,
        "machine": machine(),
        "seconds": _finite(ours.median),
        "excess": _finite(ours.excess),
        "peak_gib": ours.peak_gib,
        **_against("peer", arrived, ours),
        **_against("sklearn", learn, ours),
        "entries": [entry.to_json() for entry in entries],
    }


def _against(kind: str, entries: list[Entry], ours: Entry) -> dict[str, Any]:
    if not entries or not ours.arrived:
        return {f"fastest_{kind}": None, f"{kind}_seconds": None, f"{kind}_ratio": None}
    best = min(entries, key=lambda entry: entry.median)
    ratio = best.median / ours.median
    return {
        f"fastest_{kind}": best.contender,
        f"{kind}_seconds": best.median,
        f"{kind}_ratio": ratio,
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import sklearn
    import torch

    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":")[1].strip() if lines else model
    versions = {"torch": torch.__version__, "sklearn": sklearn.__version__}
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def main() -> None:
    """Run the races, write the rows, print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default=",".join(WORKLOADS))
    options.add_argument("--peers", default=",".join(peer.name for peer in PEERS))
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--limit", type=float, default=120.0)
    asked = options.parse_args()
    peers = tuple(peer for peer in PEERS if peer.name in asked.peers.split(","))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "speed.json"
    known = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = {row["workload"]: row for row in known}
    for name in asked.only.split(","):
        print(f"{name}: {WORKLOADS[name].about}", flush=True)
        entries = Race(WORKLOADS[name], asked.repeats, asked.limit).held(peers)
        rows[name] = summary(name, entries)
        ordered = [rows[known] for known in WORKLOADS if known in rows]
        path.write_text(json.dumps({"rows": ordered}, indent=1) + "\n")
    table(ordered)


def table(rows: list[dict[str, Any]]) -> None:
    """The rows for a person; the last line is the geometric mean and the smallest ratio.

    Of those alone that are not `beside` the others.
    """
    print(
        f"\n{'workload':16}{'ours':>9}{'fastest peer':>26}"
        f"{'its time':>10}{'ratio':>8}{'sklearn':>9}"
    )
    for row in rows:
        peer = f"{row['fastest_peer'] or 'none arrived':>26}"
        numbers = [row["peer_seconds"], row["peer_ratio"], row["sklearn_ratio"]]
        cells = ["-" if number is None else f"{number:.3g}" for number in numbers]
        print(
            f"{row['workload']:16}{row['seconds']:>9.3g}{peer}{cells[0]:>10}{cells[1]:>8}{cells[2]:>9}"
        )
    for row in rows:
        ours = row["entries"][0]
        if part := _share(ours):
            print(
                f"{row['workload']}: {ours['gflops']:.0f} GF/s over the whole fit, "
                f"{part:.0%} of plain products of the same shapes ({ours['plain_gflops']:.0f})"
            )
    for kind in ("peer", "sklearn"):
        counted = [row for row in rows if not WORKLOADS[row["workload"]].beside]
        ratios = [row[f"{kind}_ratio"] for row in counted if row[f"{kind}_ratio"]]
        if ratios:
            mean = statistics.geometric_mean(ratios)
            print(f"against {kind}: geometric mean {mean:.2f}, minimum {min(ratios):.2f}")


if __name__ == "__main__":
    main()
