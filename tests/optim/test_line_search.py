import math

import pytest

from polylogit.optim.line_search import LONGEST, lowest


class Curve:
    """A convex function of t by its slope and curvature; counts how often it is asked."""

    trials_are_free = True

    def __init__(self, slope, curvature):
        self._slope, self.curvature, self.asked = slope, curvature, 0

    def slope(self, t):
        self.asked += 1
        return self._slope(t)

    def evaluate(self, t):
        raise NotImplementedError


CURVES = {
    "quadratic": Curve(lambda t: 4 * t - 2, lambda _: 4.0),
    "far minimum": Curve(lambda t: 1e-4 * t - 1, lambda _: 1e-4),
    "near minimum": Curve(lambda t: 1e5 * t - 1, lambda _: 1e5),
    "logistic with ridge": Curve(
        lambda t: -5 / (1 + math.exp(min(5 * t, 700))) + 1e-3 * t,
        lambda t: 25 / (2 + 2 * math.cosh(min(5 * t, 700))) + 1e-3,
    ),
    "flat then steep": Curve(
        lambda t: math.exp(min(t, 300)) - 1e3, lambda t: math.exp(min(t, 300))
    ),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("tolerance", [0.5, 0.1, 1e-6])
def test_the_slope_becomes_flat(name, tolerance):
    curve = CURVES[name]
    first = curve.slope(0.0)
    t = lowest(curve, first, tolerance=tolerance)
    assert t > 0
    assert abs(curve.slope(t)) <= tolerance * abs(first)


def test_a_good_first_step_is_asked_about_once():
    curve = Curve(lambda t: t - 1, lambda _: 1.0)
    assert lowest(curve, -1.0) == 1.0
    assert curve.asked == 1


def test_a_line_without_a_lowest_point_is_followed_to_its_limit():
    curve = Curve(lambda _: -1.0, lambda _: 0.0)
    assert lowest(curve, -1.0) >= LONGEST


class Secant(Curve):
    """Knows no curvature but that between the last two trials; nearly flat, then a wall."""

    def __init__(self, free):
        super().__init__(lambda t: t - 1 + 60 * t**20, lambda _: self.between)
        self.trials_are_free, self.last = free, (0.0, -1.0)

    def slope(self, t):
        here = super().slope(t)
        self.between = (here - self.last[1]) / (t - self.last[0])
        self.last = t, here
        return here


def test_a_guess_from_far_too_long_a_step_is_not_trusted_where_trials_are_dear():
    trusting, wary = Secant(free=True), Secant(free=False)
    for line in (trusting, wary):
        assert abs(line._slope(lowest(line, -1.0, tolerance=0.7))) <= 0.7
    assert wary.asked == 2 < trusting.asked
