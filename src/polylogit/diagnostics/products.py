"""Leave-one-out's questions to a Hessian too large to be written out: products answer them.

Directions are (B, K, D~) and many at a time, so that all of them share one pass over the rows. The
columns over the classes sum to zero, for softmax cannot see their common shift.

1. Draws v of N(0, H^-1): with r = sum_i sqrt(w_i) R_i xi_i x~_i' + ridge^(1/2) eta, R_i R_i' = S_i
   and normal xi, eta, E rr' = H, so v = H^-1 r. Of m draws the mean of (V x~_i)(V x~_i)' is the
   row's leverages A_i, with an error of sqrt(2/m) (Antoran et al., "Sampling-based inference for
   large linear models", ICLR 2023, section 3: sample, then optimise).
2. Refits without parcels of rows, by Newton's method from the optimum with all.

Both solve with conjugate gradients in float32, preconditioned as in `polylogit.optim`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from typing import cast

import torch
from torch import Tensor

from polylogit.design import Block, row_slices
from polylogit.diagnostics.optimum import objective_of
from polylogit.optim.logits import logits_of
from polylogit.optim.newton_cg import newton_cg
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.problem import Evaluation, Preconditioner
from polylogit.training import Fit, Prepared

FAST = torch.float32
ROUGH = 1e-7  # nats per row still to gain, from which Newton's method goes on first
NEWTONS = 20  # steps, at most
CLOSE = 0.05  # of the residual a draw may keep: far less than its own noise
FORCING = 0.1  # of the residual a Newton step may keep
MOST_PRODUCTS = 50  # of a solve
AT_REST = 1e-5  # of what a refit had to gain: the rest does not show in a mean of losses
FLAT, TRIALS = 0.5, 4  # of the first slope along a direction; and how often it is searched for
SHORTEST, LONGEST = 0.1, 4.0  # change of a step between two trials
CELLS = 2**25  # numbers of a batch: rows times classes times directions


@dataclass(frozen=True, eq=False)
class Operator:
    """The lowest point of `objective` (K, D~), and its Hessian as products.

    `logits` (N, K) are float64, `aims` (N, K) the targets of the fit and `probabilities` (N, K) in
    float32.
    """

    objective: SoftmaxObjective
    logits: Tensor
    aims: Tensor
    probabilities: Tensor
    precondition: Preconditioner

    @property
    def shape(self) -> tuple[int, int]:
        """K and D~."""
        return self.objective.n_classes, len(self.objective.ridge_columns())

    def image(self, block: Block, directions: Tensor) -> Tensor:
        """V x~_i (n, B, K) of a block's rows for V in `directions` (B, K, D~)."""
        flat = directions.flatten(0, 1)
        if not self.objective.intercept:
            return block.matmul(flat).view(-1, *directions.shape[:2])
        return (block.matmul(flat[:, :-1]) + flat[:, -1]).view(-1, *directions.shape[:2])

    def pull(self, residuals: Callable[[Block], Tensor]) -> Tensor:
        """sum_i r_i x~_i' (B, K, D~) for residuals (n, B, K) of each block."""
        parts = (self._pull(block, residuals(block)) for block in self.blocks())
        return reduce(Tensor.add_, parts)

    def _pull(self, block: Block, residuals: Tensor) -> Tensor:
        flat = residuals.flatten(1)
        part = block.rmatmul(flat)
        if self.objective.intercept:
            part = torch.cat([part, flat.sum(0)[:, None]], 1)
        return part.view(*residuals.shape[1:], -1)

    def blocks(self) -> Iterator[Block]:
        """All rows once, for products in float32."""
        return self.objective.design.blocks(FAST)

    def ridge(self, points: Tensor) -> Tensor:
        """The penalty's gradient (B, K, D~)."""
        return points * self.objective.ridge_columns().to(FAST)

    def product(self, directions: Tensor, probabilities: Tensor, shares: Tensor) -> Tensor:
        """H times directions (B, K, D~), at probabilities (N, B or 1, K) by shares (N, B or 1)."""

        def residuals(block: Block) -> Tensor:
            p = probabilities[block.rows]
            q = self.image(block, directions).mul_(p)
            q.addcmul_(p, q.sum(2, keepdim=True), value=-1)
            return q.mul_(shares[block.rows, :, None])

        return self.pull(residuals) + self.ridge(directions)

    def at_once(self) -> int:
        """How many directions to take at a time."""
        return max(1, CELLS // self.logits.numel())


def settle(prepared: Prepared, fit: Fit) -> Operator:
    """The optimum near `fit`, brought within `ROUGH` of the lowest where it is not yet."""
    objective = objective_of(prepared, fit.alpha, None, FAST)
    start = prepared.design.from_user(fit.model.weight, fit.model.bias)
    at = objective.evaluate(objective.join(*start))
    precondition = objective.preconditioner(at)
    steps = islice(newton_cg(objective, at, FAST), NEWTONS)
    while _left(at, precondition) > ROUGH and (better := next(steps, None)) is not None:
        at, precondition = better, objective.preconditioner(better)
    logits = cast("Tensor", logits_of(at))  # `obstacle` has refused those that are not kept
    aims = objective.targets.written_out()
    return Operator(objective, logits, aims, torch.softmax(logits, 1).to(FAST), precondition)


def _left(at: Evaluation, precondition: Preconditioner) -> float:
    """g' M^-1 g / 2: about what a step would gain."""
    return 0.5 * float((at.gradient * precondition(at.gradient)).sum())


def leverage_roots(operator: Operator, count: int, seed: int) -> Tensor:
    """U (N, K, m) with A_i ~ U_i U_i' from `count` draws m, in float32."""
    n_rows, n_classes = operator.logits.shape
    roots = torch.empty(n_rows, n_classes, count, dtype=FAST)
    generator = torch.Generator().manual_seed(seed)
    for some in row_slices(count, operator.at_once()):
        drawn = _draws(operator, some.stop - some.start, generator)
        for block in operator.blocks():
            roots[block.rows, :, some] = operator.image(block, drawn).transpose(1, 2)
    return roots.div_(count**0.5)


def _draws(operator: Operator, count: int, generator: torch.Generator) -> Tensor:
    """v (m, K, D~) of N(0, H^-1)."""
    p, shares = operator.probabilities[:, None], operator.objective.weights.to(FAST)[:, None]

    def noise(block: Block) -> Tensor:
        q, share = p[block.rows], shares[block.rows, :, None]
        xi = torch.randn(len(q), count, q.shape[2], generator=generator, dtype=FAST)
        xi.mul_(q.sqrt())
        return xi.addcmul_(q, xi.sum(2, keepdim=True), value=-1).mul_(share.sqrt())

    eta = torch.randn(count, *operator.shape, generator=generator, dtype=FAST)
    eta -= eta.mean(1, keepdim=True)
    aim = operator.pull(noise) + eta * operator.objective.ridge_columns().sqrt().to(FAST)
    return conjugate(
        lambda directions: operator.product(directions, p, shares),
        operator.precondition,
        aim,
        CLOSE,
    )


def conjugate(
    product: Callable[[Tensor], Tensor], precondition: Preconditioner, aim: Tensor, enough: float
) -> Tensor:
    """x (B, K, D~) with H_b x_b close to `aim`, each by its own conjugate gradients."""
    x, residual = torch.zeros_like(aim), aim
    z = precondition(residual)
    search, energy = z, _dot(residual, z)
    target = enough**2 * energy
    for _ in range(MOST_PRODUCTS):
        image = product(search)
        bend = _dot(search, image)
        step = torch.where(bend > 0, energy / bend, 0.0)
        x, residual = x + step * search, residual - step * image
        z = precondition(residual)
        energy, last = _dot(residual, z), energy
        if bool((energy <= target).all()):
            break
        search = z + torch.where(last > 0, energy / last, 0.0) * search
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2), keepdim=True)


