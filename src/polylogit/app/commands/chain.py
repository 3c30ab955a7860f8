"""`polylogit chain`: from logits to the loss, or two distributions compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polylogit import steps


def walk(rows: Sequence[Sequence[float]], targets: Sequence[int], temperature: float) -> Any:
    """Every step as plain JSON data."""
    return steps.chain(rows, targets, temperature).to_json()


def measure(p: Sequence[float], q: Sequence[float] | None) -> Any:
    """Entropies and divergences as plain JSON data."""
    return steps.compare(p, q).to_json()
