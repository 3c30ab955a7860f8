"""`SoftmaxClassifier` against scikit-learn: the same optimum, the same shapes, the same manners."""

import io
import math
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from scipy import sparse
from scipy.special import log_softmax, logsumexp
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from polylogit import choose_C, from_arrays, summarize
from polylogit import estimator as module
from polylogit.errors import (
    DataError,
    InputError,
    OptionError,
    PolylogitWarning,
    SchemaError,
    TargetError,
)
from polylogit.estimator import SoftmaxClassifier
from polylogit.model import SoftmaxModel

LOADERS = {
    "iris": load_iris,
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "digits": load_digits,
}
FRAMES = {
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
}


@pytest.fixture(scope="module", params=LOADERS)
def problem(request):
    """Raw data and the best that scikit-learn reaches on them."""
    X, y = LOADERS[request.param](return_X_y=True)
    return X, y, LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(X, y)


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def flowers():
    """Three noisy classes, strings, a frame of two numeric columns whose index starts at 100."""
    rng = np.random.default_rng(0)
    codes = rng.integers(3, size=90)
    X = rng.normal(size=(90, 2)) + codes[:, None] * [1.0, -0.5]
    frame = pd.DataFrame(X, columns=["width", "height"], index=np.arange(100, 190))
    return frame, np.array(["rose", "lily", "iris"])[codes]


@pytest.fixture(scope="module")
def garden(flowers):
    """The same flowers with text, a category, a boolean, and missing cells of two kinds."""
    frame, y = flowers
    rng = np.random.default_rng(1)
    frame = frame.assign(
        soil=pd.Categorical(rng.choice(["clay", "sand"], size=90)),
        colour=rng.choice(["red", "white", "blue"], size=90),
        potted=rng.random(90) < 0.5,
    )
    frame.loc[frame.index[::7], "width"] = np.nan
    frame.loc[frame.index[::11], "colour"] = None
    return frame, y


def objective(X, y, coef, intercept, C, weights=None):
    """Mean loss plus penalty in nats per row, by scipy, in scikit-learn's coefficients."""
    s = np.ones(len(X)) if weights is None else np.asarray(weights, dtype=float)
    codes = np.unique(y, return_inverse=True)[1]
    z = X @ coef.T + intercept
    z = np.hstack([np.zeros_like(z), z]) if z.shape[1] == 1 else z
    losses = logsumexp(z, axis=1) - z[np.arange(len(z)), codes]
    return (s @ losses + np.square(coef).sum() / (2 * C)) / s.sum()


def objective_of(clf, X, y, C=1.0):
    return objective(X, y, clf.coef_, clf.intercept_, C)


def assert_same_fit(one, other, rtol=1e-5, atol=1e-7):
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=rtol, atol=atol)
    np.testing.assert_allclose(one.intercept_, other.intercept_, rtol=rtol, atol=atol)


# ---------------------------------------------------------------------------------- the optimum


def test_it_is_scikit_learns_optimum_on_raw_data(problem):
    X, y, best = problem
    clf = SoftmaxClassifier(C=1.0, tol=1e-9).fit(X, y)
    assert objective_of(clf, X, y) <= objective_of(best, X, y) + 1e-9
    scale = np.abs(best.coef_).max()
    np.testing.assert_allclose(clf.coef_, best.coef_, rtol=1e-3, atol=1e-3 * scale)
    np.testing.assert_allclose(clf.predict_proba(X), best.predict_proba(X), atol=1e-5)


def test_the_shapes_and_the_intercept_are_scikit_learns(problem):
    X, y, best = problem
    clf = SoftmaxClassifier(C=1.0, tol=1e-9).fit(X, y)
    assert clf.coef_.shape == best.coef_.shape
    np.testing.assert_allclose(clf.intercept_, best.intercept_, rtol=1e-3, atol=1e-3)
    assert clf.decision_function(X[:3]).shape == best.decision_function(X[:3]).shape
    np.testing.assert_array_equal(clf.classes_, best.classes_)
    assert (clf.n_features_in_, clf.n_iter_.shape) == (best.n_features_in_, best.n_iter_.shape)


@pytest.mark.parametrize("tol", [0.1, 1e-2, 1e-4])
@pytest.mark.parametrize("solver", ["newton", "newton-cg"])
def test_the_gap_bounds_the_true_excess_and_keeps_the_tolerance(problem, solver, tol):
    X, y, best = problem
    clf = SoftmaxClassifier(C=1.0, solver=solver, tol=tol).fit(X, y)
    excess = objective_of(clf, X, y) - objective_of(best, X, y)
    assert excess <= clf.certificate_.gap <= tol


