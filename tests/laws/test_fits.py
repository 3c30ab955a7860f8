"""Laws of a fit, for every solver and every design that exists: who adds one has it tested here.

The truth is a plain Newton iteration in numpy on the user's own rows, written here, which shares
nothing with the library.
"""

import inspect

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import scipy.special
import torch

from polylogit import design as designs
from polylogit.data.dataset import Dataset
from polylogit.optim import solve as solves
from polylogit.optim.penalty import Ridge
from polylogit.optim.row_span import RowSpan
from polylogit.optim.settings import SOLVERS
from polylogit.schema import Schema
from polylogit.stored import Spill
from polylogit.training import fit

N, D, K = 80, 4, 3
EXACT = 1e-11  # nats to which the truth is known


def stored(X):
    spill = Spill("law")
    spill.append(np.ascontiguousarray(X))
    return spill.rows(X.shape[1], X.dtype)


HOLDERS = {
    designs.DenseDesign: np.asarray,
    designs.SparseDesign: scipy.sparse.csr_array,
    designs.StreamedDesign: stored,
    RowSpan: np.asarray,
}


def all_designs(parent=designs.Design):
    below = [kind for child in parent.__subclasses__() for kind in all_designs(child)]
    return below if inspect.isabstract(parent) else [parent, *below]


every_design = pytest.mark.parametrize("design", all_designs(), ids=lambda kind: kind.__name__)
every_solver = pytest.mark.parametrize("solver", SOLVERS)


