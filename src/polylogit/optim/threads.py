"""How many threads a problem deserves.

Two threads on a small problem can be ten times slower than one: they wait for each other. The
number is chosen from the work of one pass, is never more than the cores this process may use and
that are idle, and what was set before is restored afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

WORTH_A_THREAD = 2e7  # multiply-adds of a pass, per thread
LOAD = Path("/proc/loadavg")  # Linux: "0.20 0.18 0.12 1/80 11206", fourth: running/all


def available_cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def idle_cores() -> int:
    """The cores that nobody else computes on at this moment, as far as the system tells."""
    try:
        running = int(LOAD.read_text().split()[3].split("/")[0])
    except (OSError, ValueError, IndexError):
        return available_cores()
    return max(1, available_cores() - max(0, running - 1))  # one of the running is this one


def chosen_threads(work: float, asked: int | None = None) -> int:
    """Threads for a pass of `work` multiply-adds, no more than cores are idle now.

    What the user `asked` for wins.

    >>> chosen_threads(1e3), chosen_threads(1e12, asked=3)
    (1, 3)
    """
    if asked is not None:
        return asked
    wanted = min(torch.get_num_threads(), int(work / WORTH_A_THREAD))
    return 1 if wanted <= 1 else min(idle_cores(), wanted)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run torch on `count` threads, then on as many as before."""
    before = torch.get_num_threads()
    if count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
