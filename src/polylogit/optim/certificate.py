"""How far from the best possible: a proof for any point, whoever found it.

**Duality.** With the best bias for its weights V, a point has residuals that sum to zero in every
class, and its probabilities are a feasible point of the dual problem. The gap between the two is

    F(V, b) - F*  <=  R*(dF/dV)  =  1/2 sum_d |dF/dV_d|^2 / strength_d

(Fenchel-Young equality for lse at p = softmax(z); the two linear terms cancel because the
residuals sum to zero). It needs a penalty on every column, and costs one gradient.

**Near the best bias** no second gradient is needed. Let u be the shift to the best bias and
e = -u'dF/db, twice what it gains: F falls by e at most, for it is convex. Probabilities move by
p(u) - p = int_0^1 (diag p - pp') u, whose square is at most half the variance of u under p(tu), for
no eigenvalue is above a half; and sum_i s_i Var_p_i(u) = e, times exp(max u - min u) on the way. So
by Cauchy and Schwarz, since no column of standardised rows that weigh the same has a mean square
above 1,

    R*(dF/dV(u))^1/2  <=  R*(dF/dV)^1/2  +  (e exp(max u - min u) / 4  sum_d 1/strength_d)^1/2

Where that is not enough, sum_i s_i (p_i(u) - p_i) x_i' joins dF/dV by a product in float32, whose
rounding is a share of the last term: at most N eps of it (Higham, Accuracy and Stability of
Numerical Algorithms (2002), section 3.1).

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

A column without penalty stands like the bias: at its best for all other weights, its part of G is
zero (`polylogit.optim.free`).

**Newton's decrement.** For columns with next to no penalty the dual bound is useless. There the
slope and the curvature bound what is to be gained (`polylogit.optim.decrement`): that of the
Hessian, or of one D x D matrix that is nowhere above it, whatever the number of classes. Columns
that others make (`polylogit.optim.collinear`) are left out: F is the same without them.

Both hold up to float64 rounding; `ROUNDING` times the size of F is added for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from polylogit.design import row_slices
from polylogit.optim.collinear import independent
from polylogit.optim.decrement import Decrement, newton_decrement
from polylogit.optim.free import with_best_free
from polylogit.optim.logits import logits_of, parts
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.penalty import ElasticNet
from polylogit.optim.problem import Certificate, Evaluation

ROUNDING = 16 * torch.finfo(torch.float64).eps
NONE = Certificate(math.inf, "none")
PART_ELEMENTS = 2**17  # of rows that are looked at one by one
BOUNDED = 1e-6  # of a class's mass: so near its best is a bias that is worth a bound
MARGIN = 1.02  # for u from one step of Newton's, and for the way to it
SLIP = 0.05  # of what u moves: for the same step, and for products less precise than float32


def estimate(objective: SoftmaxObjective, at: Evaluation) -> float:
    """Roughly the gap at `at`, for nothing: says when a proof is worth its price."""
    if not isinstance(objective.ridge, ElasticNet):
        return objective.energy(at.gradient)
    gap = min(_kinked_gap(objective, at, theta) for theta in _scales(objective, at))
    return gap + objective.bias_energy(at.gradient) + _free_energy(objective, at)


def certify(
    objective: SoftmaxObjective, at: Evaluation, *, balanced: bool = False, enough: float = 0.0
) -> tuple[Evaluation, Certificate]:
    """The same weights with their best bias, and the duality gap there, in nats per row.

    With kinks, columns without penalty are at their best there as well. `balanced` says that the
    bias is the best already, up to rounding. Where a bias that is near its best proves a gap of
    `enough`, it stays, and no row is read.
    """
    if isinstance(objective.ridge, ElasticNet):
        best, lacks = _best_of_the_rest(objective, at)
        gap = min(_kinked_gap(objective, best, theta) for theta in _scales(objective, best))
        return best, _certificate(gap + lacks, "duality", best)
    near = math.inf if balanced or not enough else _gap_near_balance(objective, at, enough)
    if near <= enough:
        return at, _certificate(near, "duality", at)
    best = at if balanced else objective.with_best_bias(at)
    return best, _certificate(objective.weight_energy(best.gradient), "duality", best)


def _gap_near_balance(objective: SoftmaxObjective, at: Evaluation, enough: float) -> float:
    """A bound on the gap where the bias is near its best; infinite where none is cheap."""
    if not (objective.is_balanced(at, BOUNDED) and objective.bounds_bias):
        return math.inf
    slope = objective.expand(objective.split_gradient(at.gradient)[1])
    shift = objective.bias_shift(at)
    spread = float(shift.max() - shift.min())
    if not 2 * spread <= MARGIN - 1:
        return math.inf
    fall = MARGIN * max(0.0, -float(shift @ slope))
    moved = math.sqrt(0.5 * MARGIN * fall * float(objective.ridge.strength.reciprocal().sum()))
    gap = fall + 0.5 * (_length(objective, at.gradient) + moved) ** 2
    slip = SLIP + objective.design.n_rows * torch.finfo(objective.fast).eps
    if gap <= enough or slip > 2 * SLIP or objective.design.centred_apart:
        return gap
    gradient = at.gradient.clone()
    gradient[:, :-1] += objective.moved_slope(at, shift)
    return fall + 0.5 * (_length(objective, gradient) + slip * moved) ** 2


def _length(objective: SoftmaxObjective, gradient: Tensor) -> float:
    """(2 R*(dF/dV))^1/2."""
    return math.sqrt(2 * objective.weight_energy(gradient))


def _best_of_the_rest(objective: SoftmaxObjective, at: Evaluation) -> tuple[Evaluation, float]:
    """The same penalised weights with the best of what costs nothing, and what that lacks."""
    if objective.penalised:
        return objective.with_best_bias(at), 0.0
    return with_best_free(objective, at)


def _free_energy(objective: SoftmaxObjective, at: Evaluation) -> float:
    """Roughly what the columns without penalty have to gain; their unit is that of the bias."""
    if objective.penalised:
        return 0.0
    weight, _ = objective.split_gradient(at.gradient)
    pull = weight[:, ~objective.ridge.costly]
    return 0.5 * float((pull.square() / objective.mass[:, None]).sum())


def _loss_gradient(objective: SoftmaxObjective, at: Evaluation) -> tuple[Tensor, Tensor]:
    """V (K, D) and G (K, D), the gradient of the loss alone, zero where a column costs nothing."""
    weight, _ = objective.split(at.point)
    smooth, _ = objective.split_gradient(objective.expand(at.gradient))
    return weight, (smooth - objective.ridge.gradient(weight)) * objective.ridge.costly


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
    hessian = objective.exactly().curvature(at).matrix()
    m, columns = at.gradient.shape
    pairs = hessian.view(m, columns, m, columns)

    def decrement(kept: Tensor | slice) -> Decrement | None:
        gradient = at.gradient[:, kept].flatten()
        part = pairs[:, kept][..., kept].reshape(len(gradient), len(gradient))
        return newton_decrement(part, gradient, *_bordered(objective, kept))

    return _by_decrement(objective, at, decrement)


def certify_roughly(objective: SoftmaxObjective, at: Evaluation) -> Certificate:
    """As `certify_locally`, by `least_curvature`: at the price of one D x D matrix, and looser."""
    least, gradient = objective.least_curvature(at), objective.contrasts(at.gradient)

    def decrement(kept: Tensor | slice) -> Decrement | None:
        return newton_decrement(
            least[kept][:, kept], gradient[:, kept], *_bordered(objective, kept)
        )

    return _by_decrement(objective, at, decrement)


def _by_decrement(
    objective: SoftmaxObjective,
    at: Evaluation,
    decrement: Callable[[Tensor | slice], Decrement | None],
) -> Certificate:
    """The bound over all columns, or over those that make all others."""
    found = decrement(slice(None))
    if found is None and not bool(objective.ridge.costly.any()):
        kept = independent(lambda: _bordered_rows(objective))
        found = None if kept is None else decrement(kept)
    return NONE if found is None else _certificate(found.bound, "Newton", at)


def _bordered(
    objective: SoftmaxObjective, kept: Tensor | slice
) -> tuple[Iterator[Tensor], Tensor | None]:
    """Columns of x~ (B, .), block by block, and the largest size of each, if known."""
    reach = objective.design.reach
    if reach is not None:
        reach = torch.cat([reach, reach.new_ones(int(objective.intercept))])[kept]
    return _bordered_rows(objective, kept), reach


def _bordered_rows(
    objective: SoftmaxObjective, kept: Tensor | slice = slice(None)
) -> Iterator[Tensor]:
    """Columns of x~ (B, .), as many rows at a time as stay in cache."""
    step = max(1, PART_ELEMENTS // (objective.design.n_features + 1))
    for block in objective.design.blocks(torch.float64):
        for part in row_slices(block.rows.stop - block.rows.start, step):
            rows = block.dense(part)
            ones = rows.new_ones(len(rows), int(objective.intercept))
            yield torch.cat([rows, ones], 1)[:, kept]


def _certificate(gap: float, kind: str, at: Evaluation) -> Certificate:
    if not math.isfinite(gap):
        return NONE
    return Certificate(gap + ROUNDING * max(1.0, abs(at.value)), kind)
