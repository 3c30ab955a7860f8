"""What one solve leaves: exact under the next penalty, and a way that leads on."""

import torch
from sklearn.datasets import load_wine

from polylogit.design import design_of
from polylogit.optim import sums as module
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.penalty import Ridge
from polylogit.optim.sums import contrast_basis
from polylogit.optim.targets import Labels
from polylogit.optim.trail import CARRIED, SHARP, Trail

X, Y = load_wine(return_X_y=True)
GENERATOR = torch.Generator().manual_seed(0)


def objective(strength, **options):
    weights = torch.full((178,), 1 / 178, dtype=torch.float64)
    ridge = Ridge(strength * torch.linspace(1, 2, 13, dtype=torch.float64))
    labels = Labels(torch.from_numpy(Y), 3)
    return SoftmaxObjective(design_of(X), labels, weights, ridge, 3, **options)


def somewhere(problem, seed):
    shape = problem.start().shape
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_last_point_under_the_next_penalty_costs_no_pass():
    for options in ({}, {"basis": contrast_basis(3)}):
        before, after = objective(3.0, **options), objective(0.5, **options)
        trail, point = Trail(), somewhere(before, 1)
        trail.remember(before.ridge, before.evaluate(point))
        found, passes = trail.last(after), after.tally.passes
        truth = after.evaluate(point)
        assert passes == 0
        torch.testing.assert_close(found.gradient, truth.gradient, rtol=1e-12, atol=1e-13)
        assert abs(found.value - truth.value) < 1e-12
        assert torch.equal(found.state, truth.state)


def test_an_empty_trail_leads_nowhere():
    assert Trail().last(objective(1.0)) is None


def test_the_way_on_is_taken_to_its_lowest_point():
    problem, trail = objective(0.5), Trail()
    first = somewhere(problem, 2) * 0.1
    at = problem.evaluate(first)
    step = problem.evaluate(first - 0.05 * at.gradient)
    trail.remember(problem.ridge, at)
    trail.remember(problem.ridge, step)
    passes = problem.tally.passes
    found = trail.continued(problem, trail.last(problem))
    assert problem.tally.passes == passes + 1
    truth = problem.evaluate(found.point)
    torch.testing.assert_close(found.gradient, truth.gradient, rtol=1e-9, atol=1e-12)
    assert found.value < step.value
    way = step.point - at.point
    before, after = ((e.gradient * way).sum().abs() for e in (step, found))
    assert after <= SHARP * before


def test_the_way_on_is_a_pair_of_its_own():
    problem = objective(0.5)
    trail = way_down(problem)
    last = trail.last(problem)
    found = trail.continued(problem, last)
    assert len(trail.pairs) == 1
    assert torch.equal(trail.pairs.steps[0], (found.point - last.point).reshape(-1))
    assert torch.equal(trail.pairs.last[0], (found.gradient - last.gradient).reshape(-1))


def way_down(problem):
    """A trail with a way on, which led to the end."""
    trail = Trail(arrives=True)
    at = problem.evaluate(somewhere(problem, 2) * 0.1)
    trail.remember(problem.ridge, at)
    trail.remember(problem.ridge, problem.evaluate(at.point - 0.05 * at.gradient))
    return trail


def test_the_way_on_is_carried_on_in_one_pass_to_the_best_bias():
    problem = objective(0.5)
    trail = way_down(problem)
    last = trail.last(problem)
    passes = problem.tally.passes
    found = trail.carried_on(problem, last)
    assert problem.tally.passes == passes + 1
    truth = problem.evaluate(found.point)
    assert abs(found.value - truth.value) < 1e-13
    torch.testing.assert_close(found.gradient, truth.gradient, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(found.state, truth.state, rtol=1e-12, atol=1e-13)
    assert float(found.gradient[:, -1].abs().max()) < 1e-15
    assert found.value < last.value


def test_it_is_not_carried_on_where_the_last_way_did_not_arrive_or_for_ever():
    problem = objective(0.5)
    trail = way_down(problem)
    last = trail.last(problem)
    trail.arrives = False
    assert trail.carried_on(problem, last) is None
    trail.arrives, trail.carried = True, CARRIED
    assert trail.carried_on(problem, last) is None
    trail.continued(problem, last)  # with it, products are made anew
    assert trail.carried_on(problem, last) is not None


def test_nor_where_logits_are_not_kept(monkeypatch):
    problem = objective(0.5)
    trail = way_down(problem)
    last = trail.last(problem)
    monkeypatch.setattr(module, "LOGITS_BYTES", 0)
    assert trail.carried_on(problem, last) is None
    monkeypatch.undo()
    trail.way = trail.way[0], None
    monkeypatch.setattr(problem.design, "keeps_logits", False)
    assert trail.carried_on(problem, last) is None


def test_a_way_that_leads_up_is_not_taken():
    problem, trail = objective(0.5), Trail()
    at = problem.evaluate(somewhere(problem, 3))
    trail.remember(problem.ridge, at)
    trail.remember(problem.ridge, problem.evaluate(at.point + 0.1 * at.gradient))
    last = trail.last(problem)
    assert trail.continued(problem, last).point is last.point