# -------------------------------------------------------------------------------------- refits


@dataclass(frozen=True, eq=False)
class Parcels:
    """B sets of rows to leave out: what is left of the rows' shares (N, B), in float32."""

    operator: Operator
    shares: Tensor

    def gradient(self, moves: Tensor) -> tuple[Tensor, Tensor]:
        """Of each parcel's own objective at its own move (B, K, D~), and P (N, B, K) there.

        Where the gradient with all rows is taken for zero, so that what is left of it moves no
        refit.
        """
        operator, shares = self.operator, self.shares
        probabilities = torch.empty(*shares.shape, operator.shape[0], dtype=FAST)
        whole = operator.objective.weights.to(FAST)[:, None, None]

        def residuals(block: Block) -> Tensor:
            z = operator.image(block, moves).add_(operator.logits[block.rows, None].to(FAST))
            p = probabilities[block.rows] = torch.softmax(z, 2)
            aims = operator.aims[block.rows, None].to(FAST)
            before = (operator.probabilities[block.rows, None] - aims) * whole[block.rows]
            return (p - aims).mul_(shares[block.rows, :, None]).sub_(before)

        return operator.pull(residuals) + operator.ridge(moves), probabilities

    def to_gain(self, gradient: Tensor) -> Tensor:
        """g' M^-1 g (B, 1, 1): about twice what is left to gain."""
        return _dot(gradient, self.operator.precondition(gradient))

    def step(self, gradient: Tensor, probabilities: Tensor) -> Tensor:
        """Newton's direction (B, K, D~)."""
        return conjugate(
            lambda directions: self.operator.product(directions, probabilities, self.shares),
            self.operator.precondition,
            -gradient,
            FORCING,
        )

    def logits(self, moves: Tensor, rows: Tensor, parcel: Tensor) -> Tensor:
        """z (n, K) of rows (n,), each at the point of its own parcel (n,)."""
        operator = self.operator
        place = torch.full((len(operator.logits),), -1)
        place[rows] = torch.arange(len(rows))
        moved = torch.empty(len(rows), operator.shape[0], dtype=torch.float64)
        for block in operator.blocks():
            here = place[block.rows]
            mine = here[here >= 0]
            moved[mine] = operator.image(block, moves)[here >= 0, parcel[mine]].double()
        return operator.logits[rows] + moved


