"""How the proven gap of a fit fell."""

from __future__ import annotations

from polylogit.app.figures.frame import Figure, Frame, Points, axes, curve, dots, drawn, spanning
from polylogit.app.figures.frame import told as in_words


def convergence(steps: Points, passes: str, gap: str) -> Figure:
    """(passes over the data, proven gap) of every step, between axes of these names."""
    frame = Frame(
        spanning(passes, (x for x, _ in steps)), spanning(gap, (y for _, y in steps), log=True)
    )
    return drawn(
        560, 280, in_words(gap, steps), axes(frame), curve(frame, steps), dots(frame, steps)
    )
