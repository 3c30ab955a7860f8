"""What `polylogit calibrate` found, in words."""

from __future__ import annotations

from typing import Any

MEASURES = {
    "accuracy": "accuracy",
    "log_loss": "log loss (nats)",
    "brier": "Brier score",
    "confidence": "mean confidence",
    "smooth_error": "smooth error",
    "debiased_error": "debiased error^2",
    "binned_error": "binned error",
}


def calibrate_text(summary: dict[str, Any]) -> str:
    """The method and its numbers, the measures before and after, where it is saved."""
    left = ", each left out of the fit" if summary["rows"] == "left out" else ""
    head = (
        f"{summary['method']} scaling on {summary['n_rows']} rows of {summary['source']}{left}: "
        f"temperature {summary['temperature']:.4g}{_penalty(summary)}"
    )
    before, after = summary["before"], summary["after"]
    lines = [head, "", f"{'':<18}{'before':>10}{'after':>10}"]
    lines += [
        f"{words:<18}{_number(before[name])}{_number(after and after[name])}"
        for name, words in MEASURES.items()
    ]
    if after is None:
        lines.append("note: too few rows are predicted wrong to judge it by rows left out")
    else:
        lines.append("After: every fifth of the rows judged by a map fitted on the others.")
    if summary["saved"] is not None:
        lines += ["", f"Saved to {summary['saved']}."]
    return "\n".join([*lines, ""])


def _penalty(summary: dict[str, Any]) -> str:
    if summary["method"] == "temperature":
        return ""
    if summary["penalty"] is None:
        return "; nothing beyond it helps"
    return f", penalty {summary['penalty']:.3g} by {summary['chosen_by']}"


def _number(value: float | None) -> str:
    """Ten characters wide.

    >>> _number(0.98765), _number(None)
    ('    0.9877', '       n/a')
    """
    return f"{'n/a':>10}" if value is None else f"{value:>10.4f}"
