"""Which columns have a coefficient of their own, and the coordinates they are estimated in.

A one-hot column is the intercept less its sisters, so without a penalty no data can tell their
coefficients apart. Of a categorical column the first category becomes the baseline; any other
column that repeats earlier ones is left out and named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from polylogit.schema import Schema

INTERCEPT = "(intercept)"
DEPENDENT = 1e-8  # of a column's length about its mean: less is left without earlier columns
ROUNDING = 1e-14  # of the length of its numbers, which a column far from zero has in every entry
LEAST, MOST = 1e-100, 1e100  # the largest number of a column: beyond, squares leave float64


@dataclass(frozen=True)
class Left:
    """A column without a coefficient: "baseline" of its feature, or "repeats" other columns."""

    name: str
    why: str


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Columns shifted and scaled, and perhaps turned.

    `rows` (N, q) with the ones of the intercept first, if there is one; coefficients of the
    original columns are `to_user` (q, q) times those of `rows`.
    """

    rows: np.ndarray
    to_user: np.ndarray


def identified(
    matrix: np.ndarray, schema: Schema, intercept: bool
) -> tuple[np.ndarray, tuple[Left, ...]]:
    """Positions of the columns (of D) that keep a coefficient, and the others.

    A column stays where more of it is left without the earlier ones than `DEPENDENT` of its length
    about the mean, and than its own rounding: 1e9 and 1e9 + 1 differ as much as 0 and 1.
    """
    firsts = _first_categories(schema)
    late = sorted(firsts)
    order = [d for d in range(matrix.shape[1]) if d not in firsts] + late
    basis = [np.full(len(matrix), 1 / np.sqrt(len(matrix)))] if intercept else []
    kept = []
    for d in order:
        own, rest = _without(basis[:intercept], matrix[:, d]), _without(basis, matrix[:, d])
        length, whole = np.linalg.norm(rest), np.linalg.norm(matrix[:, d])
        if length > DEPENDENT * np.linalg.norm(own) + ROUNDING * whole:
            basis.append(rest / length)
            kept.append(d)
    left = sorted(set(order) - set(kept))
    names = schema.names
    said = tuple(Left(names[d], "baseline" if d in firsts else "repeats") for d in left)
    return np.array(sorted(kept), dtype=np.int64), said


def _first_categories(schema: Schema) -> set[int]:
    start, found = 0, set()
    for feature in schema.features:
        if feature.kind == "categorical":
            found.add(start)
        start += len(feature.names)
    return found


def _without(basis: list[np.ndarray], column: np.ndarray) -> np.ndarray:
    """The part of a column that is orthogonal to the basis; twice is enough for rounding."""
    rest = column.astype(np.float64)
    for _ in range(2):
        for direction in basis:
            rest = rest - direction * (direction @ rest)
    return rest


def coordinates(matrix: np.ndarray, weights: np.ndarray, intercept: bool) -> Coordinates:
    """The columns (N, D) with mean 0 if there is an intercept, and mean square 1."""
    share = weights / weights.sum()
    centre = share @ matrix if intercept else np.zeros(matrix.shape[1])
    shifted = matrix - centre
    scale = np.sqrt(share @ shifted**2)
    scale[scale == 0] = 1.0
    rows, back = shifted / scale, np.diag(1 / scale)
    if intercept:
        rows = np.hstack([np.ones((len(rows), 1)), rows])
        back = np.block(
            [[np.ones((1, 1)), -(centre / scale)[None]], [np.zeros((len(scale), 1)), back]]
        )
    return Coordinates(rows, back)


def orthonormal(plain: Coordinates, weights: np.ndarray) -> Coordinates:
    """The same space in columns whose weighted mean products are those of the identity.

    So columns that nearly repeat each other cost no digits on the way to the estimates.
    """
    share = np.sqrt(weights / weights.sum())
    turn = np.linalg.qr(share[:, None] * plain.rows, mode="r")
    inverse = scipy.linalg.solve_triangular(turn, np.eye(len(turn)))
    return Coordinates(plain.rows @ inverse, plain.to_user @ inverse)


def extreme(matrix: np.ndarray) -> int | None:
    """The first column (of D) whose largest number has no square in float64."""
    largest = np.abs(matrix).max(0, initial=0.0)
    bad = (largest > MOST) | ((largest > 0) & (largest < LEAST))
    return int(bad.argmax()) if bad.any() else None
