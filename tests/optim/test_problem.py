import math

import torch

from polylogit.optim.problem import Certificate, Solution, Statistics, Status


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


def test_every_other_status_says_what_to_do():
    for status in set(Status) - {Status.CERTIFIED}:
        message = solution(status, math.inf).message
        assert message.startswith("Not certified, after 12 passes")
        assert message.endswith(status.value)
        assert not solution(status).certified


def test_a_certificate_is_proven_only_if_finite():
    assert Certificate(1e-3, "Newton").proven
    assert not Certificate(math.inf, "none").proven
