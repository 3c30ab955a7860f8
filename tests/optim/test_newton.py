"""Newton's method on problems that are no softmax at all."""

import itertools
from dataclasses import replace

import torch
from toys import Bowl, LogCosh

from polylogit.optim.newton import newton
from polylogit.optim.problem import dot


def test_a_quadratic_is_solved_in_one_step():
    bowl = Bowl(seed=0)
    at = next(newton(bowl, bowl.evaluate(torch.zeros(2, 3, dtype=torch.float64))))
    torch.testing.assert_close(at.point, bowl.solution, rtol=1e-10, atol=1e-10)


def test_digits_double_near_the_optimum():
    toy = LogCosh()
    at = toy.evaluate(toy.far)
    values = [point.value for point in itertools.islice(newton(toy, at), 8)]
    assert values == sorted(values, reverse=True)
    assert values[-1] - toy.lowest < 1e-15
    falls = [value - toy.lowest for value in values if 1e-12 < value - toy.lowest < 1e-2]
    assert all(b < a**1.5 for a, b in itertools.pairwise(falls))


def test_where_a_step_promises_much_the_line_is_searched_at_once():
    toy = LogCosh()
    at, asked, evaluate, line = toy.evaluate(toy.far), [], toy.evaluate, toy.line
    toy.evaluate = lambda point: asked.append("evaluate") or evaluate(point)
    toy.line = lambda *a: asked.append("line") or line(*a)
    found = next(newton(toy, at))
    assert asked[0] == "line"
    step = found.point - at.point
    assert abs(dot(found.gradient, step)) <= 0.1 * -dot(at.gradient, step)


def test_it_ends_where_nothing_leads_down():
    bowl = Bowl(seed=1)
    here = bowl.evaluate(torch.zeros(2, 3, dtype=torch.float64))
    still = type(here)(here.point, here.value, torch.zeros_like(here.gradient), here.state)
    assert list(newton(bowl, still)) == []


def test_a_full_step_that_rises_by_rounding_is_taken():
    toy = LogCosh()
    *_, near = itertools.islice(newton(toy, toy.evaluate(toy.far)), 6)
    asked, evaluate = [], toy.evaluate
    toy.evaluate = lambda point: replace(evaluate(point), value=near.value * (1 + 4e-16))
    toy.line = lambda *a: asked.append(a)
    step = next(newton(toy, near))
    assert not asked
    assert not torch.equal(step.point, near.point)
