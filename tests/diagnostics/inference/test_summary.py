"""`summarize` against statsmodels' MNLogit, and what it says where no test is valid."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import statsmodels.api as sm
from jeffreys import penalised
from sklearn.datasets import load_iris

from polylogit import fit, from_arrays, summarize
from polylogit.errors import DataError, OptionError, SolveError, TargetError
from polylogit.optim import separation

RELATIVE = 1e-6
GROUPS = np.arange(944) % 37


@pytest.fixture(scope="module")
def anes():
    """(X, y) of statsmodels' anes96: 944 rows, 5 columns, 7 classes."""
    table = sm.datasets.anes96.load_pandas()
    return table.exog.to_numpy(), table.endog.to_numpy().astype(int)


def mnlogit(X, y, **options):
    model = sm.MNLogit(y, sm.add_constant(X))
    return model.fit(method="newton", maxiter=200, tol=1e-12, disp=0, **options)


@pytest.fixture(scope="module")
def theirs(anes):
    return mnlogit(*anes)


@pytest.fixture(scope="module")
def ours(anes):
    return summarize(from_arrays(*anes))


def iris(**options):
    return summarize(from_arrays(*load_iris(return_X_y=True)), **options)


def overlapping(n=120, seed=0):
    """Three classes of two columns that no plane separates."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    logits = X @ np.array([[0.0, 0.0], [1.0, -0.5], [-0.5, 1.0]]).T
    return X, (logits + rng.gumbel(size=logits.shape)).argmax(1)


# -------------------------------------------------------------------------------- against MNLogit


def test_coefficients_and_errors(ours, theirs):
    assert ours.method == "unpenalised"
    np.testing.assert_allclose(ours.matrix(), theirs.params.T, rtol=RELATIVE)
    np.testing.assert_allclose(ours.matrix("error"), theirs.bse.T, rtol=RELATIVE)
    np.testing.assert_allclose(ours.matrix("z"), theirs.tvalues.T, rtol=RELATIVE)
    np.testing.assert_allclose(ours.matrix("p"), theirs.pvalues.T, rtol=RELATIVE)
    ends = np.stack([ours.matrix("low"), ours.matrix("high")], axis=2)
    np.testing.assert_allclose(ends, theirs.conf_int(), rtol=RELATIVE)


def test_fit_statistics(ours, theirs):
    test = ours.likelihood_ratio
    found = (ours.loglik, ours.loglik_null, ours.aic, ours.bic, ours.mcfadden)
    expected = (theirs.llf, theirs.llnull, theirs.aic, theirs.bic, theirs.prsquared)
    np.testing.assert_allclose(found, expected, rtol=RELATIVE)
    np.testing.assert_allclose((test.statistic, test.p), (theirs.llr, theirs.llr_pvalue), RELATIVE)
    assert test.df == theirs.df_model


def test_robust_covariances(anes):
    hc0 = mnlogit(*anes, cov_type="HC0")
    found = summarize(from_arrays(*anes), robust="hc0").covariance_matrix
    np.testing.assert_allclose(found, hc0.cov_params(), rtol=RELATIVE)
    cluster = mnlogit(*anes, cov_type="cluster", cov_kwds={"groups": GROUPS})
    summary = summarize(from_arrays(*anes), cluster=GROUPS)
    np.testing.assert_allclose(summary.covariance_matrix, cluster.cov_params(), rtol=RELATIVE)
    assert summary.n_clusters == 37


def test_marginal_effects(ours, theirs):
    margins = theirs.get_margeff()
    values = np.array([e.estimate for e in ours.effects]).reshape(-1, 7)
    errors = np.array([e.error for e in ours.effects]).reshape(-1, 7)
    np.testing.assert_allclose(values, margins.margeff, rtol=RELATIVE)
    np.testing.assert_allclose(errors, margins.margeff_se, rtol=RELATIVE)


def test_joint_wald_test(ours, theirs):
    """theta' V^-1 theta of the six coefficients of one column."""
    at = np.arange(6) * 6 + 2
    theta, V = theirs.params.T.ravel()[at], theirs.cov_params()[np.ix_(at, at)]
    assert ours.wald[1].statistic == pytest.approx(theta @ np.linalg.solve(V, theta), rel=RELATIVE)
    assert [test.df for test in ours.wald] == [6] * 5


# --------------------------------------------------------------------------- references, weights