@pytest.mark.parametrize("C", [0.01, 100.0])
def test_two_classes_give_the_coefficients_of_binary_logistic_regression(C):
    X, y = load_breast_cancer(return_X_y=True)
    best = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(X, y)
    clf = SoftmaxClassifier(C=C).fit(X, y)
    assert_same_fit(clf, best, rtol=1e-4)
    weight, bias = clf.model_.weight.numpy(), clf.model_.bias.numpy()
    np.testing.assert_array_equal(clf.coef_, weight[1:] - weight[:1])
    np.testing.assert_array_equal(clf.intercept_, bias[1:] - bias[:1])
    np.testing.assert_allclose(clf.decision_function(X), best.decision_function(X), rtol=1e-4)


@pytest.mark.parametrize("classes", [[1, 2], [0, 1, 2]])
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_sizes_in_the_penalty_give_scikit_learns_coefficients(iris, classes, l1_ratio):
    X, y = iris
    rows = np.isin(y, classes)
    X, y = StandardScaler().fit_transform(X[rows]), y[rows]
    saga = LogisticRegression(C=0.3, l1_ratio=l1_ratio, solver="saga", tol=1e-8, max_iter=20000)
    saga.fit(X, y)
    clf = SoftmaxClassifier(C=0.3, l1_ratio=l1_ratio, tol=1e-9).fit(X, y)
    np.testing.assert_allclose(clf.coef_, saga.coef_, atol=2e-4)
    np.testing.assert_array_equal(clf.coef_ == 0, saga.coef_ == 0)
    assert clf.certificate_.gap <= 1e-9


def test_without_an_intercept(iris):
    X, y = iris
    best = LogisticRegression(fit_intercept=False, solver="newton-cholesky", tol=1e-10).fit(X, y)
    clf = SoftmaxClassifier(C=1.0, fit_intercept=False).fit(X, y)
    np.testing.assert_allclose(clf.coef_, best.coef_, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(clf.intercept_, np.zeros(3))


def test_auto_is_the_C_of_the_lowest_leave_one_out_loss(iris):
    auto = SoftmaxClassifier(tol=1e-12).fit(*iris)
    lines = auto.choice_.table
    assert len(lines) > 5
    assert auto.C_ == min(lines, key=lambda line: line.loss).C
    assert auto.C_ == choose_C(from_arrays(*iris)).C != 1.0
    assert_same_fit(auto, SoftmaxClassifier(C=auto.C_, tol=1e-12).fit(*iris))
    assert SoftmaxClassifier(C=2.0).fit(*iris).choice_.table == ()


def test_groups_leave_together_where_C_is_chosen(iris):
    X, y = iris
    copies = X.repeat(3, 0), y.repeat(3)  # one by one a row is known from its copies
    fooled = SoftmaxClassifier().fit(*copies)
    told = SoftmaxClassifier().fit(*copies, groups=np.arange(len(y)).repeat(3))
    assert told.C_ < fooled.C_
    assert told.choice_.left_out.loss > fooled.choice_.left_out.loss
    with pytest.raises(OptionError, match="groups serve to choose C, and C is given as 1"):
        SoftmaxClassifier(C=1.0).fit(X, y, groups=y)


def test_where_C_cannot_be_chosen_a_warning_says_why(iris):
    with pytest.warns(PolylogitWarning, match="auto is 1 here: .* smooth penalty") as heard:
        clf = SoftmaxClassifier(l1_ratio=0.5).fit(*iris)
    assert clf.C_ == 1.0
    assert heard[0].filename == __file__


# ------------------------------------------------------------------------------------- weights


def test_a_weight_is_a_repeated_row(iris):
    X, y = iris
    counts = np.random.default_rng(0).integers(4, size=len(y))
    weighted = SoftmaxClassifier().fit(X, y, sample_weight=counts)
    assert_same_fit(weighted, SoftmaxClassifier().fit(X.repeat(counts, 0), y.repeat(counts)))


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 5.0, 2: 0.5}])
def test_class_weights_are_scikit_learns(class_weight):
    X, y = load_wine(return_X_y=True)
    options = {"class_weight": class_weight, "C": 1.0}
    best = LogisticRegression(solver="newton-cholesky", tol=1e-10, **options)
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    for given in (None, weights):
        assert_same_fit(
            SoftmaxClassifier(**options).fit(X, y, given), best.fit(X, y, given), rtol=1e-4
        )


