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


def test_the_seed_deals_the_rows_out():
    classes = np.arange(100) % 3
    first, again, other = (folds_of_rows(classes, 5, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    mass = np.random.default_rng(0).uniform(size=(40, 3))
    first, again = (folds_of_groups(np.round(mass), 5, seed) for seed in (0, 0))
    np.testing.assert_array_equal(first, again)
    assert (first != folds_of_groups(np.round(mass), 5, 3)).any()


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
