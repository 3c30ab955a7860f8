"""Axes: round numbers, few of them, where they belong."""

import math

import pytest

from polylogit.app.figures.frame import Axis, Frame, axes, spanning, told


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.0, 0.037), (-3.0, 12_345.0), (0.9995, 1.0), (2.0, 1e9)]
)
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("most", [3, 6])
def test_ticks_lie_on_the_axis_and_are_few(low, high, log, most):
    if log and low <= 0:
        low = 1e-12
    ticks = Axis("", low, high, log, most).ticks()
    assert 2 <= len(ticks) <= most
    assert all(low * (1 - 1e-9) - 1e-9 <= tick <= high * (1 + 1e-9) for tick in ticks)
    assert ticks == sorted(set(ticks))


def test_a_point_is_measured_from_the_lower_left():
    frame = Frame(Axis("x", 0.0, 10.0), Axis("y", 1.0, 100.0, log=True), 10.0, 20.0, 200.0, 100.0)
    assert frame.at(0.0, 1.0) == (10.0, 120.0)
    assert frame.at(5.0, 10.0) == (110.0, 70.0)
    assert frame.at(10.0, 100.0) == (210.0, 20.0)


def test_values_that_are_all_equal_stand_in_the_middle():
    axis = spanning("y", [0.3, 0.3])
    assert axis.part(0.3) == 0.5
    assert axis.ticks() == [0.3]


def test_names_are_escaped():
    frame = Frame(Axis("<b>", 0.0, 1.0), Axis("&", 0.0, 1.0))
    assert "<b>" not in axes(frame)
    assert "&amp;" in axes(frame)


def test_a_text_alternative_stays_short():
    assert told("y", [(float(x), math.sqrt(x)) for x in range(1000)]).count(",") == 11
