"""`polylogit.training`: what the options mean, by fits that must be the same."""

import gc
import math
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import nearly_collinear, stored
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import logsumexp
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from polylogit import training
from polylogit.data.arrays import from_arrays
from polylogit.errors import DataError, OptionError, SchemaError, TargetError
from polylogit.optim.problem import Status
from polylogit.optim.settings import SOLVERS
from polylogit.schema import Schema
from polylogit.training import fit
from polylogit.version import __version__

X, Y = load_iris(return_X_y=True)
IRIS = from_arrays(X, np.array(["rose", "lily", "iris"])[Y])
TWO = from_arrays(X[50:], Y[50:])


def assert_same(one, other, atol=1e-6):
    np.testing.assert_allclose(one.model.weight, other.model.weight, atol=atol)
    np.testing.assert_allclose(one.model.bias, other.model.bias, atol=atol)
    assert one.solution.objective == pytest.approx(other.solution.objective, abs=atol)


def weighed(weights, targets=IRIS.targets, features=X, classes=IRIS.schema.classes):
    labels = [classes[code] for code in targets]
    return from_arrays(features, labels, sample_weight=weights)


# --------------------------------------------------------------------------------- the penalty


def test_alpha_is_the_penalty_on_the_mean_loss():
    outcome = fit(IRIS, C=0.5)
    assert (outcome.C, outcome.alpha) == (0.5, 1 / (0.5 * 150))
    W, b = outcome.model.weight.numpy(), outcome.model.bias.numpy()
    logits = X @ W.T + b
    losses = logsumexp(logits, axis=1) - logits[np.arange(150), IRIS.targets]
    objective = losses.mean() + np.square(W).sum() / (2 * 0.5 * 150)
    assert outcome.solution.objective == pytest.approx(objective, rel=1e-12)


def test_of_two_classes_alpha_is_twice_as_large_and_the_weights_are_binary():
    outcome = fit(TWO, C=0.5)
    assert outcome.alpha == 2 / (0.5 * 100)
    W, b = outcome.model.weight.numpy(), outcome.model.bias.numpy()
    best = LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-12).fit(X[50:], Y[50:])
    np.testing.assert_allclose(W[1:] - W[:1], best.coef_, rtol=1e-6)
    np.testing.assert_allclose(b[1:] - b[:1], best.intercept_, rtol=1e-6)
    np.testing.assert_allclose(W[0], -W[1], atol=1e-12)


@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
def test_of_two_classes_only_the_squares_count_double(l1_ratio):
    outcome = fit(TWO, C=0.5, l1_ratio=l1_ratio, tol=1e-10)
    W, b = outcome.model.weight.numpy(), outcome.model.bias.numpy()
    np.testing.assert_allclose(W[0], -W[1], atol=1e-12)
    w, c = W[1] - W[0], b[1] - b[0]
    z = X[50:] @ w + c
    loss = (np.logaddexp(0, z) - (Y[50:] == 2) * z).mean()
    penalty = l1_ratio * np.abs(w).sum() + (1 - l1_ratio) / 2 * np.square(w).sum()
    assert outcome.solution.objective == pytest.approx(loss + penalty / (0.5 * 100), rel=1e-12)
    alpha, share = training.penalty_of(0.5, l1_ratio, 100.0, 2)
    assert outcome.alpha == alpha
    assert alpha * share == pytest.approx(l1_ratio / 50)
    assert alpha * (1 - share) == pytest.approx(2 * (1 - l1_ratio) / 50)


def test_without_a_penalty_its_share_of_sizes_is_nothing():
    assert_same(fit(TWO, C=math.inf, l1_ratio=0.5), fit(TWO, C=math.inf), atol=0)


def test_alpha_counts_weights_not_rows():
    assert fit(weighed(np.full(150, 3.0)), C=2.0).alpha == 1 / (2.0 * 450)


def test_auto_stands_for_one():
    assert training.DEFAULT_C == 1.0
    outcome = fit(IRIS)
    assert outcome.C == 1.0
    assert_same(outcome, fit(IRIS, C=1), atol=0)