def test_the_order_of_the_rows_does_not_matter(iris):
    X, y = iris
    order = np.random.default_rng(0).permutation(len(y))
    assert_same_fit(SoftmaxClassifier().fit(X, y), SoftmaxClassifier().fit(X[order], y[order]))


# ---------------------------------------------------------------------------- kinds of features


def csr_of_long_indices(X):
    csr = sparse.csr_array(X)
    csr.indices, csr.indptr = csr.indices.astype(np.int64), csr.indptr.astype(np.int64)
    return csr


def kinds_of_matrix(X):
    yield "csr", sparse.csr_matrix(X)
    yield "csc", sparse.csc_array(X)
    yield "64 bit indices", csr_of_long_indices(X)
    yield "tensor", torch.tensor(X, requires_grad=True)
    yield "sparse tensor", torch.tensor(X).to_sparse()
    yield "Fortran order", np.asfortranarray(X)
    yield "list", X.tolist()
    yield "negative strides", np.ascontiguousarray(X[::-1])[::-1]
    for name, convert in FRAMES.items():
        yield name, convert(pd.DataFrame(X, columns=[f"c{i}" for i in range(X.shape[1])]))


KINDS = [name for name, _ in kinds_of_matrix(np.eye(3))]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_matrix_gives_the_same_fit_and_the_same_answers(kind):
    X, y = load_digits(n_class=4, return_X_y=True)
    X, y = X[:300, 10:20], y[:300]
    plain = SoftmaxClassifier().fit(X, y)
    given = dict(kinds_of_matrix(X))[kind]
    clf = SoftmaxClassifier().fit(given, y)
    assert_same_fit(clf, plain, rtol=1e-6)
    np.testing.assert_allclose(clf.predict_proba(given), plain.predict_proba(X), rtol=1e-6)
    np.testing.assert_array_equal(clf.predict(given), plain.predict(X))


def test_a_frame_of_numbers_keeps_its_names_and_minds_their_order(flowers):
    frame, y = flowers
    clf = SoftmaxClassifier().fit(frame, y)
    assert list(clf.feature_names_in_) == list(clf.encoded_feature_names_) == ["width", "height"]
    assert clf.model_.schema.kind == "array"
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        clf.predict(frame[["height", "width"]])
    with pytest.raises(ValueError, match="Feature names unseen at fit time:\n- depth"):
        clf.predict(frame.rename(columns={"width": "depth"}))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        clf.predict(frame.to_numpy())


def test_without_names_a_refit_forgets_them(flowers):
    frame, y = flowers
    clf = SoftmaxClassifier().fit(frame, y).fit(frame.to_numpy(), y)
    assert not hasattr(clf, "feature_names_in_")
    assert list(clf.encoded_feature_names_) == ["x0", "x1"]


@pytest.mark.parametrize("library", FRAMES)
def test_text_categories_booleans_and_missing_cells_are_encoded(garden, library):
    frame, y = garden
    clf = SoftmaxClassifier().fit(FRAMES[library](frame), y)
    assert list(clf.encoded_feature_names_) == [
        *("width", "width missing", "height", "soil=clay", "soil=sand"),
        *("colour=blue", "colour=red", "colour=white", "colour missing", "potted"),
    ]
    by_hand = frame[["width"]].fillna(frame["width"].mean())
    by_hand["width missing"] = frame["width"].isna()
    by_hand["height"] = frame["height"]
    for column, words in (("soil", ["clay", "sand"]), ("colour", ["blue", "red", "white"])):
        for word in words:
            by_hand[f"{column}={word}"] = frame[column] == word
    by_hand["colour missing"] = frame["colour"].isna()
    by_hand["potted"] = frame["potted"]
    encoded = by_hand.to_numpy(dtype=float)
    assert_same_fit(clf, SoftmaxClassifier().fit(encoded, y), rtol=1e-6)
    assert (clf.n_features_in_, clf.coef_.shape) == (5, (3, 10))
    np.testing.assert_allclose(
        clf.predict_proba(FRAMES[library](frame[:5])),
        SoftmaxClassifier().fit(encoded, y).predict_proba(encoded[:5]),
        rtol=1e-6,
    )


def test_a_model_that_met_missing_cells_answers_for_complete_rows(flowers):
    frame, y = flowers
    clf = SoftmaxClassifier().fit(frame.where(frame > -1), y)
    assert list(clf.encoded_feature_names_)[::2] == ["width", "height"]
    complete = frame[(frame > -1).all(axis=1)]
    np.testing.assert_allclose(
        clf.decision_function(complete), complete @ clf.coef_[:, ::2].T + clf.intercept_
    )