def test_another_reference_is_the_same_fit_turned():
    X, y = overlapping()
    again = np.array([1, 2, 0])[y]  # class 2 comes first
    turned = summarize(from_arrays(X, y), reference=2, robust="hc0")
    refitted = summarize(from_arrays(X, again), robust="hc0")
    np.testing.assert_allclose(turned.matrix(), refitted.matrix(), rtol=RELATIVE)
    np.testing.assert_allclose(turned.matrix("error"), refitted.matrix("error"), rtol=RELATIVE)
    assert turned.reference == 2
    assert {c.label for c in turned.coefficients} == {0, 1}


def test_sum_to_zero():
    X, y = overlapping()
    centred, plain = (
        summarize(from_arrays(X, y), contrasts=name) for name in ("sum-to-zero", "reference")
    )
    rows = centred.matrix()
    np.testing.assert_allclose(rows.sum(0), 0, atol=1e-12)
    np.testing.assert_allclose(rows[1:] - rows[:1], plain.matrix(), rtol=RELATIVE)
    V, q = centred.covariance_matrix, 3
    of_differences = V[q : 2 * q, q : 2 * q] + V[:q, :q] - V[q : 2 * q, :q] - V[:q, q : 2 * q]
    np.testing.assert_allclose(of_differences, plain.covariance_matrix[:q, :q], rtol=RELATIVE)
    assert centred.reference is None


@pytest.mark.parametrize("options", [{}, {"robust": "hc0"}, {"firth": True}])
def test_a_weight_is_a_number_of_equal_rows(options):
    X, y = overlapping()
    weights = np.arange(len(y)) % 4
    weighed = summarize(from_arrays(X, y, sample_weight=weights), **options)
    repeated = summarize(from_arrays(X.repeat(weights, 0), y.repeat(weights)), **options)
    np.testing.assert_allclose(weighed.matrix(), repeated.matrix(), rtol=RELATIVE)
    np.testing.assert_allclose(weighed.covariance_matrix, repeated.covariance_matrix, rtol=RELATIVE)
    np.testing.assert_allclose(
        [e.error for e in weighed.effects], [e.error for e in repeated.effects], rtol=RELATIVE
    )
    assert (weighed.n, weighed.bic) == (weights.sum(), pytest.approx(repeated.bic))


def test_fractional_weights_are_noticed():
    X, y = overlapping()
    assert not summarize(from_arrays(X, y, sample_weight=np.full(len(y), 0.5))).whole_weights


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_do_not_matter(scale):
    X, y = overlapping()
    plain, scaled = summarize(from_arrays(X, y)), summarize(from_arrays(X * scale + 3 * scale, y))
    np.testing.assert_allclose(scaled.matrix("z")[:, 1:], plain.matrix("z")[:, 1:], rtol=RELATIVE)


# --------------------------------------------------------------------------------------- columns


def test_categories_have_a_baseline_and_one_joint_test():
    X, y = overlapping()
    words = np.array(["red", "blue", "grey"])[np.arange(len(y)) * 7 % 3]
    frame = pd.DataFrame({"colour": words, "a": X[:, 0], "twice": 2 * X[:, 0] + 1})
    summary = summarize(from_arrays(frame, y))
    assert summary.columns == ("(intercept)", "colour=grey", "colour=red", "a")
    assert [(left.name, left.why) for left in summary.left_out] == [
        ("colour=blue", "baseline"),
        ("twice", "repeats"),
    ]
    assert [(test.name, test.df) for test in summary.wald] == [("colour", 4), ("a", 2)]
    dummies = np.column_stack([words == "grey", words == "red", X[:, 0]]).astype(float)
    expected = mnlogit(dummies, y)
    np.testing.assert_allclose(summary.matrix(), expected.params.T, rtol=RELATIVE)


def test_without_an_intercept():
    X, y = overlapping()
    summary = summarize(from_arrays(X, y), fit_intercept=False)
    expected = sm.MNLogit(y, X).fit(method="newton", tol=1e-12, disp=0)
    np.testing.assert_allclose(summary.matrix(), expected.params.T, rtol=RELATIVE)
    np.testing.assert_allclose(summary.matrix("error"), expected.bse.T, rtol=RELATIVE)
    assert (summary.loglik_null, summary.mcfadden, summary.likelihood_ratio.p) == (None,) * 3


