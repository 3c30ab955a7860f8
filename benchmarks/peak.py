"""How much memory a process has held at most."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_mib() -> float:
    """Of this process, in MiB.

    Linux begins ru_maxrss at what the process held that started this one: of use elsewhere only.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
