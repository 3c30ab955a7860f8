r"""Average marginal effects: what a column does to the probabilities, on average over the rows.

For a number the effect on class k is the mean of the derivative,

    1/n sum_i w_i p_ik (B_kd - sum_m p_im B_md),

for a category or a truth value the mean of the change from its baseline (false) to it, the other
columns as they are. Effects do not depend on a reference class and sum to zero over the classes.
Errors follow by the delta method, J V J' with the exact Jacobian J.

Source: W. Greene, Econometric Analysis (2018), 17.3 and 18.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special

from polylogit.schema import Schema


@dataclass(frozen=True)
class Change:
    """How one effect is asked for, by positions among the q columns.

    A derivative with respect to `column`, where `off` is None. Otherwise the change to rows with
    `column` = 1 and the others of `off` 0, from rows with all of `off` 0 but `base`.
    """

    name: str
    feature: str
    column: int
    off: tuple[int, ...] | None = None
    base: int | None = None


def changes(schema: Schema, kept: Sequence[int], intercept: bool) -> tuple[Change, ...]:
    """One for each column that has a coefficient, but for the baselines."""
    place = {d: at + intercept for at, d in enumerate(kept)}
    found: list[Change] = []
    start = 0
    for feature in schema.features:
        columns = range(start, start + len(feature.names))
        own = [d for d in columns if d in place]
        group = tuple(place[d] for d in own) if feature.kind == "categorical" else None
        base = place.get(start) if group is not None else None
        for d in own:
            column, smooth = place[d], feature.kind == "numeric" and d == start
            if column != base:
                off = None if smooth else group or (column,)
                found.append(Change(schema.names[d], feature.name, column, off, base))
        start += len(feature.names)
    return tuple(found)


def effect(
    change: Change, rows: np.ndarray, weights: np.ndarray, coefficients: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The effects on all classes (K,), and their Jacobian (K, Jq) in the coefficients (J, q)."""
    share = weights / weights.sum()
    if change.off is None:
        return _derivative(change.column, rows, share, coefficients)
    before, after = rows.copy(), rows.copy()
    before[:, change.off] = after[:, change.off] = 0.0
    after[:, change.column] = 1.0
    if change.base is not None:
        before[:, change.base] = 1.0
    high, slope_high = _mean_probability(after, share, coefficients)
    low, slope_low = _mean_probability(before, share, coefficients)
    return high - low, slope_high - slope_low


def _probabilities(rows: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    logits = np.hstack([np.zeros((len(rows), 1)), rows @ coefficients.T])
    found: np.ndarray = scipy.special.softmax(logits, axis=1)
    return found


def _mean_probability(
    rows: np.ndarray, share: np.ndarray, coefficients: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    p = _probabilities(rows, coefficients)
    return share @ p, _flat(_spread(p, p, share, rows))


def _derivative(
    column: int, rows: np.ndarray, share: np.ndarray, coefficients: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    p = _probabilities(rows, coefficients)
    own = np.concatenate([[0.0], coefficients[:, column]])
    lead = own - (p @ own)[:, None]  # B_kd - sum_m p_m B_md
    f = p * lead
    # df_k/dz_j = S_kj lead_k - p_k f_j, with S_kj = p_k (d_kj - p_j)
    weighed = p * share[:, None]
    slope = _spread(f, p, share, rows)
    slope -= np.einsum("ik,ij,id->kjd", weighed, f, rows, optimize=True)
    slope[:, :, column] += np.diag(share @ p) - weighed.T @ p
    return share @ f, _flat(slope)


def _spread(f: np.ndarray, p: np.ndarray, share: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """sum_i share_i f_ik (d_kj - p_ij) x_i, (K, K, q)."""
    weighed = f * share[:, None]
    found: np.ndarray = -np.einsum("ik,ij,id->kjd", weighed, p, rows, optimize=True)
    own = np.arange(f.shape[1])
    found[own, own] += weighed.T @ rows
    return found


def _flat(slope: np.ndarray) -> np.ndarray:
    """The Jacobian without the class whose coefficients are zero."""
    return slope[:, 1:].reshape(len(slope), -1)
