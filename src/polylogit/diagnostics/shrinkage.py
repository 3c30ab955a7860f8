"""How far beyond a temperature the rows reach: the ridge on a calibrator, by leave-one-out.

    F(D, c) = sum_i s_i [lse(z_i) - z_i,y_i] + alpha/2 (|D|^2 + |c|^2),   z_i = o_i + D x_i + c

for features x (N, K), offsets o (N, K) and weights w (N,) with the shares s = w / sum w. In the
matrix form D is any (K, K), in the vector form diagonal. The log loss on rows left out decides
between strengths alpha, and infinity, where D and c are 0, is among them. The offsets, so the
temperature, are the same for all: one number that N rows agree on.

Leaving out is `polylogit.diagnostics.leave_one_out` for the matrix form. In the vector form the
point is short (2K numbers), so the row's leverages are written out, and a row beyond the formula's
reach is refitted by Newton's method. Where either would take too long, five folds do instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from polylogit import functional
from polylogit.data.dataset import Dataset
from polylogit.design import design_of, row_slices
from polylogit.diagnostics.folds import drawn_by_class
from polylogit.diagnostics.leave_one_out import (
    CELLS,
    WORK,
    leave_one_out,
    moved,
    obstacle,
    work,
)
from polylogit.diagnostics.outcome import INFLUENCE, LOSS_CHANGE
from polylogit.diagnostics.vector_scaling import VectorScaling, logits_at, solved
from polylogit.model import SoftmaxModel
from polylogit.optim.settings import Settings
from polylogit.optim.targets import Labels
from polylogit.schema import Schema
from polylogit.training import Prepared

STRENGTHS = tuple(np.logspace(0.5, -5, 12).tolist())  # of the ridge on the mean loss; and infinity
PATIENCE = 3  # strengths without a better loss before weaker ones are left untried
FOLDS = 5
ABSENT = 1e-12  # of label smoothing, or every row would be the last of a class without rows
CHOOSING, FINAL = 1e-6, 1e-10  # nats per row of proven gap
AT_REST = 1e-14  # the same, where the formula assumes a zero gradient

Shift = tuple[Tensor, Tensor]  # D (K, K) and c (K,)
Judge = Literal["leave-one-out", "5 folds"]


@dataclass(frozen=True, eq=False)
class Shrunk:
    """D and c under a strength alpha, and what judged it.

    `gain` is how much less they lose on rows left out than the offsets alone, in nats per unit of
    weight; `exact` unless rows are beyond the formula's reach.
    """

    D: Tensor
    c: Tensor
    alpha: float
    gain: float
    exact: bool
    judge: Judge


class Form(Protocol):
    """What D may be."""

    @property
    def offsets(self) -> Tensor:
        """O (N, K)."""

    @property
    def codes(self) -> Tensor:
        """y (N,)."""

    @property
    def weights(self) -> Tensor:
        """w (N,), above 0 but where a fold is left out."""

    def fit(self, alpha: float, start: Shift, tol: float) -> Shift:
        """D and c proven to be within `tol` nats of the least F."""

    def logits(self, shift: Shift) -> Tensor:
        """z (N, K)."""

    def left_out(self, alpha: float, shift: Shift, *, exact: bool) -> tuple[Tensor, int]:
        """z (N, K) of every row where F without one unit of its weight is lowest.

        By the formula, and for how many rows that is not to be trusted; with `exact` those are
        fitted anew.
        """

    def of_weights(self, weights: Tensor) -> Form:
        """The same rows under other weights."""

    @property
    def feasible(self) -> bool:
        """Whether the formula takes no more than a second or two."""

    @property
    def refit(self) -> float:
        """Multiply-adds to fit one row anew, roughly."""


def shrunk(form: Form) -> Shrunk:
    """D and c under the strength of the least log loss on rows left out.

    All strengths are judged by the formula. The best is then judged by exact refits where the
    formula may fail, unless these are too many to afford, and so on until the best is sure.
    """
    tried = _swept(form)
    place = _best(tried)
    while not tried[place].exact:
        one = tried[place]
        tried[place] = _judged(form, one.alpha, (one.D, one.c), exact=True)
        place = _best(tried)
    best = tried[place]
    if best.alpha == math.inf:
        return best
    D, c = form.fit(best.alpha, (best.D, best.c), FINAL)
    return replace(best, D=D, c=c)


def _swept(form: Form) -> list[Shrunk]:
    """Infinity and ever weaker strengths, as far as it pays."""
    judge: Judge = "leave-one-out" if form.feasible else "5 folds"
    tried = [Shrunk(*_nothing(form), math.inf, 0.0, True, judge)]
    for one in by_leave_one_out(form) if form.feasible else by_folds(form):
        tried.append(one)
        if 0 < _best(tried) < len(tried) - PATIENCE:
            break
    return tried


def _best(tried: list[Shrunk]) -> int:
    gains = [one.gain for one in tried]
    return gains.index(max(gains))


def gain(form: Form, logits: Tensor) -> float:
    """How much less the logits (N, K) lose than the offsets alone, in nats per unit of weight.

    Rows of NaN do not count: no row of their class is left without them.
    """
    seen = ~logits.isnan().any(1)
    won = losses(form.offsets[seen], form.codes[seen]) - losses(logits[seen], form.codes[seen])
    return float(form.weights[seen] @ won / form.weights[seen].sum())


def by_leave_one_out(form: Form) -> Iterator[Shrunk]:
    """Every strength, judged by the formula."""
    shift = _nothing(form)
    for alpha in STRENGTHS:
        shift = form.fit(alpha, shift, CHOOSING)
        yield _judged(form, alpha, shift, exact=False)


def _judged(form: Form, alpha: float, shift: Shift, *, exact: bool) -> Shrunk:
    logits, n_flagged = form.left_out(alpha, shift, exact=exact)
    sure = exact or n_flagged == 0 or n_flagged * form.refit > WORK
    return Shrunk(*shift, alpha, gain(form, logits), sure, "leave-one-out")


def by_folds(form: Form) -> Iterator[Shrunk]:
    """Every strength, judged by fits without one fold."""
    folds = folds_of(form.codes)
    parts = [form.of_weights(form.weights * (folds != fold)) for fold in range(FOLDS)]
    shift, shifts = _nothing(form), [_nothing(form)] * FOLDS
    for alpha in STRENGTHS:
        logits = torch.empty_like(form.offsets)
        for fold, part in enumerate(parts):
            shifts[fold] = part.fit(alpha, shifts[fold], CHOOSING)
            logits[folds == fold] = form.logits(shifts[fold])[folds == fold]
        yield Shrunk(*shift, alpha, gain(form, logits), True, "5 folds")


def folds_of(codes: Tensor) -> Tensor:
    """The fold (N,) of each row: drawn, and even within every class."""
    folds = np.empty(len(codes), dtype=np.int64)
    folds[drawn_by_class(codes.numpy(), 0)] = np.arange(len(codes)) % FOLDS
    return torch.from_numpy(folds)


def losses(logits: Tensor, codes: Tensor) -> Tensor:
    """-log p (N,) of the codes, in nats."""
    return functional.cross_entropy(logits, codes, reduction="none")


def _nothing(form: Form) -> Shift:
    k = form.offsets.shape[1]
    return torch.zeros(k, k, dtype=torch.float64), torch.zeros(k, dtype=torch.float64)


# ------------------------------------------------------------------------------------ the matrix


@dataclass(frozen=True, eq=False)
class MatrixForm:
    """D (K, K): a softmax regression on x and a column of ones, so c is shrunk like D."""

    x: Tensor
    offsets: Tensor
    codes: Tensor
    weights: Tensor

    def fit(self, alpha: float, start: Shift, tol: float) -> Shift:
        """By the project's solver."""
        prepared = replace(self._prepared, settings=Settings(tol))
        model = prepared.fit(prepared.alpha(1.0) / alpha, self._model(start)).model
        return model.weight[:, :-1], model.weight[:, -1]

    def logits(self, shift: Shift) -> Tensor:
        """O + X D' + c."""
        return self.offsets + self.x @ shift[0].T + shift[1]

    def left_out(self, alpha: float, shift: Shift, *, exact: bool) -> tuple[Tensor, int]:
        """As any softmax regression."""
        prepared = self._prepared
        fit = prepared.fit(prepared.alpha(1.0) / alpha, self._model(shift))
        found = leave_one_out(prepared, fit, refits="flagged" if exact else "none")
        return found.logits, found.n_flagged

    def of_weights(self, weights: Tensor) -> MatrixForm:
        """The same rows under other weights."""
        return replace(self, weights=weights)

    @property
    def feasible(self) -> bool:
        """By the number of multiply-adds."""
        return work(self._prepared) <= WORK and obstacle(self._prepared) is None

    @property
    def refit(self) -> float:
        """Some twenty products with the rows."""
        n_rows, k = self.x.shape
        return 20.0 * n_rows * k * (k + 1)

    @cached_property
    def _prepared(self) -> Prepared:
        features = torch.cat([self.x, torch.ones(len(self.x), 1, dtype=torch.float64)], 1).numpy()
        k = self.x.shape[1]
        schema = Schema.for_array(k + 1, tuple(range(k)))
        return Prepared(
            Dataset(features, schema, self.codes.numpy(), self.weights.numpy(), "scores"),
            design_of(features, centred=False),
            Labels(self.codes, k, ABSENT),
            self.weights,
            intercept=False,
            factors=None,
            offsets=self.offsets,
            settings=Settings(CHOOSING),
        )

    def _model(self, shift: Shift) -> SoftmaxModel:
        weight = torch.cat([shift[0], shift[1][:, None]], 1)
        return SoftmaxModel(weight, torch.zeros_like(shift[1]), self._prepared.dataset.schema)


