"""The gap is a bound, at every point, for both proofs: gap >= F - F* >= 0."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import KINDS, optimum, problem, random_point, slow_optimum
from sklearn.datasets import load_iris

from polylogit.design import design_of
from polylogit.optim import certificate as module
from polylogit.optim.certificate import (
    _kinked_gap,
    _scales,
    certify,
    certify_locally,
    certify_roughly,
    estimate,
)
from polylogit.optim.newton import newton
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.penalty import ElasticNet, Ridge
from polylogit.optim.proximal import proximal_newton
from polylogit.optim.sums import contrast_basis
from polylogit.optim.targets import Labels

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


def off_balance(objective, size, seed):
    """Points whose classes lack, or have too much, about `size` of their mass."""
    draw = torch.Generator().manual_seed(seed)
    point = objective.balanced(random_point_of(objective, draw)).point
    move = torch.randn(objective.n_classes, generator=draw, dtype=torch.float64)
    point[:, -1] += objective.contract((size * (move - move.mean()))[:, None]).squeeze(1)
    return objective.evaluate(point)


def random_point_of(objective, draw):
    start = objective.start()
    return start + 0.5 * torch.randn(start.shape, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("size", [1e-9, 1e-7, 1e-4, 1e-2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", ["dense", "sparse"])
def test_near_the_best_bias_the_gap_is_bounded_without_a_pass(size, kind, rows, monkeypatch):
    monkeypatch.setattr(module, "BOUNDED", 1.0)  # whatever it is, the bound has to hold
    monkeypatch.setattr(module, "MARGIN", 1.2)
    monkeypatch.setattr(SoftmaxObjective, "bounds_bias", True)
    p = problem(kind, d=9, alpha=0.01, contrasts=True, rows=rows, alike=True)
    for seed in range(8):
        at = off_balance(p.objective, size, seed)
        passes = p.objective.tally.passes
        kept, certificate = certify(p.objective, at, enough=math.inf)
        assert (kept, p.objective.tally.passes) == (at, passes)
        best, exact = certify(p.objective, at)
        assert p.objective.tally.passes > passes
        assert certificate.gap >= exact.gap + at.value - best.value - SLACK
        if size <= 1e-7:
            assert certificate.gap <= (1 + 1e4 * size) * exact.gap + SLACK


@pytest.mark.parametrize("size", [1e-7, 1e-4, 1e-2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fast", [torch.float32, torch.float64])
def test_one_product_says_nearly_all_that_the_bound_lacks(size, kind, fast, monkeypatch):
    monkeypatch.setattr(module, "BOUNDED", 1.0)
    monkeypatch.setattr(module, "MARGIN", 1.2)
    monkeypatch.setattr(SoftmaxObjective, "bounds_bias", True)
    p = problem(kind, d=9, alpha=0.01, contrasts=True, alike=True)
    objective = replace(p.objective, fast=fast)
    for seed in range(8):
        at = off_balance(objective, size, seed)
        best, exact = certify(objective, at)
        truth, passes = exact.gap + at.value - best.value, objective.tally.passes
        bound = module._gap_near_balance(objective, at, math.inf)
        assert objective.tally.passes == passes
        closer = module._gap_near_balance(objective, at, 0.0)
        assert objective.tally.passes == passes + 1
        assert truth - SLACK <= closer <= truth + 0.3 * (bound - truth) + SLACK


@pytest.mark.parametrize(("rows", "slip"), [("sparse", 0.05), ("dense", 1e-9)])
def test_a_product_that_may_round_too_much_is_not_asked(rows, slip, monkeypatch):
    monkeypatch.setattr(SoftmaxObjective, "bounds_bias", True)
    monkeypatch.setattr(module, "SLIP", slip)
    p = problem(d=9, alpha=0.01, contrasts=True, alike=True, rows=rows)
    objective = replace(p.objective, fast=torch.float32)
    at = off_balance(objective, 1e-8, 0)
    passes = objective.tally.passes
    assert module._gap_near_balance(objective, at, 0.0) < math.inf
    assert objective.tally.passes == passes


@pytest.mark.parametrize(
    "change",
    [
        {"enough": 1e-12},  # which it does not prove
        {"size": 1e-5},
        {"alike": False},  # mean squares of columns are those of rows that weigh the same
        {"d": 4},  # a look at all pairs of classes costs as much as a pass
    ],
)
def test_elsewhere_the_bias_becomes_the_best(change):
    options = {"enough": 1e6, "size": 1e-8, "alike": True, "d": 9} | change
    p = problem(d=options["d"], contrasts=True, alike=options["alike"])
    at = off_balance(p.objective, options["size"], 0)
    best, certificate = certify(p.objective, at, enough=options["enough"])
    assert best is not at
    assert certificate == certify(p.objective, at)[1]


def kinked(p, share, factors=1.0, offsets=None):
    """The same problem with an elastic net, in the coordinates of all classes."""
    each = p.alpha * factors * torch.ones_like(p.objective.design.scale)
    net = ElasticNet(share * each, (1 - share) * each)
    return replace(p.objective, ridge=net, basis=None, offsets=offsets)


def way(objective, p):
    """Points of every kind: far off, ever closer along the solver's way, sparse and not."""
    yield from (
        objective.evaluate(random_point(replace(p, objective=objective), seed=s, size=10.0**-s))
        for s in range(-1, 4)
    )
    solver = proximal_newton(objective, objective.evaluate(objective.start()))
    yield from itertools.islice(solver, 40)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(("alpha", "share"), [(1e-3, 1.0), (0.05, 1.0), (1e-3, 0.9), (0.01, 1e-3)])
