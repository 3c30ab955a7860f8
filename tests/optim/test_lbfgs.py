"""L-BFGS on problems that are no softmax at all."""

import itertools

import pytest
import torch
from toys import Bowl, LogCosh, ToyLine

from polylogit.optim.lbfgs import MEMORY, lbfgs, models_in
from polylogit.optim.pairs import Pairs


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


def test_it_goes_on_from_a_better_point_that_it_is_given():
    toy = LogCosh()
    steps = lbfgs(toy, toy.evaluate(toy.far))
    left = next(steps)
    better = toy.evaluate(0.1 * left.point)
    assert better.value < left.value
    assert steps.send(better).value < better.value


@pytest.mark.parametrize(
    ("free", "dear", "times"), [(True, 0.0, 3), (False, 0.0, 4), (True, 25.0, 2), (False, 25.0, 2)]
)
def test_the_curvature_model_is_asked_for_anew_now_and_then(free, dear, times, monkeypatch):
    monkeypatch.setattr(ToyLine, "trials_are_free", free)
    toy, asked = LogCosh(), []
    first = toy.preconditioner
    toy.preconditioner = lambda at: asked.append(at) or first(at)
    for _ in itertools.islice(lbfgs(toy, toy.evaluate(toy.far), dear=dear), 32):
        pass
    assert len(asked) == times
    assert not free or models_in(31, dear) == times


def test_where_trials_are_dear_fewer_are_made(monkeypatch):
    def trials(free):
        toy, made = LogCosh(), []
        slope = ToyLine.slope
        with monkeypatch.context() as patch:
            patch.setattr(ToyLine, "trials_are_free", free)
            patch.setattr(ToyLine, "slope", lambda *a: made.append(1) or slope(*a))
            *_, last = itertools.islice(lbfgs(toy, toy.evaluate(toy.far)), 40)
        assert last.value - toy.lowest < 1e-12
        return len(made)

    assert trials(free=False) < trials(free=True)


def test_directions_may_be_made_in_float32():
    bowl, pairs = Bowl(0), Pairs(MEMORY)
    at = bowl.evaluate(torch.zeros(2, 3, dtype=torch.float64))
    for dtype, steps in ((torch.float32, 4), (torch.float64, 12)):
        *_, at = itertools.islice(lbfgs(bowl, at, pairs, dtype), steps)
        assert at.point.dtype == torch.float64
        assert {pairs.steps.dtype, pairs.changes.dtype} == {dtype}
    torch.testing.assert_close(at.point, bowl.solution, rtol=1e-9, atol=1e-9)


def test_the_curvature_model_is_read_once_a_step():
    toy, reads = LogCosh(), []
    first = toy.preconditioner

    def counted(at):
        precondition = first(at)
        return lambda vector: reads.append(vector) or precondition(vector)

    toy.preconditioner = counted
    for _ in itertools.islice(lbfgs(toy, toy.evaluate(toy.far)), 7):
        pass
    assert len(reads) == 7
