"""Firth's likelihood against scipy's general optimiser and numerical derivatives."""

import numpy as np
import pytest
import scipy.optimize
from jeffreys import likelihood_of, penalised
from sklearn.datasets import load_iris

from polylogit import from_arrays, read, summarize
from polylogit.diagnostics.inference.ascent import maximise
from polylogit.errors import SolveError


def small():
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(20), rng.normal(size=20)])
    y = np.arange(20) % 3
    X[y == 2, 1] += 5  # class 2 is separated from the others
    return X, y


def test_value_and_score_are_those_of_the_definition():
    X, y = small()
    B = np.random.default_rng(2).normal(size=(2, 2))
    likelihood = likelihood_of(X, y, firth=True)
    state = likelihood.at(B)
    assert state.value == pytest.approx(-penalised(B.ravel(), X, y, 3), rel=1e-12)
    slope = scipy.optimize.approx_fprime(B.ravel(), penalised, 1e-6, X, y, 3)
    np.testing.assert_allclose(likelihood.score(state), -slope, rtol=1e-4)


def test_the_estimate_is_the_one_that_scipy_finds():
    X, y = small()
    found = maximise(likelihood_of(X, y, firth=True))
    theirs = scipy.optimize.minimize(
        penalised, np.zeros(4), (X, y, 3), method="BFGS", options={"gtol": 1e-7}
    )
    np.testing.assert_allclose(found.coefficients.ravel(), theirs.x, rtol=1e-5)


def test_iris_is_at_a_maximum_of_the_definition():
    X, y = load_iris(return_X_y=True)
    B = summarize(from_arrays(X, y)).matrix()
    rows = np.column_stack([np.ones(150), X])
    best = penalised(B.ravel(), rows, y, 3)
    for direction in np.random.default_rng(0).normal(size=(10, B.size)):
        for step in (-1e-3, 1e-3):
            assert penalised(B.ravel() + step * direction, rows, y, 3) > best


def test_one_row_of_two_classes_has_a_formula():
    """Jeffreys' prior of a share adds half a row to each class: log((a + 1/2) / (b + 1/2))."""
    X, y = np.ones((7, 1)), np.array([0, 0, 0, 0, 0, 1, 1])
    found = maximise(likelihood_of(X, y, firth=True))
    assert found.coefficients.item() == pytest.approx(np.log(2.5 / 5.5), rel=1e-9)


def test_where_full_steps_go_to_and_fro_the_slope_still_vanishes():
    """Eight rows, ten parameters: the prior curves more than the likelihood."""
    data = read("lesson", target="y")
    likelihood = likelihood_of(
        np.column_stack([np.ones(8), data.features]), data.targets, firth=True
    )
    found = maximise(likelihood)
    np.testing.assert_allclose(likelihood.score(found), 0, atol=1e-7)


def test_a_singular_information_is_refused():
    _, y = small()
    with pytest.raises(SolveError, match="singular"):
        maximise(likelihood_of(np.ones((20, 2)), y))


def test_where_each_row_stands_alone_the_metric_is_the_curvature():
    """There 1/2 log |I| is 1/2 sum_k log p_k and a constant, for every row."""
    X, y = np.eye(3), np.array([0, 3, 1])
    B = np.random.default_rng(4).normal(size=(3, 3))
    likelihood = likelihood_of(X, y, firth=True)
    _, metric = likelihood.slope(likelihood.at(B))

    def score(flat):
        return likelihood.score(likelihood.at(flat.reshape(3, 3)))

    curvature = -scipy.optimize.approx_fprime(B.ravel(), score, 1e-7)
    np.testing.assert_allclose(metric, curvature, rtol=1e-5, atol=1e-6)
