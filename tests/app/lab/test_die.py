"""`polylogit.app.lab.die`: entropies against scipy, scripts that run, rolls that converge."""

import math

import numpy as np
import pytest
from scipy import stats

from polylogit.app.lab.die import DieRequest, die
from polylogit.errors import OptionError

from .notebook import assert_reproduced

FAIR, LOADED = [1.0] * 6, [1.0] * 5 + [5.0]


def test_entropies_are_scipys():
    lines = die(DieRequest(p=LOADED, q=FAIR))["lines"]
    p, q = np.array(LOADED) / 10, np.array(FAIR) / 6
    for name, nats in [
        ("entropy", stats.entropy(p)),
        ("entropy_q", math.log(6)),
        ("kl", stats.entropy(p, q)),
        ("kl_reverse", stats.entropy(q, p)),
        ("cross_entropy", stats.entropy(p) + stats.entropy(p, q)),
    ]:
        assert lines[name]["drawn"] == pytest.approx(nats, abs=3e-7), name
        assert lines[f"{name}_bits"]["drawn"] == pytest.approx(nats / math.log(2), abs=5e-7)


@pytest.mark.parametrize("p", [FAIR, LOADED, [0.0] * 5 + [1.0]])
@pytest.mark.parametrize("q", [FAIR, [0.0, *FAIR[1:]]])
def test_every_value_is_reproduced_by_its_script(p, q):
    assert_reproduced(die(DieRequest(p=p, q=q))["lines"])


def test_a_face_that_q_calls_impossible_costs_everything():
    answer = die(DieRequest(p=FAIR, q=[0.0, *FAIR[1:]], rolls=100))
    assert answer["lines"]["kl"]["short"] == "∞"
    assert answer["lines"]["kl"]["drawn"] is None
    assert answer["lines"]["kl_reverse"]["drawn"] == pytest.approx(math.log(6 / 5), abs=1e-6)
    assert answer["rolls"]["running"][-1] is None


def test_a_face_that_never_comes_costs_nothing():
    answer = die(DieRequest(p=[0.0, *FAIR[1:]], q=FAIR))
    assert answer["lines"]["entropy"]["drawn"] == pytest.approx(math.log(5), abs=1e-6)
    assert answer["rolls"]["frequency"]["drawn"][0] == 0


def test_rolls_converge_to_the_cross_entropy_and_repeat_with_their_seed():
    asked = DieRequest(p=LOADED, q=[*FAIR[:5], 5.0], rolls=100_000)
    answer = die(asked)
    goal = answer["lines"]["cross_entropy"]["drawn"]
    assert answer["rolls"]["running"][-1] == pytest.approx(goal, abs=0.01)
    assert answer["rolls"]["counts"][0] == 1
    assert answer["rolls"]["counts"][-1] == 100_000
    assert die(asked) == answer
    assert die(asked.model_copy(update={"seed": 1}))["rolls"] != answer["rolls"]


def test_rolls_do_not_sum_rounding_errors():
    answer = die(DieRequest(p=LOADED, q=[*FAIR[:5], 2.0], rolls=100_000))
    counts = np.round(np.array(answer["rolls"]["frequency"]["drawn"]) * 100_000)
    exact = counts @ np.array(answer["lines"]["surprise"]["drawn"]) / 100_000
    assert answer["rolls"]["running"][-1] == pytest.approx(exact, 1e-12)


@pytest.mark.parametrize(
    ("p", "q", "words"),
    [([0.0, 0.0], [1.0, 1.0], "every face of P"), ([1.0, 1.0], [1.0] * 3, "2 faces and Q has 3")],
)
def test_what_is_no_die_is_refused(p, q, words):
    with pytest.raises(OptionError, match=words):
        die(DieRequest(p=p, q=q))
