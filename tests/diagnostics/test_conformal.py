"""Sets: the promised coverage over random splits, MAPIE's sets, and what too few rows give."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta

from polylogit.diagnostics.conformal import Scoring, conformal, rank, rows_needed
from polylogit.errors import InputError, OptionError, TargetError

MAPIE = json.loads((Path(__file__).parents[1] / "files" / "mapie-1.6.0-lac.json").read_text())


def pool(n_rows=900, n_classes=5, seed=0):
    """Over-confident probabilities, so that nothing but the rank can make the coverage right."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n_rows, n_classes)) * 2
    true = np.exp(z / 2) / np.exp(z / 2).sum(1, keepdims=True)
    codes = (true.cumsum(1)[:, :-1] < rng.uniform(size=(n_rows, 1))).sum(1)
    return np.exp(z) / np.exp(z).sum(1, keepdims=True), codes, rng.uniform(size=n_rows)


def coverages(method, n_rows, level, by_class=False, randomised=True, splits=300):
    p, codes, u = pool()
    rng, found = np.random.default_rng(1), []
    for _ in range(splits):
        order = rng.permutation(len(p))
        first, rest = order[:n_rows], order[n_rows:]
        draws = [u[rows] if randomised else None for rows in (first, rest)]
        made = conformal(
            p[first],
            codes[first],
            level,
            scoring=Scoring(method),
            u=draws[0],
            by_class=by_class,
        )
        inside = made.sets(p[rest], draws[1], never_empty=False)
        found.append(inside[np.arange(len(rest)), codes[rest]].mean())
    return np.array(found)


@pytest.mark.parametrize("method", ["lac", "aps", "raps"])
@pytest.mark.parametrize(("n_rows", "level"), [(30, 0.9), (200, 0.8)])
def test_the_mean_coverage_of_300_splits_is_the_rank_over_n_plus_1(method, n_rows, level):
    found = coverages(method, n_rows, level)
    error = found.std(ddof=1) / math.sqrt(len(found))
    assert abs(found.mean() - math.ceil((n_rows + 1) * level) / (n_rows + 1)) < 3 * error


@pytest.mark.parametrize(("method", "by_class"), [("aps", False), ("lac", True), ("raps", True)])
def test_without_randomness_and_by_class_the_coverage_is_at_least_that(method, by_class):
    found = coverages(method, 200, 0.9, by_class, randomised=False, splits=60)
    assert found.mean() > 0.9


@pytest.mark.parametrize("level", sorted(MAPIE["lac"]))
def test_lac_sets_are_mapies(level):
    p, codes = np.array(MAPIE["calibration"]), np.array(MAPIE["codes"])
    made = conformal(p, codes, float(level))
    inside = made.sets(np.array(MAPIE["rows"]), never_empty=False)
    assert inside.astype(int).tolist() == MAPIE["lac"][level]


def test_by_class_every_class_is_covered():
    p, codes, _ = pool(6000)
    plain = conformal(p[:3000], codes[:3000], 0.8)
    made = conformal(p[:3000], codes[:3000], 0.8, by_class=True)
    for k in range(5):
        rows = np.flatnonzero(codes[3000:] == k) + 3000
        assert abs(made.sets(p[rows], never_empty=False)[:, k].mean() - 0.8) < 0.06
        assert made.n_rows[k] == (codes[:3000] == k).sum()
    assert plain.threshold.shape == (1,)


def test_too_few_rows_give_the_full_set():
    p, codes, _ = pool(18)
    made = conformal(p, codes, 0.95)
    assert made.full.all()
    assert made.sets(p).all()
    assert made.interval().tolist() == [[1.0, 1.0]]
    assert made.to_json()["threshold"] == [None]
    p, codes, _ = pool(19)
    enough = conformal(p, codes, 0.95)
    assert not enough.full.any()
    assert enough.rank.tolist() == [19]
    assert enough.threshold[0] == (1 - p[np.arange(19), codes]).max()


def test_a_class_without_rows_is_in_every_set():
    p, codes, _ = pool(300)
    made = conformal(p[codes != 2], codes[codes != 2], 0.9, by_class=True)
    assert made.full.tolist() == [False, False, True, False, False]
    assert made.sets(p)[:, 2].all()


def test_the_interval_is_the_beta_law():
    p, codes, _ = pool(500)
    made = conformal(p, codes, 0.9)
    np.testing.assert_allclose(made.interval(0.9)[0], beta(451, 50).ppf([0.05, 0.95]), rtol=1e-10)
    assert json.loads(json.dumps(made.to_json(), allow_nan=False))["n_rows"] == [500]


