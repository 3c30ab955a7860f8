"""`polylogit summary`: read, refit, say what the coefficients are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from polylogit.app.commands.fit import refuse_nameless
from polylogit.app.commands.scoring import cells_note
from polylogit.app.terminal import Watch
from polylogit.data.dataset import Dataset, Matrix
from polylogit.data.read import prepare, read_table
from polylogit.diagnostics.inference.summary import summarize
from polylogit.errors import DataError, OptionError
from polylogit.schema import Label, Table, listed, shown


@dataclass(frozen=True)
class SummaryRequest:
    """Everything that `polylogit summary` was asked for."""

    data: str
    target: str | None
    reference: str | None
    sum_to_zero: bool
    robust: str | None
    cluster: str | None
    C: float
    firth: bool
    level: float
    weights: str | None
    intercept: bool
    categorical: tuple[str, ...]
    ignore: tuple[str, ...]
    delimiter: str | None


def summary(request: SummaryRequest, watch: Watch) -> dict[str, Any]:
    """The tables of `polylogit.summarize` as plain data."""
    _check(request)
    watch.stage(f"reading {request.data}")
    table = read_table(
        request.data,
        delimiter=request.delimiter,
        categorical=request.categorical,
        ignore=request.ignore,
        target=request.target,
    )
    refuse_nameless(table, request.target)
    table, groups = _parted(table, request.cluster)
    dataset = prepare(table, target=request.target, weights=request.weights)
    watch.stage(f"fitting {dataset.n_rows} rows")
    found = summarize(
        dataset,
        reference=_reference(request.reference, dataset),
        contrasts="sum-to-zero" if request.sum_to_zero else "reference",
        C=request.C,
        firth=request.firth,
        fit_intercept=request.intercept,
        robust=cast("Any", request.robust),
        cluster=groups,
        level=request.level,
    )
    return found.to_json() | cells_note(dataset, request.ignore)


def _check(request: SummaryRequest) -> None:
    """Refuse what contradicts itself before a large file is read."""
    if request.robust not in (None, "hc0"):
        raise OptionError(f"--robust must be hc0, not {request.robust!r}")
    if request.robust and request.cluster:
        raise OptionError("--robust and --cluster are two covariances; ask for one of them")
    if request.sum_to_zero and request.reference is not None:
        raise OptionError("--sum-to-zero has no reference; leave out --reference")
    taken = {request.target, request.weights, *request.ignore}
    if request.cluster is not None and request.cluster in taken:
        raise OptionError(f"--cluster {request.cluster} names a column that has another part")


def _parted(table: Table | Matrix, cluster: str | None) -> tuple[Table | Matrix, np.ndarray | None]:
    """The table without the column of groups, and the groups (N,)."""
    if cluster is None:
        return table, None
    if not isinstance(table, Table):
        raise OptionError(
            f"{table.source} has no named columns, so none can be --cluster {cluster}"
        )
    column = table.column(cluster)
    if column.missing.any():
        place = table.place(int(np.argmax(column.missing)))
        raise DataError(f"{table.source}: column {shown(cluster)} names no group in {place}")
    return table.without(cluster), column.values


def _reference(text: str | None, dataset: Dataset) -> Label | None:
    """The class that is written like this."""
    if text is None:
        return None
    classes = dataset.schema.classes
    for label in classes:
        if str(label) == text:
            return label
    raise OptionError(f"--reference {text} is no class of the data; they are {listed(classes)}")
