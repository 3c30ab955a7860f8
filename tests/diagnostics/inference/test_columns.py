"""Which columns keep a coefficient, and the coordinates of the fit."""

import numpy as np

from polylogit.diagnostics.inference.columns import coordinates, identified
from polylogit.schema import Feature, Schema

WORDS = Schema(
    (Feature("c", "categorical", categories=("u", "v")), Feature("n", "numeric")), (), None
)
ONE_HOT = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, 1.0], [1.0, 0.0, 4.0], [0.0, 1.0, 1.0]])


def test_the_first_category_is_the_baseline_only_where_there_is_an_intercept():
    kept, left = identified(ONE_HOT, WORDS, intercept=True)
    assert (kept.tolist(), [(one.name, one.why) for one in left]) == ([1, 2], [("c=u", "baseline")])
    kept, left = identified(ONE_HOT, WORDS, intercept=False)
    assert (kept.tolist(), left) == ([0, 1, 2], ())


def test_constants_and_sums_are_left_out_and_near_repeats_kept():
    x = np.arange(6.0)
    columns = np.column_stack([np.full(6, 7.0), x, x**2, x + x**2, x + 1e-5 * x**3])
    schema = Schema.for_array(5, ())
    kept, left = identified(columns, schema, intercept=True)
    assert kept.tolist() == [1, 2, 4]
    assert [one.name for one in left] == ["x0", "x3"]


def test_coordinates_lead_back():
    X, B = ONE_HOT[:, 1:], np.array([[0.5, -1.0, 2.0]])
    weights = np.array([1.0, 2.0, 1.0, 3.0])
    for intercept in (True, False):
        found = coordinates(X, weights, intercept)
        rows = np.column_stack([np.ones(4), X]) if intercept else X
        inner = B[:, -found.rows.shape[1] :]
        np.testing.assert_allclose(found.rows @ inner.T, rows @ found.to_user @ inner.T)
        squares = weights / 7 @ found.rows**2
        np.testing.assert_allclose(squares, 1)
