"""The panel of one's own table: fit a CSV, and walk any row from its cells to its probabilities."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from polylogit.app.lab.value import opened, short
from polylogit.data.dataset import Dataset
from polylogit.data.examples import EXAMPLES
from polylogit.data.read import prepare, read_table
from polylogit.diagnostics.explain import Contribution, Explanation, explain
from polylogit.errors import InputError, OptionError
from polylogit.model import SoftmaxModel
from polylogit.schema import Table
from polylogit.steps import Step
from polylogit.training import Fit, fit

LONGEST = 6 * 2**20  # characters of a table
WIDEST = 20_000  # weights that a row is shown with


class TableRequest(BaseModel):
    """A built-in table or the text of a CSV, the column to predict (else the last), and C."""

    example: Literal["penguins", "lesson"] | None = None
    text: str | None = Field(default=None, max_length=LONGEST)
    target: str | None = Field(default=None, max_length=500)
    C: float = Field(default=1.0, ge=1e-6, le=1e6, allow_inf_nan=False)


class RowRequest(TableRequest):
    """A row of it, counted from 1."""

    row: int = Field(ge=1)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A table as it was read and encoded, and its certified model."""

    columns: tuple[str, ...]
    data: Dataset
    fit: Fit

    @property
    def rows(self) -> Tensor:
        """X (N, D) in float64."""
        return torch.as_tensor(np.asarray(self.data.features), dtype=torch.float64)


def table(asked: TableRequest) -> dict[str, Any]:
    """Fit the table; its columns, classes, and how good and how sure the fit is."""
    fitted = _fitted(asked.example, asked.text, asked.target, asked.C)
    data, solution = fitted.data, fitted.fit.solution
    right = torch.as_tensor(fitted.fit.model.predict_codes(data.features) == data.targets)
    return {
        "columns": fitted.columns,
        "target": data.schema.target,
        "classes": [str(label) for label in data.schema.classes],
        "features": data.schema.names,
        "rows": data.n_rows,
        "missing": dict(data.missing),
        "accuracy": short(float(right.double().mean())),
        "objective": short(solution.objective),
        "proof": str(solution.certificate),
    }


@lru_cache(maxsize=4)
def _fitted(example: str | None, text: str | None, target: str | None, C: float) -> Fitted:
    read = _read(example, text)
    wanted = target or (EXAMPLES[example].target if example else read.names[-1])
    data = prepare(read, target=wanted)
    if data.n_features * len(data.schema.classes) > WIDEST:
        raise OptionError(
            f"{data.n_features} columns after encoding and {len(data.schema.classes)} classes are "
            "too many to look at here; polylogit fit takes them"
        )
    return Fitted(read.names, data, fit(data, C=C))


def _read(example: str | None, text: str | None) -> Table:
    if example is not None:
        return _as_table(read_table(example))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        path.write_text(text or "", encoding="utf-8")
        try:
            return replace(_as_table(read_table(path)), source=path.name)
        except InputError as error:  # the reader names a file that the sender never saw
            raise type(error)(str(error).replace(f"{folder}/", "")) from None


def _as_table(read: object) -> Table:
    if not isinstance(read, Table):
        raise OptionError("a table of text is wanted here")
    return read


# ------------------------------------------------------------------------------------- one row


def row(asked: RowRequest) -> dict[str, Any]:
    """One row through the model, as `polylogit explain` has it, with every number to be opened.

    Contributions are to z_c - z_r, for the likeliest class c and the runner-up r, counted from the
    mean row, whose own difference is `base`.
    """
    fitted = _fitted(asked.example, asked.text, asked.target, asked.C)
    data, model = fitted.data, fitted.fit.model
    if asked.row > data.n_rows:
        raise OptionError(f"row {asked.row} is not there: the rows are 1 to {data.n_rows}")
    x = fitted.rows[asked.row - 1]
    why = explain(model, x.numpy())
    classes = [str(label) for label in model.classes]
    truth = None if data.targets is None else classes[int(data.targets[asked.row - 1])]
    return {
        "row": asked.row,
        "features": [_told(part) for part in why.contributions],
        "classes": classes,
        "truth": truth,
        "predicted": str(why.decision),
        "runner_up": str(why.runner_up),
        "edges": _edges(fitted, x),
        "flip": _flip(why),
        "lines": opened(_steps(model, x, why)),
    }


def _steps(model: SoftmaxModel, x: Tensor, why: Explanation) -> list[Step]:
    c, r = (model.classes.index(label) for label in (why.decision, why.runner_up))
    given = cast("dict[str, list[float]]", model.record["columns"])
    mean = torch.tensor(given["mean"], dtype=torch.float64)
    parts = [part.differences[c] for part in why.contributions]
    return [
        Step("x", _exactly(x), x),
        Step("mean", _exactly(mean), mean),
        Step("W", _exactly(model.weight), model.weight),
        Step("b", _exactly(model.bias), model.bias),
        Step("z", "W @ x + b", _double(why.logits)),
        Step("p", "torch.softmax(z, 0)", _double(why.probabilities)),
        Step("c", f"torch.tensor({c})", torch.tensor(c)),
        Step("r", f"torch.tensor({r})", torch.tensor(r)),
        Step("margin", "z[c] - z[r]", _double(why.margin)),
        Step("base", "(W[c] - W[r]) @ mean + b[c] - b[r]", _double(why.base[c])),
        Step(
            "contributions",
            "torch.stack([((W[c] - W[r]) * (x - mean))[i:j].sum() "
            f"for i, j in {_spans(model, why)}])",
            _double(parts),
        ),
    ]


def _double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _exactly(values: Tensor) -> str:
    return f"torch.tensor({values.tolist()}, dtype=torch.float64)"


def _spans(model: SoftmaxModel, why: Explanation) -> list[tuple[int, int]]:
    """Where the encoded columns of each contribution stand."""
    spans, start = {}, 0
    for feature in model.schema.features:
        spans[feature.name] = (start, start + len(feature.names))
        start += len(feature.names)
    return [spans[part.feature] for part in why.contributions]


def _told(part: Contribution) -> dict[str, str | None]:
    return {"name": part.feature, "value": _cell(part.value)}


def _cell(value: float | str | None) -> str | None:
    """A cell as a person would write it."""
    return f"{value:.6g}" if isinstance(value, float) else value


def _flip(why: Explanation) -> dict[str, str | None] | None:
    flip = why.smallest_flip
    if flip is None:
        return None
    now = next(part.value for part in why.contributions if part.feature == flip.feature)
    return {
        "feature": flip.feature,
        "from": _cell(now),
        "to": _cell(flip.value),
        "becomes": str(flip.to),
        "size": None if flip.size is None else short(flip.size),
    }


def _edges(fitted: Fitted, x: Tensor) -> list[str]:
    """Numbers in which no other row of the table reaches as far as this one."""
    X, schema = fitted.rows, fitted.data.schema
    highest = (X >= x).sum(0) == 1
    lowest = (X <= x).sum(0) == 1
    plain = {feature.name for feature in schema.features if feature.kind == "numeric"}
    at = (highest | lowest).tolist()
    return [name for name, edge in zip(schema.names, at, strict=True) if edge and name in plain]
