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

import torch
from torch import Tensor

from polylogit.design import column_pairs, pair_places, row_slices
from polylogit.diagnostics.difference import Sample, draw
from polylogit.diagnostics.optimum import CLOSE, ROUGH, Optimum, tighten
from polylogit.diagnostics.outcome import INFLUENCE, Jury, Outcome, standard_error, weighted_mean
from polylogit.diagnostics.refit import (
    AT_REST,
    LARGEST,
    SLOW,
    Removal,
    batches,
    refitted,
    resolvent,
    root,
    stepped,
)
from polylogit.diagnostics.sampled import sampled
from polylogit.diagnostics.units import Units, lonely, units_of
from polylogit.errors import OptionError
from polylogit.optim.sums import LOGITS_BYTES
from polylogit.optim.threads import chosen_threads, threads
from polylogit.stored import StoredRows
from polylogit.training import Fit, Prepared

SAMPLES = (12, 36, 96)  # units that are refitted of more flagged: as many as it takes
SURE = 2e-3  # of the loss: a standard error by sampling that does not matter
COMPARED = 0.2  # of the loss's own standard error: the same, where losses are compared
LEAST = 0.05  # of the mean rise: what a flagged unit counts for at least where they are sampled
WORK = 4e10  # multiply-adds of a Hessian or of all leverages: a second or two
CELLS = 2**19  # numbers of a part of the rows at a time: they stay in the cache
ROUNDS = 40  # of an iteration that gains a factor of 1 / INFLUENCE by each, at least

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

    Where only a sample was refitted, `loss` is put right by what the sample stands for, so it is
    not the mean of `losses`; `sampling_error` is its standard error by that, which is a part of
    `standard_error`, and 0 where nothing was sampled. `n_draws`: of which leverages are made, where
    the Hessian is too large to be written out; 0 where they are exact.
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
    sampling_error: float
    n_draws: int

    def rise_over(self, other: LeaveOneOut) -> tuple[float, float]:
        """How much more this loses than `other`, of the same rows, and the standard error of that.

        Row by row the two vary together, so their difference is much surer than either.
        """
        if other is self:
            return 0.0, 0.0
        error = standard_error(self.losses - other.losses, self.share, self.units)
        sampled = (self.sampling_error, other.sampling_error)
        return self.loss - other.loss, math.hypot(error, *sampled)