def test_without_an_intercept_a_category_keeps_all_its_columns():
    """The same model as with an intercept and a baseline, told in other coefficients."""
    X, y = overlapping()
    words = np.array(["red", "blue", "grey"])[np.arange(len(y)) * 7 % 3]
    data = from_arrays(pd.DataFrame({"colour": words, "a": X[:, 0]}), y)
    summary, other = summarize(data, fit_intercept=False), summarize(data)
    names = ("colour=blue", "colour=grey", "colour=red")
    assert (summary.method, summary.columns, summary.left_out) == ("unpenalised", (*names, "a"), ())
    columns = np.column_stack([words == name[7:] for name in names] + [X[:, 0]]).astype(float)
    expected = sm.MNLogit(y, columns).fit(method="newton", tol=1e-12, disp=0)
    np.testing.assert_allclose(summary.matrix(), expected.params.T, rtol=RELATIVE)
    np.testing.assert_allclose(summary.matrix("error"), expected.bse.T, rtol=RELATIVE)
    assert (summary.loglik, summary.aic) == pytest.approx((other.loglik, other.aic), rel=RELATIVE)
    steps = [e.estimate for e in summary.effects]
    np.testing.assert_allclose(steps, [e.estimate for e in other.effects], rtol=RELATIVE)


def test_without_an_intercept_a_second_category_has_a_baseline():
    X, y = overlapping()
    frame = pd.DataFrame(
        {
            "colour": np.array(["red", "blue", "grey"])[np.arange(len(y)) * 7 % 3],
            "side": np.array(["left", "right"])[np.arange(len(y)) // 5 % 2],
            "a": X[:, 0],
        }
    )
    summary, other = (summarize(from_arrays(frame, y), fit_intercept=one) for one in (False, True))
    assert [(left.name, left.why) for left in summary.left_out] == [("side=left", "baseline")]
    assert summary.loglik == pytest.approx(other.loglik, rel=RELATIVE)
    np.testing.assert_allclose(summary.matrix()[:, -2:], other.matrix()[:, -2:], rtol=RELATIVE)


# ------------------------------------------------------------------------------------ separation


def test_iris_is_separated_and_finite():
    summary = iris(reference=1)
    names = ("(intercept)", "x0", "x1", "x2", "x3")
    assert summary.method == "firth"
    assert summary.separated == tuple((name, 0) for name in names)  # setosa, not virginica
    assert np.isfinite(summary.matrix()).all()
    assert np.isfinite(summary.matrix("error")).all()
    assert summary.matrix("error").max() < 20
    tested = {c.label for c in summary.coefficients if c.p is not None}
    assert tested == {2}
    assert all(test.p is None for test in (*summary.wald, summary.likelihood_ratio))
    assert all(effect.p is None for effect in summary.effects)


def test_against_a_separated_class_everything_is_separated():
    assert len(iris().separated) == 10
    assert len(iris(contrasts="sum-to-zero").separated) == 15


def test_only_the_column_that_separates_is_named():
    X, y = overlapping()
    marker = (y == 2) & (np.arange(len(y)) % 2 == 0)
    summary = summarize(from_arrays(np.column_stack([X, marker]), y))
    assert summary.separated == (("x2", 1), ("x2", 2)) or summary.separated == (("x2", 2),)
    assert [test.p is None for test in summary.wald] == [False, False, True]


def test_firth_on_request_leaves_tests_in_place():
    X, y = overlapping()
    firth, plain = summarize(from_arrays(X, y), firth=True), summarize(from_arrays(X, y))
    assert firth.method == "firth"
    assert not firth.separated
    assert firth.loglik < plain.loglik
    assert all(c.p is not None for c in firth.coefficients)
    assert np.abs(firth.matrix()).sum() < np.abs(plain.matrix()).sum()


# -------------------------------------------------------------------------------------- penalised


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_penalised_fit_has_errors_but_no_test(n_classes):
    X, y = overlapping()
    y = np.minimum(y, n_classes - 1)
    summary = summarize(from_arrays(X, y), C=0.1)
    assert (summary.method, summary.C) == ("penalised", 0.1)
    assert all(c.p is None and c.z is None for c in summary.coefficients)
    assert all(test.p is None for test in (*summary.wald, summary.likelihood_ratio))
    free = (n_classes - 1) * 3
    assert (n_classes - 1) < summary.parameters < free
    unpenalised = summarize(from_arrays(X, y))
    assert (summary.matrix("error") < unpenalised.matrix("error"))[:, 1:].all()
    loose = summarize(from_arrays(X, y), C=1e9)
    np.testing.assert_allclose(loose.matrix(), unpenalised.matrix(), rtol=1e-5)
    assert loose.parameters == pytest.approx(free, rel=1e-6)


def test_a_penalised_fit_is_that_of_fit():
    X, y = overlapping()
    model = fit(from_arrays(X, y), C=0.1, tol=1e-12).model
    expected = (model.weight[1:] - model.weight[:1]).numpy()
    np.testing.assert_allclose(
        summarize(from_arrays(X, y), C=0.1).matrix()[:, 1:], expected, rtol=RELATIVE
    )


# ------------------------------------------------------------------------------------ hard tables


def assert_as_mnlogit(summary, X, y):
    expected = mnlogit(X, y)
    assert summary.method == "unpenalised"
    np.testing.assert_allclose(summary.matrix(), expected.params.T, rtol=RELATIVE)
    np.testing.assert_allclose(summary.matrix("error"), expected.bse.T, rtol=RELATIVE)
    assert summary.loglik == pytest.approx(expected.llf, rel=RELATIVE)


def test_a_class_of_two_rows():
    X, y = overlapping()
    y[y == 2], y[[3, 50]] = 0, 2
    assert_as_mnlogit(summarize(from_arrays(X, y)), X, y)


def test_twenty_classes_in_eighty_rows():
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(80, 3)), np.arange(80) % 20
    assert_as_mnlogit(summarize(from_arrays(X, y)), X, y)


