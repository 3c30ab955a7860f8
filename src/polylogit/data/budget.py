"""How much memory a reader may take, as people write it: 500MB, 2GiB.

>>> size_of("2GiB"), size_of("500 MB"), size_of(2097152)
(2147483648, 500000000, 2097152)
"""

from __future__ import annotations

import re

from polylogit.errors import OptionError
from polylogit.schema import shown

LEAST = 2**20
_UNITS = {
    "": 1, "b": 1,
    "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


def size_of(option: object) -> int:
    """Bytes of a number or of a text such as 500MB (10^6) or 2GiB (2^30).

    An OptionError says what a size looks like; sizes below 1 MiB hold no block of rows.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(option))
    plain = isinstance(option, str | int) and not isinstance(option, bool)
    if not plain or found is None or found[2].lower() not in _UNITS:
        raise OptionError(
            f"memory must be a size such as 500MB or 2GiB, not {shown(option)}; K, M, G and T "
            "count thousands, KiB, MiB, GiB and TiB count 1024s"
        )
    size = int(float(found[1]) * _UNITS[found[2].lower()])
    if size < LEAST:
        raise OptionError(f"memory must be at least 1MiB, not {shown(option)}; try 500MB or 2GiB")
    return size
