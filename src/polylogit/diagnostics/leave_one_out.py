"""How good a fit is on rows it has not seen, from the fit itself: leave-one-out.

Every row in turn is judged by the model fitted to all others. Newton's step from the optimum with
all rows leads almost there, and costs no fit at all. With p_i, S_i = diag(p_i) - p_i p_i',
the Hessian H of sum_i w_i l_i + penalty, x~_i = (x_i, 1) and the row's leverages
A_i[k, l] = x~_i' (H^-1)_kl x~_i (K, K), the logits without row i are

    z_-i = z_i + A_i (I - w_i S_i A_i)^-1 w_i (p_i - t_i)

It is exact where the loss is quadratic, and fails where one row holds much of the curvature: near
separation, with little penalty. So rows whose loss grows by more than 0.1 nat, or whose influence,
the largest eigenvalue of w_i S_i^(1/2) A_i S_i^(1/2), is above 0.3, are refitted exactly.

Rad & Maleki, "A scalable estimate of the out-of-sample prediction error via approximate
leave-one-out", JRSS B 82 (2020), arXiv:1801.10243; groups and refits as in
`polylogit.diagnostics.refit`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from polylogit.data.dataset import Dataset
from polylogit.design import column_pairs
from polylogit.diagnostics.optimum import Optimum, tighten
from polylogit.diagnostics.refit import LARGEST, Removal, batches, refitted, root, stepped
from polylogit.errors import OptionError
from polylogit.optim.logits import row_slices
from polylogit.optim.threads import chosen_threads, threads
from polylogit.stored import StoredRows
from polylogit.training import Fit, Prepared

LOSS_CHANGE, INFLUENCE = 0.1, 0.3  # beyond either the formula is not trusted (nats; share)
WORK = 4e10  # multiply-adds of a Hessian or of all leverages: a second or two
CELLS = 2**21  # numbers of a part of the rows at a time
ALONE = 1e-9  # of the weight of a class: nothing is left of it

Refits = Literal["flagged", "all", "none"]


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """Every row judged without itself, or without its whole group.

    `logits` (N, K) and `losses` (N,), -log p of the row's class in nats, are float64. `loss` is
    their mean by weight, `standard_error` its own from the spread between rows or groups, and
    `accuracy` the share of the weight whose class comes first. `effective_dof`: the trace of
    H^-1 times the loss's Hessian, between 0 and (K - 1)(D + 1): how many free parameters the
    penalty leaves, the bias among them. `n_flagged` rows or groups were beyond the formula's reach,
    `n_refitted` were fitted anew. `excluded` lists rows without which a class has no weight, so
    that no model could name it: their logits and losses are NaN, and no mean counts them.
    `train_loss`: the mean of the same rows' losses by the fit with all rows. `share` (N,) is what
    each row counts in the means, `units` (N,) the number of what it leaves with.
    """

    logits: Tensor
    losses: Tensor
    loss: float
    standard_error: float
    accuracy: float
    effective_dof: float
    n_flagged: int
    n_refitted: int
    excluded: tuple[int, ...]
    train_loss: float
    share: Tensor
    units: Tensor

    def rise_over(self, other: LeaveOneOut) -> tuple[float, float]:
        """How much more this loses than `other`, of the same rows, and the standard error of that.

        Row by row the two vary together, so their difference is much surer than either.
        """
        error = standard_error(self.losses - other.losses, self.share, self.units)
        return self.loss - other.loss, error


def leave_one_out(
    prepared: Prepared, fit: Fit, *, groups: Any = None, refits: Refits = "flagged"
) -> LeaveOneOut:
    """Leave every row out of `fit`, a fit of `prepared`, and judge it by what is left.

    With `groups`, N labels, whole groups leave together. A weight of 2 stands for two equal rows,
    of which one leaves, so a weight is the same as copies; less than 1 leaves whole. Factors of
    `class_weight` are no copies and leave whole. `refits` of "none" is the formula alone, "all" is
    exact. Row weights count in the means, `class_weight` and label smoothing do not.

    Raises `OptionError` where leave-one-out cannot work, see `obstacle`.

    >>> from polylogit.data.arrays import from_arrays
    >>> from polylogit.training import prepare
    >>> prepared = prepare(from_arrays([[0.0], [1.0], [2.0], [3.0]], ["a", "b", "a", "b"]))
    >>> left = leave_one_out(prepared, prepared.fit(1.0))
    >>> round(left.loss, 3), left.accuracy, left.excluded
    (1.322, 0.0, ())
    """
    trouble = obstacle(prepared, groups)
    if trouble or not 0 < fit.alpha < math.inf:
        raise OptionError(trouble or "leave-one-out needs a penalty, so C below inf")
    units = _units(prepared, groups)
    with threads(chosen_threads(work(prepared), prepared.settings.n_threads)):
        optimum = tighten(prepared, fit)
        logits, flagged, n_refitted = _left_out(optimum, prepared, units, refits)
    return _judged(prepared, optimum, units, logits, flagged, n_refitted)


def work(prepared: Prepared) -> float:
    """Multiply-adds of a Hessian and of all leverages, roughly."""
    size = (prepared.n_classes - 1) * (prepared.design.n_features + 1.0)
    rows = prepared.dataset.n_rows
    return rows * size**2 + size**3 + 10.0 * rows * prepared.n_classes**3


def obstacle(prepared: Prepared, groups: Any = None) -> str | None:
    """Why leave-one-out cannot work for these data and options; None where it can.

    Raises `OptionError` for groups that cannot be, see `group_codes`.
    """
    if prepared.l1_ratio > 0:
        return "leave-one-out needs a smooth penalty, so l1_ratio = 0"
    if isinstance(prepared.dataset.features, StoredRows):
        return "leave-one-out needs the rows in memory, and they are streamed from a file"
    if prepared.factors is not None and not bool((prepared.factors > 0).all()):
        return "leave-one-out needs a penalty on every column, and a penalty factor is 0"
    if work(prepared) > WORK:
        shape = (prepared.dataset.n_rows, prepared.n_classes, prepared.design.n_features)
        size = "{:,} rows, {:,} classes and {:,} columns".format(*shape)
        return f"{size} are too many for leave-one-out"
    if bool(_lonely(prepared, _units(prepared, groups)).all()):
        last = "row" if groups is None else "group"
        return f"leave-one-out needs a {last} that is not the last of its class, and there is none"
    return None


# ------------------------------------------------------------------------------------ who leaves


@dataclass(frozen=True, eq=False)
class _Units:
    """What leaves together: the unit of every row (N,), and how much of its weight leaves (N,)."""

    of: Tensor
    count: int
    removed: Tensor
    grouped: bool

    def of_one_size(self, chosen: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Chosen units (B,) that have equally many rows, and those rows (B, n)."""
        sizes = torch.bincount(self.of, minlength=self.count)
        starts, order = sizes.cumsum(0) - sizes, torch.argsort(self.of, stable=True)
        for size in sizes[chosen].unique().tolist():
            same = chosen[sizes[chosen] == size]
            yield same, order[starts[same, None] + torch.arange(size)]


