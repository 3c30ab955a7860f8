"""How much of the data stays at hand: the size of the cache that a processor's cores share."""

from __future__ import annotations

from pathlib import Path

SYSTEM = Path("/sys/devices/system/cpu/cpu0/cache")  # where Linux says; elsewhere nobody does
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def cache_bytes(system: Path = SYSTEM) -> int:
    """The size of the largest cache, in bytes; 0 where the system does not say."""
    return max((_bytes_in(file) for file in system.glob("index*/size")), default=0)


def _bytes_in(file: Path) -> int:
    """Of a file that says "48M" or "49152K"."""
    try:
        said = file.read_text().strip()
        return int(said[:-1]) * UNITS[said[-1]]
    except (OSError, ValueError, KeyError, IndexError):
        return 0
