"""Laws of calibrators, for every method and kind of score: a weight is so many copies."""

from typing import get_args

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from polylogit.diagnostics.recalibration import Method, Reads, calibrate, cross_fitted
from polylogit.errors import TargetError

N, K = 120, 3
every_method = pytest.mark.parametrize("method", get_args(Method))
every_kind = pytest.mark.parametrize("reads", get_args(Reads))


def draw(reads):
    """Scores that are too loud and crooked, labels, and weights with zeros among them."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, K)) * 1.5
    y = (z @ (np.eye(K) + 0.4 * rng.normal(size=(K, K))) + rng.gumbel(size=(N, K))).argmax(1)
    scores = 3 * z if reads == "logits" else np.exp(log_softmax(3 * z, axis=1))
    return scores, y, rng.integers(0, 4, size=N)


@every_method
@every_kind
def test_a_weight_is_so_many_copies(method, reads):
    scores, y, weights = draw(reads)
    options = {"method": method, "reads": reads}
    weighed = calibrate(scores, y, weights=weights, **options)
    copies = calibrate(np.repeat(scores, weights, 0), np.repeat(y, weights), **options)
    one, other = (made.probabilities(scores) for made in (weighed, copies))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    plain = calibrate(scores, y, **options).probabilities(scores)
    assert float((one - plain).abs().max()) > 1e-3
    said, truth = (made.model.record["calibrator"] for made in (weighed, copies))
    assert said.get("penalty") == truth.get("penalty")


@every_method
def test_a_row_without_weight_may_be_anything(method):
    scores, y, weights = draw("logits")
    weights = np.maximum(weights, 1)
    one = calibrate(scores, y, method=method, weights=weights)
    other = calibrate(
        np.r_[scores, [[1e4, 0, 0]]], np.r_[y, 1], method=method, weights=np.r_[weights, 0]
    )
    torch.testing.assert_close(one.probabilities(scores), other.probabilities(scores))


@every_method
def test_cross_fitting_weighs_the_rows_of_other_folds(method):
    scores, y, _ = draw("logits")
    weights = 1 + 3.0 * (np.arange(N) % 2)
    plain = cross_fitted(scores, y, method)
    weighed = cross_fitted(scores, y, method, weights=weights)
    one = cross_fitted(scores, y, method, weights=np.ones(N))
    np.testing.assert_allclose(one, plain, atol=1e-12)
    assert np.abs(weighed - plain).max() > 1e-3


@pytest.mark.parametrize("weights", [np.ones(N - 1), -np.ones(N), np.full(N, np.nan), np.zeros(N)])
def test_what_is_no_weight_is_refused(weights):
    scores, y, _ = draw("logits")
    with pytest.raises(TargetError, match="weight"):
        calibrate(scores, y, weights=weights)