def _units(prepared: Prepared, groups: Any) -> _Units:
    share = prepared.weights / prepared.weights.sum()
    n_rows = prepared.dataset.n_rows
    if groups is not None:
        codes, count = group_codes(groups, prepared.dataset)
        return _Units(codes, count, share, True)
    copies = prepared.dataset.weights
    if copies is not None:
        share = share / torch.from_numpy(copies).clamp_min(1.0)
    return _Units(torch.arange(n_rows), n_rows, share, False)


def group_codes(groups: Any, dataset: Dataset) -> tuple[Tensor, int]:
    """The number of each row's group (N,), and how many groups there are.

    Raises `OptionError` for a wrong length, a missing label, or fewer than two groups.
    """
    labels = np.asarray(groups)
    if labels.shape != (dataset.n_rows,):
        raise OptionError(
            f"groups must hold one label for each of the {dataset.n_rows} rows, not an array of "
            f"shape {labels.shape}"
        )
    missing = np.array([label is None or label != label for label in labels.tolist()])
    if missing.any():
        raise OptionError(f"groups has no label in row {int(missing.argmax())}; give every row one")
    different, codes = np.unique(labels.astype(str), return_inverse=True)
    if len(different) < 2:
        raise OptionError("groups names only one group, and without it no row would be left")
    return torch.from_numpy(codes), len(different)