@pytest.mark.parametrize("n_rows", [9, 19, 99, 199, 999])
@pytest.mark.parametrize("percent", [7, 10, 55, 80, 90, 95, 99])
def test_the_rank_is_exact(n_rows, percent):
    assert rank(n_rows, percent / 100) == max(1, -(-(n_rows + 1) * percent // 100))


@pytest.mark.parametrize("coverage", [1e-12, 0.07, 1 / 3, 0.5, 0.9, 0.995, 0.9999, 0.99999])
def test_the_rows_needed_are_the_fewest_whose_rank_is_among_them(coverage):
    least = rows_needed(coverage)
    assert 1 <= rank(least, coverage) <= least
    assert rank(least - 1, coverage) > least - 1
    assert conformal(*pool(20)[:2], coverage).to_json()["rows_needed"] == least


def test_a_row_on_the_threshold_is_inside_however_its_probabilities_are_rounded():
    p, codes, _ = pool(100)
    made = conformal(p, codes, 0.9)
    last = int(np.argsort(1 - p[np.arange(100), codes])[made.rank[0] - 1])
    again = p[last : last + 1].copy()
    again[0, codes[last]] -= 4e-16  # as another block of rows may give it
    assert made.sets(again, never_empty=False)[0, codes[last]]


def test_the_scores_by_hand():
    p, u = np.array([[0.2, 0.5, 0.3]]), np.array([0.5])
    np.testing.assert_allclose(Scoring("lac").scores(p), [[0.8, 0.5, 0.7]])
    np.testing.assert_allclose(Scoring("aps").scores(p, u), [[0.9, 0.25, 0.65]])
    np.testing.assert_allclose(Scoring("raps", 0.1, 1).scores(p, u), [[1.1, 0.25, 0.75]])
    np.testing.assert_allclose(Scoring("raps").scores(p, u), [[1.0, 0.25, 0.65]])


def test_what_the_sets_say_of_themselves():
    p, codes, _ = pool(50)
    plain, other = conformal(p, codes), conformal(p, codes, 0.8, by_class=True, approximate=True)
    said = [made.to_json() for made in (plain, other)]
    names = ("coverage", "by_class", "approximate")
    assert [[one[name] for name in names] for one in said] == [
        [0.9, False, False],
        [0.8, True, True],
    ]


def test_a_set_is_never_empty_unless_it_may_be():
    made = conformal(np.array([[0.99, 0.01]] * 9), np.zeros(9, dtype=int), 0.8)
    unsure = np.array([[0.45, 0.55]])
    assert made.sets(unsure).tolist() == [[False, True]]
    assert made.sets(unsure, never_empty=False).tolist() == [[False, False]]


def test_u_belongs_to_both_or_neither():
    p, codes, u = pool(50)
    with pytest.raises(OptionError, match="made with it"):
        conformal(p, codes, 0.9, scoring=Scoring("aps"), u=u).sets(p)
    with pytest.raises(OptionError, match="made without it"):
        conformal(p, codes, 0.9, scoring=Scoring("aps")).sets(p, u)
    for wrong in (u + 1, u - 1, u[1:], u[:1]):
        with pytest.raises(InputError, match=r"u must be \(50,\) numbers from 0 to 1"):
            conformal(p, codes, 0.9, scoring=Scoring("aps"), u=wrong)


@pytest.mark.parametrize("coverage", [0, 1, 90, float("nan"), "0.9"])
def test_coverage_is_a_share(coverage):
    with pytest.raises(OptionError, match="coverage must lie between 0 and 1"):
        conformal(*pool(50)[:2], coverage)


def test_what_is_no_data_is_refused():
    p, codes, _ = pool(50)
    with pytest.raises(InputError, match="sums to"):
        conformal(2 * p, codes)
    with pytest.raises(TargetError, match="target 5"):
        conformal(p, codes * 0 + 5)
    with pytest.raises(InputError, match=r"need codes \(50,\), not \(49,\)"):
        conformal(p, codes[1:])
    with pytest.raises(InputError, match=r"shape \(N, 5\)"):
        conformal(p, codes).sets(p[:, :4])
    with pytest.raises(OptionError, match="did you mean 'aps'"):
        Scoring("ap")
    with pytest.raises(OptionError, match="must be at least 0"):
        Scoring("raps", -1.0)
    with pytest.raises(OptionError, match="must be at least 0"):
        Scoring("raps", free_ranks=-1)
