"""Proximal Newton for F = f + sum_j w_j |x_j|: sparse optima, with the whole Hessian of f.

1. The working set: parameters that are not zero, or that the slope of f pulls away from zero.
   The rest stays zero, so a sparse optimum needs but a small Hessian (J. Friedman et al.,
   "Regularization paths ...", J. Stat. Softw. 33 (2010), section 2.6, has the idea). Where many
   are pulled, those that promise most go first, about as many as are there already (as in Johnson
   & Guestrin, "Blitz", ICML 2015): a Hessian that can be written out takes no pass for a product.
2. There the quadratic model of f plus the kinks is minimised, with every pair of classes in it.
   Curvature by class alone, as in glmnet, lets classes overshoot each other for ever
   (scikit-learn issues #34561 and #34681).
3. The step goes to where F, kinks and all, is close to its lowest between here and there. The
   slope along the step is enough to know: F is convex. A full step keeps exact zeros.
4. Where the step had to be short the model was wrong; it is damped by a multiple of its own
   diagonal (Levenberg, Quart. Appl. Math. 2 (1944)), which fades as steps succeed.

Lee, Sun & Saunders, "Proximal Newton-type methods for minimizing composite functions", SIAM J.
Optim. 24 (2014), algorithm 1: superlinear if the model is minimised ever better.

The model is minimised by accelerated proximal gradient steps, which find out what is zero, in turn
with Newton steps on what is not, which are exact once the zeros are right (the two phases of Byrd,
Chin, Nocedal & Oztoprak, "A family of second-order methods for convex L1-regularized
optimization", Math. Program. 159 (2016), section 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from polylogit.optim.damping import damping_after
from polylogit.optim.line_search import lowest
from polylogit.optim.penalty import shrink
from polylogit.optim.preconditioner import cholesky
from polylogit.optim.problem import Evaluation, KinkedProblem, Line, PartialCurvature, Solver

FLAT = 0.3  # of the first slope along a step: flatter than that, the full step is taken
FORCING, ROUGH = 1e-3, 1e-2  # of the model's first residual: small enough, and where it is dear
MOST_PRODUCTS = 100  # of conjugate gradients in a Newton step on the model
ROUNDS = 40  # of both phases
IDLE = 1e-12  # of all that was gained: a round that gains less is the last
GRADIENT_STEPS, MOST_GRADIENT_STEPS = 12, 200  # in the first round, and in later ones
LEAST_PRODUCTS = 50  # for a step where the Hessian is not written out; or as many as all before
NEWTON_STEPS = 3  # in a round
FEWEST, GROWTH = 200, 2  # entries of a working set, and how many for each that is not zero


def proximal_newton(problem: KinkedProblem, at: Evaluation) -> Solver:
    """Ever better points after `at`; ends where no direction leads down any more."""
    thresholds, damping, spent = problem.thresholds().flatten(), 0.0, Spent()
    while True:
        direction = _direction(problem, at, thresholds, damping, spent)
        line = _KinkedLine(problem.line(at, direction), at.point, direction, thresholds)
        slope = line.first(at.gradient)
        if not slope < 0:
            return
        t = 1.0 if line.slope(1.0) <= FLAT * -slope else min(1.0, lowest(line, slope))
        at, damping = line.evaluate(t), damping_after(damping, t)
        yield at


def _direction(
    problem: KinkedProblem, at: Evaluation, thresholds: Tensor, damping: float, spent: Spent
) -> Tensor:
    """From `at` to the minimiser of the model on the working set, in the shape of the point."""
    point, gradient = at.point.flatten(), at.gradient.flatten()
    entries = torch.nonzero((point != 0) | (gradient.abs() > thresholds)).flatten()
    direction = torch.zeros_like(point)
    if len(entries):
        curvature = problem.curvature(at)
        entries = _foremost(curvature, at, entries, thresholds[entries])
        model = _model(curvature, at, entries, thresholds[entries], damping, spent)
        shifts = _shifts(problem, at.point, entries, model.unit)
        u = minimiser(_gauged(model, shifts), shifts, spent)
        # where the model ends at zero the step must too, to the last bit: 0 / unit - x
        direction[entries] = u / model.unit - point[entries]
    return direction.reshape(at.point.shape)


def _foremost(
    curvature: PartialCurvature, at: Evaluation, entries: Tensor, thresholds: Tensor
) -> Tensor:
    """Of a working set whose Hessian is dear those that promise most, where theirs is not.

    All that are not zero or cost nothing, and at least as many again: of x_j = 0 the model
    promises (|g_j| - w_j)^2 / (2 H_jj).
    """
    inside = (at.point.flatten()[entries] != 0) | (thresholds == 0)
    count = max(FEWEST, GROWTH * int(inside.sum()))
    cheap = curvature.part_is_cheap
    if cheap(len(entries)) or count >= len(entries) or not cheap(count):
        return entries
    beyond = at.gradient.flatten()[entries].abs() - thresholds
    promised = beyond.square() / curvature.diagonal().flatten()[entries]
    return entries[torch.where(inside, math.inf, promised).topk(count).indices].sort().values


def _shifts(
    problem: KinkedProblem, like: Tensor, entries: Tensor, unit: Tensor
) -> Callable[[Tensor], Tensor]:
    """u -> u with every column of which all is in the working set moved to cost least.

    Nothing curves f along such a shift, so small thresholds alone would take many steps there.
    """
    place = torch.full((like.numel(),), -1)
    place[entries] = torch.arange(len(entries))
    place = place.reshape(like.shape)
    columns = torch.nonzero((place >= 0).all(0)).flatten()
    whole = place[:, columns]
    units = unit[whole]

    def shifted(u: Tensor) -> Tensor:
        moved = u.clone()
        moved[whole] = problem.centred(u[whole] / units, columns) * units
        return moved

    return shifted


def _gauged(model: Model, shifts: Callable[[Tensor], Tensor]) -> Model:
    """The model, its Newton steps freed of shifts that cost nothing: rounding makes those grow."""
    free = model.thresholds == 0

    def newton(kept: Tensor, right: Tensor) -> Tensor:
        step = model.newton(kept, right)
        return torch.where(free, shifts(step), step)

    return replace(model, newton=newton)


class _KinkedLine:
    """F itself along a line: f's slope plus that of the kinks, from the left."""

    def __init__(self, line: Line, point: Tensor, direction: Tensor, thresholds: Tensor) -> None:
        self.line, self.curvature, self.evaluate = line, line.curvature, line.evaluate
        self.trials_are_free = line.trials_are_free
        self.point, self.direction = point.flatten(), direction.flatten()
        self.costs = thresholds * self.direction.abs()

    def first(self, gradient: Tensor) -> float:
        """The slope of F at 0, to the right; entry by entry, so that little is not lost in much."""
        return float((gradient.flatten() * self.direction + self._kinks(0.0, 1.0)).sum())

    def slope(self, t: float) -> float:
        """Slope of F at `t`, to the left."""
        return self.line.slope(t) + float(self._kinks(t, -1.0).sum())

    def _kinks(self, t: float, side: float) -> Tensor:
        """w_j d_j sign(x_j + t d_j) (n,), a zero counted as on the way out (1) or in (-1)."""
        outward = (self.point + t * self.direction).sign() * self.direction.sign()
        return self.costs * torch.where(outward == 0, side, outward)


