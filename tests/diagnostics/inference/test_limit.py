"""Whether a maximum exists, told without a linear program where that is possible."""

import numpy as np
import pytest
import scipy.optimize
from sklearn.datasets import load_digits, load_iris, load_wine

from polylogit import from_arrays, summarize
from polylogit.diagnostics.inference.likelihood import Likelihood
from polylogit.diagnostics.inference.limit import limit_of


def limit(X, y):
    rows = np.column_stack([np.ones(len(y)), (X - X.mean(0)) / X.std(0)])
    return limit_of(Likelihood(rows, np.eye(y.max() + 1)[y][:, 1:], np.ones(len(y))), y, rows)


def noise(n=120, d=3, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.integers(n_classes, size=n)


@pytest.fixture
def programs(monkeypatch):
    """The number of rows of each linear program that was solved."""
    solved, original = [], scipy.optimize.linprog

    def counted(c, A_ub, **options):
        solved.append(A_ub.shape[0])
        return original(c, A_ub, **options)

    monkeypatch.setattr(scipy.optimize, "linprog", counted)
    return solved


def test_an_overlapping_table_needs_no_program(programs):
    found = limit(*noise())
    assert (found.proven, found.separated, programs) == (True, False, [])
    np.testing.assert_allclose(found.basis[:, :1], found.basis[:, 1:2], atol=1e-15)
    assert len(found.basis) == 4


def test_classes_that_stand_apart_need_no_program(programs):
    found = limit(*load_wine(return_X_y=True))
    assert (found.proven, found.separated, programs) == (False, True, [])
    assert len(found.basis) == 3 * 14  # everything is open
    assert np.abs(found.state.coefficients).max() < 2  # the witness ended the ascent


def test_a_table_separated_in_part_asks_each_question_once(programs):
    found = limit(*load_iris(return_X_y=True))
    assert (found.proven, len(found.basis)) == (False, 5 + 5)
    assert programs[0] == 300
    assert programs == sorted(set(programs), reverse=True)  # what was answered leaves


def test_a_table_that_is_barely_not_separated_has_a_maximum():
    """One row of 0 beyond one row of 1: the weight is large, and exists."""
    x = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])[:, None]
    found = limit(x, np.array([0, 0, 1, 0, 1, 1]))
    assert (found.proven, found.separated) == (True, False)
    assert limit(x, np.array([0, 0, 0, 1, 1, 1])).separated


def test_a_summary_of_overlapping_rows_needs_no_program(programs):
    assert summarize(from_arrays(*noise())).method == "unpenalised"
    assert programs == []


def test_digits_are_separated_and_get_a_finite_table():
    """Every other pixel of 400 digits: some of them have colour in one row only."""
    X, y = load_digits(return_X_y=True)
    summary = summarize(from_arrays(X[:400, ::2], y[:400]))
    assert (summary.method, len(summary.separated)) == ("firth", summary.matrix().size)
    assert np.isfinite(summary.matrix()).all()
    assert np.isfinite(summary.matrix("error")).all()
    assert all(c.p is None and c.z is None for c in summary.coefficients)
    assert all(e.p is None for e in summary.effects)
    constant = [f"x{d}" for d in np.flatnonzero(np.ptp(X[:400, ::2], 0) == 0)]
    assert [left.name for left in summary.left_out] == constant