def test_the_gap_of_an_elastic_net_bounds_the_excess(kind, intercept, alpha, share):
    p = problem(kind, n=30, d=3, alpha=alpha, intercept=intercept)
    offsets = torch.from_numpy(np.random.default_rng(5).normal(size=p.T.shape))
    objective = kinked(p, share, torch.tensor([0.5, 1.0, 2.0]).double(), offsets)
    best = slow_optimum(objective)
    for at in way(objective, p):
        point, certificate = certify(objective, at)
        excess = point.value - best
        assert -SLACK <= excess <= certificate.gap + SLACK
        assert point.value <= at.value + SLACK
        assert estimate(objective, point) == pytest.approx(certificate.gap, rel=1e-6, abs=1e-13)
        last = certificate.gap
    assert last < 1e-9


def test_the_better_of_two_dual_points_counts():
    p = problem(n=30, d=3, alpha=0.05)
    objective = kinked(p, 0.9)
    chosen = set()
    for at in way(objective, p):
        best, certificate = certify(objective, at)
        gaps = [_kinked_gap(objective, best, theta) for theta in sorted(_scales(objective, best))]
        assert certificate.gap == pytest.approx(min(gaps), rel=1e-9, abs=1e-14)
        chosen.add(gaps.index(min(gaps)) if len(gaps) == 2 else None)
    assert {0, 1} <= chosen


def test_a_column_without_a_cost_is_certified_at_its_best():
    p = problem(n=60, d=3, alpha=0.05)
    objective = kinked(p, 1.0, torch.tensor([1.0, 0.0, 1.0]).double())
    best = slow_optimum(objective)
    for at in way(objective, p):
        point, certificate = certify(objective, at)
        assert -SLACK <= point.value - best <= certificate.gap + SLACK
    assert certificate.gap < 1e-9


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
        here = line.curvature(0.0)
        for t in (0.01, 0.1, 0.5):
            assert line.curvature(t) >= here * math.exp(-t * spread) * (1 - 1e-12)


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
        assert not certify_roughly(objective, at).proven


@pytest.mark.parametrize("prove", [certify_locally, certify_roughly])
@pytest.mark.parametrize(("noise", "proven"), [(0.0, True), (1e-7, False)])
def test_without_a_penalty_a_column_must_be_made_by_others_or_be_apart(prove, noise, proven):
    p = problem(alpha=0.0, contrasts=True, d=2)
    beside = p.X.sum(1) + noise * np.random.default_rng(0).normal(size=len(p.X))
    design = design_of(np.c_[p.X, beside])
    objective = replace(
        p.objective, design=design, ridge=Ridge(torch.zeros(3, dtype=torch.float64))
    )
    solver = newton(objective, objective.evaluate(objective.start()))
    *_, last = itertools.islice(solver, 8)
    certificate = prove(objective, last)
    assert certificate.proven == proven
    if proven:
        assert certificate.gap < 1e-12
        assert last.value - optimum(p) <= certificate.gap + SLACK


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [0.0, 1e-9, 1e-3])
def test_a_matrix_below_the_hessian_bounds_the_excess_too(kind, alpha):
    p = problem(kind, n=200, alpha=alpha, contrasts=True)
    best, last = optimum(p), math.inf
    for at in points(p):
        exact, rough = certify_locally(p.objective, at), certify_roughly(p.objective, at)
        assert at.value - best <= rough.gap + SLACK
        assert rough.gap >= exact.gap - SLACK
        last = rough.gap
    assert last < 1e-12


@pytest.mark.parametrize("alpha", [0.0, 1e-2])
def test_the_least_curvature_is_nowhere_above_the_hessian(alpha):
    p = problem(alpha=alpha, contrasts=True)
    at = p.objective.evaluate(random_point(p))
    hessian, least = p.objective.curvature(at).matrix(), p.objective.least_curvature(at)
    below = torch.kron(torch.eye(len(at.point), dtype=torch.float64), least)
    values = torch.linalg.eigvalsh(hessian - below)
    assert float(values.min()) > -1e-12
    assert float(torch.linalg.eigvalsh(least).min()) > 0


def test_the_estimate_is_the_gap_once_the_bias_is_right():
    p = problem(contrasts=True)
    best, certificate = certify(p.objective, p.objective.evaluate(random_point(p)))
    assert estimate(p.objective, best) == pytest.approx(certificate.gap, rel=1e-9)