@pytest.mark.parametrize("solver", ["newton", "newton-cg"])
def test_without_a_penalty_the_optimum_is_the_likeliest(solver):
    outcome = fit(TWO, C=math.inf, solver=solver)
    assert (outcome.C, outcome.alpha) == (math.inf, 0.0)

    def loss(w):
        z = X[50:] @ w[:4] + w[4]
        return (np.logaddexp(0, z) - (Y[50:] == 2) * z).mean()

    best = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-9}).fun
    assert outcome.solution.objective == pytest.approx(best, abs=1e-7)
    assert outcome.solution.certified


def test_without_a_penalty_separated_classes_are_refused():
    with pytest.raises(TargetError, match=r"perfectly.*set C to a finite number"):
        fit(from_arrays(X[:100], Y[:100]), C=math.inf)


# --------------------------------------------------------------------------- weights and targets


def test_a_weight_is_a_repeated_row_and_zero_is_none():
    weights = np.random.default_rng(0).integers(0, 3, size=150)
    rows = np.repeat(np.arange(150), weights)
    repeated = weighed(None, IRIS.targets[rows], X[rows])
    assert_same(fit(weighed(weights), tol=1e-10), fit(repeated, tol=1e-10))


def test_class_weights_are_weights_of_their_rows():
    factors = {"lily": 0.1, "rose": 7.0}
    by_row = np.array([factors.get(IRIS.schema.classes[code], 1.0) for code in IRIS.targets])
    outcome = fit(IRIS, class_weight=factors)
    assert_same(outcome, fit(weighed(by_row)), atol=0)
    assert outcome.alpha == pytest.approx(1 / by_row.sum(), rel=1e-15)
    own = np.random.default_rng(1).uniform(0.5, 2, size=150)
    both = fit(weighed(own), class_weight=factors)
    assert_same(both, fit(weighed(own * by_row)), atol=0)


def test_balanced_gives_every_class_the_same_weight():
    rows = np.r_[0:10, 50:80, 100:150]
    own = np.random.default_rng(2).uniform(0.5, 2, size=90)
    data = weighed(own, IRIS.targets[rows], X[rows])
    mass = np.bincount(data.targets, own)
    by_row = own * (own.sum() / (3 * mass))[data.targets]
    np.testing.assert_allclose(np.bincount(data.targets, by_row), own.sum() / 3)
    balanced = fit(data, class_weight="balanced")
    assert_same(balanced, fit(weighed(by_row, data.targets, X[rows])))


def test_class_weights_of_distributions_are_taken_in_expectation():
    T = np.random.default_rng(3).dirichlet(np.ones(3), size=150)
    by_row = T @ [1.0, 2.0, 0.5]
    soft = from_arrays(X, T)
    weighed_by_hand = from_arrays(X, T, sample_weight=by_row)
    assert_same(fit(soft, class_weight={1: 2.0, 2: 0.5}), fit(weighed_by_hand))


@pytest.mark.parametrize("solver", ["newton", "newton-cg"])
@pytest.mark.parametrize("kind", ["labels", "distributions"])
def test_smoothing_is_a_mixture_with_the_uniform_distribution(kind, solver):
    T = np.eye(3)[IRIS.targets]
    if kind == "distributions":
        T = np.random.default_rng(4).dirichlet(np.ones(3), size=150)
    sharp = IRIS if kind == "labels" else from_arrays(X, T)
    options = {"tol": 1e-10, "solver": solver}
    smoothed = fit(sharp, label_smoothing=0.3, **options)
    assert_same(smoothed, fit(from_arrays(X, 0.7 * T + 0.1), **options))


# -------------------------------------------------------------------------------- other options


def test_without_an_intercept_the_bias_is_zero():
    outcome = fit(IRIS, fit_intercept=False)
    assert outcome.model.bias.tolist() == [0, 0, 0]
    best = LogisticRegression(fit_intercept=False, solver="newton-cholesky", tol=1e-12).fit(X, Y)
    order = [IRIS.schema.classes.index(name) for name in ("rose", "lily", "iris")]
    np.testing.assert_allclose(outcome.model.weight[order], best.coef_, atol=1e-6)


