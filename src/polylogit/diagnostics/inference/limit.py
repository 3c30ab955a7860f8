"""Where the likelihood leads: to a maximum, or on for ever.

1. Newton's steps ascend from zero. At an overlapping table they soon reach a point where slope and
   curvature prove that a maximum exists (`polylogit.optim.decrement`): nothing is separated.
2. Where they rank the true class of every row first, all is separated.
3. Otherwise, where the curvature vanishes without either proof, linear programs tell which
   directions are open (`polylogit.optim.separation`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from polylogit.diagnostics.inference.ascent import Place, ascend
from polylogit.diagnostics.inference.likelihood import Likelihood, State
from polylogit.errors import SolveError
from polylogit.optim.decrement import Decrement, newton_decrement
from polylogit.optim.separation import separates, undetermined
from polylogit.optim.sums import contrast_basis


@dataclass(frozen=True, eq=False)
class Limit:
    """The last point of the ascent, the maximum if that is `proven` to exist.

    `basis` (m, K, q): what the likelihood leaves open in its limit; None where that is unknown.
    """

    state: State
    proven: bool
    basis: np.ndarray | None

    @property
    def separated(self) -> bool:
        """Whether more is open than the q shifts that all classes share."""
        return self.basis is not None and len(self.basis) > self.basis.shape[2]


def limit_of(likelihood: Likelihood, codes: np.ndarray, rows: np.ndarray) -> Limit:
    """Where a likelihood without prior and penalty leads; `codes` (N,) are the classes.

    `rows` (N, q) span the columns of the likelihood's, and are the coordinates of the basis.
    """
    state, proven = _ascended(likelihood, torch.from_numpy(codes))
    n_classes, q = len(state.coefficients) + 1, rows.shape[1]
    if proven:
        shifts = np.eye(q)[:, None] * np.full((n_classes, 1), n_classes**-0.5)
        return Limit(state, True, shifts)
    if _is_witness(likelihood, state, torch.from_numpy(codes)):
        everything = np.eye(n_classes * q).reshape(-1, n_classes, q)
        return Limit(state, False, everything)
    return Limit(state, False, undetermined(rows, codes, n_classes))


def _ascended(likelihood: Likelihood, codes: torch.Tensor) -> tuple[State, bool]:
    """The last point before maximum, witness or singular curvature; and whether it is the first."""
    proven, places = False, ascend(likelihood)
    place = next(places)
    try:
        for place in places:
            if proven:
                continue
            left = _decrement(likelihood, place)
            proven = left is not None and left.bound < np.inf
            if left is None or _is_witness(likelihood, place.state, codes):
                break
    except SolveError:
        proven = False
    return place.state, proven


def _is_witness(likelihood: Likelihood, state: State, codes: torch.Tensor) -> bool:
    """Whether the true class of every row comes first; the logit of class 0 is 0."""
    logits = likelihood.rows @ state.coefficients.T
    return separates(torch.from_numpy(np.pad(logits, ((0, 0), (1, 0)))), codes)


def _decrement(likelihood: Likelihood, place: Place) -> Decrement | None:
    """Of a likelihood whose metric is its curvature, in orthonormal contrasts of the classes."""
    basis = contrast_basis(likelihood.hits.shape[1] + 1).numpy()
    against = basis[1:] - basis[:1]  # B = against u
    J, q = place.state.coefficients.shape
    pairs = place.metric.reshape(J, q, J, q)
    hessian = np.einsum("ja,jckd,kb->acbd", against, pairs, against, optimize=True)
    gradient = -against.T @ place.score.reshape(J, q)
    rows = [torch.from_numpy(np.ascontiguousarray(likelihood.rows))]
    return newton_decrement(
        torch.from_numpy(hessian.reshape(J * q, J * q)), torch.from_numpy(gradient.ravel()), rows
    )
