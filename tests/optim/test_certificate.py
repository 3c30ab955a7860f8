"""The gap is a bound, at every point, for both proofs: gap >= F - F* >= 0."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import KINDS, optimum, problem, random_point
from sklearn.datasets import load_iris

from polylogit.design import design_of
from polylogit.optim.certificate import _decrement_bound, certify, certify_locally, estimate
from polylogit.optim.newton import newton
from polylogit.optim.objective import Labels, SoftmaxObjective, contrast_basis
from polylogit.optim.penalty import Ridge

SLACK = 1e-13  # of the oracle's own rounding


def points(p):
    """Far from the optimum, and ever closer along Newton's way."""
    yield from (p.objective.evaluate(random_point(p, seed=s, size=10.0**-s)) for s in range(-1, 4))
    solver = newton(p.objective, p.objective.evaluate(p.objective.start()))
    for at, _ in zip(solver, range(8), strict=False):
        yield at


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("alpha", [1e-4, 0.05, 3.0])
def test_the_duality_gap_bounds_the_excess(kind, intercept, alpha):
    p = problem(kind, alpha=alpha, intercept=intercept, contrasts=True)
    best = optimum(p)
    tight = []
    for at in points(p):
        point, certificate = certify(p.objective, at)
        excess = point.value - best
        assert -SLACK <= excess <= certificate.gap + SLACK
        assert point.value <= at.value + SLACK
        tight.append(certificate.gap)
    assert tight[-1] < 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [0.0, 1e-9, 1e-3])
def test_newtons_decrement_bounds_the_excess(kind, alpha):
    p = problem(kind, n=200, alpha=alpha, contrasts=True)
    best = optimum(p)
    proven = []
    for at in points(p):
        certificate = certify_locally(p.objective, at)
        assert at.value - best <= certificate.gap + SLACK
        proven.append(certificate.gap)
    assert math.isinf(proven[0])
    assert proven[-1] < 1e-12


def test_the_decrement_bound_is_no_looser_than_it_must_be():
    p = problem(n=400, alpha=1e-3, contrasts=True)
    best = optimum(p)
    for at in points(p):
        certificate, excess = certify_locally(p.objective, at), at.value - best
        if certificate.proven and excess > 1e-12:
            assert certificate.gap < 1.5 * excess
            break
    else:
        pytest.fail("no point was certified before rounding")


def test_the_third_derivative_is_bounded_as_the_proof_says():
    """phi''(t) >= phi''(0) exp(-t spread) along random directions, spread measured directly."""
    p = problem(alpha=0.0, contrasts=True)
    at = p.objective.evaluate(random_point(p))
    for seed in range(20):
        direction = random_point(p, seed=seed, size=1.0)
        line = p.objective.line(at, direction)
        spread = float((line.change.amax(1) - line.change.amin(1)).max())
        _, here = line.derivatives(0.0)
        for t in (0.01, 0.1, 0.5):
            assert line.derivatives(t)[1] >= here * math.exp(-t * spread) * (1 - 1e-12)


def test_the_series_meets_the_closed_form():
    for q in (0.9e-3, 1.1e-3):
        closed = (q + (1 - q) * math.log1p(-q)) / 4.0
        assert _decrement_bound(q / 2, 2.0) == pytest.approx(closed, rel=2e-6)
        assert _decrement_bound(q / 2, 2.0) >= closed * (1 - 1e-9)
    assert math.isinf(_decrement_bound(1.0, 1.0))


def test_nothing_is_proven_where_no_optimum_exists():
    X, y = load_iris(return_X_y=True)
    design, codes = design_of(X), torch.from_numpy(y)
    objective = SoftmaxObjective(
        design,
        Labels(codes, 3),
        torch.full((150,), 1 / 150, dtype=torch.float64),
        Ridge(torch.zeros(4, dtype=torch.float64)),
        3,
        True,
        contrast_basis(3),
        fast=torch.float64,
    )
    solver = newton(objective, objective.evaluate(objective.start()))
    for at, _ in zip(solver, range(15), strict=False):
        _, duality = certify(objective, at)
        assert not duality.proven
        assert not certify_locally(objective, at).proven


def test_collinear_columns_without_a_penalty_prove_nothing():
    p = problem(alpha=0.0, contrasts=True, d=2)
    X = np.c_[p.X, p.X[:, 0]]
    design = design_of(X)
    objective = replace(
        p.objective, design=design, ridge=Ridge(torch.zeros(3, dtype=torch.float64))
    )
    solver = newton(objective, objective.evaluate(objective.start()))
    *_, last = itertools.islice(solver, 8)
    assert not certify_locally(objective, last).proven


def test_the_estimate_is_the_gap_once_the_bias_is_right():
    p = problem(contrasts=True)
    best, certificate = certify(p.objective, p.objective.evaluate(random_point(p)))
    assert estimate(p.objective, best) == pytest.approx(certificate.gap, rel=1e-9)
