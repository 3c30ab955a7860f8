"""`polylogit.app.lab.logits`: every script runs, the gradients agree, and what breaks is told."""

import math

import pytest
import torch

from polylogit import formulas
from polylogit.app.lab.logits import LogitsRequest, walk
from polylogit.errors import OptionError

from .notebook import assert_reproduced


def ask(logits=(1.0, 2.0, 3.0), target=2, **options):
    return walk(LogitsRequest(logits=list(logits), target=target, **options))


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.3, 50.0])
def test_every_value_is_reproduced_by_its_script(temperature, shift, again):
    answer = ask((0.3, -2.0, 5.0, 1.0), 1, temperature=temperature, shift=shift, again=again)
    assert_reproduced(answer["lines"])


def test_the_lessons_numbers():
    lines = ask()["lines"]
    assert lines["p"]["short"] == ["0.0900", "0.2447", "0.6652"]
    assert lines["one_hot"]["drawn"] == [0, 0, 1]
    assert lines["cross"]["short"] == lines["picked"]["short"] == "0.4076"
    assert lines["by_formula"]["short"] == ["0.0900", "0.2447", "-0.3348"]


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_three_gradients_agree(temperature, again):
    lines = ask((0.3, -2.0, 5.0), 1, temperature=temperature, again=again)["lines"]
    z, y = torch.tensor([0.3, -2.0, 5.0]) / temperature, torch.tensor(1)
    ours = formulas.cross_entropy_gradient(z.softmax(0) if again else z, y)
    ours = (formulas.softmax_gradient(z, ours) if again else ours) / temperature
    assert lines["by_formula"]["drawn"] == pytest.approx(ours.tolist(), abs=1e-6)
    for route in ("by_autograd", "by_difference"):
        assert lines[route]["drawn"] == pytest.approx(lines["by_formula"]["drawn"], abs=2e-6)
    assert sum(lines["by_formula"]["drawn"]) == pytest.approx(0, abs=1e-6)


def test_without_the_shift_large_logits_break_and_with_it_they_do_not():
    broken, whole = ask((100.0, 101.0, 102.0), shift=False), ask((100.0, 101.0, 102.0))
    assert broken["lines"]["powers"]["short"] == ["∞", "∞", "∞"]
    assert broken["lines"]["p"]["short"] == ["nan"] * 3
    assert whole["lines"]["p"]["short"] == ask()["lines"]["p"]["short"]


def test_the_low_level_loss_breaks_on_a_perfect_prediction():
    answer = ask((0.0, 200.0), 1)
    assert answer["agreement"] == "broken"
    assert answer["lines"]["low"]["short"] == "nan"
    assert answer["lines"]["cross"]["short"] == "0.0000"


def test_agreement_is_of_bits_or_of_digits():
    told = {ask(torch.randn(5).tolist(), 1)["agreement"] for _ in range(40)}
    assert told == {"equal", "close"}


@pytest.mark.parametrize(
    ("K", "floor"), [(2, "0.3133"), (3, "0.5514"), (5, "0.9048"), (10, "1.4612")]
)
def test_softmax_twice_has_a_floor(K, floor):
    answer = ask([100.0] + [0.0] * (K - 1), 0, again=True)
    assert answer["floor"]["short"] == answer["lines"]["cross"]["short"] == floor


@pytest.mark.parametrize("T", [0.1, 1.0, 100.0])
def test_temperature_moves_confidence_and_never_the_winner(T):
    lines = ask((2.0, 1.0, 0.1), 0, temperature=T)["lines"]
    assert lines["winner"]["drawn"] == 0
    assert (lines["entropy"]["drawn"] > 1.09) == (T == 100.0)
    assert lines["entropy"]["drawn"] < math.log(3)


def test_a_class_that_is_not_there_is_refused():
    with pytest.raises(OptionError, match="target 3 is no class"):
        ask(target=3)
