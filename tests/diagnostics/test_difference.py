"""The difference estimator is right on average, and says by how much it is not."""

import math

import numpy as np
import pytest
import torch

from polylogit.diagnostics.difference import Sample, chances, draw, total

SIZES = torch.tensor([0.01, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 40.0] * 5).double()


def test_chances_are_proportional_to_sizes_and_sum_to_the_count():
    chance = chances(torch.tensor([1.0, 2.0, 3.0, 4.0]).double(), 2, least=0.1)
    np.testing.assert_allclose(chance, [0.2, 0.4, 0.6, 0.8])
    chance = chances(torch.tensor([1.0, 1.0, 2.0, 100.0]).double(), 2, least=0.1)
    assert float(chance[3]) == 1.0
    assert float(chance.sum()) == pytest.approx(2)
    np.testing.assert_allclose(chance[2] / chance[1], 1.0)  # both at the least
    several = chances(SIZES, 12, least=0.1)
    assert float(several.sum()) == pytest.approx(12)
    assert float(several.max()) == 1.0
    assert float(several.min()) > 0


def test_no_size_counts_for_more_than_is_allowed():
    chance = chances(SIZES, 8, least=0.1, most=2.0)
    assert float(chance.max()) == 2 * 8 / 40 < float(chances(SIZES, 8, least=0.1).max())
    assert float(chance.sum()) == pytest.approx(8)
    sample = draw(SIZES, 8, 0, least=0.1, most=2.0)
    np.testing.assert_array_equal(sample.chance, chance[sample.chosen])


def test_sizes_of_nothing_are_all_alike():
    np.testing.assert_allclose(chances(torch.zeros(5).double(), 2, least=0.1), 0.4)


def test_the_chance_to_be_drawn_is_what_it_says():
    chance, seen, times = chances(SIZES, 12, least=0.1), torch.zeros(40), 1500
    for seed in range(times):
        sample = draw(SIZES, 12, seed, least=0.1)
        assert len(sample.chosen.unique()) == 12
        np.testing.assert_array_equal(sample.chance, chance[sample.chosen])
        seen[sample.chosen] += 1
    error = (chance * (1 - chance) / times).sqrt()
    np.testing.assert_array_less((seen / times - chance).abs(), 5 * error + 0.01)


def test_the_same_seed_draws_the_same_and_neighbouring_sizes_mostly_the_same():
    first, again = draw(SIZES, 12, 3, least=0.1), draw(SIZES, 12, 3, least=0.1)
    assert first.chosen.tolist() == again.chosen.tolist() == sorted(first.chosen.tolist())
    near, other = (
        draw(SIZES * torch.linspace(1, 1.1, 40).double(), 12, 3, least=0.1),
        draw(SIZES, 12, 4, least=0.1),
    )
    shared = [len({*first.chosen.tolist()} & {*one.chosen.tolist()}) for one in (near, other)]
    assert shared[0] >= 11 > shared[1]


def test_sums_are_right_on_average_and_their_error_is_their_spread():
    values = SIZES * torch.from_numpy(np.random.default_rng(0).normal(1, 0.5, 40))
    found = []
    for seed in range(1000):
        sample = draw(SIZES, 12, seed, least=0.1)
        found.append(total(sample, values[sample.chosen]))
    sums, errors = np.array(found).T
    assert sums.mean() == pytest.approx(float(values.sum()), abs=4 * sums.std() / math.sqrt(1000))
    assert np.sqrt((errors**2).mean()) == pytest.approx(sums.std(), rel=0.15)
    assert (np.abs(sums - float(values.sum())) < 3 * errors).mean() > 0.95


def test_equal_chances_have_the_error_of_a_simple_random_sample():
    values = torch.from_numpy(np.random.default_rng(1).normal(size=10))
    sample = Sample(torch.arange(10), torch.full((10,), 0.25).double())
    found, error = total(sample, values)
    assert found == pytest.approx(40 * float(values.mean()))
    assert error == pytest.approx(40 * math.sqrt(0.75 / 10) * np.std(values.numpy(), ddof=1))
    sure = torch.cat([sample.chance, torch.ones(5).double()])
    more = torch.cat([values, torch.full((5,), 7.0).double()])
    told = total(Sample(torch.arange(15), sure), more)
    assert told == (pytest.approx(found + 35), pytest.approx(error))  # the sure add no error
    sure[9:] = torch.tensor([0.5, 1, 1, 1, 1, 1])
    assert total(Sample(torch.arange(6), sure[9:]), more[9:])[1] == math.inf  # one has no spread


def test_all_of_them_are_certain_and_one_of_many_says_nothing():
    values = torch.tensor([1.0, 2.0, 4.0]).double()
    everyone = draw(values, 3, 0, least=0.1)
    assert everyone.chosen.tolist() == [0, 1, 2]
    assert total(everyone, values) == (7.0, 0.0)
    assert total(Sample.of_all(torch.tensor([2])), values[2:]) == (4.0, 0.0)
    alone = draw(values, 1, 0, least=0.1)
    assert total(alone, values[alone.chosen])[1] == math.inf
    assert total(draw(values, 0, 0, least=0.1), values[:0]) == (0.0, 0.0)
