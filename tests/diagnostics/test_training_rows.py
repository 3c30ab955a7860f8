"""Training rows judged without themselves: nearly what new rows would say, and marked as nearly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

import polylogit
from polylogit.diagnostics.conformal import Scoring, conformal
from polylogit.diagnostics.recalibration import Calibrator, calibrate, map_of
from polylogit.diagnostics.training_rows import TrainingRows
from polylogit.errors import ModelFileError, OptionError, SchemaError, TargetError

N, D, K = 200, 20, 3


def draw(seed=0, n_rows=N):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, D))
    z = 0.6 * X @ np.random.default_rng(7).normal(size=(D, K))
    return X, (z + rng.gumbel(size=z.shape)).argmax(1)


@pytest.fixture(scope="module")
def fitted():
    """A model that is too sure of itself, and its rows."""
    data = polylogit.from_arrays(*draw())
    return data, polylogit.fit(data, C=100.0).model


def refitted(X, y, C, row, **options):
    """The logits of a row by a fit without it, under the same penalty on the sum of losses."""
    kept = np.arange(len(y)) != row
    model = polylogit.fit(polylogit.from_arrays(X[kept], y[kept]), C=C, tol=1e-10, **options).model
    return model.logits(X[row : row + 1])[0].numpy()


def test_each_row_is_judged_by_a_fit_without_it(fitted):
    data, model = fitted
    X, y = draw()
    rows = TrainingRows.of(model, data)
    assert rows.codes.tolist() == y.tolist()
    for row in (0, 17, 44, 199):
        truth = log_softmax(refitted(X, y, 100.0, row))
        np.testing.assert_allclose(log_softmax(rows.logits[row]), truth, atol=0.02)


def test_the_calibrated_model_is_better_on_new_rows(fitted):
    data, model = fitted
    X, y = draw(1, 4000)
    rows = TrainingRows.of(model, data)
    for method in ("temperature", "vector", "matrix"):
        honest = rows.calibrated(method)
        before, after = (
            -m.log_probabilities(X).numpy()[np.arange(len(y)), y].mean() for m in (model, honest)
        )
        assert after < before - 0.05
        made = calibrate(rows.logits, y_of(rows), classes=(0, 1, 2), method=method)
        torch.testing.assert_close(honest.logits(X), made.compose(model).logits(X))
        assert honest.record["calibration"]["method"] == method
    assert rows.calibrated().record == rows.calibrated("matrix").record


def y_of(rows):
    return rows.model.class_array()[rows.codes]


def test_sets_nearly_cover_and_say_so(fitted):
    data, model = fitted
    rows = TrainingRows.of(model, data)
    X, y = draw(2, 4000)
    for scoring in (Scoring(), Scoring("aps")):
        sets = rows.sets(0.9, scoring=scoring)
        assert sets.approximate
        assert sets.to_json()["approximate"] is True
        inside = sets.sets(model.probabilities(X).numpy())[np.arange(len(y)), y].mean()
        assert 0.88 < inside < 0.93
    inner = conformal(model.probabilities(draw()[0]).numpy(), rows.codes, 0.9)
    seen = inner.sets(model.probabilities(X).numpy())[np.arange(len(y)), y].mean()
    assert seen < 0.82  # what the training rows say of themselves
    by_class = rows.sets(0.8, by_class=True, scoring=Scoring("aps"))
    assert (by_class.coverage, by_class.scoring) == (0.8, Scoring("aps"))
    assert (rows.sets().coverage, rows.sets().scoring) == (0.9, Scoring())
    assert by_class.n_rows.tolist() == np.bincount(rows.codes).tolist()


@pytest.mark.parametrize("method", ["temperature", "matrix"])
def test_a_calibrated_model_keeps_its_calibration(fitted, method, tmp_path):
    data, model = fitted
    plain = TrainingRows.of(model, data)
    made = calibrate(plain.logits, y_of(plain), method=method)
    polylogit.save(made.compose(model), tmp_path / "m.safetensors")
    honest = polylogit.load(tmp_path / "m.safetensors")
    rows = TrainingRows.of(honest, data)
    expected = made.log_probabilities(plain.logits)
    torch.testing.assert_close(rows.logits.log_softmax(1), expected, rtol=0, atol=1e-6)
    twice = rows.calibrated("temperature")
    base, (A, c) = map_of(twice)
    torch.testing.assert_close(base.logits(draw()[0]) @ A.T + c, twice.logits(draw()[0]))
    torch.testing.assert_close(
        base.log_probabilities(draw()[0]), model.log_probabilities(draw()[0]), rtol=0, atol=1e-6
    )
    assert "calibration" not in base.record


def test_any_map_of_a_calibrated_model_is_kept(fitted):
    data, model = fitted
    A = np.array([[0.5, 0.2, 0.0], [0.0, 0.8, -0.1], [0.1, 0.0, 0.4]])
    schema = polylogit.Schema.for_array(K, model.classes)
    record = {"calibrator": {"method": "matrix", "reads": "logits"}}
    made = Calibrator(
        polylogit.SoftmaxModel(
            A - A.mean(1, keepdims=True), np.array([0.5, 0.0, -0.5]), schema, record
        ),
        "matrix",
        "logits",
    )
    plain, rows = (TrainingRows.of(one, data) for one in (model, made.compose(model)))
    expected = made.log_probabilities(plain.logits)
    torch.testing.assert_close(rows.logits.log_softmax(1), expected, rtol=0, atol=1e-5)


def test_weights_and_options_of_the_fit_count(fitted):
    X, y = draw()
    weights = np.random.default_rng(3).integers(1, 4, size=N).astype(float)
    data = polylogit.from_arrays(X, y, sample_weight=weights)
    model = polylogit.fit(data, C=1.0, label_smoothing=0.1, class_weight="balanced").model
    options = {"label_smoothing": 0.1, "class_weight": "balanced"}
    rows = TrainingRows.of(model, data, **options)
    np.testing.assert_array_equal(rows.weights, weights)
    one, other = (
        calibrate(rows.logits, y, weights=w, method="temperature") for w in (weights, None)
    )
    honest = rows.calibrated("temperature")
    assert honest.record["calibration"]["temperature"] == pytest.approx(
        one.model.record["calibrator"]["temperature"]
    )
    assert one.model.record["calibrator"] != other.model.record["calibrator"]
    with pytest.raises(OptionError, match="rows have weights, and sets count each row once"):
        rows.sets(0.9)
    with pytest.raises(OptionError, match=r"weights, class_weight, label_smoothing, fit_intercept"):
        TrainingRows.of(model, data)
    with pytest.raises(OptionError, match="other rows than those of the fit"):
        TrainingRows.of(model, replace(data, weights=None), **options)


def test_penalty_factors_are_remembered():
    data = polylogit.from_arrays(*draw())
    model = polylogit.fit(data, C=1.0, penalty_factors=np.arange(1.0, D + 1)).model
    assert TrainingRows.of(model, data).logits.shape == (N, K)


def test_the_last_row_of_a_class_is_missing():
    X, y = draw()
    y = np.where(y == 2, 0, y)
    y[5] = 2
    weights = np.where(np.arange(N) == 5, 1.0, 2.0)
    data = polylogit.from_arrays(X, y, sample_weight=weights)
    rows = TrainingRows.of(polylogit.fit(data, C=1.0).model, data)
    assert rows.weights.tolist() == [2.0] * (N - 1)
    assert (rows.n_excluded, len(rows.codes)) == (1, N - 1)
    assert 2 not in rows.codes
    assert rows.calibrated("temperature").classes == (0, 1, 2)


def test_groups_leave_together(fitted):
    data, model = fitted
    X, y = draw()
    groups = np.arange(N) // 4
    rows = TrainingRows.of(model, data, groups=groups)
    kept = groups != 4
    other = polylogit.fit(polylogit.from_arrays(X[kept], y[kept]), C=100.0, tol=1e-10).model
    truth = other.log_probabilities(X[~kept])
    torch.testing.assert_close(rows.logits[~kept].log_softmax(1), truth, rtol=0, atol=0.05)


@pytest.mark.parametrize("louder", [1.01, 1.1])
def test_a_model_may_be_a_little_off_the_optimum_and_it_is_said_how_far(louder):
    X, y = draw()
    weights, factors = np.where(y == 0, 5.0, 1.0), np.arange(1.0, D + 1)
    data = polylogit.from_arrays(X, y, sample_weight=weights)
    found = polylogit.fit(data, C=1.0, penalty_factors=factors, tol=1e-10)
    best = found.model
    off = replace(best, weight=best.weight * louder)
    p = off.log_probabilities(X).numpy()[np.arange(N), y]
    penalty = (off.weight.numpy() ** 2 @ factors).sum() / 2
    above = (penalty - weights @ p) / weights.sum() - found.solution.objective
    if louder == 1.01:
        assert 1e-5 < above < 1e-4
        assert TrainingRows.of(off, data).n_excluded == 0
    else:
        with pytest.raises(OptionError, match=f"the model is {above:.2g} nats a row from"):
            TrainingRows.of(off, data)


def test_what_cannot_be_left_out_is_known_before_a_fit(monkeypatch, fitted):
    data, model = fitted
    monkeypatch.setattr("polylogit.training.Prepared.fit", None)
    with pytest.raises(OptionError, match="needs a group that is not the last of its class"):
        TrainingRows.of(model, data, groups=draw()[1])


def remembering(model, **said):
    return replace(model, record={**model.record, **said})


def test_what_are_not_the_rows_of_the_fit_is_refused(fitted):
    data, model = fitted
    X, y = draw()
    new = polylogit.from_arrays(*draw(5))
    soft = polylogit.from_arrays(X, np.eye(K)[y])
    cases = [
        (model, new, OptionError, "other rows than those of the fit"),
        (model, polylogit.from_arrays(X[1:], y[1:]), OptionError, "199 rows, but .* fitted on 200"),
        (model, polylogit.from_arrays(X[:, 1:], y), SchemaError, "schema=model.schema"),
        (model, soft, TargetError, "with their labels"),
        (model, replace(data, targets=None), TargetError, "with their labels"),
        (model, polylogit.from_arrays(X, y + 1), SchemaError, "classes 1, 2, 3, the model 20"),
        (remembering(model, C=None), data, OptionError, "C below inf"),
        (remembering(model, l1_ratio=0.5), data, OptionError, "l1_ratio = 0.5"),
        (
            polylogit.SoftmaxModel(model.weight, model.bias, model.schema),
            data,
            OptionError,
            "C = None",
        ),
        (remembering(model, offset=True), data, OptionError, "an offset"),
    ]
    for one, rows, error, message in cases:
        with pytest.raises(error, match=message):
            TrainingRows.of(one, rows)


def test_a_calibration_of_very_many_classes_is_not_remembered(monkeypatch, fitted):
    data, model = fitted
    monkeypatch.setattr("polylogit.diagnostics.recalibration.MOST_REMEMBERED", 2)
    honest = TrainingRows.of(model, data).calibrated("temperature")
    with pytest.raises(ModelFileError, match="does not remember how"):
        map_of(honest)


def test_rows_that_are_only_known_on_average_are_refused(monkeypatch, fitted):
    data, model = fitted
    monkeypatch.setattr("polylogit.diagnostics.leave_one_out.WORK", 1.0)
    with pytest.raises(OptionError, match="only the mean loss is known"):
        TrainingRows.of(model, data)
