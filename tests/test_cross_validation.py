"""Cross-validation is our own fits without each fold, judged by that fold."""

import json

import numpy as np
import pytest
import scipy.sparse
from left_out import data, log_losses, logits_of
from sklearn.model_selection import GroupKFold

import polylogit
from polylogit.choice import choose_C, grid
from polylogit.cross_validation import cross_validate
from polylogit.data.arrays import from_arrays
from polylogit.errors import OptionError
from polylogit.stored import Spill
from polylogit.training import prepare

CS = (0.01, 0.1, 1.0, 10.0)


def rows(weights=None, **options):
    X, codes = data(n=40, **options)
    return X, codes, from_arrays(X, codes, sample_weight=weights)


def expected(X, codes, folds, C, weights=None):
    """Logits (N, K) by scikit-learn's fits without each fold."""
    weights, logits = np.ones(len(X)) if weights is None else weights, np.empty((len(X), 3))
    for fold in np.unique(folds[folds >= 0]):
        held = np.flatnonzero(folds == fold)
        logits[held] = logits_of(X, codes, C, np.where(folds == fold, 0, weights), held)
    return logits


@pytest.mark.parametrize("weighted", [False, True])
def test_every_line_is_scikit_learns_fits_without_each_fold(weighted):
    weights = np.random.default_rng(0).uniform(0.5, 2, 40) if weighted else None
    X, codes, dataset = rows(weights)
    found = cross_validate(dataset, CS, folds=4)
    assert polylogit.cross_validate is cross_validate
    assert sorted(np.bincount(found.folds)) == [10, 10, 10, 10]
    share = np.full(40, 1 / 40) if weights is None else weights / weights.sum()
    losses = []
    for line in found.table:
        logits = expected(X, codes, found.folds, line.C, weights)
        losses.append(log_losses(logits, codes))
        assert line.loss == pytest.approx(share @ losses[-1], rel=2e-3)
        assert line.accuracy == pytest.approx(share @ (logits.argmax(1) == codes), abs=1e-9)
        spread = np.sqrt((share**2 * (losses[-1] - share @ losses[-1]) ** 2).sum() * 40 / 39)
        assert line.standard_error == pytest.approx(spread, rel=1e-2)
        assert line.alpha == pytest.approx(prepare(dataset).alpha(line.C))
    lowest = int(np.argmin([share @ each for each in losses]))
    assert found.C == CS[lowest] == found.table[lowest].C
    for line, each in zip(found.table, losses, strict=True):
        difference = each - losses[lowest]
        assert line.rise == pytest.approx(share @ difference, abs=2e-3)
        spread = np.sqrt((share**2 * (difference - share @ difference) ** 2).sum() * 40 / 39)
        assert line.rise_error == pytest.approx(spread, rel=5e-2, abs=1e-6)
    ours = found.logits - found.logits.mean(1, keepdim=True)
    logits = expected(X, codes, found.folds, found.C, weights)
    np.testing.assert_allclose(ours, logits, rtol=2e-2, atol=2e-2)
    assert found.note == "the lowest loss of rows held out, of 4 values"


def test_train_losses_are_of_the_rows_that_were_fitted():
    X, codes, dataset = rows()
    found = cross_validate(dataset, (1.0,), folds=4)
    per_fold = []
    for fold in range(4):
        kept = np.flatnonzero(found.folds != fold)
        logits = logits_of(X, codes, 1.0, (found.folds != fold).astype(float), kept)
        per_fold.append(log_losses(logits, codes[kept]).mean())
    assert found.table[0].train_loss == pytest.approx(np.mean(per_fold), rel=1e-4)


def test_train_losses_are_by_the_weights_and_offsets_of_the_rows():
    weights = np.random.default_rng(0).uniform(0.5, 2, 40)
    X, codes, _ = rows()
    codes[[5, 6]], weights[[5, 6]] = 3, 1.0  # one is the last where the other is held out
    dataset = from_arrays(X, codes, sample_weight=weights)
    moved = np.random.default_rng(1).normal(size=(40, 4))
    found = cross_validate(dataset, (1.0,), folds=4, offset=moved)
    per_fold = []
    for fold in range(4):
        kept = found.folds != fold
        part = from_arrays(X[kept], codes[kept], sample_weight=weights[kept])
        model = polylogit.fit(part, C=1.0, offset=moved[kept]).model
        losses = log_losses(model.logits(X[kept]).numpy() + moved[kept], codes[kept])
        per_fold.append(np.average(losses, weights=weights[kept]))
    assert found.table[0].train_loss == pytest.approx(np.mean(per_fold), rel=1e-4)