def test_the_limits_reach_the_solver():
    outcome = fit(IRIS, max_iter=1, tol=1e-9, solver="newton-cg")
    assert outcome.solution.status is Status.ITERATION_LIMIT
    assert outcome.solution.statistics.iterations == 1
    assert outcome.solution.statistics.solver == "newton-cg"


def test_threads_are_set_for_the_fit_and_restored():
    before, seen = torch.get_num_threads(), []
    fit(IRIS, n_threads=before + 1, progress=lambda _: seen.append(torch.get_num_threads()))
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


def test_a_fit_sets_out_from_the_model_given():
    last = fit(IRIS, C=1.0, tol=1e-10)
    again = fit(IRIS, C=1.0, start=last.model)
    assert again.solution.statistics.iterations == 0
    assert_same(again, last)


@pytest.mark.parametrize(
    "other",
    [from_arrays(X, Y), from_arrays(X[:, :2], IRIS.targets), TWO],
    ids=["classes", "features", "both"],
)
def test_a_start_of_another_shape_is_refused(other):
    start = fit(IRIS, max_iter=1).model
    with pytest.raises(SchemaError, match="cannot start from a model of 3 classes and 4 features"):
        fit(other, start=start)


def test_progress_is_told_of_every_step():
    seen = []
    outcome = fit(IRIS, progress=seen.append)
    assert tuple(seen) == outcome.solution.statistics.history
    assert [step.iteration for step in seen] == list(range(len(seen)))
    assert len(seen) > 3


def test_ctrl_c_gives_the_best_model_so_far():
    def stop(step):
        if step.iteration == 2:
            raise KeyboardInterrupt

    outcome = fit(IRIS, progress=stop, solver="newton-cg")
    assert outcome.solution.status is Status.INTERRUPTED
    assert not outcome.solution.certified
    assert outcome.solution.objective < math.log(3)
    record = outcome.model.record
    assert (record["certified"], "Stopped by hand" in record["status"]) == (False, True)


# ---------------------------------------------------------------------------------- the record


@pytest.mark.parametrize("C", [2.0, math.inf])
def test_the_record_says_how_the_model_was_made(C):
    outcome = fit(TWO, C=C)
    solution, record = outcome.solution, dict(outcome.model.record)
    means = record["columns"].pop("mean")
    assert means == pytest.approx(TWO.features.mean(0), rel=1e-14)
    assert record == {
        "polylogit": __version__,
        "source": "array",
        "n_rows": 100,
        "C": 2.0 if C == 2.0 else None,
        "l1_ratio": 0.0,
        "alpha": outcome.alpha,
        "objective": solution.objective,
        "gap": solution.certificate.gap,
        "certified": True,
        "status": solution.message,
        "solver": "newton",
        "columns": {
            "low": TWO.features.min(0).tolist(),
            "high": TWO.features.max(0).tolist(),
        },
    }
    assert outcome.model.schema == TWO.schema


def test_a_gap_that_was_not_proven_is_none_in_the_record():
    outcome = fit(nearly_collinear(), C=math.inf)
    assert outcome.model.record["gap"] is None
    assert outcome.solution.certificate.gap == math.inf


# ------------------------------------------------------------------------------------ refusals