def _lonely(prepared: Prepared, units: _Units) -> Tensor:
    """Which units (U,) take all that is left of a class."""
    mass = prepared.targets.mass(prepared.weights / prepared.weights.sum())
    nothing = torch.zeros(len(units.of), len(mass), dtype=torch.float64)
    aims = -prepared.targets.subtract_from(nothing, slice(None))
    taken = torch.zeros(units.count, len(mass), dtype=torch.float64)
    taken.index_add_(0, units.of, aims * units.removed[:, None])
    return (mass - taken <= ALONE * mass).any(1)


# ---------------------------------------------------------------------------------- leaving out


def _left_out(
    optimum: Optimum, prepared: Prepared, units: _Units, refits: Refits
) -> tuple[Tensor, Tensor, int]:
    """Logits (N, K) without each row's unit, which units (U,) were flagged, how many refitted."""
    lonely = _lonely(prepared, units)
    if units.grouped:
        logits, influence = _of_groups(optimum, units, torch.nonzero(~lonely)[:, 0])
    else:
        logits, influence = _of_rows(optimum, units.removed)
    logits[lonely[units.of]] = math.nan
    truth = _truth(prepared)
    change = _losses(logits, truth) - _losses(optimum.logits, truth)
    grown = torch.zeros(units.count, dtype=torch.bool)
    grown[units.of[change > LOSS_CHANGE]] = True
    flagged = (grown | (influence > INFLUENCE)) & ~lonely
    chosen = {"flagged": flagged, "all": ~lonely, "none": torch.zeros_like(flagged)}[refits]
    for _, removal in _removals(optimum, units, torch.nonzero(chosen)[:, 0]):
        logits[removal.rows] = refitted(removal)
    return logits, flagged, int(chosen.sum())


def _removals(optimum: Optimum, units: _Units, chosen: Tensor) -> Iterator[tuple[Tensor, Removal]]:
    """Chosen units (B,) and their removal, in batches."""
    for same, rows in units.of_one_size(chosen):
        for part in batches(len(rows), rows.shape[1], optimum):
            leaving = rows[part]
            yield same[part], Removal.of(optimum, leaving, units.removed[leaving])


def _of_groups(optimum: Optimum, units: _Units, present: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, K) after a Newton step without each group, and the groups' influence (U,)."""
    logits = torch.full_like(optimum.logits, math.nan)
    influence = torch.zeros(units.count, dtype=torch.float64)
    for some, removal in _removals(optimum, units, present):
        logits[removal.rows] = stepped(removal)
        influence[some] = removal.influence
    return logits, influence


