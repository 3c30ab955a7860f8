"""L-BFGS on problems that are no softmax at all."""

import itertools

import pytest
import torch
from toys import Bowl, LogCosh

from polylogit.optim.lbfgs import lbfgs


@pytest.mark.parametrize("seed", range(3))
def test_a_quadratic_is_solved_in_about_as_many_steps_as_it_has_dimensions(seed):
    bowl = Bowl(seed)
    at = bowl.evaluate(torch.zeros(2, 3, dtype=torch.float64))
    *_, last = itertools.islice(lbfgs(bowl, at), 25)
    torch.testing.assert_close(last.point, bowl.solution, rtol=1e-6, atol=1e-6)


def test_every_step_leads_down_to_the_lowest_point():
    toy = LogCosh()
    values = [point.value for point in itertools.islice(lbfgs(toy, toy.evaluate(toy.far)), 40)]
    rounding = 1e-14 * values[0]
    assert all(after <= before + rounding for before, after in itertools.pairwise(values))
    assert values[-1] - toy.lowest < 1e-12


def test_it_ends_where_nothing_leads_down():
    bowl = Bowl(seed=1)
    here = bowl.evaluate(torch.zeros(2, 3, dtype=torch.float64))
    still = type(here)(here.point, here.value, torch.zeros_like(here.gradient), here.state)
    assert list(lbfgs(bowl, still)) == []


def test_the_curvature_model_is_asked_for_anew_now_and_then():
    toy, asked = LogCosh(), []
    first = toy.preconditioner
    toy.preconditioner = lambda at: asked.append(at) or first(at)
    for _ in itertools.islice(lbfgs(toy, toy.evaluate(toy.far)), 8):
        pass
    assert len(asked) == 2
