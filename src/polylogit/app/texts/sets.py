"""What the sets of `polylogit predict --sets` are worth, in words."""

from __future__ import annotations

from typing import Any


def sets_text(summary: dict[str, Any]) -> str:
    """Lines about the sets; none where no sets were asked for."""
    made = summary.get("sets")
    if made is None:
        return ""
    within = " within each class" if made["by_class"] else ""
    least = "about" if made["approximate"] else "at least"
    head = (
        f"Sets ({made['method']}) of {made['mean_size']:.2f} classes on average hold the truth in "
        f"{least} {made['coverage']:.6g} of rows like those of {made['calibration']}{within}."
    )
    return "\n".join([head, *_certainty(made), *_too_few(made, summary["classes"]), ""])


def _certainty(made: dict[str, Any]) -> list[str]:
    """How far the coverage may be off by the luck of the calibration rows."""
    if made["approximate"]:
        return ["Approximate: by leave-one-out of the rows of the fit, which proves no coverage."]
    if made["by_class"] or made["full"][0]:
        return []
    low, high = made["interval"][0]
    return [
        f"With these {made['n_rows'][0]} rows it lies between {low:.3f} and {high:.3f} "
        "(95 % of calibration files)."
    ]


def _too_few(made: dict[str, Any], classes: list[Any]) -> list[str]:
    """Where there are too few rows to leave a class out, and how many it takes.

    >>> made = {"by_class": True, "full": [True, False], "n_rows": [9, 80], "rows_needed": 19}
    >>> _too_few(made, ["a", "b"])
    ['note: 9 rows of a are too few, it takes 19: the class is in every set']
    """
    few = [place for place, full in enumerate(made["full"]) if full]
    if not made["by_class"]:
        head = f"note: {made['n_rows'][0]} rows are too few, it takes {made['rows_needed']}"
        return [f"{head}: every set holds every class"] if few else []
    return [
        f"note: {made['n_rows'][k]} rows of {classes[k]} are too few, it takes "
        f"{made['rows_needed']}: the class is in every set"
        for k in few
    ]