def test_words_for_classes_and_rows_that_do_not_count():
    """A column that says something about such rows alone says nothing."""
    X, y = overlapping()
    counts = (np.arange(len(y)) % 3 > 0) * 1.0
    marked = np.column_stack([X, counts == 0])
    data = from_arrays(marked, np.array(["b", "a", "c"])[y], sample_weight=counts)
    summary = summarize(data, reference="b")
    assert [(left.name, left.why) for left in summary.left_out] == [("x2", "repeats")]
    assert [c.label for c in summary.coefficients] == ["a"] * 3 + ["c"] * 3
    assert_as_mnlogit(summary, X[counts > 0], y[counts > 0])


def test_columns_of_very_different_units():
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(200, 6)), rng.integers(3, size=200)
    units = 10.0 ** np.array([-6, -3, 0, 2, 4, 6])
    plain, scaled = summarize(from_arrays(X, y)), summarize(from_arrays(X * units, y))
    np.testing.assert_allclose(scaled.matrix("z"), plain.matrix("z"), rtol=RELATIVE)
    np.testing.assert_allclose(scaled.matrix()[:, 1:] * units, plain.matrix()[:, 1:], rtol=RELATIVE)
    assert (summarize(from_arrays(X * units, y), C=1.0).matrix("error") > 0).all()


@pytest.mark.parametrize("far", [1e8, 1e12])
def test_a_column_far_from_zero_is_not_constant(far):
    X, y = overlapping()
    moved = X + far
    plain, there = summarize(from_arrays(moved - far, y)), summarize(from_arrays(moved, y))
    assert not there.left_out
    np.testing.assert_allclose(there.matrix("z")[:, 1:], plain.matrix("z")[:, 1:], rtol=RELATIVE)
    idle = np.column_stack([X, np.full(len(y), far + 0.1), 3 * moved[:, 0]])
    left = summarize(from_arrays(idle, y)).left_out
    assert [one.name for one in left] == ["x2", "x3"]  # but for rounding, x3 is 3 x0 and a constant


@pytest.mark.parametrize("firth", [False, True])
@pytest.mark.parametrize("apart", [1e-3, 1e-5, 1e-7])
def test_columns_that_nearly_repeat_each_other(apart, firth):
    """The same space as of columns that do not, so the same fit, turned."""
    X, y = overlapping()
    own = np.random.default_rng(5).normal(size=len(y))
    near = summarize(from_arrays(np.column_stack([X, X[:, 0] + apart * own]), y), firth=firth)
    plain = summarize(from_arrays(np.column_stack([X, own]), y), firth=firth)
    assert near.loglik == pytest.approx(plain.loglik, rel=RELATIVE)
    np.testing.assert_allclose(near.matrix("z")[:, 2:], plain.matrix("z")[:, 2:], rtol=RELATIVE)
    np.testing.assert_allclose(near.matrix()[:, 3] * apart, plain.matrix()[:, 3], rtol=RELATIVE)


def test_a_penalty_shares_between_columns_that_repeat_each_other():
    X, y = overlapping()
    data = from_arrays(np.column_stack([X, X[:, 0], np.ones(len(y))]), y)
    B = summarize(data, C=1.0).matrix()
    np.testing.assert_allclose(B[:, 1], B[:, 3], rtol=RELATIVE)
    np.testing.assert_allclose(B[:, 4], 0, atol=1e-12)
    model = fit(data, C=1.0, tol=1e-12).model
    np.testing.assert_allclose(B[:, 1:4], (model.weight[1:] - model.weight[:1])[:, :3], rtol=1e-6)


