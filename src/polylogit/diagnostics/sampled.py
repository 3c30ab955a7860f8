"""Leave-one-out where the Hessian is too large to be written out.

1. The leverages come from draws of N(0, H^-1) (`polylogit.diagnostics.products`). With A = U U',
   U (K, m), the formula of `polylogit.diagnostics.leave_one_out` needs no K x K matrix:

       z_-i = z_i + U (I - G)^-1 w_i U'(p_i - t_i),   G = w_i U' S_i U  (m, m)

   For a group, G and the right side are sums over its rows. The influence is G's largest
   eigenvalue, cut off where the draws' noise would make the inverse explode.
2. That is a guess, row by row off by a quarter. So a sample of units is refitted exactly, in
   parcels that leave together, of at most one hundredth of the units each: rows leave a model of
   99 % of all. The difference estimator (`polylogit.diagnostics.difference`) puts the mean right,
   and says how sure it is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from polylogit.design import row_slices
from polylogit.diagnostics.difference import Sample, draw
from polylogit.diagnostics.outcome import Jury, Outcome
from polylogit.diagnostics.products import FAST, Operator, leverage_roots, refitted_parcels, settle
from polylogit.diagnostics.refit import resolvent
from polylogit.diagnostics.units import Units, class_mass
from polylogit.training import Fit, Prepared

DRAWS = 12
PARCELS, PARCEL = 4, 0.01  # that are refitted; and their size, as a share of the units
LEAST = 0.3  # of the mean size: what a unit counts for at least, its guess being rough
MOST = 3.0  # times as likely as the average a unit may be: else a parcel takes one kind of row
CUT = 0.65  # of the curvature: more than that, of a noisy influence, is not believed
HALF = 0.5  # of a class: more may not leave at once, unless it is one unit
CELLS = 2**24  # numbers of a part of the rows at a time


def sampled(prepared: Prepared, fit: Fit, jury: Jury, refits: str, seed: int) -> Outcome:
    """Leave-one-out by draws and by refits of a sample; `refits` "all" or "none" as ever."""
    operator = settle(prepared, fit)
    roots = leverage_roots(operator, DRAWS, seed)
    guess, influence = _guessed(operator, roots, jury.units)
    guess[jury.absent[jury.units.of]] = math.nan
    before, guessed = jury.losses(operator.logits), jury.losses(guess)
    flagged = jury.flagged(before, guessed, influence)
    sample = _sample(jury, jury.rises(before, guessed), refits, seed)
    logits = guess.clone()
    if len(sample.chosen):
        rows, parcel = _parcels(prepared, jury.units, sample.chosen, apart=refits == "all")
        logits[rows] = refitted_parcels(operator, rows, parcel, jury.units.removed[rows])
    losses = jury.losses(logits)
    loss, error = jury.verdict(guessed, losses, sample)
    return Outcome(
        before,
        logits,
        losses,
        loss,
        error,
        _effective_dof(operator, roots),
        int(flagged.sum()),
        len(sample.chosen),
        DRAWS,
    )


def _guessed(operator: Operator, roots: Tensor, units: Units) -> tuple[Tensor, Tensor]:
    """Logits (N, K) by the formula, and every unit's influence (U,): its bound G's trace if low."""
    count = roots.shape[2]
    aims, removed = operator.aims.to(FAST), units.removed.to(FAST)
    held = torch.zeros(units.count, count, count, dtype=FAST)
    pulled = torch.zeros(units.count, count, dtype=FAST)
    for rows in row_slices(len(roots), max(1, CELLS // roots[0].numel())):
        U, p, w = roots[rows], operator.probabilities[rows], removed[rows, None]
        mean = (U.mT @ p[..., None])[..., 0]
        square = (U * p[..., None]).mT @ U - mean[:, :, None] * mean[:, None, :]
        held.index_add_(0, units.of[rows], w[..., None] * square)
        pulled.index_add_(0, units.of[rows], w * (U.mT @ (p - aims[rows])[..., None])[..., 0])
    along, influence = resolvent(held, pulled, CUT)
    move = (roots @ along[units.of][..., None])[..., 0]
    return operator.logits + move.double(), influence


def _effective_dof(operator: Operator, roots: Tensor) -> float:
    """sum_i s_i tr(S_i A_i), which is the trace of H^-1 times the loss's Hessian."""
    p = operator.probabilities[..., None]
    mean = (roots * p).sum(1)
    spread = (roots.square().mul_(p)).sum((1, 2)) - mean.square().sum(1)
    return float(operator.objective.weights @ spread.double())


def _sample(jury: Jury, rises: Tensor, refits: str, seed: int) -> Sample:
    """Which units to refit, in proportion to what they lose by leaving (U,), within `MOST`."""
    present = torch.nonzero(~jury.absent)[:, 0]
    count = {"all": len(present), "none": 0}.get(
        refits, PARCELS * max(1, int(PARCEL * len(present)))
    )
    sample = draw(rises[present], count, seed, least=LEAST, most=MOST)
    return Sample(present[sample.chosen], sample.chance)


def _parcels(
    prepared: Prepared, units: Units, chosen: Tensor, *, apart: bool
) -> tuple[Tensor, Tensor]:
    """The rows (n,) of the chosen units, and the parcel of each (n,).

    Units are dealt out class by class, so that no parcel takes more of a class than it must.
    """
    taken = class_mass(prepared, units)[chosen]
    parcel = torch.empty_like(chosen)
    dealt = torch.argsort(taken.argmax(1), stable=True)
    parcel[dealt] = torch.arange(len(chosen)) % (len(chosen) if apart else PARCELS)
    gone = torch.zeros(len(chosen), prepared.n_classes).double().index_add_(0, parcel, taken)
    mass = prepared.targets.mass(prepared.weights / prepared.weights.sum())
    greedy = (gone > HALF * mass).any(1)[parcel]
    parcel = torch.where(greedy, len(chosen) + torch.arange(len(chosen)), parcel)
    of_unit = torch.full((units.count,), -1)
    of_unit[chosen] = parcel.unique(return_inverse=True)[1]
    rows = torch.nonzero(of_unit[units.of] >= 0)[:, 0]
    return rows, of_unit[units.of[rows]]