# --------------------------------------------------------------------------------------- the model


@dataclass
class Spent:
    """How many products with the data the models have taken."""

    products: int = 0

    def counted(self, product: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The same, each call taken down."""

        def counting(v: Tensor) -> Tensor:
            self.products += 1
            return product(v)

        return counting


@dataclass(frozen=True)
class Model:
    """q(u) = g.(u - c) + 1/2 (u - c)'H(u - c) + sum_j w_j |u_j| over n parameters u = x unit.

    `unit` gives H a diagonal of ones, so columns and classes of any size are alike.
    """

    centre: Tensor  # c (n,)
    gradient: Tensor  # g (n,)
    thresholds: Tensor  # w (n,)
    unit: Tensor  # (n,)
    product: Callable[[Tensor], Tensor]  # H v
    newton: Callable[[Tensor, Tensor], Tensor]  # (kept (n,), r (n,)): H^-1 r on the kept entries
    forcing: float  # of the first residual: small enough

    def slope(self, image: Tensor) -> Tensor:
        """The gradient of the smooth part where H (u - c) is `image`."""
        return self.gradient + image

    def value(self, u: Tensor, image: Tensor) -> float:
        """q(u) - q(c) where H (u - c) is `image`, entry by entry so that small falls are seen."""
        smooth = (self.gradient + 0.5 * image) * (u - self.centre)
        return float((smooth + self.thresholds * (u.abs() - self.centre.abs())).sum())

    def residual(self, u: Tensor, image: Tensor) -> float:
        """How far a unit step of the proximal gradient would move u: zero at the minimiser."""
        return float((shrink(u - self.slope(image), self.thresholds) - u).norm())


def _model(
    curvature: PartialCurvature,
    at: Evaluation,
    entries: Tensor,
    thresholds: Tensor,
    damping: float,
    spent: Spent,
) -> Model:
    """The model at `at` on `entries`: written out where that is cheap, by products where not."""
    raw = curvature.part(entries) if curvature.part_is_cheap(len(entries)) else None
    diagonal = curvature.diagonal().flatten()[entries] if raw is None else raw.diagonal().clone()
    diagonal = diagonal.double() * (1 + damping)
    unit = diagonal.clamp_min(float(diagonal.max()) * 1e-14 + 1e-300).sqrt()
    if raw is None:
        product = spent.counted(_masked(curvature, entries, unit, damping, at.point))
        newton = _by_products(product)
    else:
        hessian = raw / torch.outer(unit, unit)
        hessian.diagonal().copy_(diagonal / unit.square())
        product, newton = hessian.mv, _by_cholesky(hessian)
    centre = at.point.flatten()[entries] * unit
    gradient = at.gradient.flatten()[entries] / unit
    forcing = ROUGH if raw is None else FORCING
    return Model(centre, gradient, thresholds / unit, unit, product, newton, forcing)


def _masked(
    curvature: PartialCurvature, entries: Tensor, unit: Tensor, damping: float, like: Tensor
) -> Callable[[Tensor], Tensor]:
    """H v on `entries`, by a product with the whole Hessian."""

    def product(v: Tensor) -> Tensor:
        full = like.new_zeros(like.numel())
        full[entries] = v / unit
        image = curvature.product(full.reshape(like.shape)).flatten()[entries] / unit
        return image.double() + damping / (1 + damping) * v

    return product


def _by_cholesky(hessian: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    def newton(kept: Tensor, right: Tensor) -> Tensor:
        where = torch.nonzero(kept).flatten()
        factor = cholesky(hessian[where[:, None], where])
        out = torch.zeros_like(right)
        out[where] = torch.cholesky_solve(right[where, None], factor).squeeze(1)
        return out

    return newton


def _by_products(product: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def newton(kept: Tensor, right: Tensor) -> Tensor:
        """Conjugate gradients, to a tenth of the way."""
        residual = torch.where(kept, right, 0.0)
        solution, search = torch.zeros_like(residual), residual
        energy = first = float(residual @ residual)
        for _ in range(MOST_PRODUCTS):
            image = torch.where(kept, product(search), 0.0)
            bend = float(search @ image)
            if not bend > 0:
                break
            solution = solution + (energy / bend) * search
            residual = residual - (energy / bend) * image
            energy, last = float(residual @ residual), energy
            if energy <= 1e-2 * first:
                break
            search = residual + (energy / last) * search
        return solution

    return newton


# ----------------------------------------------------------------------------------- its minimiser


def minimiser(model: Model, shifted: Callable[[Tensor], Tensor], spent: Spent) -> Tensor:
    """u with the model's residual at `forcing` of its start, or where nothing more is gained.

    Or after as many products with the data as all models before have taken: far from the optimum
    no model is worth more.

    `shifted` moves u to where the kinks cost less and the rest is all but the same.
    """
    u, image = model.centre, torch.zeros_like(model.centre)
    enough, steepness, steps = model.forcing * model.residual(u, image), 1.0, GRADIENT_STEPS
    first = value = model.value(u, image)
    limit = spent.products + max(LEAST_PRODUCTS, spent.products)
    for _ in range(ROUNDS):
        ahead, ahead_image, steepness = _gradient_steps(model, u, image, steepness, steps)
        u, image = _lower(model, (u, image), (ahead, ahead_image))
        moved = shifted(u)
        u, image = _lower(model, (u, image), (moved, image + model.product(moved - u)))
        u, image = _newton_steps(model, u, image)
        value, last = model.value(u, image), value
        done = model.residual(u, image) <= enough or last - value <= IDLE * (first - value)
        if done or spent.products > limit:
            break
        steps = min(MOST_GRADIENT_STEPS, 2 * steps)
    return u


def _gradient_steps(
    model: Model, u: Tensor, image: Tensor, steepness: float, steps: int
) -> tuple[Tensor, Tensor, float]:
    """Accelerated proximal gradient steps: Beck & Teboulle, SIAM J. Imaging Sci. 2 (2009), FISTA.

    1. Step from the extrapolated point v by 1/L; L doubles until the step d has d'Hd <= L d'd.
    2. Extrapolate further, but start anew where that led uphill (O'Donoghue & Candes, Found.
       Comput. Math. 15 (2015), the gradient scheme).
    """
    v, v_image, momentum = u, image, 1.0
    for _ in range(steps):
        slope = model.slope(v_image)
        while True:
            step = shrink(v - slope / steepness, model.thresholds / steepness) - v
            bend = model.product(step)
            size = float(step @ step)
            if not float(step @ bend) > steepness * size * (1 + 1e-9) or size == 0:
                break  # numbers that are not finite end it too
            steepness *= 2
        following, following_image = v + step, v_image + bend
        if float(step @ (following - u)) < 0:
            momentum = 1.0
        later = 0.5 + math.sqrt(0.25 + momentum**2)
        push = (momentum - 1) / later
        v = following + push * (following - u)
        v_image = following_image + push * (following_image - image)
        u, image, momentum = following, following_image, later
    return u, image, steepness


def _newton_steps(model: Model, u: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Newton's steps on the entries that are not zero, as long as signs change on the way."""
    for _ in range(NEWTON_STEPS):
        kept = (u != 0) | (model.thresholds == 0)
        pull = model.slope(image) + model.thresholds * u.sign()
        step = model.newton(kept, -pull)
        bend = model.product(step)
        crossing = kept & ((u + step) * u < 0) & (model.thresholds > 0)
        t = _lowest_on(model, u, image, step, bend)
        ahead = _landed(u, u + t * step, model.thresholds), image + t * bend
        if not bool(crossing.any()):
            return _lower(model, (u, image), ahead)
        stopped = torch.where(crossing, 0.0, u + step)
        landed = stopped, image + model.product(stopped - u)
        before = u
        u, image = _lower(model, _lower(model, (u, image), ahead), landed)
        if u is before:
            break
    return u, image


def _landed(u: Tensor, ahead: Tensor, thresholds: Tensor) -> Tensor:
    """`ahead`, exactly zero where it stopped at a kink."""
    stopped = (ahead.abs() <= 1e-12 * u.abs()) & (thresholds > 0)
    return torch.where(stopped, 0.0, ahead)


def _lower(
    model: Model, one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    return other if model.value(*other) < model.value(*one) else one


def _lowest_on(model: Model, u: Tensor, image: Tensor, step: Tensor, bend: Tensor) -> float:
    """The exact t in [0, 1] with q(u + t step) lowest.

    The slope in t rises linearly between the kinks t_j = -u_j / step_j and jumps by
    2 w_j |step_j| there: sort them, add up, and find where it passes zero.
    """
    curve = float(step @ bend)
    sides = torch.where(u == 0, step.sign(), u.sign())
    first = float(model.slope(image) @ step + (model.thresholds * step) @ sides)
    crossed = (u * step < 0) & (model.thresholds > 0)
    times, order = (-u[crossed] / step[crossed]).sort()
    jumps = 2 * (model.thresholds * step.abs())[crossed][order]
    after = first + curve * times + jumps.cumsum(0)  # the slope just beyond each kink
    hit = int((after < 0).sum())  # kinks that are passed, the slope still leading down
    base = first + float(jumps[:hit].sum())
    t = -base / curve if curve > 0 else math.inf
    if hit < len(times):
        t = min(t, float(times[hit]))
    return min(1.0, max(0.0, t))