def leave_one_out(
    prepared: Prepared,
    fit: Fit,
    *,
    groups: Any = None,
    refits: Refits = "flagged",
    rough: bool = False,
    seed: int = 0,
) -> LeaveOneOut:
    """Leave every row out of `fit`, a fit of `prepared`, and judge it by what is left.

    With `groups`, N labels, whole groups leave together. A weight of 2 stands for two equal rows,
    of which one leaves, so a weight is the same as copies; less than 1 leaves whole. Factors of
    `class_weight` are no copies and leave whole. `refits` of "none" is the formula alone, "all" is
    exact. Row weights count in the means, `class_weight` and label smoothing do not.

    Of many flagged units a sample is refitted, until the loss is sure to 0.2 %; `rough`, until it
    is surer by far than its own standard error: enough to compare the losses of two fits.

    Where classes times columns are too many for the Hessian to be written out, the leverages come
    from draws and the loss from refits of a sample, by `seed`: `polylogit.diagnostics.sampled`.

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
    jury = Jury.of(prepared, units_of(prepared, groups))
    prepared = prepared.in_the_span
    with threads(chosen_threads(work(prepared), prepared.settings.n_threads)):
        if work(prepared) > WORK:
            outcome = sampled(prepared, fit, jury, refits, seed)
        else:
            optimum = tighten(prepared, fit, ROUGH if rough else CLOSE)
            outcome = _left_out(optimum, jury, refits, seed, rough)
    return _judged(outcome, jury)


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
    n_rows, n_classes = prepared.dataset.n_rows, prepared.n_classes
    if 8 * n_rows * n_classes > LOGITS_BYTES:
        return f"leave-one-out keeps all logits, and {n_rows:,} rows of {n_classes:,} are too many"
    if bool(lonely(prepared, units_of(prepared, groups)).all()):
        last = "row" if groups is None else "group"
        return f"leave-one-out needs a {last} that is not the last of its class, and there is none"
    return None


# ---------------------------------------------------------------------------------- leaving out


def _left_out(optimum: Optimum, jury: Jury, refits: Refits, seed: int, rough: bool) -> Outcome:
    """By the formula, and by exact refits where it does not reach."""
    units, present = jury.units, ~jury.absent
    if units.grouped:
        guess, influence = _of_groups(optimum, units, torch.nonzero(present)[:, 0])
    else:
        guess, influence = _of_rows(optimum, units.removed)
    guess[jury.absent[units.of]] = math.nan
    before, guessed = jury.losses(optimum.logits), jury.losses(guess)
    flagged = jury.flagged(before, guessed, influence)
    wanted = {"flagged": flagged, "all": present, "none": torch.zeros_like(flagged)}[refits]
    chosen, sizes = torch.nonzero(wanted)[:, 0], jury.rises(before, guessed)
    logits, done = guess.clone(), torch.zeros_like(flagged)
    for most in _stages(len(chosen), refits, rough):
        sample = _sampled(sizes, chosen, most, seed)
        for some, removal in _removals(optimum, units, sample.chosen[~done[sample.chosen]]):
            logits[removal.rows] = refitted(removal, SLOW if rough else AT_REST)
            done[some] = True
        losses = jury.losses(logits)
        loss, error = jury.verdict(guessed, losses, sample)
        if error <= (COMPARED * jury.spread(losses) if rough else SURE * loss):
            break
    dof, counts = effective_dof(optimum), (int(flagged.sum()), int(done.sum()))
    return Outcome(before, logits, losses, loss, error, dof, *counts, n_draws=0)


def _stages(count: int, refits: Refits, rough: bool) -> tuple[int, ...]:
    """How many of so many units are refitted, at most, one stage after the other."""
    sampled = refits == "flagged" and (rough or count > SAMPLES[-1])
    return SAMPLES if sampled else (count,)


def _sampled(sizes: Tensor, chosen: Tensor, most: int, seed: int) -> Sample:
    """At most so many of the `chosen` units, by their sizes (U,)."""
    if len(chosen) <= most:
        return Sample.of_all(chosen)
    some = draw(sizes[chosen], most, seed, least=LEAST)
    return Sample(chosen[some.chosen], some.chance)


def _removals(optimum: Optimum, units: Units, chosen: Tensor) -> Iterator[tuple[Tensor, Removal]]:
    """Chosen units (B,) and their removal, in batches."""
    for same, rows in units.of_one_size(chosen):
        for part in batches(len(rows), rows.shape[1], optimum):
            leaving = rows[part]
            yield same[part], Removal.of(optimum, leaving, units.removed[leaving])


def _of_groups(optimum: Optimum, units: Units, present: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, K) after a Newton step without each group, and the groups' influence (U,)."""
    logits = torch.full_like(optimum.logits, math.nan)
    influence = torch.zeros(units.count, dtype=torch.float64)
    for some, removal in _removals(optimum, units, present):
        logits[removal.rows] = stepped(removal)
        influence[some] = removal.influence
    return logits, influence


