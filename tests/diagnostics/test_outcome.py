"""Rows are judged by their share, and a sample of refits stands for all."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from left_out import data, prepared

from polylogit.diagnostics.difference import Sample
from polylogit.diagnostics.outcome import Jury, standard_error, weighted_mean
from polylogit.diagnostics.units import units_of


def jury(groups=None, weights=None):
    X, codes = data()
    codes[5] = 3
    ready = prepared(X, codes, weights)
    return Jury.of(ready, units_of(ready, groups)), codes


def test_the_share_is_the_weight_of_those_that_can_leave():
    weights = np.linspace(2, 3, 30)
    weights[5] = 1.0  # not two copies
    judges, _ = jury(weights=weights)
    assert judges.absent.nonzero().tolist() == [[5]]
    expected = np.where(np.arange(30) == 5, 0, weights)
    np.testing.assert_allclose(judges.share, expected / expected.sum())


def test_losses_rises_and_flags():
    judges, codes = jury(groups=np.repeat(list("abcdefghijklmno"), 2))
    whole, left = torch.zeros(30, 4).double(), torch.zeros(30, 4).double()
    left[torch.arange(30), torch.from_numpy(codes)] = torch.linspace(-1, 1, 30).double()
    before, losses, aims = judges.losses(whole), judges.losses(left), torch.from_numpy(codes)
    truth = torch.nn.functional.cross_entropy(left, aims, reduction="none")
    np.testing.assert_allclose(losses, truth)
    np.testing.assert_allclose(replace(judges, truth=3 * judges.truth).losses(left), 3 * truth)
    change = ((losses - math.log(4)) * judges.share).view(15, 2).sum(1)
    np.testing.assert_allclose(judges.rises(before, losses), change.clamp_min(0), atol=1e-15)
    influence = torch.zeros(15).double()
    influence[[2, 14]] = 1.0  # rows 4 and 5 leave together, and 5 is the last of its class
    grown = (losses - math.log(4) > 0.1).view(15, 2).any(1)
    assert grown.tolist() == [True] * 7 + [False] * 8
    expected = [0, 1, 3, 4, 5, 6, 14]
    assert torch.nonzero(judges.flagged(before, losses, influence))[:, 0].tolist() == expected


def test_rows_are_judged_by_their_own_probabilities():
    X, _ = data()
    soft = np.random.default_rng(0).dirichlet(np.ones(3), size=30)
    ready = prepared(X, soft)
    logits = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)).double()
    found = Jury.of(ready, units_of(ready, None)).losses(logits)
    truth = torch.nn.functional.cross_entropy(logits, torch.from_numpy(soft), reduction="none")
    np.testing.assert_allclose(found, truth)


def test_rows_without_share_may_be_unknown():
    judges, _ = jury()
    whole, left = torch.zeros(30, 4).double(), torch.ones(30, 4).double() * torch.arange(4)
    told = left.clone()
    told[5] = math.nan  # the last of its class, which could not leave
    values = judges.losses(left)
    unknown, units = torch.where(judges.share > 0, values, math.nan), torch.arange(30)
    assert weighted_mean(unknown, judges.share) == weighted_mean(values, judges.share)
    before, found = judges.losses(whole), judges.losses(told)
    np.testing.assert_array_equal(judges.rises(before, found), judges.rises(before, values))
    kept = judges.share > 0
    assert standard_error(unknown, judges.share, units) == pytest.approx(
        np.std(values[kept].numpy(), ddof=1) / math.sqrt(29)
    )


def test_a_verdict_puts_the_guess_right_by_the_sample():
    judges, _ = jury()
    guess = torch.full((30,), math.log(4)).double()
    exact = guess.clone()
    exact[[3, 7]] += (rise := 0.25)
    sample = Sample(torch.tensor([3, 7]), torch.tensor([0.5, 1.0]).double())
    loss, error = judges.verdict(guess, exact, sample)
    assert loss == pytest.approx(math.log(4) + rise * (2 + 1) / 29)
    assert error == math.inf  # one of them stands for others, and one says nothing of spread
    assert judges.verdict(guess, exact, Sample.of_all(torch.tensor([3, 7]))) == (
        pytest.approx(math.log(4) + rise * 2 / 29),
        0.0,
    )


def test_the_standard_error_counts_groups_as_one():
    values, share = torch.arange(6.0).double(), torch.full((6,), 1 / 6).double()
    pairs = standard_error(values, share, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert pairs == pytest.approx(np.std([0.5, 2.5, 4.5], ddof=1) / math.sqrt(3))
    assert standard_error(values, share, torch.zeros(6).long()) == math.inf
