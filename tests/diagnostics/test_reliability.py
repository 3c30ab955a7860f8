"""The measures of one event against other people's numbers, quadrature and hand counts."""

import json

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss

from polylogit.diagnostics.reliability import (
    binned_error,
    brier_decomposition,
    debiased_error,
    log_decomposition,
    recalibrated,
    reliability_curve,
    smooth_error,
)
from polylogit.errors import InputError, OptionError


def event(seed, n_rows=400, power=2.0):
    """Probabilities p, and an event that happens with probability p^power / (p^power + ...)."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(size=n_rows).round(2)
    truth = p**power / (p**power + (1 - p) ** power)
    return p, (rng.uniform(size=n_rows) < truth).astype(int)


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_is_scikit_learns(seed):
    p, happened = event(seed)
    p = np.clip(p + 0.001, 0, 1)  # no ties with the edges, which scikit-learn rounds otherwise
    curve = reliability_curve(p, happened, 10)
    seen, said = calibration_curve(happened, p, n_bins=10)
    np.testing.assert_allclose(curve.seen, seen, rtol=1e-14)
    np.testing.assert_allclose(curve.said, said, rtol=1e-14)
    assert curve.rows.sum() == len(p)


def test_empty_bins_are_left_out_and_one_is_in_the_last():
    curve = reliability_curve(np.array([0.0, 0.2, 1.0]), np.array([0, 1, 1]), 5)
    assert curve.bin.tolist() == [0, 1, 4]
    assert json.loads(json.dumps(curve.to_json()))["rows"] == [1, 1, 1]


def test_bins_of_equal_mass_keep_ties_together():
    p, happened = np.array([0.1, 0.2, 0.2, 0.2, 0.3, 0.4]), np.array([0, 1, 0, 1, 1, 0])
    curve = reliability_curve(p, happened, 3, equal_mass=True)
    assert curve.rows.tolist() == [4, 2]
    np.testing.assert_allclose(curve.said, [0.175, 0.35])
    order = np.array([3, 5, 0, 2, 4, 1])
    again = reliability_curve(p[order], happened[order], 3, equal_mass=True)
    np.testing.assert_allclose(again.seen, curve.seen)


def test_there_are_fifteen_bins_and_parts_of_rows_count_as_parts():
    p, happened = event(0)
    whole, halves = reliability_curve(p, happened), reliability_curve(
        p, happened, weights=np.full(len(p), 0.5))  # fmt: skip
    assert whole.bin.tolist() == list(range(15))
    np.testing.assert_array_equal(halves.rows, whole.rows / 2)


def test_the_binned_error_is_a_hand_count():
    p, happened = np.array([0.05, 0.05, 0.65, 0.65]), np.array([0, 0, 1, 0])
    assert binned_error(p, happened, 10) == pytest.approx((2 * 0.05 + 2 * 0.15) / 4, rel=1e-14)


def test_the_debiased_error_has_the_right_mean_where_the_plain_one_has_not():
    rng = np.random.default_rng(0)
    said, truth = np.repeat([0.2, 0.5, 0.9], 20), np.repeat([0.3, 0.5, 0.8], 20)
    draws = [(rng.uniform(size=60) < truth).astype(int) for _ in range(2000)]
    found = np.array([debiased_error(said, happened, 3) for happened in draws])
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean() - (0.01 + 0 + 0.01) / 3) < 3 * error
    plain = np.mean([np.square(reliability_curve(said, h, 3, equal_mass=True).seen - [
        0.2, 0.5, 0.9]).mean() for h in draws])  # fmt: skip
    assert plain - (0.01 + 0 + 0.01) / 3 > 30 * error


def test_the_debiased_error_has_bins_of_equal_mass():
    p, happened = np.array([0.01, 0.01, 0.03, 0.03]), np.array([0, 0, 1, 0])  # one of equal width
    chance = 0.5 * 0.5 / (2 - 1)
    expected = (2 * 0.01**2 + 2 * ((0.5 - 0.03) ** 2 - chance)) / 4
    assert debiased_error(p, happened, 2) == pytest.approx(expected, rel=1e-12)


def smoothed_by_quadrature(p, happened, width):
    """E(width) with the reflected Gaussian summed image by image."""
    images = [sign * p + 2 * shift for sign in (1, -1) for shift in range(-6, 7)]

    def density(t):
        kernel = sum(norm.pdf(t, image, width) for image in images)
        return abs(kernel @ (happened - p)) / len(p)

    return quad(density, 0, 1, limit=300, epsabs=1e-7)[0]


@pytest.mark.parametrize(("seed", "power"), [(0, 3.0), (1, 0.3)])
def test_the_smooth_error_solves_its_equation(seed, power):
    p, happened = event(seed, 60, power)
    width = smooth_error(p, happened)
    assert width > 0.03
    assert smoothed_by_quadrature(p, happened, width) == pytest.approx(width, abs=2e-4)


def test_the_smooth_error_falls_to_zero_where_nothing_is_wrong():
    assert smooth_error(np.array([0.0, 1.0]), np.array([0, 1])) == 0.0
    small, large = (smooth_error(*event(3, n, 1.0)) for n in (200, 200_000))
    assert large < 0.01 < small


@pytest.mark.parametrize("n_rows", [1, 5, 10])
@pytest.mark.parametrize("said", [0.0, 1.0])
def test_the_smooth_error_is_one_where_all_is_wrong(said, n_rows):
    found = smooth_error(np.full(n_rows, said), np.full(n_rows, 1 - said))
    assert 1 - 1e-9 <= found <= 1


def test_the_smooth_error_is_that_of_the_event_that_does_not_happen():
    p, happened = event(2, 60, 3.0)
    p = p * 0.99 + 0.003  # on no border of the cells
    assert smooth_error(1 - p, 1 - happened) == pytest.approx(smooth_error(p, happened), rel=1e-6)


def test_a_row_without_weight_gets_what_the_next_lower_gets_or_the_lowest():
    p, happened = np.array([0.1, 0.3, 0.4, 0.8]), np.array([1, 0, 1, 1])
    weights = np.array([0, 1, 0, 1])
    assert recalibrated(p, happened, weights=weights).tolist() == [0.0, 0.0, 0.0, 1.0]


def test_recalibration_is_scikit_learns_isotonic_regression():
    p, happened = event(5)
    oracle = IsotonicRegression().fit(p, happened).predict(p)
    np.testing.assert_allclose(recalibrated(p, happened), oracle, atol=1e-14)


def test_the_decompositions_add_up_and_their_losses_are_scikit_learns():
    p, happened = event(6)
    p = np.clip(p, 0.01, 0.99)
    brier, log = (
        brier_decomposition(p, happened),
        log_decomposition(np.log(p), np.log1p(-p), happened),
    )
    best = recalibrated(p, happened)
    assert brier.loss == pytest.approx(brier_score_loss(happened, p), rel=1e-13)
    assert log.loss == pytest.approx(log_loss(happened, p), rel=1e-13)
    assert log.refinement == pytest.approx(log_loss(happened, best), rel=1e-9)
    for part in (brier, log):
        assert part.calibration > 0
        assert part.discrimination > 0
        assert part.loss == pytest.approx(
            part.calibration - part.discrimination + part.uncertainty, rel=1e-13
        )
        assert set(part.to_json()) >= {"calibration", "refinement", "uncertainty"}


def test_a_logarithm_may_be_rounded_to_above_0():
    plain, rounded = (
        log_decomposition(np.array([top, -1.0]), np.array([-40.0, -0.5]), np.array([1, 0]))
        for top in (0.0, 1e-15)
    )
    assert rounded.loss == pytest.approx(plain.loss, abs=1e-15)
    assert rounded.refinement == plain.refinement


def test_a_log_loss_far_below_rounding_is_kept():
    result = log_decomposition(np.array([0.0, 0.0]), np.array([-800.0, -700.0]), np.array([0, 1]))
    assert result.loss == 400.0


@pytest.mark.parametrize(
    ("p", "happened", "message"),
    [
        ([0.5, 1.5], [0, 1], "probability of row 1 is 1.5, but must be from 0 to 1"),
        ([np.nan, 0.5], [0, 1], "probability of row 0 is nan"),
        ([0.5, 0.5], [0, 2], "happened of row 1 is 2.0, but must be 0 or 1"),
        ([0.5], [0, 1], "not \\(1,\\) and \\(2,\\)"),
        ([], [], "N at least 1"),
        ([[0.5]], [[1]], "take one class at a time"),
    ],
)
def test_what_is_no_event_is_refused(p, happened, message):
    with pytest.raises(InputError, match=message):
        smooth_error(np.array(p), np.array(happened))


@pytest.mark.parametrize("bins", [0, True, 2.5])
def test_bins_are_counted(bins):
    with pytest.raises(OptionError, match="bins must be a whole number"):
        binned_error(np.array([0.5]), np.array([1]), bins)