# ------------------------------------------------------------------------------------ the vector


@dataclass(frozen=True, eq=False)
class VectorForm:
    """D diagonal: a slope and a bias for every class."""

    x: Tensor
    offsets: Tensor
    codes: Tensor
    weights: Tensor

    def fit(self, alpha: float, start: Shift, tol: float) -> Shift:
        """By Newton's method."""
        point = torch.stack([start[0].diagonal(), start[1]])
        slopes, bias = solved(self._problem(alpha), point, tol)
        return torch.diag(slopes), bias

    def logits(self, shift: Shift) -> Tensor:
        """O + d * X + c."""
        return self.offsets + self.x * shift[0].diagonal() + shift[1]

    def left_out(self, alpha: float, shift: Shift, *, exact: bool) -> tuple[Tensor, int]:
        """The formula of `polylogit.diagnostics.leave_one_out`, and Newton where it fails."""
        slopes, bias = self.fit(alpha, shift, AT_REST)
        problem, point = self._problem(alpha), torch.stack([slopes.diagonal(), bias])
        removed = problem.share / self.weights.clamp_min(1.0)  # one unit of the weight
        logits, influence = self._by_formula(problem, point, removed)
        change = losses(logits, self.codes) - losses(problem.logits(point), self.codes)
        flagged = torch.nonzero((change > LOSS_CHANGE) | (influence > INFLUENCE))[:, 0]
        for row in flagged.tolist() if exact else ():
            share = problem.share.clone()
            share[row] -= removed[row]
            without = replace(problem, share=share)
            logits[row] = without.logits(solved(without, point, AT_REST))[row]
        return logits, len(flagged)

    def of_weights(self, weights: Tensor) -> VectorForm:
        """The same rows under other weights."""
        return replace(self, weights=weights)

    @property
    def feasible(self) -> bool:
        """By the number of multiply-adds: K^3 a row, and the Hessian."""
        n_rows, k = self.x.shape
        return 10.0 * n_rows * k**3 + n_rows * (2.0 * k) ** 2 <= WORK

    @property
    def refit(self) -> float:
        """A few Hessians."""
        n_rows, k = self.x.shape
        return 5.0 * n_rows * (2.0 * k) ** 2

    def _problem(self, alpha: float) -> VectorScaling:
        share = self.weights / self.weights.sum()
        return VectorScaling(self.x, self.offsets, self.codes, share, alpha)

    def _by_formula(
        self, problem: VectorScaling, point: Tensor, removed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits (N, K) without each row, and its influence (N,)."""
        at, k = problem.evaluate(point), self.x.shape[1]
        hessian = problem.curvature(at).matrix()
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian)).view(2, k, 2, k)
        logits, influence = logits_at(at).clone(), torch.empty_like(removed)
        for rows in row_slices(len(logits), max(1, CELLS // k**2)):
            x, z = self.x[rows], logits[rows]
            across = x[:, :, None] * inverse[0, :, 1]
            leverages = x[:, :, None] * inverse[0, :, 0] * x[:, None, :]
            leverages += across + across.mT + inverse[1, :, 1]
            aims = functional.one_hot(self.codes[rows], k).double()
            move, influence[rows] = moved(leverages, z.softmax(1), aims, removed[rows])
            logits[rows] = z + move
        return logits, influence
