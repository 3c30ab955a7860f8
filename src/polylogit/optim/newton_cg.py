"""Newton's method with H d = -g solved by preconditioned conjugate gradients, for large problems.

1. The direction is good enough when the preconditioned residual has fallen to `FORCING` of its
   start (Dembo, Eisenstat & Steihaug, SIAM J. Numer. Anal. 19 (1982): an inexact Newton step).
2. Hessian products run in the precision of the curvature, often float32: they only steer. Values
   and gradients stay float64, so the optimum does too.
3. The step goes to the lowest point along the direction.
4. The preconditioner is renewed after the steps in `RENEW`, when the probabilities have moved.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from polylogit.optim.line_search import lowest
from polylogit.optim.problem import Curvature, Evaluation, Preconditioner, Problem, Solver

FORCING = 0.1
MOST_PRODUCTS = 200
RENEW = frozenset({0, 2, 4, 7, 12, 20})


def newton_cg(problem: Problem, at: Evaluation, fast: torch.dtype = torch.float32) -> Solver:
    """Ever better points after `at`; ends where no direction leads down any more."""
    step = 0
    precondition = problem.preconditioner(at)
    while True:
        if step in RENEW and step:
            precondition = problem.preconditioner(at)
        direction = conjugate_gradients(problem.curvature(at), precondition, at.gradient, fast)
        slope = float((at.gradient * direction).sum())
        if not slope < 0:
            return
        line = problem.line(at, direction)
        at = line.evaluate(lowest(line, slope))
        step += 1
        yield at


def conjugate_gradients(
    curvature: Curvature, precondition: Preconditioner, gradient: Tensor, fast: torch.dtype
) -> Tensor:
    """A float64 d with H d close to -g; the recurrences run in `fast`, on g of length 1."""
    length = float(gradient.norm())
    if not math.isfinite(length) or length == 0:
        return torch.zeros_like(gradient)
    residual = (-gradient / length).to(fast)
    solution = torch.zeros_like(residual)
    z = precondition(residual)
    search, energy = z, float((residual * z).sum())
    enough = FORCING**2 * energy
    for _ in range(MOST_PRODUCTS):
        image = curvature.product(search)
        bend = float((search * image).sum())
        if bend <= 0 or energy <= enough:
            break
        solution = solution + (energy / bend) * search
        residual = residual - (energy / bend) * image
        z = precondition(residual)
        energy, last = float((residual * z).sum()), energy
        search = z + (energy / last) * search
    return length * solution.double()
