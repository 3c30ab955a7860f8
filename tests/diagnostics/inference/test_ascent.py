"""The ascent to the maximum, with Jeffreys' prior where it curves more than the likelihood."""

from itertools import pairwise

import numpy as np
import pytest
from jeffreys import likelihood_of, penalised

from polylogit.diagnostics.inference.ascent import ascend, maximise


def far_out(n=60, d=4, n_classes=6, alone=4):
    """Separated classes, and columns that say something about one row only."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, d))
    y = (X @ rng.normal(size=(n_classes, d)).T).argmax(1)
    own = [np.where(np.arange(n) == i, n**0.5, 0.0) for i in range(alone)]
    return np.column_stack([np.ones(n), X, *own]), np.unique(y, return_inverse=True)[1]


def test_rows_of_full_leverage_do_not_stop_it():
    X, y = far_out()
    K = y.max() + 1
    found = maximise(likelihood_of(X, y, firth=True)).coefficients
    best = penalised(found.ravel(), X, y, K)
    for direction in np.random.default_rng(0).normal(size=(20, found.size)):
        slope = (
            penalised(found.ravel() + 1e-5 * direction, X, y, K)
            - penalised(found.ravel() - 1e-5 * direction, X, y, K)
        ) / 2e-5
        assert abs(slope) < 1e-5
        assert penalised(found.ravel() + 1e-2 * direction, X, y, K) > best


@pytest.mark.parametrize("seed", [21, 143, 265])
def test_a_step_that_goes_too_far_is_halved(seed):
    """Few rows, and a column in which some are thousands of times as large as others."""
    rng = np.random.default_rng(seed)
    n = rng.integers(12, 40)
    x = np.exp(rng.normal(size=n) * rng.uniform(1, 3))
    y = (rng.random(n) < 1 / (1 + np.exp((np.median(x) - x) * rng.uniform(0.5, 3)))).astype(int)
    X = np.column_stack([np.ones(n), (x - x.mean()) / x.std()])
    found = maximise(likelihood_of(X, y, firth=True)).coefficients.ravel()
    best = penalised(found, X, y, 2)
    for step in 1e-3 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1]]):
        assert penalised(found + step, X, y, 2) > best


def test_every_place_is_higher_and_the_last_is_flat():
    places = list(ascend(likelihood_of(*far_out(), firth=True)))
    values = [place.state.value for place in places]
    assert (np.diff(values) > -1e-12 * np.abs(values[1:])).all()
    assert places[-1].length <= 1e-18
    assert len(places) < 100


def test_without_the_prior_the_steps_are_newtons():
    """Quadratic: the digits double."""
    rng = np.random.default_rng(1)
    X, y = np.column_stack([np.ones(300), rng.normal(size=(300, 3))]), rng.integers(3, size=300)
    lengths = [place.length for place in ascend(likelihood_of(X, y))]
    assert len(lengths) < 7
    assert all(after < before**1.5 for before, after in pairwise(lengths[1:]))


@pytest.mark.parametrize("seed", range(3))
def test_jeffreys_prior_of_a_table_has_a_formula(seed):
    """A saturated table: each cell's K counts get half a row each."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 6, size=(3, 4))
    cells, classes = np.indices(counts.shape)
    cell, y = cells.ravel().repeat(counts.ravel()), classes.ravel().repeat(counts.ravel())
    found = maximise(likelihood_of(np.eye(3)[cell], y, firth=True)).coefficients
    expected = np.log((counts[:, 1:] + 0.5) / (counts[:, :1] + 0.5))
    np.testing.assert_allclose(found, expected.T, rtol=1e-8, atol=1e-8)
