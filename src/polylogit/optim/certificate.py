"""How far from the best possible: a proof for any point, whoever found it.

**Duality.** With the best bias for its weights V, a point has residuals that sum to zero in every
class, and its probabilities are a feasible point of the dual problem. The gap between the two is

    F(V, b) - F*  <=  R*(dF/dV)  =  1/2 sum_d |dF/dV_d|^2 / strength_d

(Fenchel-Young equality for lse at p = softmax(z); the two linear terms cancel because the
residuals sum to zero). It needs a penalty on every column, and costs one gradient.

**With kinks.** Write G for the gradient of the loss alone, G = sum_i s_i (p_i - t_i) x_i', and let
q_i = t_i + theta (p_i - t_i), 0 <= theta <= 1: a point of the simplex between target and
probability. Since lse(z) >= q.z - q.log q for every q in the simplex, with equality at softmax(z)
(Fenchel-Young), and since the q_i - t_i too sum to zero in every class, at every (V', b')

    F(V', b') >= sum_i s_i [(q_i - t_i).o_i - q_i.log q_i] + <theta G, V'> + R(V')
              >= sum_i s_i [(q_i - t_i).o_i - q_i.log q_i] - R*(-theta G)

F at (V, b) less this bound is, term by term without cancellation, each of them >= 0,

    gap = sum_i s_i KL(q_i | p_i)  +  [R(V) + R*(-theta G) + <theta G, V>]

For a ridge theta = 1 gives the formula above. For a lasso R* is finite only where
theta |G_kd| <= lasso_d: theta scales the dual point into that box (Fercoq, Gramfort & Salmon,
"Mind the duality gap", ICML 2015, eq. 11). For an elastic net both are proofs; the better counts.

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
from torch import Tensor

from polylogit.design import Block
from polylogit.optim.logits import parts
from polylogit.optim.objective import SoftmaxObjective, logits_of
from polylogit.optim.penalty import ElasticNet
from polylogit.optim.preconditioner import cholesky
from polylogit.optim.problem import Certificate, Evaluation

ROUNDING = 16 * torch.finfo(torch.float64).eps
NONE = Certificate(math.inf, "none")
WORST_CONDITION = 1e10  # of H with unit diagonal; beyond, its inverse proves nothing


def estimate(objective: SoftmaxObjective, at: Evaluation) -> float:
    """Roughly the gap at `at`, for nothing: says when a proof is worth its price."""
    if not isinstance(objective.ridge, ElasticNet):
        return objective.energy(at.gradient)
    gap = min(_kinked_gap(objective, at, theta) for theta in _scales(objective, at))
    return gap + objective.bias_energy(at.gradient)


def certify(objective: SoftmaxObjective, at: Evaluation) -> tuple[Evaluation, Certificate]:
    """The same weights with their best bias, and the duality gap there, in nats per row."""
    best = objective.with_best_bias(at)
    if isinstance(objective.ridge, ElasticNet):
        gap = min(_kinked_gap(objective, best, theta) for theta in _scales(objective, best))
        return best, _certificate(gap, "duality", best)
    weight, _ = objective.split_gradient(best.gradient)
    return best, _certificate(objective.ridge.conjugate(weight), "duality", best)


def _loss_gradient(objective: SoftmaxObjective, at: Evaluation) -> tuple[Tensor, Tensor]:
    """V (K, D) and G (K, D), the gradient of the loss alone."""
    weight, _ = objective.split(at.point)
    smooth, _ = objective.split_gradient(objective.expand(at.gradient))
    return weight, smooth - objective.ridge.gradient(weight)


def _scales(objective: SoftmaxObjective, at: Evaluation) -> set[float]:
    """The thetas worth trying: into the box everywhere, and only where nothing else helps."""
    net = objective.ridge
    if not isinstance(net, ElasticNet):
        return {1.0}
    _, pull = _loss_gradient(objective, at)
    must = net.feasible(pull, net.strength == 0)
    return {must, min(must, net.feasible(pull, net.lasso > 0))}


def _left(objective: SoftmaxObjective, at: Evaluation, theta: float) -> float:
    """R(V) + R*(-theta G) + <theta G, V>."""
    weight, pull = _loss_gradient(objective, at)
    if not isinstance(objective.ridge, ElasticNet):
        return objective.ridge.conjugate(pull + objective.ridge.gradient(weight))
    return objective.ridge.left(weight, theta * pull)


def _kinked_gap(objective: SoftmaxObjective, at: Evaluation, theta: float) -> float:
    return _left(objective, at, theta) + (_divergence(objective, at, theta) if theta < 1 else 0.0)


def _divergence(objective: SoftmaxObjective, at: Evaluation, theta: float) -> float:
    """sum_i s_i KL(q_i | p_i) with q = t + theta (p - t)."""
    total = torch.zeros((), dtype=torch.float64)
    for rows, logits in parts(logits_of(at)):
        log_p = torch.log_softmax(logits, 1)
        p = log_p.exp()
        q = p - (1 - theta) * objective.targets.subtract_from(p.clone(), rows)
        q = q.clamp_min(0)
        each = (torch.xlogy(q, q) - q * log_p).sum(1)
        total += objective.weights[rows] @ each
    return max(0.0, float(objective.reduce(total)))


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