C_RANGE = (
    "C must be positive, between 1e-100 and 1e+100, or inf for no penalty, not {}; C is the "
    "inverse strength of the penalty, try 1.0"
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *[
            ({"C": C}, C_RANGE.format(repr(C)))
            for C in (0, -1.0, math.nan, -math.inf, 1e-101, 1e101)
        ],
        ({"C": "1"}, "C must be 'auto' or a positive number, not '1' (str)"),
        ({"C": True}, "C must be 'auto' or a positive number, not True (bool)"),
        ({"C": None}, "C must be 'auto' or a positive number, not None (NoneType)"),
        ({"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1, not 1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing must be at least 0 and below 1, not -0.1"),
        ({"label_smoothing": math.nan}, "label_smoothing must be at least 0 and below 1, not nan"),
        ({"label_smoothing": "0.1"}, "label_smoothing must be a number, not '0.1'"),
        ({"label_smoothing": False}, "label_smoothing must be a number, not False"),
        *[
            ({"l1_ratio": ratio}, f"l1_ratio must be a number from 0 (squares alone) to 1 {rest}")
            for ratio, rest in (
                (-0.1, "(sizes alone), not -0.1"),
                (1.5, "(sizes alone), not 1.5"),
                (math.nan, "(sizes alone), not nan"),
                ("1", "(sizes alone), not '1'"),
                (True, "(sizes alone), not True"),
            )
        ],
        (
            {"l1_ratio": 0.5, "solver": "newton"},
            "solver must be 'auto' where l1_ratio is above 0, not 'newton': the others cannot "
            "follow the kinks of |W|",
        ),
        ({"tol": 0}, "tol must be a positive number of nats per row, not 0"),
        ({"max_iter": 0}, "max_iter must be a whole number >= 1, not 0"),
        ({"n_threads": 0}, "n_threads must be a whole number >= 1, not 0"),
        ({"n_threads": 1025}, "n_threads must be at most 1024, not 1025"),
        ({"solver": "sgd"}, f"solver 'sgd' is not one of {', '.join(SOLVERS)}"),
        ({"fit_intercept": "no"}, "fit_intercept must be True or False, not 'no'"),
        (
            {"class_weight": "even"},
            "class_weight must be 'balanced', None or a mapping from labels to factors, not 'even'",
        ),
        (
            {"class_weight": [1, 2, 3]},
            "class_weight must be 'balanced', None or a mapping from labels to factors, not "
            "[1, 2, 3]",
        ),
        (
            {"class_weight": {"tulip": 2}},
            "class_weight names 'tulip', which is no class of the data; the classes are 'iris', "
            "'lily', 'rose'",
        ),
        *[
            (
                {"class_weight": {"rose": factor}},
                f"the class weight of 'rose' must be a finite number >= 0, not {factor!r}",
            )
            for factor in (-1, math.nan, math.inf, "2", None, True)
        ],
    ],
)
def test_an_option_out_of_range_is_refused(options, message):
    with pytest.raises(OptionError) as caught:
        fit(IRIS, **options)
    assert str(caught.value) == message


def test_an_option_is_refused_before_rows_are_read():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(OptionError, match="fit_intercept"):
        fit(from_arrays(csr_array(X), y), fit_intercept="no")


@pytest.mark.parametrize("C", [1e-100, np.float32(2.0), np.int64(3), 1e100])
def test_strengths_of_every_kind_are_taken(C):
    outcome = fit(IRIS, C=C)
    assert isinstance(outcome.C, float)
    assert outcome.C == C


EMPTY = "array: the class {} has no row of positive weight, so there is no optimum; "


@pytest.mark.parametrize("class_weight", [None, "balanced", {"rose": 2.0}])
def test_a_class_without_weight_is_refused_by_name(class_weight):
    schema = Schema.for_array(4, ("iris", "lily", "rose", "tulip"), "y")
    data = from_arrays(X, ["iris"] * 75 + ["rose"] * 75, schema=schema)
    with pytest.raises(TargetError) as caught:
        fit(data, class_weight=class_weight)
    assert str(caught.value).startswith(EMPTY.format("'lily', 'tulip'"))


def test_a_class_that_its_factor_leaves_without_weight_is_refused():
    with pytest.raises(TargetError) as caught:
        fit(IRIS, class_weight={"rose": 0.0})
    assert str(caught.value).startswith(EMPTY.format("'rose'"))


def test_numpys_numbers_are_numbers():
    factors = {"rose": np.float32(0.5), "lily": np.int64(2)}
    outcome = fit(IRIS, label_smoothing=np.float32(0.25), class_weight=factors)
    assert_same(outcome, fit(IRIS, label_smoothing=0.25, class_weight={"rose": 0.5, "lily": 2}))