def test_a_category_that_was_never_seen_is_said_and_counts_as_none(garden):
    frame, y = garden
    clf = SoftmaxClassifier().fit(frame, y)
    strange = frame[:3].assign(soil="rock")
    with pytest.warns(PolylogitWarning, match=r"^3 cells hold categories.*columns: 'soil'"):
        logits = clf.decision_function(strange)
    neither = clf.decision_function(frame[:3].assign(soil="clay")) - clf.coef_[:, 3]
    np.testing.assert_allclose(logits, neither, rtol=1e-9)


def test_a_model_of_a_mixed_frame_refuses_a_plain_matrix(garden):
    frame, y = garden
    clf = SoftmaxClassifier().fit(frame, y)
    with (
        pytest.warns(UserWarning, match="valid feature names"),
        pytest.raises(SchemaError, match=r"fitted on a table with the columns 'width', 'height'"),
    ):
        clf.predict(np.zeros((2, 5)))


def test_numbers_that_were_complete_in_fit_must_be_complete_later(flowers):
    frame, y = flowers
    clf = SoftmaxClassifier().fit(frame, y)
    with pytest.raises(SchemaError, match="column 'height' is missing in row 1"):
        clf.predict(pd.DataFrame({"width": [1.0, 1.0], "height": [0.0, np.nan]}))


# ----------------------------------------------------------------------------- kinds of targets