def test_a_column_of_one_row_has_firths_estimate_of_the_definition():
    X, y = overlapping(n=60)
    X = np.column_stack([X, np.arange(len(y)) == 7]).astype(float)
    summary = summarize(from_arrays(X, y))
    assert summary.method == "firth"
    assert {name for name, _ in summary.separated} == {"x2"}
    theirs = scipy.optimize.minimize(
        penalised, np.zeros(8), (np.column_stack([np.ones(len(y)), X]), y, 3), tol=1e-7
    )
    np.testing.assert_allclose(summary.matrix().ravel(), theirs.x, rtol=1e-4)


def test_where_separation_is_unknown_nothing_is_tested(monkeypatch):
    monkeypatch.setattr(separation, "LARGEST_PROGRAM", 10)
    with pytest.raises(SolveError, match="150 rows, 5 columns and 3 classes are too many"):
        iris()
    summary = iris(firth=True)
    assert (summary.method, summary.separation_checked) == ("firth", False)
    assert all(c.p is None and c.z is None for c in summary.coefficients)
    assert all(test.p is None for test in (*summary.wald, *summary.effects))
    assert summarize(from_arrays(*overlapping())).separation_checked  # a proof needs no program


# ------------------------------------------------------------------------------------------ edges


def test_json_has_no_nan_and_every_table_says_what_it_is_from():
    for summary in (iris(), iris(C=1.0), iris(cluster=np.arange(150) % 9)):
        plain = json.loads(json.dumps(summary.to_json(), allow_nan=False))
        for table in ("coefficients", "wald", "effects"):
            assert plain[table]["method"] == summary.method
            assert plain[table]["covariance"] == summary.covariance


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reference": 7}, "reference 7 is no class of the data; they are 0, 1, 2"),
        ({"reference": 1, "contrasts": "sum-to-zero"}, "have no reference"),
        ({"contrasts": "helmert"}, "not 'helmert'"),
        ({"robust": "hc1"}, "robust must be None or 'hc0', not 'hc1'"),
        ({"robust": "hc0", "cluster": np.arange(120) % 9}, "ask for one of them"),
        ({"cluster": np.arange(9)}, r"each of the 120 rows, not \(9,\)"),
        ({"cluster": np.zeros(120)}, "all rows of positive weight into one group"),
        ({"cluster": np.where(np.arange(120) == 5, np.nan, 1.0)}, "row 5"),
        ({"level": 95}, "between 0 and 1, such as 0.95, not 95"),
        ({"firth": True, "C": 1.0}, "leave out C"),
        ({"fit_intercept": 1}, "must be True or False, not 1"),
        ({"C": -1.0}, "C must be positive"),
    ],
)
def test_wrong_options(options, said):
    with pytest.raises(OptionError, match=said):
        summarize(from_arrays(*overlapping()), **options)


def test_wrong_data():
    X, y = overlapping()
    with pytest.raises(TargetError, match="no targets"):
        summarize(from_arrays(X))
    with pytest.raises(TargetError, match="one label a row"):
        summarize(from_arrays(X, np.full((len(y), 3), 1 / 3)))
    with pytest.raises(TargetError, match="the class 2 has no row of positive weight"):
        summarize(from_arrays(X, y, sample_weight=(y != 2) + 1e-300 * 0))
    with pytest.raises(DataError, match=r"largest number of column 'x0' is .*e\+200"):
        summarize(from_arrays(X * 1e200, y))
    groups, small = np.arange(len(y)) % 4, np.random.default_rng(0).normal(size=(10, 4))
    with pytest.raises(OptionError, match="all rows of positive weight into one group"):
        summarize(from_arrays(X, y, sample_weight=groups == 1), cluster=groups)
    with pytest.raises(DataError, match="10 rows and 10 coefficients leave the factor"):
        summarize(from_arrays(small, np.arange(10) % 3), cluster=np.arange(10))
    with pytest.raises(DataError, match="every column is constant"):
        summarize(from_arrays(np.ones((len(y), 2)), y))
    with pytest.raises(DataError, match="inference takes at most 3000"):
        summarize(from_arrays(np.ones((len(y), 1600)), y))


def test_nothing_is_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        iris()
