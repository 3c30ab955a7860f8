"""The path that C was chosen from, in the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

COLUMNS = ("", "C", "train loss", "left out", "std. error", "accuracy", "free params")


def choice_table(lines: list[dict[str, Any]], chosen: float | None) -> Table:
    """A line for each C, the chosen one marked; losses in nats per row."""
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row("*" if line["C"] == chosen else "", *_cells(line))
    return table


def _cells(line: dict[str, Any]) -> list[str]:
    error = line["standard_error"]
    return [
        f"{line['C']:.3g}",
        f"{line['train_loss']:.4f}",
        f"{line['loss']:.4f}",
        "inf" if error is None else f"{error:.4f}",
        f"{line['accuracy']:.4f}",
        f"{line['effective_dof']:.1f}",
    ]