def refitted_parcels(operator: Operator, rows: Tensor, parcel: Tensor, removed: Tensor) -> Tensor:
    """z (n, K) of rows (n,), where each of them is left out with the others of its parcel (n,).

    `removed` (n,) is how much of the row's share leaves. Parcels are numbered from 0.
    """
    logits = torch.empty(len(rows), operator.shape[0], dtype=torch.float64)
    for some in row_slices(int(parcel.max()) + 1, operator.at_once()):
        mine = (parcel >= some.start) & (parcel < some.stop)
        own = parcel[mine] - some.start
        shares = operator.objective.weights.to(FAST)[:, None].repeat(1, some.stop - some.start)
        shares[rows[mine], own] -= removed[mine].to(FAST)
        parcels = Parcels(operator, shares)
        logits[mine] = parcels.logits(_lowest(parcels), rows[mine], own)
    return logits


def _lowest(parcels: Parcels) -> Tensor:
    """How far (B, K, D~) each parcel's lowest point is from the one with all rows."""
    moves = torch.zeros(parcels.shares.shape[1], *parcels.operator.shape, dtype=FAST)
    gradient, probabilities = parcels.gradient(moves)
    first = parcels.to_gain(gradient)
    for _ in range(NEWTONS):
        direction = parcels.step(gradient, probabilities)
        moves, gradient, probabilities = _advanced(parcels, moves, gradient, direction)
        if bool((parcels.to_gain(gradient) <= AT_REST * first).all()):
            break
    return moves


def _advanced(
    parcels: Parcels, moves: Tensor, gradient: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The moves after a step, with gradient and probabilities: a full one, if slopes halve."""
    t, first = torch.ones(len(moves), 1, 1), _dot(gradient, direction)
    there = parcels.gradient(moves + direction)
    for _ in range(TRIALS):
        slope = _dot(there[0], direction)
        steep = slope.abs() > FLAT * first.abs()
        if not steep.any():
            break
        secant = (first / (first - slope)).nan_to_num(1.0).clamp(SHORTEST, LONGEST)
        t = torch.where(steep, t * secant, t)
        there = parcels.gradient(moves + t * direction)
    return moves + t * direction, *there