def _of_rows(optimum: Optimum, removed: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, K) by the formula, and every row's influence (N,)."""
    inverse = _inverse_pairs(optimum)
    logits, influence = torch.empty_like(optimum.logits), torch.empty_like(removed)
    n_rows, n_classes = logits.shape
    for rows in row_slices(n_rows, max(1, CELLS // max(len(inverse), n_classes**2))):
        x, z, aims = optimum.rows[rows], optimum.logits[rows], optimum.aims[rows]
        leverages = _leverages(x, inverse, optimum.basis)
        move, influence[rows] = moved(leverages, torch.softmax(z, 1), aims, removed[rows])
        logits[rows] = z + move
    return logits, influence


def _inverse_pairs(optimum: Optimum) -> Tensor:
    """What x~_d x~_e counts for in A[k, l]: pairs d <= e down, pairs k <= j of contrasts across."""
    size, width = optimum.basis.shape[1], optimum.rows.shape[1]
    blocks = optimum.inverse.view(size, width, size, width)
    k, j = torch.triu_indices(size, size)
    d, e = torch.triu_indices(width, width)
    between = blocks[k, :, j]  # (pairs of classes, D~, D~)
    both = between[:, d, e] + between[:, e, d]
    return (both * torch.where(d == e, 0.5, 1.0)).T


def _leverages(x: Tensor, inverse: Tensor, basis: Tensor) -> Tensor:
    """A (B, K, K) of rows x~ (B, D~)."""
    size = basis.shape[1]
    k, j = torch.triu_indices(size, size)
    contrasts = x.new_empty(len(x), size, size)
    contrasts[:, k, j] = contrasts[:, j, k] = column_pairs(x, x, 0) @ inverse
    return basis @ contrasts @ basis.T


def moved(A: Tensor, p: Tensor, aims: Tensor, removed: Tensor) -> tuple[Tensor, Tensor]:
    """z_-i - z_i (B, K) and the influence (B,) of rows with leverages A (B, K, K).

    With S = R R' and the eigenvectors V of w R'AR: (I - w S A)^-1 = I + w R V (I - M)^-1 V' R' A.
    """
    R, w = root(p), removed[:, None, None]
    values, vectors = torch.linalg.eigh(w * (R.mT @ A @ R))
    values = values.clamp(0, LARGEST)
    pull = w * (p - aims)[..., None]
    along = vectors.mT @ (R.mT @ (A @ pull)) / (1 - values)[..., None]
    move = A @ (pull + w * (R @ (vectors @ along)))
    return move[..., 0], values[:, -1]


# -------------------------------------------------------------------------------------- judging


def _truth(prepared: Prepared) -> Tensor:
    """What each row is judged by (N, K): its label or its own probabilities, never smoothed."""
    given = torch.from_numpy(prepared.dataset.targets)
    return given if given.ndim == 2 else torch.eye(prepared.n_classes).double()[given]


def _losses(logits: Tensor, truth: Tensor) -> Tensor:
    """-sum_k t_k log p_k (N,), in nats; 0 log 0 = 0."""
    logs = torch.log_softmax(logits, 1)
    return -torch.where(truth > 0, truth * logs, 0.0 * logs).sum(1)


def _judged(
    prepared: Prepared,
    optimum: Optimum,
    units: _Units,
    logits: Tensor,
    flagged: Tensor,
    n_refitted: int,
) -> LeaveOneOut:
    truth = _truth(prepared)
    losses, seen = _losses(logits, truth), ~logits.isnan().any(1)
    weights = _own_weights(prepared.dataset) * seen
    share = weights / weights.sum()
    right = truth.gather(1, logits.argmax(1, keepdim=True))[:, 0]
    return LeaveOneOut(
        logits,
        losses,
        weighted_mean(losses, share),
        standard_error(losses, share, units.of),
        weighted_mean(right, share),
        effective_dof(optimum),
        int(flagged.sum()),
        n_refitted,
        tuple(torch.nonzero(~seen)[:, 0].tolist()),
        weighted_mean(_losses(optimum.logits, truth), share),
        share,
        units.of,
    )


def _own_weights(dataset: Dataset) -> Tensor:
    if dataset.weights is None:
        return torch.ones(dataset.n_rows, dtype=torch.float64)
    return torch.from_numpy(dataset.weights)


def weighted_mean(values: Tensor, share: Tensor) -> float:
    """sum_i share_i v_i over the rows with a share; others may be NaN."""
    return float((values[share > 0] * share[share > 0]).sum())


def standard_error(values: Tensor, share: Tensor, units: Tensor) -> float:
    """Of a weighted mean of `values` (N,), where whole units vary independently.

    sqrt(U/(U - 1) sum_u [sum_(i in u) share_i (v_i - mean)]^2), which is sd / sqrt(N) for equal
    rows; infinite where there is but one unit.
    """
    spread = torch.where(share > 0, share * (values - weighted_mean(values, share)), 0.0)
    sums = torch.bincount(units, spread)
    present = len(units[share > 0].unique())
    if present < 2:
        return math.inf
    return math.sqrt(float(sums.square().sum()) * present / (present - 1))


def effective_dof(optimum: Optimum) -> float:
    """The trace of H^-1 times the Hessian of the loss alone."""
    return len(optimum.factor) - float((optimum.inverse.diagonal() * optimum.ridge).sum())
