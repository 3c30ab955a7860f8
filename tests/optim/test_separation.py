import numpy as np
import pytest
import scipy.optimize
import torch
from sklearn.datasets import load_iris, load_wine

from polylogit.design import design_of
from polylogit.optim import separation
from polylogit.optim.separation import is_separable, separates, undetermined


def asked(X, y, intercept=True):
    design = design_of(np.asarray(X, dtype=float), centred=intercept)
    return is_separable(design, torch.tensor(np.asarray(y)), int(max(y)) + 1, intercept)


def test_known_tables():
    assert asked(*load_iris(return_X_y=True)) is True  # setosa stands apart
    assert asked(*load_wine(return_X_y=True)) is True
    X, _ = load_iris(return_X_y=True)
    y = np.random.default_rng(0).integers(3, size=150)
    assert asked(X, y) is False


def test_quasi_separation_by_one_shared_value():
    X = [[0.0], [1.0], [2.0], [2.0], [3.0], [4.0]]
    assert asked(X, [0, 0, 0, 1, 1, 1]) is True
    assert asked(X, [0, 0, 1, 0, 1, 1]) is True
    assert asked(X, [0, 1, 0, 1, 0, 1]) is False


def test_without_an_intercept_only_directions_through_the_origin_count():
    X, y = [[1.0], [2.0], [3.0], [4.0]], [0, 0, 1, 1]
    assert asked(X, y) is True
    assert asked(X, y, intercept=False) is False


def test_witness():
    logits = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 1.0]])
    assert separates(logits, torch.tensor([0, 1]))
    assert not separates(logits, torch.tensor([0, 2]))
    assert not separates(torch.zeros(1, 2), torch.tensor([0]))  # a tie separates nothing


def test_a_question_too_large_is_left_open(monkeypatch):
    monkeypatch.setattr(separation, "LARGEST_PROGRAM", 10)
    assert asked(*load_iris(return_X_y=True)) is None


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_unit_of_a_column_does_not_matter(scale):
    X, y = load_iris(return_X_y=True)
    assert asked(X * scale, y) is True


def open_directions(X, y):
    rows = np.column_stack([np.ones(len(y)), np.asarray(X, dtype=float)])
    return undetermined(rows, np.asarray(y), int(max(y)) + 1)


def test_what_the_likelihood_leaves_open():
    X, y = load_iris(return_X_y=True)
    basis = open_directions((X - X.mean(0)) / X.std(0), y)
    setosa, others = basis[:, 0] - basis[:, 1], basis[:, 2] - basis[:, 1]
    assert len(basis) == 5 + 5  # shifts of all classes, and setosa against the rest
    assert np.abs(setosa).max(0).min() > 1e-3
    assert np.abs(others).max() < 1e-9


def test_where_the_classes_overlap_only_shifts_are_open():
    basis = open_directions([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])
    assert len(basis) == 2
    np.testing.assert_allclose(basis[:, 0], basis[:, 1], atol=1e-12)


def test_directions_that_separate_in_turn_are_all_found():
    # x0 separates the last row; x1 the first; neither the rows between
    X = [[0, 1], [0, 0], [0, 0], [1, 0]]
    assert len(open_directions(X, [0, 0, 1, 1])) == 3 + 2


def test_an_open_question_that_is_too_large(monkeypatch):
    monkeypatch.setattr(separation, "LARGEST_PROGRAM", 10)
    assert open_directions([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]) is None


def can_be_positive(margins, at):
    """Whether margin `at` can be positive while none is negative, by a program of its own."""
    answer = scipy.optimize.linprog(
        -margins[at], A_ub=-margins, b_ub=np.zeros(len(margins)), bounds=(-1, 1)
    )
    return -answer.fun > 1e-6


@pytest.mark.parametrize("seed", range(12))
def test_each_margin_has_the_answer_of_a_program_of_its_own(seed):
    """Small whole numbers: classes that touch, and directions that separate in turn."""
    rng = np.random.default_rng(seed)
    rows = np.column_stack([np.ones(12), rng.integers(0, 3, size=(12, 3))]).astype(float)
    codes = np.where(rows[:, 1] == 2, 2, rng.integers(0, 2, size=12))
    margins = separation._margin_rows(rows, codes, 3)
    dense = margins.toarray()
    expected = [can_be_positive(dense, at) for at in range(len(dense))]
    assert separation._can_be_positive(margins).tolist() == expected