def _of_rows(optimum: Optimum, removed: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, K) by the formula, and every row's influence (N,)."""
    fast, inverse = optimum.fast, _inverse_pairs(optimum)
    places = pair_places(optimum.logits.shape[1])
    logits, influence = torch.empty_like(optimum.logits), torch.empty_like(removed)
    n_rows, n_classes = logits.shape
    for rows in row_slices(n_rows, max(1, CELLS // max(len(inverse), n_classes**2))):
        leverages = _leverages(fast.rows[rows], inverse, places)
        z, aims = optimum.logits[rows], optimum.aims[rows]
        move, influence[rows] = moved(leverages, torch.softmax(z, 1), aims, removed[rows])
        logits[rows] = z + move
    return logits, influence


def _inverse_pairs(optimum: Optimum) -> Tensor:
    """What x~_d x~_e counts for in A[k, l]: pairs d <= e down, pairs k <= l across."""
    (n_classes, size), width = optimum.basis.shape, optimum.rows.shape[1]
    blocks = optimum.inverse.view(size, width, size, width).permute(1, 3, 0, 2)
    d, e = torch.triu_indices(width, width)
    both = blocks[d, e] + blocks[e, d]
    both *= torch.where(d == e, 0.5, 1.0)[:, None, None]
    k, l = torch.triu_indices(n_classes, n_classes)  # noqa: E741  the letters of the formula
    return (optimum.basis @ both @ optimum.basis.T)[:, k, l].to(optimum.fast.rows.dtype)


def _leverages(x: Tensor, inverse: Tensor, places: Tensor) -> Tensor:
    """A (B, K, K) of rows x~ (B, D~); `places` (K, K) among the pairs of classes."""
    return (column_pairs(x, x, 0) @ inverse)[:, places.flatten()].view(-1, *places.shape)


def moved(A: Tensor, p: Tensor, aims: Tensor, removed: Tensor) -> tuple[Tensor, Tensor]:
    """z_-i - z_i (B, K) and the influence (B,) of rows with leverages A (B, K, K).

    The trace of w S A bounds the influence. Where that is low, (I - w S A)^-1 is repeated: v =
    w (p - t) + w S A v gains a digit or more by each round, and needs no K^3. Elsewhere, with
    S = R R' and M = w R'AR, it is I + w R (I - M)^-1 R'A.
    """
    w, along = removed[:, None], _times(A, p)
    influence = removed * (p * (A.diagonal(dim1=1, dim2=2) - along)).sum(1)
    pull, high = w * (p - aims), influence > INFLUENCE
    move = _times(A, _repeated(A, p, w, torch.where(high[:, None], 0.0, pull)))
    R, own, y = root(p[high]), A[high].double(), pull[high][..., None]
    aside, influence[high] = resolvent(
        w[high, None] * (R.mT @ own @ R), (R.mT @ (own @ y))[..., 0], LARGEST
    )
    move[high] = (own @ (y + w[high, None] * (R @ aside[..., None])))[..., 0]
    return move, influence


def _repeated(A: Tensor, p: Tensor, w: Tensor, pull: Tensor) -> Tensor:
    """v (B, K) = pull + w S A v."""
    v, enough = pull, torch.finfo(A.dtype).eps ** (2 / 3) * float(pull.abs().max())
    for _ in range(ROUNDS):
        u = p * _times(A, v)
        last, v = v, pull + w * (u - p * u.sum(1, keepdim=True))
        if float((v - last).abs().max()) <= enough:
            break
    return v


def _times(A: Tensor, v: Tensor) -> Tensor:
    """A v (B, K), in A's own precision."""
    return (A * v.to(A.dtype)[:, None]).sum(2).double()


def effective_dof(optimum: Optimum) -> float:
    """The trace of H^-1 times the Hessian of the loss alone."""
    return len(optimum.factor) - float((optimum.inverse.diagonal() * optimum.ridge).sum())


def _judged(outcome: Outcome, jury: Jury) -> LeaveOneOut:
    return LeaveOneOut(
        outcome.logits,
        outcome.losses,
        outcome.loss,
        math.hypot(jury.spread(outcome.losses), outcome.sampling_error),
        jury.accuracy(outcome.logits),
        outcome.effective_dof,
        outcome.n_flagged,
        outcome.n_refitted,
        tuple(torch.nonzero(jury.absent[jury.units.of])[:, 0].tolist()),
        weighted_mean(outcome.before, jury.share),
        jury.share,
        jury.units.of,
        outcome.sampling_error,
        outcome.n_draws,
    )
