"""What every reader leads to: `Dataset`, numbers with the schema that explains them.

`Matrix` is the step before it for what is numbers already (npz, npy, svmlight, arrays in memory),
as `polylogit.schema.Table` is for named columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
from scipy import sparse

from polylogit.schema import Schema
from polylogit.stored import StoredRows

Features: TypeAlias = "np.ndarray | sparse.csr_array[Any] | StoredRows"


class Placed(Protocol):
    """Whatever can say where a row came from: `Table` and `Matrix`."""

    @property
    def source(self) -> str:
        """Where the data came from."""

    def place(self, row: int) -> str:
        """Where a row stands: "line 5" or "row 3"."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Where rows come from, before there is a `Table` or `Matrix`; `lines[i]` is the line of row i.

    >>> Rows("a.csv", range(2, 9)).place(3), Rows("array").place(3)
    ('line 5', 'row 3')
    """

    source: str = "array"
    lines: range | np.ndarray | None = None

    def place(self, row: int) -> str:
        """Say where a row stands: "line 5" of a text file (from 1), otherwise "row 3" (from 0)."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"


@dataclass(frozen=True, eq=False)
class Matrix:
    """N rows of D numbers, with labels and weights as they came.

    `features` (N, D) float32 or float64, dense C order or canonical CSR, finite; or left in a file.
    `targets` raw: N labels of any type, or (N, K) rows of probabilities. `weights` raw: N numbers.
    `names` are the columns' names if the source had any; `lines` (N,) each row's line in a text
    file. `open_ended`: the source does not say how many columns there are beyond the last one it
    used (svmlight), so columns of zeros may be added on the right.
    """

    features: Features
    targets: Any = None
    weights: Any = None
    source: str = "array"
    names: tuple[str, ...] | None = None
    lines: np.ndarray | None = None
    open_ended: bool = False

    @property
    def n_rows(self) -> int:
        """N."""
        return int(self.features.shape[0])

    def take(self, rows: np.ndarray) -> Matrix:
        """Return these rows (integer positions, any order)."""
        return replace(
            self,
            features=_rows_of(self.features, rows),
            targets=_taken(self.targets, rows),
            weights=_taken(self.weights, rows),
            lines=_taken(self.lines, rows),
        )

    def place(self, row: int) -> str:
        """Say where a row stands: "line 5" of a text file (from 1), otherwise "row 3" (from 0)."""
        return Rows(self.source, self.lines).place(row)


def _rows_of(features: Features, rows: np.ndarray) -> Features:
    return features.take(rows) if isinstance(features, StoredRows) else features[rows]


def _taken(values: Any, rows: np.ndarray) -> Any:
    return None if values is None else np.asarray(values)[rows]


@dataclass(frozen=True, eq=False)
class Dataset:
    """N encoded rows: what a fit or a prediction starts from.

    `features` (N, D) float32 or float64, dense C order or CSR, finite; or `StoredRows`, which stay
    in a file and come out a slice at a time.
    `schema` names the D columns and the K classes.
    `targets`: int64 codes (N,) into `schema.classes`, or float64 (N, K) rows of the simplex.
    `weights` (N,) float64, >= 0, with a finite positive sum.
    `missing[column]` counts missing cells that were filled; `unseen[column][category]` counts cells
    of a category that the schema does not know; `ignored` lists columns that were left out.
    """

    features: Features
    schema: Schema
    targets: np.ndarray | None = None
    weights: np.ndarray | None = None
    source: str = "array"
    missing: Mapping[str, int] = field(default_factory=dict)
    unseen: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    @property
    def n_rows(self) -> int:
        """N."""
        return int(self.features.shape[0])

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.features.shape[1])