LABELS = {
    "text": np.array(["b", "a", "c"]),
    "text objects": np.array(["b", "a", "c"], dtype=object),
    "negative": np.array([7, -2, 30], dtype=np.int8),
    "floats": np.array([2.0, 1.0, 3.0]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_come_back_as_they_were_given(iris, kind):
    X, codes = iris
    y = LABELS[kind][codes]
    clf = SoftmaxClassifier().fit(X, y)
    np.testing.assert_array_equal(clf.classes_, np.unique(y))
    assert clf.predict(X).dtype == clf.classes_.dtype == y.dtype
    assert np.mean(clf.predict(X) == y) == clf.score(X, y) > 0.95
    place = np.argsort(LABELS[kind])
    np.testing.assert_allclose(
        clf.predict_proba(X), SoftmaxClassifier().fit(X, codes).predict_proba(X)[:, place]
    )


@pytest.mark.parametrize("wrap", [list, torch.tensor, pd.Series, pl.Series, pa.array])
def test_true_and_false_are_labels_in_any_container(iris, wrap):
    X, codes = iris
    clf = SoftmaxClassifier().fit(X, wrap((codes == 2).tolist()))
    assert clf.classes_.tolist() == [False, True]
    assert clf.predict(X[[0, -1]]).tolist() == [False, True]
    assert clf.coef_.shape == (1, 4)


def test_a_series_is_taken_in_its_order_not_by_its_index(flowers):
    frame, y = flowers
    shuffled = pd.Series(y, index=np.random.default_rng(0).permutation(len(y)))
    assert_same_fit(SoftmaxClassifier().fit(frame, shuffled), SoftmaxClassifier().fit(frame, y))


def test_probability_targets_are_stacked_weighted_labels(iris):
    X, _ = iris
    targets = np.random.default_rng(0).dirichlet([1.0, 2.0, 0.5], size=len(X))
    soft = SoftmaxClassifier().fit(X, targets)
    stacked = SoftmaxClassifier().fit(
        np.vstack([X, X, X]), np.repeat([0, 1, 2], len(X)), sample_weight=targets.T.ravel()
    )
    assert_same_fit(soft, stacked)
    assert soft.classes_.tolist() == [0, 1, 2]


def test_one_hot_rows_are_labels(iris):
    X, y = iris
    hot = SoftmaxClassifier().fit(X, np.eye(3, dtype=int)[y])
    hard = SoftmaxClassifier().fit(X, y)
    assert_same_fit(hot, hard)
    assert hot.score(X, np.eye(3)[y]) == hard.score(X, y)


def test_the_score_of_probabilities_is_the_expected_accuracy(iris):
    X, y = iris
    clf = SoftmaxClassifier().fit(X, y)
    targets = np.full((len(X), 3), 0.1) + 0.7 * np.eye(3)[clf.predict(X)]
    weights = np.arange(len(X))
    assert clf.score(X, targets, sample_weight=weights) == pytest.approx(0.8, rel=1e-12)
    targets[weights > 74] = [0.0, 0.0, 1.0]
    late = clf.predict(X)[75:] == 2
    expected = (0.8 * weights[:75].sum() + weights[75:] @ late) / weights.sum()
    assert clf.score(X, targets, sample_weight=weights) == pytest.approx(expected, rel=1e-12)


def test_label_smoothing_is_a_mixture_with_the_uniform_distribution(iris):
    X, y = iris
    smooth = SoftmaxClassifier(C=1.0, label_smoothing=0.2).fit(X, y)
    assert_same_fit(smooth, SoftmaxClassifier(C=1.0).fit(X, 0.8 * np.eye(3)[y] + 0.2 / 3))


def test_a_column_of_labels_is_taken_with_scikit_learns_warning(iris):
    X, y = iris
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        clf = SoftmaxClassifier().fit(X, y[:, None])
    assert_same_fit(clf, SoftmaxClassifier().fit(X, y))


def test_one_row_of_each_class_can_be_meant():
    with pytest.warns(PolylogitWarning, match="auto is 1 here: .* not the last of its class"):
        clf = SoftmaxClassifier().fit([[0.0], [1.0], [2.0]], ["a", "b", "c"])
    assert clf.predict([[-1.0], [3.0]]).tolist() == ["a", "c"]


# ------------------------------------------------------------------------------------- answers


def test_the_answers_agree_with_each_other(iris):
    X, y = iris
    clf = SoftmaxClassifier().fit(X, y)
    logits = X @ clf.coef_.T + clf.intercept_
    np.testing.assert_allclose(clf.decision_function(X), logits, rtol=1e-10)
    np.testing.assert_array_equal(clf.transform(X), clf.decision_function(X))
    np.testing.assert_allclose(clf.predict_log_proba(X), log_softmax(logits, 1), atol=1e-12)
    np.testing.assert_allclose(np.exp(clf.predict_log_proba(X)), clf.predict_proba(X), atol=1e-14)
    np.testing.assert_array_equal(clf.predict(X), logits.argmax(1))


def test_log_probabilities_outlive_the_probabilities(iris):
    clf = SoftmaxClassifier().fit(*iris)
    far = [[-1e4, 0.0, 0.0, 1e4]]
    assert clf.predict_proba(far).min() == 0.0
    assert np.isfinite(clf.predict_log_proba(far)).all()


def test_two_classes_answer_with_log_odds():
    X, y = load_breast_cancer(return_X_y=True)
    clf = SoftmaxClassifier().fit(X, y)
    odds, p = clf.decision_function(X), clf.predict_proba(X)
    assert odds.shape == (len(X),)
    assert clf.transform(X).shape == p.shape == (len(X), 2)
    np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-odds)), atol=1e-12)
    np.testing.assert_array_equal(clf.predict(X), (odds > 0).astype(int))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output_gives_named_logits(flowers, library):
    frame, y = flowers
    clf = SoftmaxClassifier().set_output(transform=library).fit(frame, y)
    out = clf.transform(frame)
    assert list(out.columns) == ["logit_iris", "logit_lily", "logit_rose"]
    assert list(clf.get_feature_names_out()) == list(out.columns)
    np.testing.assert_array_equal(out.to_numpy(), clf.decision_function(frame))
    if library == "pandas":
        assert out.index.equals(frame.index)


@pytest.mark.parametrize("empty", [np.zeros((0, 4)), sparse.csr_array((0, 4)), torch.zeros(0, 4)])
def test_no_rows_are_refused_as_scikit_learn_does(iris, empty):
    clf = SoftmaxClassifier().fit(*iris)
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        clf.predict(empty)


# -------------------------------------------------------------------------------- what it says


def test_a_fit_says_how_it_went(iris):
    clf = SoftmaxClassifier(C=1.0).fit(*iris)
    assert clf.status_.startswith("Within ")
    assert clf.solution_.certified
    assert clf.n_iter_[0] == clf.solution_.statistics.iterations > 0
    assert isinstance(clf.model_, SoftmaxModel)
    assert clf.model_.record["C"] == 1.0


def test_a_tolerance_that_was_not_reached_is_a_convergence_warning(iris):
    clf = SoftmaxClassifier(C=1.0, max_iter=1)
    with pytest.warns(ConvergenceWarning, match="Stopped by max_iter") as heard:
        clf.fit(*iris)
    assert [str(warning.message) for warning in heard] == [clf.status_]
    assert heard[0].filename == __file__
    assert clf.certificate_.gap > clf.tol


