"""What a solve finds is the optimum that was asked for, whatever belongs to the question."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.sparse
import torch
from solved import IRIS, SOLVERS, WINE, net, run

from polylogit.design import design_of
from polylogit.errors import OptionError
from polylogit.optim import cost as cost_module
from polylogit.optim import objective as objective_module
from polylogit.optim import preconditioner as preconditioner_module
from polylogit.optim.cost import Cost
from polylogit.optim.curvature import SoftmaxCurvature
from polylogit.optim.preconditioner import (
    ClassDiagonalPreconditioner,
    ClassPreconditioner,
    DiagonalPreconditioner,
)
from polylogit.optim.problem import Status
from polylogit.optim.settings import Settings
from polylogit.optim.solve import solve
from polylogit.optim.targets import Distributions, Labels


@pytest.mark.parametrize("solver", SOLVERS)
def test_overlapping_classes_without_a_penalty_have_an_optimum(solver):
    y = np.random.default_rng(0).integers(3, size=150)
    solution = run(IRIS[0], y, alpha=0.0, solver=solver)
    assert solution.certificate.kind == "Newton"
    assert solution.certified
    assert solution.objective == pytest.approx(run(IRIS[0], y, alpha=1e-13).objective, abs=1e-9)


@pytest.mark.parametrize(("noise", "certified"), [(0.0, True), (1e-7, False)])
def test_columns_without_a_penalty_that_others_make_are_left_out_of_the_proof(noise, certified):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=150)
    beside = IRIS[0].sum(1) + noise * rng.normal(size=150)
    solution = run(np.c_[IRIS[0], beside], y, alpha=0.0)
    assert solution.certified == certified
    if certified:
        plain = run(IRIS[0], y, alpha=0.0)
        assert solution.objective == pytest.approx(plain.objective, abs=1e-12)
    else:
        assert solution.status is Status.UNCERTIFIED
        assert "nothing penalises" in solution.message


def test_a_large_fit_without_a_penalty_writes_no_hessian_out(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 40)) * 10.0 ** rng.uniform(-2, 2, 40)
    y = (X / X.std(0) @ rng.normal(size=(40, 15)) + 2 * rng.gumbel(size=(2000, 15))).argmax(1)
    exact = run(X, y, alpha=0.0, solver="newton")
    monkeypatch.setattr(SoftmaxCurvature, "matrix", None)
    solution = run(X, y, alpha=0.0)
    assert solution.certified
    assert solution.objective - exact.objective <= solution.certificate.gap < 1e-8


def test_a_warm_start_sets_out_from_the_given_model():
    first = run(*WINE)
    again = run(*WINE, start=(first.weight, first.bias))
    assert again.statistics.iterations <= 1
    assert again.objective == pytest.approx(first.objective, abs=1e-12)


def test_after_the_first_diagonals_correlated_columns_get_their_matrix(monkeypatch):
    made, first = [], objective_module.SoftmaxObjective.preconditioner
    monkeypatch.setattr(
        objective_module.SoftmaxObjective,
        "preconditioner",
        lambda o, at: made.append(first(o, at)) or made[-1],
    )
    monkeypatch.setattr(Cost, "steps_before_a_matrix", lambda *_, **__: 1.0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 3)) @ rng.normal(size=(3, 60)) + 0.1 * rng.normal(size=(600, 60))
    y = (X[:, :6] + rng.gumbel(size=(600, 6))).argmax(1)
    assert run(X, y, alpha=1e-5, solver="lbfgs").certified
    assert [type(one) for one in made[:3]] == [
        ClassDiagonalPreconditioner,
        ClassDiagonalPreconditioner,
        ClassPreconditioner,
    ]


def one_hot(n_rows, n_columns, levels, n_classes):
    """Categories as indicators, correlated with each other; labels that depend on them."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(n_rows, 3))
    tables, logits = [], 0.0
    for _ in range(n_columns):
        level = np.argsort(np.argsort(hidden @ rng.normal(size=3) + rng.normal(size=n_rows)))
        codes = (levels * (level / n_rows) ** 2).astype(int)
        tables.append(np.eye(levels)[codes])
        logits = logits + 0.5 * rng.normal(size=(levels, n_classes))[codes]
    return np.hstack(tables), (logits + rng.gumbel(size=(n_rows, n_classes))).argmax(1)


