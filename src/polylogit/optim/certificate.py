"""How far from the best possible: a proof for any point, whoever found it.

**Duality.** With the best bias for its weights V, a point has residuals that sum to zero in every
class, and its probabilities are a feasible point of the dual problem. The gap between the two is

    F(V, b) - F*  <=  R*(dF/dV)  =  1/2 sum_d |dF/dV_d|^2 / strength_d

(Fenchel-Young equality for lse at p = softmax(z); the two linear terms cancel because the
residuals sum to zero). It needs a penalty on every column, and costs one gradient.

**Newton's decrement.** For columns with next to no penalty the dual bound is useless. There, with
lambda^2 = g'H^-1 g and kappa the largest spread of any row's logits along a direction of length 1
in the norm of H, the third derivative along v is at most kappa |v|_H times the second, and so

    F - F*  <=  [q + (1 - q) ln(1 - q)] / kappa^2,   q = kappa lambda < 1

about lambda^2 / 2. It also proves that an optimum exists. From phi'' (t) >= phi''(0) exp(-kappa t
|v|_H), integrated twice and minimised over |v|_H; the property is that of Bach, "Self-concordant
analysis for logistic regression", Electron. J. Statist. 4 (2010), section 2 and prop. 1.

Both hold up to float64 rounding; `ROUNDING` times the size of F is added for it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from polylogit.design import Block
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.preconditioner import cholesky
from polylogit.optim.problem import Certificate, Evaluation

ROUNDING = 16 * torch.finfo(torch.float64).eps
NONE = Certificate(math.inf, "none")
WORST_CONDITION = 1e10  # of H with unit diagonal; beyond, its inverse proves nothing


def estimate(objective: SoftmaxObjective, at: Evaluation) -> float:
    """Roughly the gap at `at`, for nothing: says when a proof is worth its price."""
    weight, bias = objective.split_gradient(at.gradient)
    gap = objective.ridge.conjugate(weight)
    shift = objective.expand(bias[:, None]).squeeze(1)
    return gap + 0.5 * float((shift.square() / objective.mass).sum())


def certify(objective: SoftmaxObjective, at: Evaluation) -> tuple[Evaluation, Certificate]:
    """The same weights with their best bias, and the duality gap there, in nats per row."""
    best = objective.with_best_bias(at)
    weight, _ = objective.split_gradient(best.gradient)
    return best, _certificate(objective.ridge.conjugate(weight), "duality", best)


def certify_locally(objective: SoftmaxObjective, at: Evaluation) -> Certificate:
    """The bound by Newton's decrement; builds the Hessian in float64."""
    hessian = replace(objective, fast=torch.float64).curvature(at).matrix()
    factor = cholesky(hessian)
    if not _well_conditioned(hessian, factor):
        return NONE
    inverse = torch.cholesky_inverse(factor)
    gradient = at.gradient.flatten()
    decrement = math.sqrt(max(0.0, float(gradient @ inverse @ gradient)))
    return _certificate(_decrement_bound(decrement, _spread(objective, inverse)), "Newton", at)


def _certificate(gap: float, kind: str, at: Evaluation) -> Certificate:
    if not math.isfinite(gap):
        return NONE
    return Certificate(gap + ROUNDING * max(1.0, abs(at.value)), kind)


def _well_conditioned(hessian: torch.Tensor, factor: torch.Tensor) -> bool:
    diagonal = hessian.diagonal().sqrt()
    unit = factor / diagonal[:, None]
    honest = torch.allclose(factor @ factor.T, hessian, rtol=1e-10, atol=0.0)
    smallest = float(unit.diagonal().min())
    return honest and smallest > 0 and smallest**-2 < WORST_CONDITION


def _spread(objective: SoftmaxObjective, inverse: torch.Tensor) -> float:
    """kappa <= sqrt(2 max_i x~_i' (sum_a [H^-1]_aa) x~_i), in contrast coordinates.

    The spread max_kl |h_k - h_l| of logits h = E u is at most sqrt(2) |u|.
    """
    columns = objective.design.n_features + objective.intercept
    m = len(inverse) // columns
    shared = torch.einsum("adae->de", inverse.reshape(m, columns, m, columns))
    largest = max(
        _largest_form(block, shared, objective.intercept)
        for block in objective.design.blocks(torch.float64)
    )
    return math.sqrt(2 * largest)


def _largest_form(block: Block, shared: torch.Tensor, intercept: bool) -> float:
    """max_i x~_i' M x~_i over a block's rows."""
    rows = block.dense()
    if intercept:
        rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
    return float(((rows @ shared) * rows).sum(1).max())


def _decrement_bound(decrement: float, spread: float) -> float:
    q = decrement * spread
    if q >= 1:
        return math.inf
    if q < 1e-3:  # the series; the closed form cancels there
        return decrement**2 * (0.5 + q / 6 + q * q)
    return (q + (1 - q) * math.log1p(-q)) / spread**2
