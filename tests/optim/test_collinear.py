"""`polylogit.optim.collinear`: which columns others make, exactly and almost."""

import numpy as np
import pytest
import torch

from polylogit.optim.collinear import independent


def table(n=60, seed=0):
    rng = np.random.default_rng(seed)
    city = np.eye(4)[rng.integers(0, 4, n)]
    number = rng.normal(size=(n, 2))
    return np.c_[city, number, number @ [2.0, -1.0], np.zeros(n), np.ones(n)]


def kept_of(X, size=7):
    rows = torch.from_numpy(X)
    kept = independent(lambda: rows.split(size))
    return None if kept is None else kept.tolist()


def test_as_many_are_kept_as_the_rank_and_they_make_the_rest():
    X = table()
    kept = kept_of(X)
    assert len(kept) == np.linalg.matrix_rank(X) == 6
    assert kept == sorted(kept)
    made = X[:, kept] @ np.linalg.lstsq(X[:, kept], X, rcond=None)[0]
    np.testing.assert_allclose(made, X, atol=1e-12)


def test_columns_of_any_size_and_off_the_origin():
    X = table() * 10.0 ** np.arange(-4, 5) + np.r_[np.full(8, 3.0), 0.0]
    assert len(kept_of(X)) == 6


def test_all_are_kept_where_none_is_made():
    X = np.random.default_rng(1).normal(size=(30, 5))
    assert kept_of(X) == list(range(5))


def test_columns_all_but_alike_may_make_another():
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(2, 200))
    alike = one + 1e-4 * other
    assert len(kept_of(np.c_[one, alike, one + alike, np.ones(200)])) == 3


@pytest.mark.parametrize("noise", [1e-9, 1e-7])
def test_what_is_almost_made_is_not_left_out(noise):
    X = table()
    X[3, 6] += noise
    assert kept_of(X) is None
