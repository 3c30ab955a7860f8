"""Folds keep every class in every training set, as even as scikit-learn's."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from polylogit.diagnostics.folds import folds_of_groups, folds_of_rows


@pytest.mark.parametrize("n_folds", [2, 3, 5, 10])
@pytest.mark.parametrize("seed", range(3))
def test_rows_are_dealt_out_as_evenly_as_scikit_learn_does(n_folds, seed):
    rng = np.random.default_rng(seed)
    classes = rng.choice(4, p=[0.6, 0.25, 0.1, 0.05], size=237)
    ours = folds_of_rows(classes, n_folds, seed)
    theirs = np.empty(237, dtype=int)
    for fold, (_, held) in enumerate(StratifiedKFold(n_folds).split(classes, classes)):
        theirs[held] = fold
    counts = [np.histogram2d(folds, classes, (n_folds, 4))[0] for folds in (ours, theirs)]
    assert (np.ptp(counts[0], 0) <= 1).all()
    assert (np.ptp(counts[0], 0) <= np.ptp(counts[1], 0)).all()
    assert np.ptp(np.bincount(ours)) <= 1


def test_small_classes_stay_in_every_training_set_and_single_rows_always_do():
    classes = np.r_[np.zeros(20), np.ones(2), [2, 3, 3, 3]].astype(int)
    folds = folds_of_rows(classes, 5)
    assert folds[22] == -1
    assert (folds[classes != 2] >= 0).all()
    for fold in range(5):
        assert set(classes[folds != fold]) == {0, 1, 2, 3}


@pytest.mark.parametrize("seed", range(5))
def test_a_row_alone_in_its_class_is_in_no_fold_wherever_it_stands(seed):
    classes = np.random.default_rng(seed).permutation(np.r_[np.arange(60) % 3, 3, 4])
    folds = folds_of_rows(classes, 5, seed)
    np.testing.assert_array_equal(folds == -1, classes > 2)
    assert np.bincount(folds[folds >= 0]).tolist() == [12] * 5


def test_the_seed_deals_the_rows_out():
    classes = np.arange(100) % 3
    first, again, other = (folds_of_rows(classes, 5, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    mass = np.random.default_rng(0).uniform(size=(40, 3))
    first, again = (folds_of_groups(np.round(mass), 5, seed) for seed in (0, 0))
    np.testing.assert_array_equal(first, again)
    assert (first != folds_of_groups(np.round(mass), 5, 3)).any()
    np.testing.assert_array_equal(first, folds_of_groups(np.round(mass), 5))


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_all_sizes_leave_every_class_and_even_folds(seed):
    rng = np.random.default_rng(seed)
    mass = rng.multinomial(8, [0.5, 0.3, 0.15, 0.05], size=60) * rng.integers(1, 4, size=(60, 1))
    folds = folds_of_groups(mass.astype(float), 5, seed)
    assert set(folds) == {0, 1, 2, 3, 4}
    share = np.array([mass[folds == fold].sum(0) for fold in range(5)]) / mass.sum(0)
    assert (share < 1).all()
    np.testing.assert_allclose(share[:, 0], 0.2, atol=0.06)
    np.testing.assert_allclose(share[:, 3], 0.2, atol=0.15)


def test_a_group_with_all_of_a_class_is_never_held_out_and_two_are_held_apart():
    mass = np.array([[4, 0, 9.0], [3, 0, 0], [3, 2, 0], [2, 1, 0], [5, 0, 0]])
    for n_folds in (2, 3):
        folds = folds_of_groups(mass, n_folds)
        assert folds[0] == -1
        assert folds[2] != folds[3]
        assert (folds[1:] >= 0).all()
    assert folds_of_groups(np.eye(3), 2).tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("mass", "held"),
    [
        ([[1], [1], [1], [1], [4]], [[4], [4]]),  # the largest first
        ([[7, 0], [3, 0], *[[0, 1]] * 4], [[3, 2], [7, 2]]),  # each class evenly, not the rows
        ([[4, 0], [3, 0], *[[0, 1]] * 3], [[3, 2], [4, 1]]),  # an odd one to the emptier fold
        ([[1, 0], [1, 0], [2, 0]], [[2, 0], [2, 0]]),  # a class that nobody has
    ],
)
def test_folds_of_few_groups_are_as_even_as_can_be(mass, held):
    mass = np.array(mass, dtype=float)
    for seed in range(4):
        folds = folds_of_groups(mass, 2, seed)
        assert sorted(mass[folds == fold].sum(0).tolist() for fold in (0, 1)) == held


@pytest.mark.parametrize("n_folds", [2, 3])
def test_no_fold_ever_holds_all_of_a_class(n_folds):
    rng = np.random.default_rng(0)
    for seed in range(400):
        mass = rng.uniform(size=(rng.integers(2, 7), 3)) * (rng.uniform(size=3) < 0.6)
        mass *= rng.uniform(size=mass.shape) < 0.6
        folds = folds_of_groups(mass, n_folds, seed)
        for fold in range(n_folds):
            assert ((mass[folds != fold] > 0).any(0) | (mass == 0).all(0)).all()


def test_shares_that_sum_to_one_but_for_rounding_are_all_of_a_class():
    mass = np.array([[0.4, 0.0], [0.0, 0.7], [0.1, 0.4]])
    folds = folds_of_groups(mass, 2)
    assert sorted(folds.tolist()) == [-1, 0, 1]
    assert folds[2] == -1
