import math

import pytest
import torch

from polylogit.optim import problem as module
from polylogit.optim.problem import (
    FEW,
    Certificate,
    Evaluation,
    Solution,
    Statistics,
    Status,
    dot,
    is_finite,
)


def solution(status, gap=3e-9, passes=12):
    nothing = torch.zeros(1)
    statistics = Statistics("newton", 5, passes, 0.123)
    return Solution(nothing, nothing, 0.5, Certificate(gap, "duality"), status, statistics)


def test_a_certified_solution_speaks_one_sentence():
    assert solution(Status.CERTIFIED).message == (
        "Within 3.0e-09 nats per row of the best possible (duality), "
        "after 12 passes over the data in 0.123 s (newton)."
    )
    assert "after 1 pass over" in solution(Status.CERTIFIED, passes=1).message


@pytest.mark.parametrize("spoilt", [math.nan, math.inf, -math.inf])
def test_a_point_is_finite_if_the_value_and_all_of_the_slope_are(spoilt):
    slope = torch.ones(2, 3)
    assert is_finite(Evaluation(slope, 1.0, slope))
    assert not is_finite(Evaluation(slope, spoilt, slope))
    slope[1, 2] = spoilt
    assert not is_finite(Evaluation(slope, 1.0, slope))


@pytest.mark.parametrize("numbers", [6, FEW, 2 * FEW])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_inner_product_of_few_numbers_and_of_many(numbers, dtype, monkeypatch):
    one, other = torch.arange(2.0 * numbers).to(dtype).sin().view(2, 2, -1)
    truth = float((one.double() * other.double()).sum())
    if numbers > FEW:  # numpy's threads would stand in the way of torch's
        monkeypatch.setattr(module.np, "vdot", None)
    assert dot(one, other) == pytest.approx(truth, rel=1e-4, abs=1e-4)
    assert dot(one.T, other.T) == pytest.approx(truth, rel=1e-4, abs=1e-4)


def test_every_other_status_says_what_to_do():
    for status in set(Status) - {Status.CERTIFIED}:
        message = solution(status, math.inf).message
        assert message.startswith("Not certified, after 12 passes")
        assert message.endswith(status.value)
        assert not solution(status).certified


def test_a_certificate_is_proven_only_if_finite():
    assert Certificate(1e-3, "Newton").proven
    assert not Certificate(math.inf, "none").proven