def test_weights_beyond_float64_are_refused():
    heavy, light = weighed(np.full(150, 1e100)), weighed(np.full(150, 1e-320))
    with pytest.raises(OptionError, match="makes weights beyond float64's range"):
        fit(heavy, class_weight={"rose": 1e300})
    with pytest.raises(TargetError, match=r"all weights together are .*, too small for C = 1"):
        fit(light)


def test_columns_beyond_float64_are_refused_with_their_source():
    with pytest.raises(DataError, match=r"^array: column 0 \(x0\) has values of size"):
        fit(from_arrays(X * 1e200, Y))


def test_rows_without_targets_are_refused():
    with pytest.raises(TargetError, match="array holds no targets; name the column"):
        fit(from_arrays(X))


# ---------------------------------------------------------------------- offsets, penalty factors


def test_an_offset_that_the_features_could_have_made_moves_the_weights_only():
    V = np.random.default_rng(5).normal(size=(3, 4))
    factors = [0.0, 0.0, 0.0, 0.0]
    y = np.random.default_rng(0).integers(3, size=150)  # nothing separates these
    data = from_arrays(X, y)
    plain = fit(data, C=math.inf, tol=1e-12)
    moved = fit(data, C=math.inf, tol=1e-12, offset=X @ V.T, penalty_factors=factors)
    centred = torch.from_numpy(V - V.mean(0))
    torch.testing.assert_close(moved.model.weight + centred, plain.model.weight, atol=1e-6, rtol=0)
    assert moved.solution.objective == pytest.approx(plain.solution.objective, abs=1e-12)


def test_of_two_classes_an_offset_is_added_to_the_log_odds():
    given = np.random.default_rng(6).normal(size=100)
    outcome = fit(TWO, C=0.5, offset=given, tol=1e-12)

    def objective(w):
        z = X[50:] @ w[:4] + w[4] + given
        return (np.logaddexp(0, z) - (Y[50:] == 2) * z).sum() * 0.5 + w[:4] @ w[:4] / 2

    best = minimize(objective, np.zeros(5), method="BFGS", options={"gtol": 1e-7})
    W = outcome.model.weight.numpy()
    np.testing.assert_allclose(W[1] - W[0], best.x[:4], atol=1e-6)
    both = fit(TWO, C=0.5, offset=np.c_[-given / 2, given / 2], tol=1e-12)
    assert_same(outcome, both, atol=1e-9)
    assert outcome.model.record["offset"] is True


def test_penalty_factors_are_the_penalty_on_rescaled_columns():
    factors = np.array([0.25, 4.0, 1.0, 9.0])
    outcome = fit(IRIS, penalty_factors=factors, tol=1e-10)
    labels = [IRIS.schema.classes[code] for code in IRIS.targets]
    scaled = fit(from_arrays(X / np.sqrt(factors), labels), tol=1e-10)
    assert outcome.solution.objective == pytest.approx(scaled.solution.objective, abs=1e-9)
    weight = scaled.model.weight.numpy() / np.sqrt(factors)
    np.testing.assert_allclose(outcome.model.weight, weight, atol=1e-5)
    assert outcome.model.record["penalty_factors"] == factors.tolist()
    assert_same(outcome, fit(IRIS, tol=1e-10, penalty_factors=dict(zip(
        IRIS.schema.names, factors, strict=True))), atol=0)  # fmt: skip


def test_a_column_without_penalty_is_free_where_others_separate():
    rng = np.random.default_rng(7)
    data = from_arrays(np.c_[X[50:], rng.normal(size=100)], Y[50:])  # x4 is noise
    outcome = fit(data, penalty_factors={"x4": 0}, tol=1e-10)
    assert outcome.solution.certified
    z = data.features @ outcome.model.weight.numpy().T + outcome.model.bias.numpy()
    p = np.exp(z - logsumexp(z, axis=1, keepdims=True))
    slope = (p - np.eye(2)[data.targets]).T @ data.features[:, 4] / 100
    np.testing.assert_allclose(slope, 0, atol=1e-6)  # no penalty pulls at it