def test_with_as_many_folds_as_rows_it_is_leave_one_out():
    _, _, dataset = rows()
    folded, left = cross_validate(dataset, CS, folds=40), choose_C(dataset, CS)
    assert folded.C == left.C
    for ours, theirs in zip(folded.table, left.table, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=5e-3)


def test_groups_are_held_out_whole_as_in_scikit_learn():
    X, codes, dataset = rows()
    groups = np.random.default_rng(1).integers(11, size=40)
    found = cross_validate(dataset, (1.0,), folds=4, groups=groups)
    theirs = [set(groups[held]) for _, held in GroupKFold(4).split(X, codes, groups)]
    ours = [set(groups[found.folds == fold]) for fold in range(4)]
    for folds in (ours, theirs):
        assert sum(map(len, folds)) == len(set(groups)) == len(set().union(*folds))
    for fold in range(4):
        assert set(codes[found.folds != fold]) == {0, 1, 2}
    logits = expected(X, codes, found.folds, 1.0)
    losses = log_losses(logits, codes)
    assert found.table[0].loss == pytest.approx(losses.mean(), rel=1e-3)
    present, of = np.unique(groups, return_inverse=True)
    sums = np.bincount(of, losses - losses.mean()) / 40
    spread = np.sqrt((sums**2).sum() * len(present) / (len(present) - 1))
    assert found.table[0].standard_error == pytest.approx(spread, rel=1e-2)


def test_a_fold_that_nothing_is_left_for_is_no_fold():
    X, codes, _ = rows()
    groups = np.repeat([0, 1, 2], [10, 15, 15])
    codes[:10], codes[10:] = 2, np.arange(30) % 2  # nobody else is of the class of group 0
    found = cross_validate(from_arrays(X, codes), (1.0,), folds=3, groups=groups)
    assert sorted(set(found.folds.tolist())) == [-1, 0, 1]
    train = [
        -polylogit.fit(from_arrays(X[kept], codes[kept]), C=1.0)
        .model.log_probabilities(X[kept]).numpy()[np.arange(25), codes[kept]].mean()
        for kept in (found.folds != 0, found.folds != 1)
    ]  # fmt: skip
    assert found.table[0].train_loss == pytest.approx(np.mean(train), rel=1e-4)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_class_of_one_row_is_never_held_out_and_told(grouped):
    X, codes, _ = rows()
    codes[5] = 3
    dataset = from_arrays(X, codes)
    found = cross_validate(dataset, (1.0,), folds=4, groups=np.arange(40) if grouped else None)
    assert found.excluded == (5,)
    assert found.folds[5] == -1
    assert bool(found.logits[5].isnan().all())
    assert found.note.endswith("; 1 row without which a class has none could not be held out")
    seen = np.delete(np.arange(40), 5)
    losses = log_losses(found.logits.numpy()[seen], codes[seen])
    assert found.table[0].loss == pytest.approx(losses.mean())


def test_the_path_is_that_of_leave_one_out_and_ends_past_the_lowest():
    _, _, dataset = rows()
    found = cross_validate(dataset)
    assert tuple(line.C for line in found.table) == grid(prepare(dataset))[: len(found.table)]
    losses = [line.loss for line in found.table]
    assert min(losses[-3:]) > min(losses[:-3])
    assert min(losses[-4:-1]) <= min(losses[:-4])
    assert not found.stopped
    for size in (1.0, 10**0.1):  # at one of them half of the rows would begin elsewhere
        scaled = from_arrays(rows()[0] * size, rows()[1])
        begin = cross_validate(scaled, folds=2).table[0].C
        assert begin == grid(prepare(scaled))[0]
    given = tuple(10.0**power for power in range(-2, 6))
    assert tuple(line.C for line in cross_validate(dataset, given).table) == given
    end = cross_validate(dataset, (0.01, 0.1))
    assert end.note.endswith("of 2 values, at the end of the path")


