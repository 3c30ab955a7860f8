"""Laws of the measures of predictions, for every one that exists: a weight is so many copies."""

import inspect
import json

import numpy as np
import pytest
from scipy.special import log_softmax

from polylogit.diagnostics import calibration, metrics, reliability
from polylogit.errors import TargetError

N, K = 60, 3


def draw():
    """Log-probabilities, what another map makes of them, the truth, and weights with zeros."""
    rng = np.random.default_rng(0)
    log_p = log_softmax(2 * rng.normal(size=(N, K)), axis=1).round(1)
    log_p -= np.logaddexp.reduce(log_p, axis=1, keepdims=True)
    weights = rng.integers(0, 4, size=N)
    codes, no_weight = rng.integers(K, size=N), np.argmin(weights)
    log_p[no_weight], codes[no_weight] = [0.0, -np.inf, -np.inf], 1  # an infinite loss
    return {
        "log_probabilities": log_p,
        "recalibrated": log_softmax(np.maximum(log_p, -9) / 2, axis=1),
        "codes": codes,
        "p": np.exp(log_p[:, 0]).round(1),
        "log_p": log_p[:, 0],
        "log_not_p": calibration.log_complements(log_p)[:, 0],
        "happened": rng.integers(2, size=N),
    }, weights


def members():
    """Every public function of the modules that says what rows with a truth are worth."""
    for module in (calibration, metrics, reliability):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            own = function.__module__ == module.__name__ and not name.startswith("_")
            if own and {"codes", "happened"} & set(inspect.signature(function).parameters):
                yield function


CHECKS = ("checked_rows", "checked_event", "score_parts")  # the last is `score` part by part
every_measure = pytest.mark.parametrize(
    "measure", [f for f in members() if f.__name__ not in CHECKS], ids=lambda f: f.__name__
)


def called(measure, rows, weights=None, **options):
    wanted = inspect.signature(measure).parameters
    return measure(*(rows[name] for name in wanted if name in rows), weights=weights, **options)


def numbers(found):
    """All numbers in a measure but the counts of rows as such, in one order."""
    if isinstance(found, np.ndarray):
        return found.tolist()
    if hasattr(found, "to_json"):
        found = json.loads(json.dumps(found.to_json()))
    if isinstance(found, dict):
        keys = sorted(set(found) - {"n_rows", "confusion", "support"})
        return [number for key in keys for number in numbers(found[key])]
    if isinstance(found, (list, tuple)):
        return [number for part in found for number in numbers(part)]
    return [np.nan if found is None else found]


@every_measure
def test_a_weight_is_so_many_copies(measure):
    rows, weights = draw()
    weighed, plain = called(measure, rows, weights), called(measure, rows)
    copies = called(measure, {k: np.repeat(v, weights, axis=0) for k, v in rows.items()})
    if isinstance(weighed, np.ndarray):  # a number for each row
        weighed, plain = weighed[weights > 0], plain[weights > 0]
        copies = copies[np.cumsum(weights[weights > 0]) - 1]
    np.testing.assert_allclose(numbers(weighed), numbers(copies), rtol=1e-11, atol=1e-14)
    assert numbers(weighed) != pytest.approx(numbers(plain), rel=1e-3)


@every_measure
def test_equal_weights_of_one_change_nothing(measure):
    rows, _ = draw()
    np.testing.assert_allclose(
        numbers(called(measure, rows, np.ones(N))), numbers(called(measure, rows)), rtol=1e-13
    )


def test_the_law_has_members():
    assert {f.__name__ for f in members()} >= {"measure", "decomposed", "smooth_error", "score"}


def test_bins_of_equal_mass_count_copies():
    rows, weights = draw()
    weighed = called(reliability.reliability_curve, rows, weights, equal_mass=True)
    copies = {k: np.repeat(v, weights, axis=0) for k, v in rows.items()}
    expected = called(reliability.reliability_curve, copies, equal_mass=True)
    assert weighed.bin.tolist() == expected.bin.tolist()
    assert weighed.rows.tolist() == expected.rows.tolist()


@pytest.mark.parametrize("weights", [np.ones(N - 1), -np.ones(N), np.zeros(N), ["a"] * N])
@pytest.mark.parametrize("measure", [calibration.measure, reliability.smooth_error])
def test_what_is_no_weight_is_refused(measure, weights):
    rows, _ = draw()
    with pytest.raises(TargetError, match="weight"):
        called(measure, rows, weights)
