"""`polylogit path`: many values of C, each judged, the best one kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from scipy import sparse

from polylogit import path as polylogit_path
from polylogit import serialization
from polylogit.app.commands.files import as_text, check_output
from polylogit.app.commands.fit import (
    FitRequest,
    check_request,
    encode_judges,
    encode_training,
    part_rows,
    read_rows,
    refuse_nameless,
    train_rows,
)
from polylogit.app.commands.scoring import cells_note
from polylogit.app.terminal import Watch
from polylogit.data.dataset import Dataset
from polylogit.data.read import read
from polylogit.errors import InputError, OptionError
from polylogit.optim.problem import Status
from polylogit.path import checked_strengths, fit_path, search_path
from polylogit.schema import Schema
from polylogit.stored import Spill, StoredRows

PROTOCOLS = ("clip", "dino")


@dataclass(frozen=True)
class PathRequest:
    """Everything that `polylogit path` was asked for.

    `fit` holds what it shares with `polylogit fit`: its `holdout` is the part of the rows to judge
    on, unless they are in a file of their own, `validation`. No `Cs` are the 45 of DINOv2.
    """

    fit: FitRequest
    Cs: tuple[float, ...] | None = None
    validation: str | None = None
    protocol: str | None = None

    @property
    def by(self) -> str:
        """What the best C is the best by."""
        return "top1" if self.protocol else "loss"


def path(asked: PathRequest, watch: Watch) -> dict[str, Any]:
    """Read, part, fit the path, judge it; with a model file, fit all rows at the best C and save.

    Protocols, both judged by top-1 accuracy: "clip" searches 96 steps from 1e-6 to 1e6 (see
    `polylogit.path.search_path`); "dino" fits 10**linspace(-6, 5, 45), as facebookresearch/dinov2
    does in `dinov2/eval/log_regression.py`. There a tenth of the rows is drawn to judge on, and the
    final fit is one on all rows; here the tenth is drawn class by class.
    """
    try:
        return _path(asked, watch)
    except InputError as error:  # the words that this command has for a part of the rows
        raise type(error)(str(error).replace("--holdout", "--validation")) from error


def _path(asked: PathRequest, watch: Watch) -> dict[str, Any]:
    request = asked.fit
    _check_path(asked)
    watch.stage(f"reading {request.data}")
    table = read_rows(request, request.data)
    refuse_nameless(table, request.target)
    training, held_out = part_rows(table, request)
    dataset = encode_training(training, request, part=held_out is not None)
    judges = None if held_out is None else encode_judges(held_out, request, dataset.schema)
    if asked.validation is not None:
        judges = _from_file(asked, dataset.schema, watch)
    watch.stage(f"fitting {dataset.n_rows} rows")
    found = _swept(asked, dataset, judges, watch)
    best = None if judges is None else found.best(asked.by)
    interrupted = any(fit.solution.status is Status.INTERRUPTED for fit in found.fits)
    final = None
    if best is not None and judges is not None and request.model is not None and not interrupted:
        in_file = asked.validation is not None
        rows = _joined(dataset, judges) if in_file else encode_training(table, request, part=False)
        final = train_rows(rows, replace(request, C=found.Cs[best]), watch, None)
        watch.stage(f"saving {request.model}")
        serialization.save(final.model, request.model)
        interrupted = final.stopped
    head = {"source": table.source, "protocol": asked.protocol, "by": asked.by}
    tail = {
        "interrupted": interrupted,
        "refit": None if final is None else final.solution.message,
        "model": None if final is None else as_text(request.model),
    }
    cells = cells_note(dataset, request.ignore)
    return {**head, **_path_summary(dataset, judges, found, best), **tail, **cells}


def _path_summary(
    dataset: Dataset, judges: Dataset | None, found: polylogit_path.Path, best: int | None
) -> dict[str, Any]:
    return {
        "n_train": dataset.n_rows,
        "n_validation": None if judges is None else judges.n_rows,
        "n_features": dataset.n_features,
        "classes": list(dataset.schema.classes),
        "table": [point.to_json() for point in found.table],
        "best": best,
        "C": None if best is None else found.table[best].to_json()["C"],
        "at_the_end": best is not None and len(found.Cs) > 1 and best in (0, len(found.Cs) - 1),
        "passes": sum(point.passes for point in found.table),
        "seconds": sum(point.seconds for point in found.table),
        "certified": all(point.certified for point in found.table),
    }


def _check_path(asked: PathRequest) -> None:
    """Refuse wrong options before a large file is read."""
    check_request(asked.fit)
    if asked.Cs is not None:
        checked_strengths(asked.Cs)
    if asked.protocol is not None and asked.protocol not in PROTOCOLS:
        known = " or ".join(PROTOCOLS)
        raise OptionError(f"--protocol must be {known}, not {asked.protocol!r}")
    if asked.protocol is not None and asked.Cs is not None:
        raise OptionError("--protocol and --Cs both say which C to fit; give one of them")
    if asked.validation is None and asked.fit.holdout == 0:
        for option, given in (("--model", asked.fit.model), ("--protocol", asked.protocol)):
            if given is not None:
                raise OptionError(
                    f"{option} needs rows to find the best C on; give --validation a part of the "
                    "rows or a file"
                )
    if asked.protocol == "clip" and asked.fit.checkpoint is not None:
        raise OptionError("--checkpoint keeps a path from small to large C; clip searches instead")
    if asked.validation is not None:
        for option, path in (("--model", asked.fit.model), ("--checkpoint", asked.fit.checkpoint)):
            check_output(option, path, asked.validation)


def _from_file(asked: PathRequest, schema: Schema, watch: Watch) -> Dataset:
    """The rows to judge on, in a file of their own, encoded as those to learn from."""
    request = asked.fit
    watch.stage(f"reading {asked.validation}")
    return read(
        asked.validation,
        target=request.target or "y",
        weights=request.weights,
        schema=schema,
        ignore=request.ignore,
        delimiter=request.delimiter,
        memory=request.memory,
    )


def _swept(
    asked: PathRequest, dataset: Dataset, judges: Dataset | None, watch: Watch
) -> polylogit_path.Path:
    request = asked.fit
    options: dict[str, Any] = {
        "l1_ratio": request.l1_ratio,
        "fit_intercept": request.intercept,
        "class_weight": request.class_weight,
        "label_smoothing": request.label_smoothing,
        "tol": request.tol,
        "max_iter": request.max_iter,
        "solver": request.solver,
        "n_threads": request.n_threads,
        "device": request.device,
        "penalty_factors": request.penalty_factors or None,
        "progress": watch.step,
    }
    if asked.protocol == "clip":
        return search_path(dataset, validation=cast("Dataset", judges), by=asked.by, **options)
    return fit_path(dataset, asked.Cs, validation=judges, checkpoint=request.checkpoint, **options)


def _joined(one: Dataset, other: Dataset) -> Dataset:
    """The rows of both, encoded by the schema of the first."""
    if isinstance(one.features, StoredRows) or isinstance(other.features, StoredRows):
        return _joined_in_a_file(one, other)
    stack: Any = sparse.vstack if sparse.issparse(one.features) else np.concatenate
    features = stack([one.features, other.features])
    features = sparse.csr_array(features) if sparse.issparse(features) else features
    return replace(one, features=features, **_joined_answers(one, other))


def _joined_answers(one: Dataset, other: Dataset) -> dict[str, Any]:
    targets = np.concatenate([cast("np.ndarray", part.targets) for part in (one, other)])
    weights = None
    if one.weights is not None and other.weights is not None:
        weights = np.concatenate([one.weights, other.weights])
    return {"targets": targets, "weights": weights}


def _joined_in_a_file(one: Dataset, other: Dataset) -> Dataset:
    """The rows of both in a file without a name, a block at a time."""
    spill, dtype = Spill(one.source), np.dtype(np.float64)
    for part in (one, other):
        rows: Any = part.features
        blocks = rows.blocks() if isinstance(rows, StoredRows) else [(slice(None), rows)]
        block: Any
        for _, block in blocks:
            dense = block.toarray() if sparse.issparse(block) else block
            spill.append(np.ascontiguousarray(dense, dtype=dtype))
    features = spill.rows(one.n_features, dtype)
    return replace(one, features=features, **_joined_answers(one, other))
