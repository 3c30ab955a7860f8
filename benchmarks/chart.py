"""The chart of the README: how many times quicker than the fastest peer, for each workload.

python -m benchmarks.chart      reads benchmarks/results/speed.json, writes docs/speed.svg
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.speed import RESULTS
from benchmarks.workloads import WORKLOADS

CHART = Path(__file__).parents[1] / "docs" / "speed.svg"
OURS, THEIRS = "#0072b2", "#999999"  # told apart by the colour-blind, and by lightness

APART = 0.6  # of a row, between those in the mean and those beside them


def main() -> None:
    """Draw the rows of the last run."""
    rows = json.loads((RESULTS / "speed.json").read_text())["rows"]
    mpl.rcParams |= {"svg.hashsalt": "polylogit", "svg.fonttype": "none", "font.size": 9}
    draw([row for row in rows if row["seconds"]])


def draw(rows: list[dict[str, Any]]) -> None:
    """Two bars a workload, seconds on a logarithmic scale, the ratio written beside them.

    Those that no mean counts are apart, at the foot.
    """
    figure, axes = plt.subplots(figsize=(7.5, 0.52 * len(rows) + 1.3))
    beside = sum(WORKLOADS[row["workload"]].beside for row in rows)
    places = [place + APART * (place >= beside) for place in range(len(rows))]
    for place, row in zip(places, reversed(rows), strict=True):
        axes.barh(place + 0.2, row["seconds"], 0.38, color=OURS)
        label = "no peer arrived in time"
        if row["peer_seconds"]:
            axes.barh(place - 0.2, row["peer_seconds"], 0.38, color=THEIRS)
            label = f"{row['peer_ratio']:.1f} x ({row['fastest_peer']})"
        end = max(row["seconds"], row["peer_seconds"] or 0)
        axes.text(end * 1.15, place, label, va="center")
    axes.set_yticks(places, [row["workload"] for row in reversed(rows)])
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 30)
    axes.set_xlabel("seconds to within 1e-6 nats per row of the optimum (blue: polylogit)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(CHART, metadata={"Date": None})


if __name__ == "__main__":
    main()