def test_options_offsets_and_sparse_rows_go_with_the_fold():
    X, codes, dataset = rows()
    sparse = cross_validate(from_arrays(scipy.sparse.csr_array(X), codes), CS)
    plain = cross_validate(dataset, CS)
    assert [line.loss for line in sparse.table] == pytest.approx(
        [line.loss for line in plain.table], rel=1e-4
    )
    moved = np.random.default_rng(0).normal(size=(40, 3))
    found = cross_validate(dataset, (1.0,), folds=4, offset=moved)
    held = np.flatnonzero(found.folds == 2)
    kept = np.flatnonzero(found.folds != 2)
    part = prepare(from_arrays(X[kept], codes[kept]), offset=moved[kept]).fit(1.0)
    np.testing.assert_allclose(
        found.logits[held], part.model.logits(X[held]).numpy() + moved[held], atol=1e-3
    )
    aims = 0.8 * np.eye(3)[codes] + 0.2 / 3
    soft = cross_validate(from_arrays(X, aims), (1.0,))
    assert sorted(set(soft.folds)) == [0, 1, 2, 3, 4]
    right = aims[np.arange(40), soft.logits.argmax(1)].mean()
    assert soft.table[0].accuracy == pytest.approx(right)
    kinked = cross_validate(dataset, (1.0,), l1_ratio=1.0)
    assert kinked.table[0].loss != plain.table[2].loss


def test_rows_of_no_weight_are_in_no_mean_and_keep_no_class():
    X, codes, _ = rows()
    codes[[5, 6]] = 3
    weights = np.ones(40)
    weights[6] = 0
    found = cross_validate(from_arrays(X, codes, sample_weight=weights), (1.0,))
    assert found.excluded == (5,)


def test_the_seed_deals_out_and_nothing_else_is_left_to_chance():
    _, _, dataset = rows()
    for groups in (None, np.arange(40) // 2):
        first, again, other = (
            cross_validate(dataset, (1.0,), groups=groups, seed=seed) for seed in (0, 0, 1)
        )
        assert first.table == again.table != other.table


def test_groups_are_dealt_out_by_weight():
    X, codes, _ = rows()
    groups, weights = np.repeat(np.arange(4), 10), np.repeat([3.0, 1.0, 1.0, 1.0], 10)
    codes = np.arange(40) % 2
    found = cross_validate(
        from_arrays(X, codes, sample_weight=weights), (1.0,), folds=2, groups=groups
    )
    assert sorted(np.bincount(found.folds, weights)) == [30, 30]


def test_ctrl_c_ends_the_path_with_what_there_is():
    _, _, dataset = rows()
    seen = []

    def press(now):
        seen.append(now.iteration)
        if seen.count(0) == 12:
            raise KeyboardInterrupt

    found = cross_validate(dataset, CS, folds=5, progress=press)
    assert [line.C for line in found.table] == [0.01, 0.1]
    assert found.stopped
    assert found.note.endswith("stopped by hand before the end of the path")

    def at_once(now):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cross_validate(dataset, CS, progress=at_once)


@pytest.mark.parametrize("folds", [1, 41, 2.0, True, "5"])
def test_folds_that_cannot_be(folds):
    with pytest.raises(OptionError, match="folds must be a whole number from 2 to 40, not"):
        cross_validate(rows()[2], folds=folds)


def test_what_cannot_work_is_said():
    X, codes, dataset = rows()
    for seed in (-1, 2**63, True, 1.0):
        with pytest.raises(OptionError, match=f"seed must be a whole number from 0 to {2**63 - 1}"):
            cross_validate(dataset, seed=seed)
    with pytest.raises(OptionError, match="every group is the last of its class"):
        cross_validate(dataset, folds=2, groups=codes)
    with pytest.raises(OptionError, match="one label for each of the 40 rows"):
        cross_validate(dataset, groups=[1, 2])
    spill = Spill("test")
    spill.append(X)
    object.__setattr__(dataset, "features", spill.rows(2, X.dtype))
    with pytest.raises(OptionError, match="needs the rows in memory"):
        cross_validate(dataset)


def test_the_table_is_plain_json():
    line = cross_validate(rows()[2], (1.0,)).table[0]
    text = json.loads(json.dumps(line.to_json(), allow_nan=False))
    assert text["C"] == 1.0
    assert set(text) == {
        "C",
        "alpha",
        "train_loss",
        "loss",
        "standard_error",
        "accuracy",
        "rise",
        "rise_error",
    }
