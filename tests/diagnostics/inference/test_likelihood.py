"""Firth's likelihood against scipy's general optimiser and numerical derivatives."""

import numpy as np
import pytest
import scipy.optimize
from sklearn.datasets import load_iris

from polylogit import from_arrays, read, summarize
from polylogit.diagnostics.inference.likelihood import Likelihood
from polylogit.errors import SolveError


def penalised(flat, X, y, n_classes):
    """-(l + 1/2 log |I|), written row by row from the definition."""
    B = np.vstack([np.zeros(X.shape[1]), flat.reshape(n_classes - 1, -1)])
    logits = X @ B.T
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    information = sum(
        np.kron(np.diag(q[1:]) - np.outer(q[1:], q[1:]), np.outer(x, x))
        for q, x in zip(p, X, strict=True)
    )
    return -(np.log(p[np.arange(len(y)), y]).sum() + 0.5 * np.linalg.slogdet(information)[1])


def small():
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(20), rng.normal(size=20)])
    y = np.arange(20) % 3
    X[y == 2, 1] += 5  # class 2 is separated from the others
    return X, y


def likelihood_of(X, y, **options):
    return Likelihood(X, np.eye(y.max() + 1)[y][:, 1:], np.ones(len(y)), **options)


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
    found = likelihood_of(X, y, firth=True).maximise(np.zeros((2, 2)))
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
    found = likelihood_of(X, y, firth=True).maximise(np.zeros((1, 1)))
    assert found.coefficients.item() == pytest.approx(np.log(2.5 / 5.5), rel=1e-9)


def test_where_full_steps_go_to_and_fro_the_slope_still_vanishes():
    """Eight rows, ten parameters: the prior curves more than the likelihood."""
    data = read("lesson", target="y")
    likelihood = likelihood_of(
        np.column_stack([np.ones(8), data.features]), data.targets, firth=True
    )
    found = likelihood.maximise(np.zeros((2, 5)))
    np.testing.assert_allclose(likelihood.score(found), 0, atol=1e-7)


def test_a_singular_information_is_refused():
    _, y = small()
    with pytest.raises(SolveError, match="singular"):
        likelihood_of(np.ones((20, 2)), y).maximise(np.zeros((2, 2)))
