"""What L-BFGS remembers, against the recursion pair by pair."""

import pytest
import torch

from polylogit.optim.pairs import Pairs

SIZE = 3, 4


def steps_and_changes(count, dtype=torch.float64, seed=0):
    """Steps on a quadratic of which every number is curved, and how its gradient changes."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    hessian = root @ root.T + torch.eye(12)
    steps = torch.randn(count, *SIZE, generator=generator, dtype=torch.float64)
    changes = (steps.reshape(count, -1) @ hessian).view_as(steps)
    return list(steps.to(dtype)), list(changes.to(dtype))


def filled(count, most, dtype=torch.float64, seed=0):
    pairs, known = Pairs(most), list(zip(*steps_and_changes(count, dtype, seed), strict=True))
    for step, change in known:
        pairs.add(step, change)
    return pairs, known[-most:]


def pair_by_pair(known, gradient, first):
    """Algorithm 7.4 of Nocedal & Wright as it stands there."""
    rest, shares = gradient.clone(), []
    for step, change in reversed(known):
        shares.append(float((step * rest).sum() / (step * change).sum()))
        rest -= shares[-1] * change
    result = first(rest)
    for (step, change), share in zip(known, reversed(shares), strict=True):
        result += (share - float((change * result).sum() / (step * change).sum())) * step
    return result


def scaled(vector):
    """Some first inverse that is no multiple of the identity."""
    return vector * torch.linspace(0.5, 2.0, SIZE[1], dtype=vector.dtype)


@pytest.mark.parametrize("count", [1, 4, 5, 6, 9, 10, 13])
def test_all_at_once_is_what_the_recursion_makes_pair_by_pair(count):
    pairs, known = filled(count, most=5)
    gradient = torch.randn(SIZE, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    before = gradient.clone()
    truth = pair_by_pair(known, gradient, scaled)
    torch.testing.assert_close(pairs.times_inverse(gradient, scaled), truth, rtol=1e-9, atol=1e-9)
    assert torch.equal(gradient, before)
    assert len(pairs) == len(known)


def test_the_last_step_is_what_its_change_leads_back_to():
    pairs, known = filled(8, most=5)
    step, change = known[-1]
    torch.testing.assert_close(pairs.times_inverse(change, scaled), step, rtol=1e-9, atol=1e-9)
    last, product = pairs.last
    assert torch.equal(last, change.reshape(-1))
    assert product == pytest.approx(float((step * change).sum()))


@pytest.mark.parametrize("count", [3, 7])
def test_pairs_follow_a_change_of_the_penalty_exactly(count):
    pairs, known = filled(count, most=5)
    extra = torch.linspace(0.5, 3.0, SIZE[1], dtype=torch.float64)
    pairs.repenalise(extra)
    changed = [(step, change + extra * step) for step, change in known]
    gradient = torch.ones(SIZE, dtype=torch.float64)
    truth = pair_by_pair(changed, gradient, scaled)
    torch.testing.assert_close(pairs.times_inverse(gradient, scaled), truth, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [4, 7])
def test_pairs_that_lose_their_curvature_go(count):
    pairs, known = filled(count, most=5)
    least = sorted(float((s * c).sum() / (s * s).sum()) for s, c in known)
    lost = torch.full(SIZE[1:], -0.5 * (least[1] + least[2]), dtype=torch.float64)
    pairs.repenalise(lost)
    kept = [(s, c + lost * s) for s, c in known if float((s * (c + lost * s)).sum()) > 0]
    assert len(pairs) == len(kept) == len(known) - 2
    gradient = torch.ones(SIZE, dtype=torch.float64)
    truth = pair_by_pair(kept, gradient, scaled)
    torch.testing.assert_close(pairs.times_inverse(gradient, scaled), truth, rtol=1e-9, atol=1e-9)
    step, change = steps_and_changes(1, seed=3)
    pairs.add(step[0], change[0])
    truth = pair_by_pair([*kept, (step[0], change[0])], gradient, scaled)
    torch.testing.assert_close(pairs.times_inverse(gradient, scaled), truth, rtol=1e-9, atol=1e-9)


def test_a_step_along_which_nothing_curves_upwards_is_not_remembered():
    pairs, known = filled(5, most=5)
    step, _ = known[0]
    pairs.add(step, -step)
    pairs.add(step, torch.zeros(SIZE, dtype=torch.float64))
    gradient = torch.ones(SIZE, dtype=torch.float64)
    truth = pair_by_pair(known, gradient, scaled)
    torch.testing.assert_close(pairs.times_inverse(gradient, scaled), truth, rtol=1e-9, atol=1e-9)


def test_without_any_the_first_inverse_is_all_there_is():
    pairs, gradient = Pairs(5), torch.ones(SIZE, dtype=torch.float64)
    pairs.repenalise(torch.ones(SIZE[1], dtype=torch.float64))
    pairs.recast(torch.float32)
    assert torch.equal(pairs.times_inverse(gradient, scaled), scaled(gradient))
    assert len(pairs) == 0


@pytest.mark.parametrize(
    ("one", "other"), [(torch.float32, torch.float64), (torch.float64, torch.float32)]
)
def test_they_go_on_in_another_precision(one, other):
    pairs, known = filled(7, most=5, dtype=one)
    pairs.recast(other)
    assert {pairs.steps.dtype, pairs.changes.dtype} == {other}
    gradient = torch.ones(SIZE, dtype=other)
    exactly = [(step.double(), change.double()) for step, change in known]
    truth = pair_by_pair(exactly, gradient.double(), scaled)
    found = pairs.times_inverse(gradient, scaled)
    assert found.dtype == other
    torch.testing.assert_close(found.double(), truth, rtol=1e-4, atol=1e-4)
    step, change = steps_and_changes(1, one, seed=3)
    pairs.add(step[0], change[0])  # in the precision that is here
    assert pairs.last[0].dtype == other
