"""The tables of `polylogit summary` in the terminal, and what they mean in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

FEW_CLUSTERS = 30
MOST_NAMES = 12

_METHODS = {
    "unpenalised": "maximum likelihood without penalty",
    "firth": "Firth's penalised likelihood",
    "penalised": "penalised fit",
}
_COVARIANCES = {
    "information": "errors from the inverse information",
    "hc0": "HC0 robust errors",
    "cluster": "cluster-robust errors",
}


def show(found: dict[str, Any]) -> None:
    """Print everything: how the rows fit, three tables, the notes."""
    console = Console(highlight=False, width=100_000)
    for line in _head(found):
        _say(console, line)
    _titled(console, f"Coefficients, {_against(found)}", found)
    console.print(_coefficients(found))
    _titled(console, "Joint Wald test of every column", found)
    console.print(_wald(found["wald"]["rows"]))
    _titled(console, "Average marginal effects on the probabilities", found)
    console.print(_estimates(found["effects"]["rows"], found["effects"]["level"], "class"))
    for line in sentences(found):
        _say(console, f"* {line}")


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)


def _titled(console: Console, title: str, found: dict[str, Any]) -> None:
    _say(console, f"\n{title} ({origin(found)})")


def origin(found: dict[str, Any]) -> str:
    """What a table is from."""
    method = _METHODS[found["fit"]["method"]]
    strength = f" with C = {found['C']:g}" if found["C"] is not None else ""
    return f"{method}{strength}, {_COVARIANCES[found['coefficients']['covariance']]}"


def _against(found: dict[str, Any]) -> str:
    if found["contrasts"] == "sum-to-zero":
        return "log odds against the mean of all classes"
    return f"log odds against class {_plain(found['reference'])}"


def _head(found: dict[str, Any]) -> Iterator[str]:
    fit, test = found["fit"], found["fit"]["likelihood_ratio"]
    yield f"{found['source']}: {found['n']:g} rows, {len(found['classes'])} classes"
    yield f"Fitted by {_METHODS[fit['method']]}: {fit['parameters']:.6g} parameters"
    null = fit["log_likelihood_null"]
    alone = "" if null is None else f", of the class shares alone {null:.4f}"
    yield f"log-likelihood {fit['log_likelihood']:.4f} nats{alone}"
    pseudo = "" if fit["mcfadden"] is None else f", McFadden's pseudo-R2 {fit['mcfadden']:.4f}"
    yield f"AIC {fit['aic']:.4f}, BIC {fit['bic']:.4f}{pseudo}"
    if test["p"] is not None:
        yield (
            f"likelihood-ratio test of {test['name']}: chi2({test['df']}) = "
            f"{test['statistic']:.4f}, p {_p(test['p'], equals=True)}"
        )


def _coefficients(found: dict[str, Any]) -> Table:
    return _estimates(found["coefficients"]["rows"], found["coefficients"]["level"], "class")


def _estimates(rows: list[dict[str, Any]], level: float, first: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first)
    table.add_column("column")
    for name in ("estimate", "error", "z", "p", f"{level:.4g} from", "to"):
        table.add_column(name, justify="right")
    last = None
    for row in rows:
        label = "" if row["label"] == last else _plain(row["label"])
        last = row["label"] if first == "class" else None
        table.add_row(Text(label), Text(_plain(row["column"])), *_cells(row))
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    z = "separated" if row.get("separated") else _number(row["z"], 3)
    low, high = _number(row["low"]), _number(row["high"])
    return [_number(row["estimate"]), _number(row["error"]), z, _p(row["p"]), low, high]


def _wald(rows: list[dict[str, Any]]) -> Table:
    table = Table("column", box=None, pad_edge=False)
    for name in ("chi2", "df", "p"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            Text(_plain(row["name"])), _number(row["statistic"], 3), str(row["df"]), _p(row["p"])
        )
    return table


def _number(value: float | None, digits: int = 4) -> str:
    """A number of a column, as short as it may be.

    >>> _number(1.23456), _number(None), _number(123456.7), _number(0.0000123)
    ('1.2346', '-', '1.235e+05', '1.23e-05')
    """
    if value is None or not math.isfinite(value):
        return "-"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.3e}" if abs(value) >= 1 else f"{value:.2e}"
    return f"{value:.{digits}f}"


def _p(p: float | None, *, equals: bool = False) -> str:
    """A p-value; below 0.0001 its size is beside the point.

    >>> _p(0.03), _p(1e-9), _p(None), _p(0.03, equals=True)
    ('0.0300', '<0.0001', '-', '= 0.0300')
    """
    if p is None:
        return "-"
    if p < 1e-4:
        return "< 0.0001" if equals else "<0.0001"
    return f"= {p:.4f}" if equals else f"{p:.4f}"


def _plain(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else repr(text)


# ------------------------------------------------------------------------------------------ notes


def sentences(found: dict[str, Any]) -> Iterator[str]:
    """What a reader must know before the numbers are used."""
    yield from _on_separation(found)
    if found["fit"]["method"] == "penalised":
        yield (
            "The penalty shrinks the estimates, and no error here contains that bias: there is no "
            "valid p-value, and the intervals are about the shrunken values. AIC and BIC count "
            "effective parameters."
        )
    elif found["fit"]["method"] == "firth" and not found["separated"]:
        yield "No class is separated; Firth's likelihood was asked for and takes off the bias."
    if found["n_clusters"] is not None:
        few = " With so few, errors come out too small." * (found["n_clusters"] < FEW_CLUSTERS)
        groups = f"one of {found['n_clusters']} groups"
        yield f"Errors allow rows of {groups} to depend on each other.{few}"
    if not found["whole_weights"]:
        yield (
            "Weights count rows, yet some are no whole numbers: if they are sampling weights, only "
            "the estimates mean something, not the errors."
        )
    yield from _on_columns(found)


def _on_separation(found: dict[str, Any]) -> Iterator[str]:
    if not found["separation_checked"]:
        yield (
            "The table is too large to look for separation by a linear program, so it is not known "
            "which coefficients have a finite maximum likelihood estimate; none has a valid z or p."
        )
    if not found["separated"]:
        return
    by_class: dict[str, list[str]] = {}
    for one in found["separated"]:
        by_class.setdefault(_plain(one["label"]), []).append(_plain(one["column"]))
    rest = "the others" if found["reference"] is None else _plain(found["reference"])
    for label, columns in by_class.items():
        more = f" and {len(columns) - MOST_NAMES} more" if len(columns) > MOST_NAMES else ""
        yield (
            f"Class {label} is separated from {rest}; no finite maximum likelihood estimate has: "
            f"{', '.join(columns[:MOST_NAMES])}{more}."
        )
    yield (
        "So Firth's penalised likelihood gives the numbers above. They are finite, but a direction "
        "that is separated has no valid z or p; nor has a test that contains it."
    )


def _on_columns(found: dict[str, Any]) -> Iterator[str]:
    baselines = [_plain(one["name"]) for one in found["left_out"] if one["why"] == "baseline"]
    repeats = [_plain(one["name"]) for one in found["left_out"] if one["why"] == "repeats"]
    if baselines:
        yield f"Baseline of its column: {', '.join(baselines[:MOST_NAMES])}."
    if repeats:
        yield (
            f"Left out, because other columns already say it: {', '.join(repeats[:MOST_NAMES])}."
        )