def test_categories_as_indicators_take_few_passes(monkeypatch):
    """Their columns add up to one: a model with a ratio for each column goes astray there."""
    X, y = one_hot(6000, 12, 5, 8)

    def fitted(**settings):
        return run(X, y, alpha=1 / (1000 * len(y)), solver="lbfgs", **settings)

    quick = fitted()
    monkeypatch.setattr(objective_module, "MUCH", math.inf)  # no other model is looked at
    slow = fitted()
    assert quick.certified
    assert slow.certified
    assert slow.statistics.passes > 2 * quick.statistics.passes
    monkeypatch.setattr(preconditioner_module, "MISFIT", 0.0)
    assert not fitted(max_iter=2 * slow.statistics.iterations).certified


def test_factors_are_penalties_of_their_own():
    factors = torch.linspace(0.1, 3.0, 13, dtype=torch.float64)
    X, y = WINE
    solution = solve(
        design_of(X), Labels(torch.from_numpy(y), 3), torch.ones(178, dtype=torch.float64),
        n_classes=3, alpha=0.01, factors=factors,
    )  # fmt: skip
    scaled = run(X / factors.sqrt().numpy(), y)  # w sqrt(f) on x / sqrt(f) has the plain penalty
    assert solution.objective == pytest.approx(scaled.objective, abs=1e-10)
    torch.testing.assert_close(
        solution.weight, scaled.weight / factors.sqrt(), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_offsets_are_logits_that_are_given(solver):
    X, y = WINE
    given = torch.randn(178, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def fit(columns, offsets):
        return solve(
            design_of(columns), Labels(torch.from_numpy(y), 3),
            torch.ones(178, dtype=torch.float64),
            n_classes=3, alpha=0.01, offsets=offsets, settings=Settings(solver=solver, tol=1e-10),
        )  # fmt: skip

    # an offset that the features could have made themselves changes nothing but the weights
    V = torch.randn(3, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    V /= torch.from_numpy(X).std(0)
    plain = fit(X, None)
    assert fit(X, given).objective != pytest.approx(plain.objective, abs=1e-3)
    shift = fit(X, torch.full((178, 3), 7.0, dtype=torch.float64))
    torch.testing.assert_close(shift.weight, plain.weight, rtol=1e-6, atol=1e-8)
    logits = torch.from_numpy(X) @ V.T
    free = solve_free(X, y, None, solver)
    torch.testing.assert_close(
        solve_free(X, y, logits, solver).weight + V - V.mean(0), free.weight, rtol=1e-4, atol=1e-6
    )


def solve_free(X, y, offsets, solver):
    """Next to no penalty, on labels that nothing separates."""
    labels = torch.from_numpy(np.random.default_rng(0).integers(3, size=len(y)))
    return solve(
        design_of(X), Labels(labels, 3), torch.ones(len(y), dtype=torch.float64),
        n_classes=3, alpha=1e-12, offsets=offsets, settings=Settings(solver=solver),
    )  # fmt: skip


def hard_cases():
    """Curvature by class alone may not converge (scikit-learn #34561, #34681); and worse."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(60, 1))
    twins = base + 1e-3 * rng.normal(size=(60, 6))
    yield "nearly equal columns", twins, rng.integers(3, size=60)
    yield "nearly equal and separated", twins, np.digitize(base[:, 0], [0, 1])
    yield "equal columns", np.c_[twins[:, :2], twins[:, :2], -twins[:, :1]], np.arange(60) % 4
    yield "more columns than rows", rng.normal(size=(20, 60)), np.arange(20) % 4
    x = np.linspace(-1, 1, 40)
    yield "separated", np.c_[x, x**2, x**3], np.digitize(x, [-0.3, 0.3])
    outlier = rng.normal(size=(60, 3))
    outlier[0] *= 1e4
    yield "an outlier", outlier, np.arange(60) % 3
    yield "many classes", rng.normal(size=(90, 4)), np.arange(90) % 15
    yield "scarce classes", rng.normal(size=(150, 4)), np.r_[1, 1, 2, np.zeros(147, int)]


def cost(X, T, solution, alpha, l1_ratio, weights=None, offsets=0.0, factors=1.0):
    """The objective on the user's own columns, from scratch."""
    W, b = solution.weight.numpy(), solution.bias.numpy()
    z = X @ W.T + b + offsets
    losses = np.logaddexp.reduce(z, axis=1) - (T * z).sum(1)
    penalty = l1_ratio * np.abs(W).sum(0) + (1 - l1_ratio) / 2 * np.square(W).sum(0)
    return np.average(losses, weights=weights) + alpha * (factors * penalty).sum()


@pytest.mark.parametrize("case", list(hard_cases()), ids=lambda case: case[0])
@pytest.mark.parametrize("alpha", [1e-2, 1e-5])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_hard_cases_with_kinks_are_certified(case, alpha, l1_ratio):
    _, X, y = case
    solution = net(X, y, l1_ratio, alpha)
    assert solution.certified
    assert solution.statistics.solver == "proximal"
    assert solution.statistics.iterations < 60
    value = cost(X, np.eye(y.max() + 1)[y], solution, alpha, l1_ratio)
    assert value == pytest.approx(solution.objective, rel=1e-9)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.7])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("kind", ["labels", "smoothed", "distributions"])
def test_every_option_at_once_on_dense_and_sparse_rows(l1_ratio, intercept, kind):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(80, 5)) * [1, 10, 0.1, 1, 1] * (rng.uniform(size=(80, 5)) < 0.5)
    y = np.arange(80) % 3
    T = {"labels": np.eye(3)[y], "smoothed": 0.7 * np.eye(3)[y] + 0.1}.get(
        kind, rng.dirichlet(np.ones(3), size=80)
    )
    given = {
        "labels": Labels(torch.from_numpy(y), 3),
        "smoothed": Labels(torch.from_numpy(y), 3, 0.3),
    }
    weights, offsets = rng.uniform(size=80), rng.normal(size=(80, 3))
    factors = np.array([0.5, 1.0, 2.0, 3.0, 1.0])
    options = {
        "targets": given.get(kind, Distributions(torch.from_numpy(T))),
        "weights": weights,
        "intercept": intercept,
        "offsets": torch.from_numpy(offsets),
        "factors": torch.from_numpy(factors),
        "settings": Settings(tol=1e-11),
    }
    dense = net(X, y, l1_ratio, **options)
    sparse = net(scipy.sparse.csr_array(X), y, l1_ratio, **options)
    assert dense.certified
    assert sparse.certified
    torch.testing.assert_close(dense.weight, sparse.weight, rtol=1e-5, atol=1e-7)
    value = cost(X, T, dense, 0.01, l1_ratio, weights, offsets, factors)
    assert value == pytest.approx(dense.objective, rel=1e-12)
    generator = np.random.default_rng(4)
    for size in (1e-1, 1e-3):  # no neighbour is better
        for _ in range(10):
            moved = dataclasses.replace(
                dense,
                weight=dense.weight + size * torch.from_numpy(generator.normal(size=(3, 5))),
                bias=dense.bias + intercept * size * torch.from_numpy(generator.normal(size=3)),
            )
            assert cost(X, T, moved, 0.01, l1_ratio, weights, offsets, factors) > value


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_by_products_alone_it_is_the_same_optimum(monkeypatch, l1_ratio):
    monkeypatch.setattr(cost_module, "PRODUCTS_SAVED", 0)
    few = net(*WINE, l1_ratio, settings=Settings(tol=1e-9))
    monkeypatch.undo()
    written = net(*WINE, l1_ratio, settings=Settings(tol=1e-9))
    assert few.certified
    assert few.objective == pytest.approx(written.objective, abs=2e-9)
    assert few.statistics.passes > written.statistics.passes


