"""`polylogit.steps`: every step is what its expression gives in torch, and the lesson's numbers."""

import json
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from polylogit.errors import InputError, OptionError, TargetError
from polylogit.steps import chain, compare, digits

numbers = st.floats(-20, 20, width=32)


@settings(deadline=None)  # the first torch.func.grad takes a second
@given(
    st.integers(2, 5).flatmap(
        lambda k: st.lists(st.lists(numbers, min_size=k, max_size=k), min_size=1, max_size=4)
    ),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.randoms(use_true_random=False),
)
def test_every_expression_gives_its_value(rows, temperature, random):
    targets = [random.randrange(len(rows[0])) for _ in rows]
    walked = chain(rows, targets, temperature)
    names = {"torch": torch, "F": F}
    for step in (*walked.steps, *walked.gradient):
        value = eval(step.expression, names)  # noqa: S307  our own expressions
        torch.testing.assert_close(value, step.value, rtol=2e-6, atol=2e-7, equal_nan=True)
        assert value.shape == step.value.shape
        names[step.name] = value
    for route in walked.routes:
        assert float(eval(route.expression, names)) == pytest.approx(route.float32, rel=1e-6)  # noqa: S307


def test_the_lessons_batch():
    torch.manual_seed(1)
    z = torch.rand(3, 5)
    y = torch.randint(5, (3,))
    walked = chain(z, y)
    assert y.tolist() == [0, 2, 1]
    assert f"{walked.loss:.4f}" == "1.4689"
    assert [round(route.float64, 4) for route in walked.routes] == [1.4689] * 4
    torch.testing.assert_close(walked["p"], torch.softmax(z, 1))


def test_the_routes_are_the_same_number_to_rounding():
    rng = np.random.default_rng(0)
    agreements = set()
    for _ in range(50):
        z = rng.normal(size=(3, 5)) * 3
        walked = chain(z, rng.integers(0, 5, 3))
        exact = [route.float64 for route in walked.routes]
        np.testing.assert_allclose(exact, exact[0], rtol=1e-13)
        agreements.add(walked.agreement)
    assert agreements == {"equal", "close"}  # the page may not say that they are always equal


def test_the_low_level_loss_breaks_where_log_softmax_does_not():
    walked = chain([0.0, 200.0], 1)
    assert math.isnan(walked.routes[0].float32)
    assert walked.routes[-1].float32 == 0.0
    assert walked.agreement == "broken"
    assert walked.to_json()["routes"][0]["float32"] == "nan"
    json.dumps(walked.to_json(), allow_nan=False)


def test_the_three_gradients_agree_and_sum_to_zero():
    walked = chain([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]], [2, 1], temperature=2.0)
    for name in ("by_autograd", "by_difference"):
        torch.testing.assert_close(
            walked[name].double(), walked["by_formula"].double(), rtol=1e-4, atol=1e-7
        )
    assert walked["by_formula"].sum(1).abs().max() < 1e-7


def test_a_step_that_is_none():
    with pytest.raises(KeyError, match=r"'prob' is no step; there are z, T, scaled"):
        chain([1.0, 2.0], 0)["prob"]


@pytest.mark.parametrize(
    ("logits", "target", "options", "error", "says"),
    [
        ([1.0], 0, {}, InputError, r"at least 2 classes, not of shape \(1,\)"),
        ([[[1.0, 2.0]]], 0, {}, InputError, r"not of shape \(1, 1, 2\)"),
        ([1.0, math.nan], 0, {}, InputError, "row 0, class 1 is nan"),
        ([[1.0, 2.0], [1e40, 0.0]], [0, 0], {}, InputError, "row 1, class 0 is inf in float32"),
        ([[1.0, 2.0], [1.0]], 0, {}, InputError, "rows of one length"),
        (["a", "b"], 0, {}, InputError, "logits must be numbers"),
        ([1.0, 2.0], 2, {}, TargetError, "target 2 at position .0,. is outside 0..1"),
        ([1.0, 2.0], 0.5, {}, TargetError, "class numbers must be of type torch.int64"),
        ([1.0, 2.0], [0, 1], {}, InputError, "1 rows of logits need as many class numbers, not 2"),
        ([1.0, 2.0], 0, {"temperature": 0}, OptionError, "above 0, not 0"),
        ([1.0, 2.0], 0, {"temperature": math.inf}, OptionError, "finite number above 0, not inf"),
        ([1.0, 2.0], 0, {"temperature": True}, OptionError, "not True"),
    ],
)
def test_what_cannot_be_walked_is_refused(logits, target, options, error, says):
    with pytest.raises(error, match=says):
        chain(logits, target, **options)


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_two_distributions_are_scipys(weights, random):
    p = np.array(weights) / np.sum(weights)
    q = np.array([random.uniform(0.01, 1) for _ in weights])
    q /= q.sum()
    measured = compare(p, q)
    assert measured.entropy == pytest.approx(scipy.stats.entropy(p), abs=1e-12)
    assert measured.divergence == pytest.approx(scipy.stats.entropy(p, q), abs=1e-12)
    assert measured.divergence_reversed == pytest.approx(scipy.stats.entropy(q, p), abs=1e-12)
    assert measured.cross_entropy == pytest.approx(measured.entropy + measured.divergence)
    assert measured.to_json()["bits"]["entropy"] == pytest.approx(scipy.stats.entropy(p, base=2))


def test_a_fair_die_and_an_impossible_face():
    assert f"{compare([1 / 6] * 6).entropy:.4f}" == "1.7918"
    assert f"{compare([1 / 6] * 6).to_json()['bits']['entropy']:.4f}" == "2.5850"
    measured = compare([0.5, 0.5], [1.0, 0.0])
    assert measured.divergence == math.inf
    assert measured.to_json()["nats"]["divergence"] is None
    assert measured.divergence_reversed == pytest.approx(math.log(2))


def test_probabilities_of_float32_are_one_within_float32():
    p = torch.tensor([1.0, 2.0, 3.0]).softmax(0)
    measured = compare(torch.tensor([0, 0, 1]), p)
    assert measured.cross_entropy == pytest.approx(chain([1.0, 2.0, 3.0], 2).loss, rel=1e-6)
    with pytest.raises(InputError, match=r"Q sums to 1\.001"):
        compare(p, p * 1.001)


@pytest.mark.parametrize(
    ("p", "q", "says"),
    [
        ([0.5, 0.6], None, "P sums to 1.1"),
        ([0.5, 0.5], [0.5, 0.25, 0.25], "P has 2 outcomes and Q 3"),
        ([1.5, -0.5], None, "P holds -0.5"),
        ([[0.5, 0.5]], None, "P must be finite probabilities"),
        ([math.nan, 1.0], None, "P must be finite probabilities"),
        ("fair", None, "P must be numbers"),
    ],
)
def test_what_is_no_distribution_is_refused(p, q, says):
    with pytest.raises(InputError, match=says):
        compare(p, q)


def test_nine_digits_tell_float32_apart():
    a = np.float32(0.41702998)
    assert digits(float(a)) != digits(float(np.nextafter(a, np.float32(1))))


def test_an_array_that_may_not_be_written_is_read():
    z = np.arange(3.0)
    z.flags.writeable = False
    assert chain(z, 2).loss == chain([0.0, 1.0, 2.0], 2).loss