def test_no_penalty_certifies_or_refuses_without_a_warning(flowers, iris):
    frame, y = flowers
    assert SoftmaxClassifier(C=math.inf).fit(frame, y).solution_.certified
    with pytest.raises(TargetError, match="set C to a finite number"):
        SoftmaxClassifier(C=math.inf).fit(*iris)


def test_an_interrupt_goes_on_but_the_best_model_is_kept(iris, monkeypatch):
    def interrupted(step):
        if step.iteration == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "_print_step", interrupted)
    clf = SoftmaxClassifier(C=1.0, verbose=1)
    with pytest.raises(KeyboardInterrupt, match="Stopped by hand; this is the best model so far"):
        clf.fit(*iris)
    assert clf.score(*iris) > 0.8
    begun = []

    def stopped_later(step):
        begun.extend([step] if step.iteration == 0 else [])
        if len(begun) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "_print_step", stopped_later)
    auto = SoftmaxClassifier(verbose=1)
    said = "of 1 values; stopped by hand before the end of the path. Within "
    with pytest.raises(KeyboardInterrupt, match=said):
        auto.fit(*iris)
    assert auto.solution_.certified
    assert auto.C_ == auto.choice_.table[0].C


def test_verbose_prints_a_line_per_step(iris, capsys):
    clf = SoftmaxClassifier(C=1.0, verbose=1).fit(*iris)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == clf.n_iter_[0] + 2
    assert lines[0].startswith("step 0: 1.09861229 nats per row")
    assert lines[-1] == clf.status_


def test_warm_start_sets_out_from_the_last_model(iris):
    X, y = iris
    cold = SoftmaxClassifier(C=1.0, tol=1e-12).fit(X, y)
    warm = SoftmaxClassifier(C=1.0, tol=1e-12, warm_start=True).fit(X, y)
    assert warm.fit(X, y).n_iter_[0] < cold.n_iter_[0]
    assert_same_fit(warm, cold)
    assert cold.fit(X, y).n_iter_[0] > 1


def test_warm_start_starts_anew_where_classes_or_columns_differ(iris, flowers):
    X, y = iris
    warm = SoftmaxClassifier(C=1.0, warm_start=True)
    for rows, labels in (iris, (X[:, :2], y), flowers, (X[y > 0, :2], y[y > 0])):
        assert_same_fit(warm.fit(rows, labels), SoftmaxClassifier(C=1.0).fit(rows, labels))


def test_before_a_fit_there_is_nothing_to_ask(iris):
    clf = SoftmaxClassifier()
    for name in ("coef_", "intercept_", "n_iter_", "certificate_", "status_"):
        assert not hasattr(clf, name)
    for ask in (clf.predict, clf.predict_proba, clf.transform, clf.decision_function):
        with pytest.raises(NotFittedError):
            ask(iris[0])
    with pytest.raises(NotFittedError):
        clf.get_feature_names_out()


