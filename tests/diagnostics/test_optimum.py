"""An optimum is brought to rounding, whatever it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from left_out import data, prepared

from polylogit.diagnostics.optimum import tighten


@pytest.mark.parametrize("tol", [0.1, 1e-3, 1e-9])
def test_the_gradient_vanishes_and_the_factor_is_the_hessians(tol):
    ready = prepared(*data(), tol=tol, solver="lbfgs")
    fit = ready.fit(10.0)
    optimum = tighten(ready, fit)
    at = optimum.objective.evaluate(optimum.point)
    assert float(at.gradient.abs().max()) < 1e-9
    hessian = optimum.objective.curvature(at).matrix()
    close = 1e-6 if tol == 1e-9 else 1e-3  # the factor may be that of a point close by
    np.testing.assert_allclose(optimum.factor @ optimum.factor.T, hessian, atol=close)
    np.testing.assert_allclose(optimum.inverse @ hessian, torch.eye(6), atol=100 * close)


def test_a_start_from_which_a_full_step_leads_up_is_no_trouble():
    ready = prepared(*data())
    fit = ready.fit(10.0)
    far = replace(fit, model=replace(fit.model, weight=-20 * fit.model.weight))
    assert torch.allclose(tighten(ready, far).point, tighten(ready, fit).point, atol=1e-8)


def test_logits_are_those_of_the_model():
    X, codes = data()
    offsets = np.random.default_rng(0).normal(size=(30, 3))
    ready = prepared(X, codes, offset=offsets, tol=1e-12)
    fit = ready.fit(1.0)
    optimum = tighten(ready, fit)
    ours = fit.model.logits(X) + torch.from_numpy(offsets)
    np.testing.assert_allclose(optimum.logits, ours, atol=1e-6)
    rows = torch.tensor([[3, 4], [5, 29]])
    moves = optimum.point.flatten() * torch.tensor([[1.0], [-1.0]])
    own = (ours - torch.from_numpy(offsets))[rows] * torch.tensor([1.0, -1.0])[:, None, None]
    np.testing.assert_allclose(optimum.products(moves, rows), own, atol=1e-6)