def draw(seed=0):
    """Rows with columns of very different size, zeros among them, and the labels they suggest."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, D)) * [1.0, 30.0, 0.02, 5.0] * (rng.uniform(size=(N, D)) < 0.7)
    codes = (X @ rng.normal(size=(D, K)) / [1.0, 2.0, 3.0] + rng.gumbel(size=(N, K))).argmax(1)
    codes[:K] = np.arange(K)
    return X, codes


def dataset(X, targets, weights=None):
    schema = Schema.for_array(X.shape[1], tuple(range(K)), "y", None)
    return Dataset(X, schema, targets, weights, "law")


def fitted(design, X, targets, weights=None, **options):
    held = HOLDERS[design](X)
    if design is RowSpan:
        return fitted_in_the_span(held, targets, weights, **options)
    assert isinstance(designs.design_of(held), design)
    return fit(dataset(held, targets, weights), **{"C": 2.0} | options)


def fitted_in_the_span(held, targets, weights, **options):
    """As where the rows are fewer than the columns, by any solver, if there is a ridge alone."""
    ridges = []

    def is_ridge(objective, _):
        ridges.append(isinstance(objective.ridge, Ridge) and bool(objective.ridge.costly.all()))
        return ridges[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solves, "_has_short_way", is_ridge)
        outcome = fit(dataset(held, targets, weights), **{"C": 2.0} | options)
    assert [outcome.solution.statistics.solver.startswith("row span + ")] == ridges
    return outcome


class Truth:
    """min over W, b of sum s [lse(z) - t.z] / sum s + alpha/2 sum_d f_d |W_d|^2, z = Wx + b + o."""

    def __init__(self, X, T, alpha, s=None, factors=None, offset=0.0, intercept=True):
        self.X = np.c_[X, np.ones(len(X))] if intercept else np.asarray(X, dtype=float)
        self.T, self.offset = T, offset
        self.s = np.full(len(X), 1 / len(X)) if s is None else s / s.sum()
        self.ridge = alpha * np.ones(X.shape[1]) * (1 if factors is None else factors)
        if intercept:
            self.ridge = np.r_[self.ridge, 0.0]
        self.best = self._minimum()

    def value(self, V):
        z = self.X @ V.T + self.offset
        losses = scipy.special.logsumexp(z, axis=1) - (self.T * z).sum(1)
        return float(self.s @ losses + 0.5 * (V**2 @ self.ridge).sum())

    def of(self, model):
        """F of a model, on the rows as they came."""
        V = model.weight.numpy()
        bias = model.bias.numpy()[:, None]
        return self.value(np.c_[V, bias] if self.X.shape[1] > V.shape[1] else V)

    def _minimum(self):
        V = np.zeros((self.T.shape[1], self.X.shape[1]))
        for _ in range(200):
            step = self._newton(V)
            t = 1.0
            while self.value(V + t * step) > self.value(V) and t > 1e-8:
                t /= 2
            last, V = V, V + t * step
            if self.value(last) - self.value(V) <= 1e-16:
                break
        return self.value(V)

    def _newton(self, V):
        k, d = V.shape
        P = scipy.special.softmax(self.X @ V.T + self.offset, axis=1)
        G = ((P - self.T) * self.s[:, None]).T @ self.X + V * self.ridge
        S = self.s[:, None, None] * (P[:, :, None] * np.eye(k) - P[:, :, None] * P[:, None, :])
        H = np.einsum("nkl,nd,ne->kdle", S, self.X, self.X).reshape(k * d, k * d)
        H = H + np.diag(np.tile(self.ridge, k))
        return -np.linalg.lstsq(H, G.ravel(), rcond=1e-14)[0].reshape(k, d)


def one_hot(codes):
    return np.eye(K)[codes]


def test_no_design_is_without_a_holder():
    assert set(all_designs()) == set(HOLDERS)


@every_design
@every_solver
@pytest.mark.parametrize("C", [1e-4, 2.0])  # a strong penalty leaves gap ~ excess
def test_the_gap_bounds_the_true_excess_all_along_the_way(design, solver, C):
    X, codes = draw()
    truth = Truth(X, one_hot(codes), 1 / (C * N))
    ways = [{"tol": tol} for tol in (1e-2, 1e-6, 1e-9)]
    ways += [{"tol": 1e-13, "max_iter": steps} for steps in (1, 2, 4)]  # stopped early
    for way in ways:
        outcome = fitted(design, X, codes, C=C, solver=solver, **way)
        excess = truth.of(outcome.model) - truth.best
        assert outcome.solution.certified or "max_iter" in way
        assert -EXACT <= excess <= outcome.solution.certificate.gap + EXACT
        assert outcome.solution.objective == pytest.approx(truth.of(outcome.model), abs=EXACT)


@every_design
@every_solver
def test_a_weight_of_two_is_the_row_twice(design, solver):
    X, codes = draw(1)
    times = np.random.default_rng(1).integers(1, 4, size=N)
    options = {"tol": 1e-10, "solver": solver}
    weighted = fitted(design, X, codes, times.astype(float), **options)
    repeated = fitted(design, X.repeat(times, axis=0), codes.repeat(times), **options)
    assert weighted.solution.objective == pytest.approx(repeated.solution.objective, abs=2e-10)
    same_probabilities(weighted.model, repeated.model, X)


@every_design
@every_solver
def test_a_shift_of_the_columns_changes_nothing_but_the_bias(design, solver):
    X, codes = draw(2)
    shift = np.array([3.0, -50.0, 0.1, 1000.0])
    one = fitted(design, X, codes, tol=1e-10, solver=solver)
    other = fitted(design, X + shift, codes, tol=1e-10, solver=solver)
    assert one.solution.objective == pytest.approx(other.solution.objective, abs=2e-10)
    same_probabilities(one.model, other.model, X, X + shift)


@every_design
@every_solver
def test_units_do_not_matter_if_the_penalty_follows(design, solver):
    X, codes = draw(3)
    units = np.array([1e-3, 7.0, 1e4, 0.5])
    options = {"tol": 1e-10, "solver": solver}
    one = fitted(design, X, codes, **options)
    other = fitted(design, X * units, codes, penalty_factors=units**2, **options)
    assert one.solution.objective == pytest.approx(other.solution.objective, abs=2e-10)
    same_probabilities(one.model, other.model, X, X * units)


@every_design
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whatever_holds_the_rows_the_objective_is_the_same(design, dtype):
    X, codes = draw(4)
    X = X.astype(dtype)
    truth = Truth(X.astype(np.float64), one_hot(codes), 1 / (2.0 * N))
    outcome = fitted(design, X, codes)
    excess = truth.of(outcome.model) - truth.best  # of the rows as float32 has them
    assert outcome.solution.certified
    assert -EXACT <= excess <= outcome.solution.certificate.gap + EXACT


WANTS = {
    "plain": {},
    "label smoothing": {"label_smoothing": 0.2},
    "probabilities": {"soft": True},
    "row weights": {"weighted": True},
    "class weights": {"class_weight": {0: 0.5, 1: 2.0, 2: 1.0}},
    "offset": {"offset": np.random.default_rng(5).normal(size=(N, K))},
    "penalty factors": {"penalty_factors": [0.1, 10.0, 1.0, 3.0]},
    "no intercept": {"fit_intercept": False},
}


@every_design
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("want", WANTS)
def test_every_objective_is_certified_on_every_design(design, dtype, want):
    X, codes = draw(5)
    X = X.astype(dtype)
    options = dict(WANTS[want])
    rng = np.random.default_rng(6)
    soft = rng.dirichlet(np.ones(K), N) if options.pop("soft", False) else None
    s = rng.uniform(0.2, 3.0, N) if options.pop("weighted", False) else None
    outcome = fitted(design, X, codes if soft is None else soft, s, **options)
    smoothing = options.get("label_smoothing", 0.0)
    T = (1 - smoothing) * one_hot(codes) + smoothing / K if soft is None else soft
    per_class = np.array([options.get("class_weight", {}).get(k, 1.0) for k in range(K)])
    total = (np.ones(N) if s is None else s) * (per_class[codes] if soft is None else 1.0)
    truth = Truth(
        X.astype(np.float64), T, 1 / (2.0 * total.sum()), total,
        factors=options.get("penalty_factors"),
        offset=options.get("offset", 0.0),
        intercept=options.get("fit_intercept", True),
    )  # fmt: skip
    excess = truth.of(outcome.model) - truth.best
    assert outcome.solution.certified
    assert -EXACT <= excess <= outcome.solution.certificate.gap + EXACT


@every_design
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
def test_l1_is_certified_on_every_design(design, dtype, l1_ratio):
    X, codes = draw(7)
    X = X.astype(dtype)
    outcome = fitted(design, X, codes, l1_ratio=l1_ratio, C=0.5)
    tight = fitted(
        designs.DenseDesign, X.astype(np.float64), codes, l1_ratio=l1_ratio, C=0.5, tol=1e-11
    )
    gap = outcome.solution.certificate.gap
    excess = outcome.solution.objective - tight.solution.objective
    assert outcome.solution.certified
    assert -EXACT <= excess <= gap + EXACT
    assert outcome.solution.objective == pytest.approx(
        l1_objective(outcome.model, X.astype(np.float64), codes, 1 / (0.5 * N), l1_ratio), abs=EXACT
    )


def l1_truth(X, codes, alpha, l1_ratio, factors):
    """The lowest F by L-BFGS-B over W = P - M with P, M >= 0, on columns of unit spread."""
    scale = np.r_[X.std(0), 1.0]
    A, T = np.c_[X, np.ones(N)] / scale, one_hot(codes)
    cost = alpha * np.r_[factors, 0.0]
    lasso = l1_ratio * cost / scale * np.ones((K, 1))

    def objective(u):
        P, M = u.reshape(2, K, D + 1)
        V = P - M
        z = A @ V.T
        ridge = (1 - l1_ratio) * cost * V / scale**2
        loss = (scipy.special.logsumexp(z, axis=1) - (T * z).sum(1)).mean()
        slope = (scipy.special.softmax(z, axis=1) - T).T @ A / N + ridge
        value = loss + (lasso * (P + M)).sum() + 0.5 * (ridge * V).sum()
        return value, np.r_[(lasso + slope).ravel(), (lasso - slope).ravel()]

    tight = {"maxiter": 50_000, "maxfun": 50_000, "ftol": 1e-18, "gtol": 1e-13, "maxcor": 30}
    u, last = np.full(2 * K * (D + 1), 0.01), np.inf
    for _ in range(50):  # from the end anew: its memory of curvature is stale there
        found = scipy.optimize.minimize(
            objective, u, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(u), options=tight
        )
        if last - found.fun <= 1e-14:
            break
        u, last = found.x, found.fun
    return float(found.fun)


@every_design
@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
@pytest.mark.parametrize(
    "factors", [(1.0, 1.0, 1.0, 1.0), (0.0, 1.0, 1.0, 1.0), (0.0, 2.0, 0.0, 0.0)]
)
def test_l1_with_columns_that_cost_nothing_is_bounded_all_along_the_way(design, l1_ratio, factors):
    X, codes = draw(7)
    best = l1_truth(X, codes, 1 / (0.5 * N), l1_ratio, factors)
    options = {"l1_ratio": l1_ratio, "C": 0.5, "penalty_factors": factors}
    for way in ({}, {"tol": 1e-10}, {"max_iter": 1}, {"max_iter": 3}):
        solution = fitted(design, X, codes, **options, **way).solution
        assert solution.certified or "max_iter" in way
        assert -EXACT <= solution.objective - best <= solution.certificate.gap + EXACT


def l1_objective(model, X, codes, alpha, l1_ratio):
    W = model.weight.numpy()
    z = X @ W.T + model.bias.numpy()
    loss = (scipy.special.logsumexp(z, axis=1) - z[np.arange(N), codes]).mean()
    return loss + alpha * (l1_ratio * np.abs(W).sum() + (1 - l1_ratio) / 2 * np.square(W).sum())


@every_design
@every_solver
def test_a_warm_start_ends_at_the_same_optimum_sooner(design, solver):
    X, codes = draw(8)
    first = fitted(design, X, codes, C=1.0, solver=solver)
    cold = fitted(design, X, codes, C=2.0, solver=solver)
    warm = fitted(design, X, codes, C=2.0, solver=solver, start=first.model)
    assert warm.solution.certified
    assert warm.solution.objective == pytest.approx(cold.solution.objective, abs=1e-6)
    assert warm.solution.statistics.iterations <= cold.solution.statistics.iterations


def same_probabilities(one, other, X, Y=None):
    p = one.probabilities(torch.from_numpy(X))
    q = other.probabilities(torch.from_numpy(X if Y is None else Y))
    torch.testing.assert_close(p, q, rtol=0, atol=2e-4)
