"""The panel of one's own table: fit a CSV, and walk any row from its cells to its probabilities."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from polylogit import functional
from polylogit.app.lab.value import opened, short
from polylogit.data.dataset import Dataset
from polylogit.data.examples import EXAMPLES
from polylogit.data.read import prepare, read_table
from polylogit.errors import InputError, OptionError
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
    """A row of it, counted from 0."""

    row: int = Field(ge=0)


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
        "wrong": torch.nonzero(~right).flatten()[:50].tolist(),
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
    """One row through the model: cells, contributions, logits, probabilities, what would flip it.

    Contributions are to z_c - z_r, for the likeliest class c and the runner-up r: only differences
    of logits mean anything. They are counted from the mean row of the table, whose own difference
    is `base`: z_c - z_r = base + sum_d (W_cd - W_rd) (x_d - mean_d).
    """
    fitted = _fitted(asked.example, asked.text, asked.target, asked.C)
    if asked.row >= fitted.data.n_rows:
        raise OptionError(
            f"row {asked.row} is not there: the rows are 0 to {fitted.data.n_rows - 1}"
        )
    X, model = fitted.rows, fitted.fit.model
    x, mean = X[asked.row], X.mean(0)
    lines = _lines(x, mean, model.weight, model.bias)
    first, second = (int(lines[name].value) for name in ("c", "r"))
    classes = [str(label) for label in model.classes]
    truth = None if fitted.data.targets is None else classes[int(fitted.data.targets[asked.row])]
    order = lines["contributions"].value.abs().argsort(descending=True)
    return {
        "row": asked.row,
        "features": fitted.data.schema.names,
        "classes": classes,
        "truth": truth,
        "predicted": classes[first],
        "runner_up": classes[second],
        "order": order.tolist(),
        "outside": _outside(fitted, x),
        "flip": _flip(fitted, x, first),
        "lines": opened(list(lines.values())),
    }


def _lines(x: Tensor, mean: Tensor, weight: Tensor, bias: Tensor) -> dict[str, Step]:
    z = weight @ x + bias
    c, r = functional.argmax(z), z.argsort(descending=True)[1]
    lines = [
        Step("x", _exactly(x), x),
        Step("mean", _exactly(mean), mean),
        Step("W", _exactly(weight), weight),
        Step("b", _exactly(bias), bias),
        Step("z", "W @ x + b", z),
        Step("p", "torch.softmax(z, 0)", functional.softmax(z)),
        Step("c", "z.argmax()", c),
        Step("r", "z.argsort(descending=True)[1]", r),
        Step("margin", "z[c] - z[r]", z[c] - z[r]),
        Step(
            "base",
            "(W[c] - W[r]) @ mean + b[c] - b[r]",
            (weight[c] - weight[r]) @ mean + bias[c] - bias[r],
        ),
        Step("contributions", "(W[c] - W[r]) * (x - mean)", (weight[c] - weight[r]) * (x - mean)),
    ]
    return {line.name: line for line in lines}


def _exactly(values: Tensor) -> str:
    return f"torch.tensor({values.tolist()}, dtype=torch.float64)"


def _numeric(fitted: Fitted) -> list[int]:
    """Encoded columns that are plain numbers: those of which a little more can be had."""
    kinds = {feature.name: feature.kind for feature in fitted.data.schema.features}
    return [d for d, name in enumerate(fitted.data.schema.names) if kinds.get(name) == "numeric"]


def _outside(fitted: Fitted, x: Tensor) -> list[str]:
    """Columns in which no other row of the table reaches as far."""
    X, names = fitted.rows, fitted.data.schema.names
    farthest = ((X >= x).sum(0) == 1) & (X.max(0).values == x)
    lowest = ((X <= x).sum(0) == 1) & (X.min(0).values == x)
    return [names[d] for d in _numeric(fitted) if bool(farthest[d] | lowest[d])]


def _flip(fitted: Fitted, x: Tensor, first: int) -> dict[str, str] | None:
    """The smallest change of one number, in its standard deviations, that changes the decision.

    To rival k it takes (z_c - z_k) / (W_kd - W_cd) in column d.
    """
    model, columns = fitted.fit.model, _numeric(fitted)
    z = model.weight @ x + model.bias
    changes = (z[first] - z)[:, None] / (model.weight - model.weight[first])
    size = changes.abs() / fitted.rows.std(0)
    others = [k for k in range(len(z)) if k != first]
    size = torch.nan_to_num(size[others][:, columns], nan=torch.inf)
    if not size.numel() or not bool(size.isfinite().any()):
        return None
    place = int(size.argmin())
    k, d = others[place // len(columns)], columns[place % len(columns)]
    return {
        "feature": fitted.data.schema.names[d],
        "from": short(float(x[d])),
        "to": short(float(x[d] + changes[k, d])),
        "becomes": str(model.classes[k]),
        "deviations": short(float(size.min())),
    }