def test_a_heavy_lasso_leaves_nothing_and_a_light_one_little():
    nothing = net(*WINE, 1.0, 1e4)
    assert nothing.certified
    assert not nothing.weight.any()
    assert 0 < int((net(*WINE, 1.0, 0.01).weight != 0).sum()) < 39


def test_of_wholly_sizes_zero_is_a_median_of_every_column():
    weight = net(*WINE, 1.0, 0.01, settings=Settings(tol=1e-12)).weight
    assert torch.equal(weight.median(0).values, torch.zeros(13, dtype=torch.float64))


def test_a_warm_start_with_kinks():
    first = net(*WINE, 1.0)
    again = net(*WINE, 1.0, start=(first.weight, first.bias))
    assert again.statistics.iterations <= 1
    assert again.objective == pytest.approx(first.objective, abs=1e-10)


def test_kinks_do_not_depend_on_units():
    X, y = WINE
    scale = 10.0 ** np.linspace(-6, 6, 13)
    plain = net(X, y, 1.0, settings=Settings(tol=1e-10))
    factors = torch.from_numpy(scale)  # |w| f = |w / scale| f scale
    scaled = net(X * scale, y, 1.0, factors=factors, settings=Settings(tol=1e-10))
    assert scaled.objective == pytest.approx(plain.objective, abs=1e-10)


