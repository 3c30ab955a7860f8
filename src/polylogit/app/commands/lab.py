"""`polylogit lab`: the local page, or a copy of it that needs no server of ours."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from polylogit.app.lab import export as baking
from polylogit.app.lab import server


def serve(port: int, started: Callable[[str], None], *, browser: bool) -> None:
    """Serve until Ctrl-C; `started` is told the address."""

    def told(address: str) -> None:
        started(address)
        sys.stdout.flush()

    server.serve(server.listening(port), told, browser=browser)


def export(folder: Path) -> dict[str, Any]:
    """Write the page with baked answers; how many, and how large they are."""
    return {"folder": str(folder), **baking.export(folder)}
