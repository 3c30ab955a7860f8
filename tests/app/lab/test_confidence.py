"""`polylogit.app.lab.confidence`: bins against scikit-learn, and what temperature can do."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from polylogit.app.lab import confidence as panel
from polylogit.app.lab.confidence import ConfidenceRequest, confidence

from .notebook import assert_reproduced


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_bins_are_those_of_scikit_learn(temperature):
    answer = confidence(ConfidenceRequest(C=100, temperature=temperature))
    X, y = panel.rows(panel.FRESH, seed=1)
    p = (panel._model(100.0).logits(X) / temperature).softmax(1)
    sure, guess = p.max(1)
    truth, mean = calibration_curve((guess == y).numpy(), sure.numpy(), n_bins=10)
    assert [one["right"]["drawn"] for one in answer["bins"]] == pytest.approx(truth)
    assert [one["sure"]["drawn"] for one in answer["bins"]] == pytest.approx(mean)
    assert sum(one["rows"] for one in answer["bins"]) == panel.FRESH


def test_a_weak_penalty_is_too_sure_and_temperature_repairs_it_without_moving_a_decision():
    sharp = confidence(ConfidenceRequest(C=1000))
    assert float(sharp["confidence"]) > float(sharp["accuracy"]) + 0.1
    cooled = confidence(ConfidenceRequest(C=1000, temperature=3))
    assert cooled["accuracy"] == sharp["accuracy"]
    assert float(cooled["log_loss"]) < float(sharp["log_loss"])
    assert float(cooled["smooth_error"]) < float(sharp["smooth_error"]) / 2
    assert abs(float(cooled["confidence"]) - float(cooled["accuracy"])) < 0.1


def test_the_mean_of_the_bins_is_the_whole():
    answer = confidence(ConfidenceRequest(C=10))
    weights = [one["rows"] for one in answer["bins"]]
    mean = np.average([one["right"]["drawn"] for one in answer["bins"]], weights=weights)
    assert f"{mean:.4f}" == answer["accuracy"]


def test_far_away_the_model_is_sure_of_anything():
    steps = panel.far()
    tops = [step["p"]["drawn"][step["top"]] for step in steps]
    assert tops == sorted(tops)
    assert tops[-1] > 0.99
    for step in steps:
        assert_reproduced({"p": step["p"]})
