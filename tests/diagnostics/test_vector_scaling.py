"""The problem of vector scaling against autograd and scipy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.autograd.functional import hessian as hessian_of
from torch.autograd.functional import jacobian

from polylogit.diagnostics.vector_scaling import VectorScaling, solved

ALPHA = 0.03


def problem(seed=0, n_rows=40, k=3):
    generator = torch.Generator().manual_seed(seed)
    x, o = torch.randn(2, n_rows, k, dtype=torch.float64, generator=generator)
    codes = torch.randint(k, (n_rows,), generator=generator)
    share = torch.rand(n_rows, dtype=torch.float64, generator=generator)
    return VectorScaling(x, o, codes, share / share.sum(), ALPHA)


def value(made, point):
    """F written out."""
    z = made.offsets + made.features * point[0] + point[1]
    rows = torch.nn.functional.cross_entropy(z, made.codes, reduction="none")
    return made.share @ rows + ALPHA / 2 * point.square().sum()


@pytest.mark.parametrize("k", [2, 3, 5])
def test_derivatives_are_those_of_autograd(k):
    made = problem(k=k)
    point = torch.randn(2, k, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    at = made.evaluate(point)
    assert at.value == pytest.approx(float(value(made, point)), rel=1e-14)
    gradient = jacobian(lambda p: value(made, p), point)
    torch.testing.assert_close(at.gradient, gradient, rtol=1e-12, atol=1e-14)
    hessian = hessian_of(lambda p: value(made, p), point).reshape(2 * k, 2 * k)
    torch.testing.assert_close(made.curvature(at).matrix(), hessian, rtol=1e-12, atol=1e-14)
    product = made.curvature(at).product(point).flatten()
    torch.testing.assert_close(product, hessian @ point.flatten(), rtol=1e-12, atol=1e-14)


def test_a_line_is_the_function_along_it():
    made = problem()
    point, direction = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(2)).double()
    line = made.line(made.evaluate(point), direction)
    t = torch.tensor(0.7, dtype=torch.float64)

    def along(t):
        return value(made, point + t * direction)

    assert line.slope(0.7) == pytest.approx(float(jacobian(along, t)), rel=1e-12)
    assert line.curvature(0.7) == pytest.approx(float(hessian_of(along, t)), rel=1e-12)
    torch.testing.assert_close(line.evaluate(0.7).point, point + 0.7 * direction)
    assert line.evaluate(0.7).value == pytest.approx(float(along(t)), rel=1e-14)


@pytest.mark.parametrize("tol", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("alpha", [1e-5, 1e-2, 1.0])
def test_a_solution_is_as_near_to_the_least_as_it_says(alpha, tol):
    made = replace(problem(), alpha=alpha)
    start = torch.full((2, 3), 3.0, dtype=torch.float64)
    near, least = (made.evaluate(solved(made, start, t)).value for t in (tol, 1e-14))
    assert least - 1e-12 <= near <= least + tol


def test_the_optimum_is_scipys():
    made = problem()
    start = torch.full((2, 3), 5.0, dtype=torch.float64)
    point = solved(made, start, 1e-14)
    oracle = minimize(
        lambda p: float(value(made, torch.from_numpy(p).reshape(2, 3))),
        np.zeros(6),
        jac=lambda p: made.evaluate(torch.from_numpy(p).reshape(2, 3)).gradient.flatten().numpy(),
        options={"gtol": 1e-9},
    )
    np.testing.assert_allclose(point.flatten(), oracle.x, atol=1e-7)
    assert float(made.evaluate(point).gradient.norm()) < 1e-7