def test_a_free_column_is_certified_as_well():
    X, y = IRIS
    factors = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    free = net(X, y, 1.0, factors=factors)
    near = net(X, y, 1.0, factors=factors.clamp_min(1e-7))
    assert free.certified
    assert near.certified
    assert free.objective == pytest.approx(near.objective, abs=1e-6)


@pytest.mark.parametrize("solver", ["newton", "lbfgs", "newton-cg"])
def test_the_smooth_solvers_are_refused_for_kinks(solver):
    with pytest.raises(OptionError, match=f"'{solver}' cannot follow the kinks of l1_ratio > 0"):
        net(*WINE, 0.5, settings=Settings(solver=solver))


@pytest.mark.parametrize("l1_ratio", [-0.1, 1.1, math.nan])
def test_the_share_of_the_sizes_is_checked(l1_ratio):
    with pytest.raises(OptionError, match="l1_ratio must be from 0 to 1, not"):
        net(*WINE, l1_ratio)


@pytest.mark.parametrize("widest", [4096, 1], ids=["one matrix", "diagonals"])
def test_columns_weighed_for_each_class_save_steps(widest, monkeypatch):
    monkeypatch.setattr(objective_module, "WIDEST_GRAM", widest)

    def steps():
        return run(*WINE, alpha=1e-4, solver="lbfgs").statistics.iterations

    own = steps()
    monkeypatch.setattr(
        objective_module,
        "ClassPreconditioner",
        lambda gram, _: ClassPreconditioner(gram, gram.diagonal().expand(3, -1)),
    )
    monkeypatch.setattr(objective_module, "ClassDiagonalPreconditioner", DiagonalPreconditioner)
    assert own < 0.95 * steps()


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_constant_column_without_a_penalty_stops_no_solver(solver):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 8)), rng.integers(4, size=300)
    X[:, 3] = 2.0
    truth = run(np.delete(X, 3, 1), y, alpha=0.0, solver="newton").objective
    assert run(X, y, alpha=0.0, solver=solver).objective == pytest.approx(truth, abs=1e-9)
