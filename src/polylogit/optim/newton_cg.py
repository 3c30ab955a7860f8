"""Newton's method with H d = -g solved by preconditioned conjugate gradients, for hard problems.

1. The direction is good enough when the preconditioned residual has fallen to `FORCING` of its
   start (Dembo, Eisenstat & Steihaug, SIAM J. Numer. Anal. 19 (1982): an inexact Newton step).
2. Hessian products run in the precision of the curvature, often float32: they only steer.
3. The step goes to the lowest point along the direction.
4. Where the step had to be short, the quadratic model was wrong: rows that are badly mispredicted
   have a large gradient and no curvature. Then the model is damped by mu M, with M the curvature
   of the preconditioner (Levenberg, Quart. Appl. Math. 2 (1944)); mu fades as steps succeed.
5. The preconditioner is renewed, for the probabilities have moved, once the products beyond those
   of its first step have taken as long as a new one does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polylogit.optim.damping import damping_after
from polylogit.optim.line_search import lowest
from polylogit.optim.problem import (
    Curvature,
    Evaluation,
    Preconditioner,
    Problem,
    Solver,
    dot,
    is_few,
)

FORCING = 0.1
MOST_PRODUCTS = 200


def newton_cg(
    problem: Problem,
    at: Evaluation,
    fast: torch.dtype = torch.float64,
    dear: float = 0.0,
    most: int = MOST_PRODUCTS,
) -> Solver:
    """Ever better points after `at`; ends where no direction leads down any more.

    A preconditioner takes as long as `dear` Hessian products, and a step at `most` so many.
    """
    damping, spent, fewest = 0.0, math.inf, 0
    while True:
        if renewed := spent >= dear:
            precondition, spent = problem.preconditioner(at), 0.0
        direction, products = conjugate_gradients(
            problem.curvature(at), precondition, at.gradient, fast, damping, most
        )
        fewest = products if renewed else fewest
        spent += max(0, products - fewest)
        slope = dot(at.gradient, direction)
        if not slope < 0:
            return
        line = problem.line(at, direction)
        t = lowest(line, slope)
        at, damping = line.evaluate(t), damping_after(damping, t)
        del line  # its memory serves the next one
        yield at


def conjugate_gradients(
    curvature: Curvature,
    precondition: Preconditioner,
    gradient: Tensor,
    fast: torch.dtype,
    damping: float = 0.0,
    most: int = MOST_PRODUCTS,
) -> tuple[Tensor, int]:
    """A float64 d with (H + damping M) d close to -g, and how many products that took.

    Recurrences run in `fast`, on g of length 1.
    """
    length = float(gradient.norm())
    if not math.isfinite(length) or length == 0:
        return torch.zeros_like(gradient), 0
    of, tensor, inner = _algebra(gradient)
    residual = of((-gradient / length).to(fast))
    z = of(precondition(tensor(residual)))
    solution, search, energy = 0.0 * residual, z, inner(residual, z)
    enough, products = FORCING**2 * energy, 0
    while products < most:
        image = of(curvature.product(tensor(search)))
        products += 1
        if damping:
            image = image + damping * of(precondition.curvature(tensor(search)))
        bend = inner(search, image)
        if bend <= 0:  # rounding, for F is convex: so far the model holds
            solution = solution if products > 1 else search
            break
        solution = solution + (energy / bend) * search
        residual = residual - (energy / bend) * image
        z = of(precondition(tensor(residual)))
        energy, last = inner(residual, z), energy
        if energy <= enough:
            break
        search = z + (energy / last) * search
    return length * tensor(solution).double(), products


class _Algebra(NamedTuple):
    """What vectors are between two calls: numpy's arrays where its calls are the cheaper ones."""

    of: Callable[[Tensor], Any]
    tensor: Callable[[Any], Tensor]
    inner: Callable[[Any, Any], float]


_NUMPY = _Algebra(Tensor.numpy, torch.from_numpy, lambda a, b: float(np.vdot(a, b)))
_TORCH = _Algebra(lambda given: given, lambda given: given, dot)


def _algebra(like: Tensor) -> _Algebra:
    return _NUMPY if is_few(like) else _TORCH