def test_classes_that_penalised_columns_separate_have_an_optimum():
    noise = np.random.default_rng(8).normal(size=100)
    data = from_arrays(np.c_[X[:100], noise], Y[:100])
    assert fit(data, C=1e6, penalty_factors={"x4": 0}).solution.certified
    with pytest.raises(TargetError, match=r"give every column a penalty factor above 0"):
        fit(data, penalty_factors={"x2": 0})


@pytest.mark.parametrize("room", [2**28, 0], ids=["kept", "recomputed"])
def test_separation_is_judged_without_the_offsets(room, monkeypatch):
    monkeypatch.setattr("polylogit.optim.sums.LOGITS_BYTES", room)
    monkeypatch.setattr("polylogit.optim.logits.CHUNK_ELEMENTS", 20)
    y = np.random.default_rng(0).integers(2, size=100)
    data = from_arrays(X[:100], y)
    outcome = fit(data, C=math.inf, offset=100.0 * (2 * y - 1))  # the offsets alone rank all rows
    assert outcome.solution.objective < 1e-3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"penalty_factors": [0, 0, 0, 0]},
            OptionError,
            "penalty_factors are all 0, which leaves no penalty; say that with C = inf",
        ),
        (
            {"penalty_factors": [1]},
            OptionError,
            "penalty_factors has shape (1,), expected (4,): one for each encoded column",
        ),
        (
            {"offset": [1.0]},
            DataError,
            "array: offset has shape (1,), expected (150, 3): a known logit for each row and class",
        ),
    ],
)
def test_offsets_and_factors_are_checked(options, error, message):
    with pytest.raises(error) as caught:
        fit(IRIS, **options)
    assert str(caught.value) == message


# ------------------------------------------------------------------------------- stored rows


def test_stored_rows_have_the_optimum_of_rows_in_memory():
    rows = replace(IRIS, features=stored(IRIS.features))
    assert_same(fit(rows, tol=1e-12), fit(IRIS, tol=1e-12))


@pytest.mark.parametrize("solver", ["newton", "newton-cg", "lbfgs"])
def test_ctrl_c_in_stored_rows_leaves_nothing(solver, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    gc.collect()
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    rows = replace(IRIS, features=stored(IRIS.features))

    def stop(now):
        if now.iteration == 2:
            raise KeyboardInterrupt

    outcome = fit(rows, solver=solver, progress=stop)
    assert outcome.solution.status is Status.INTERRUPTED
    assert os.listdir(tmp_path) == []
    del rows
    gc.collect()
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before


@pytest.mark.parametrize("solver", SOLVERS)
def test_constant_columns_change_nothing(solver):
    more = np.insert(X, [0, 2], [[7.5, -3.0]], axis=1)
    penalties = [0.5, 2.0, 1.0, 3.0]
    plain = fit(from_arrays(X, IRIS.targets), solver=solver, penalty_factors=penalties)
    wide = fit(
        from_arrays(more, IRIS.targets),
        solver=solver,
        penalty_factors=list(np.insert(penalties, [0, 2], [9.0, 0.1])),
    )
    assert wide.solution.certified
    assert torch.equal(wide.model.weight[:, [0, 3]], torch.zeros(3, 2, dtype=torch.float64))
    assert wide.solution.objective == pytest.approx(plain.solution.objective, abs=1e-6)
    rest = wide.model.weight[:, [1, 2, 4, 5]]
    torch.testing.assert_close(rest, plain.model.weight, rtol=1e-2, atol=1e-2)


def test_a_start_with_weights_on_constant_columns_loses_no_digit():
    more = np.insert(X, 1, 7.5, axis=1)
    done = fit(from_arrays(more, IRIS.targets), tol=1e-9)
    weight = done.model.weight.clone()
    weight[:, 1] = torch.tensor([0.4, -0.1, -0.3])
    bias = done.model.bias - 7.5 * weight[:, 1]
    again = fit(
        from_arrays(more, IRIS.targets), start=replace(done.model, weight=weight, bias=bias)
    )
    assert again.solution.statistics.iterations <= 1
    assert again.solution.objective == pytest.approx(done.solution.objective, abs=1e-9)