def test_what_was_found_cannot_drift_from_the_model(iris):
    clf = SoftmaxClassifier().fit(*iris)
    with pytest.raises(AttributeError):
        clf.coef_ = np.zeros((3, 4))
    with pytest.raises(ValueError, match="read-only"):
        clf.coef_[0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        clf.intercept_ += 1.0


# ---------------------------------------------------------------------------------- bad input

BAD_OPTIONS = [
    ({"C": 0}, "C must be"),
    ({"C": "1"}, "C must be"),
    ({"C": True}, "C must be"),
    ({"tol": 0.0}, "tol must be"),
    ({"max_iter": 0}, "max_iter must be"),
    ({"l1_ratio": 1.1}, "l1_ratio must be"),
    ({"l1_ratio": None}, "l1_ratio must be"),
    ({"solver": "saga"}, "solver 'saga' is not one of"),
    ({"label_smoothing": 1.0}, "label_smoothing must be"),
    ({"n_threads": 0}, "n_threads must be"),
    ({"fit_intercept": "no"}, "fit_intercept must be True or False, not 'no'"),
    ({"warm_start": 1}, "warm_start must be True or False, not 1"),
    ({"class_weight": {9: 1.0}}, "class_weight names 9"),
    ({"class_weight": "balance"}, "class_weight must be"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_an_option_out_of_range_is_refused_in_fit(iris, options, message):
    clf = SoftmaxClassifier(**options)
    with pytest.raises(OptionError, match=f"^{message}"):
        clf.fit(*iris)


BAD_ROWS = [
    (np.array([[0.0, 1.0], [np.nan, 2.0]]), "1 NaN .* in row 1, column 0"),
    (sparse.csr_array([[0.0, 1.0], [0.0, np.inf]]), "infinite .* in row 1, column 1"),
    (np.array([["a", "b"], ["c", "d"]]), "convert text with X.astype"),
    (np.ma.masked_equal([[1.0, 2.0], [3.0, 4.0]], 3.0), "masked"),
    (np.array([["2020-01-01"], ["2020-01-02"]], dtype="M8[D]"), "turn dates into numbers"),
    (np.zeros(2), "Reshape your data"),
    (np.zeros((2, 2, 2)), "dim 3"),
    (np.zeros((2, 0)), r"0 feature\(s\) \(shape=\(2, 0\)\)"),
    (np.zeros((2, 2), dtype=complex), "Complex data not supported"),
    (pd.DataFrame(index=[0, 1]), r"0 feature\(s\)"),
    (pl.LazyFrame({"x": [0.0, 1.0]}), "collect"),
    (pd.DataFrame([[0.0, 1.0]] * 2, columns=["a", "a"]), "every column its own name"),
]


@pytest.mark.parametrize(("X", "message"), BAD_ROWS, ids=[message for _, message in BAD_ROWS])
def test_rows_that_cannot_be_used_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier().fit(X, [0, 1])


BAD_TARGETS = [
    ([0.5, 1.5, 2.5, 3.5], "the labels are continuous"),
    ([1, 1, 1, 1], "needs at least two classes"),
    (["a", None, "b", "b"], "1 label is missing in y, the first in row 1"),
    (["a", 1, "b", 2], "the labels mix"),
    ([0, 1, 0], "X has 4 rows and y has 3"),
    ([[1, 1], [0, 1], [1, 0], [0, 1]], "the probabilities of row 0 sum to 2"),
]


@pytest.mark.parametrize(("y", "message"), BAD_TARGETS, ids=[message for _, message in BAD_TARGETS])
def test_targets_that_cannot_be_learned_are_refused(y, message):
    with pytest.raises(TargetError, match=f"^SoftmaxClassifier: .*{message}"):
        SoftmaxClassifier().fit(np.arange(8.0).reshape(4, 2), y)


@pytest.mark.parametrize("weights", [[1, -1, 1, 1], [0, 0, 0, 0], [1, 0, 1, 0], [1, 1], [[1]] * 4])
def test_weights_that_make_no_sense_are_refused(weights):
    with pytest.raises(InputError, match="weight"):
        SoftmaxClassifier().fit(np.arange(8.0).reshape(4, 2), [0, 1, 0, 1], sample_weight=weights)


# --------------------------------------------------------------------- among other estimators


def test_in_a_pipeline_it_is_the_classifier_or_a_step(iris):
    X, y = iris
    last = make_pipeline(StandardScaler(), SoftmaxClassifier()).fit(X, y)
    assert last.score(X, y) > 0.95
    first = make_pipeline(SoftmaxClassifier(), LogisticRegression()).fit(X, y)
    assert first[-1].n_features_in_ == 3
    assert first.score(X, y) > 0.95


def test_cross_validation_and_grid_search(iris):
    X, y = iris
    assert cross_val_score(SoftmaxClassifier(), X, y, scoring="neg_log_loss").mean() > -0.2
    grid = {"C": np.array([0.01, 1.0, 100.0]), "max_iter": np.array([500])}
    search = GridSearchCV(SoftmaxClassifier(), grid, scoring="neg_log_loss").fit(X, y)
    reference = GridSearchCV(
        LogisticRegression(solver="newton-cholesky", tol=1e-10), grid, scoring="neg_log_loss"
    ).fit(X, y)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], reference.cv_results_["mean_test_score"], rtol=1e-5
    )
    assert search.best_estimator_.C_ == reference.best_params_["C"]


def test_calibration_takes_it(iris):
    calibrated = CalibratedClassifierCV(SoftmaxClassifier(), ensemble=False).fit(*iris)
    assert calibrated.score(*iris) > 0.9


def test_weights_are_routed_where_they_are_requested(iris):
    X, y = iris
    weights = np.random.default_rng(0).uniform(size=len(y))
    with config_context(enable_metadata_routing=True):
        clf = SoftmaxClassifier().set_fit_request(sample_weight=True)
        centred = StandardScaler(with_std=False).set_fit_request(sample_weight=False)
        routed = make_pipeline(centred, clf).fit(X, y, sample_weight=weights)
    direct = SoftmaxClassifier().fit(X - X.mean(0), y, sample_weight=weights)
    assert_same_fit(routed[-1], direct, rtol=1e-6)


def test_parameters_travel(iris):
    options = {"C": 3.0, "class_weight": "balanced", "tol": 1e-8}
    clf = SoftmaxClassifier(**options).fit(*iris)
    copy = clone(clf)
    assert not hasattr(copy, "coef_")
    assert copy.get_params() == clf.get_params() == SoftmaxClassifier().get_params() | options
    assert copy.set_params(C="auto").C == "auto"
    assert repr(clf) == "SoftmaxClassifier(C=3.0, class_weight='balanced', tol=1e-08)"


def test_joblib_keeps_everything(garden):
    frame, y = garden
    clf = SoftmaxClassifier().fit(frame, y)
    file = io.BytesIO()
    joblib.dump(clf, file)
    file.seek(0)
    again = joblib.load(file)
    np.testing.assert_array_equal(again.predict_proba(frame), clf.predict_proba(frame))
    assert again.certificate_ == clf.certificate_
    assert again.status_ == clf.status_


def test_what_is_handed_in_is_left_alone(garden, iris):
    frame, y = garden
    before = frame.copy()
    SoftmaxClassifier().fit(frame, y).predict(frame)
    pd.testing.assert_frame_equal(frame, before)
    X, codes = (part.copy() for part in iris)
    for part in (X, codes):
        part.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert SoftmaxClassifier().fit(X, codes).score(X, codes) > 0.95


# ---------------------------------------------------------------------- offsets, penalty factors


def test_offsets_are_given_to_the_fit_and_to_every_answer():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), rng.integers(3, size=60)
    given = rng.normal(size=(60, 3))
    clf = SoftmaxClassifier(tol=1e-10).fit(X, y, offset=given)
    plain = SoftmaxClassifier(tol=1e-10).fit(X, y)
    assert np.abs(clf.coef_ - plain.coef_).max() > 1e-3
    z = X @ clf.coef_.T + clf.intercept_ + given
    np.testing.assert_allclose(clf.decision_function(X, offset=given), z)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    np.testing.assert_allclose(clf.predict_proba(X, offset=given), p)
    np.testing.assert_allclose(clf.predict_log_proba(X, offset=given), np.log(p))
    np.testing.assert_array_equal(clf.predict(X, offset=given), z.argmax(1))
    # the bias is free, so the fitted probabilities have the frequencies of the classes
    np.testing.assert_allclose(p.sum(0), np.bincount(y), atol=1e-3)


def test_of_two_classes_an_offset_is_added_to_the_decision():
    rng = np.random.default_rng(1)
    X, y, given = rng.normal(size=(40, 2)), rng.integers(2, size=40), rng.normal(size=40)
    clf = SoftmaxClassifier().fit(X, y, offset=given)
    np.testing.assert_allclose(
        clf.decision_function(X, offset=given), clf.decision_function(X) + given, atol=1e-12
    )


def test_penalty_factors_reach_the_fit_and_survive_a_clone():
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(60, 3)), rng.integers(3, size=60)
    clf = SoftmaxClassifier(C=0.1, penalty_factors=[100.0, 1.0, 1.0], tol=1e-10)
    held = clone(clf).fit(X, y).coef_
    free = SoftmaxClassifier(C=0.1, tol=1e-10).fit(X, y).coef_
    assert np.abs(held[:, 0]).max() < 0.1 * np.abs(free[:, 0]).max()
    scaled = SoftmaxClassifier(C=0.1, tol=1e-10).fit(X / [10, 1, 1], y).coef_ / [10, 1, 1]
    np.testing.assert_allclose(held, scaled, atol=1e-5)


def test_an_offset_of_another_shape_is_refused():
    with pytest.raises(DataError, match=r"SoftmaxClassifier: offset has shape \(3,\), expected"):
        SoftmaxClassifier().fit([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1], offset=[1, 2, 3])


def test_summary_is_that_of_summarize_in_the_words_of_the_fit():
    X, y = load_iris(return_X_y=True)
    labels = np.array(["s", "ve", "vi"])[y]
    classifier = SoftmaxClassifier().fit(X, labels)
    found = classifier.summary(X, labels, reference="ve", robust="hc0")
    expected = summarize(from_arrays(X, labels), reference="ve", robust="hc0")
    np.testing.assert_array_equal(found.matrix(), expected.matrix())
    assert found.classes == ("s", "ve", "vi")
    with pytest.raises(TargetError, match="'unheard'"):
        classifier.summary(X[:2], ["s", "unheard"])
    without = SoftmaxClassifier(fit_intercept=False).fit(X, labels).summary(X, labels)
    assert "(intercept)" not in without.columns
