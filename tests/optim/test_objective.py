"""What stands in for the Hessian: the mean curvature of the rows, and every class's diagonal."""

from dataclasses import replace

import pytest
import torch
from oracle import ROWS, problem, random_point

from polylogit.optim import logits as logits_module
from polylogit.optim import objective as objective_module
from polylogit.optim import own_rows as own_rows_module
from polylogit.optim.preconditioner import ClassPreconditioner, EvenPreconditioner, Kept


@pytest.mark.parametrize("rows", ["dense", "sparse"])
@pytest.mark.parametrize("widest", [1, 4096])
def test_the_preconditioner_where_no_feature_is_seen_yet(rows, widest, monkeypatch):
    monkeypatch.setattr(objective_module, "WIDEST_GRAM", widest)
    p = problem(rows=rows)
    at = p.objective.evaluate(p.objective.start())
    written = replace(at, state=at.state.clone())
    assert written.state.stride(0) > 0
    one, other = p.objective.preconditioner(at), p.objective.preconditioner(written)
    for part in ("gram", "diagonals") if widest > 1 else ("diagonal",):
        torch.testing.assert_close(getattr(one, part), getattr(other, part), rtol=1e-13, atol=0)


@pytest.mark.parametrize("better", [True, False])
def test_which_model_is_the_better_is_found_out_once_for_sums_that_are_kept(better, monkeypatch):
    asked, choice = [], objective_module.SoftmaxObjective._better

    def counted(self, at, made, even):
        asked.append(choice(self, at, made, even))
        return even if better else made

    monkeypatch.setattr(objective_module.SoftmaxObjective, "_better", counted)
    p = problem()
    kept = Kept()
    objective = replace(p.objective, kept=kept)
    at = objective.evaluate(random_point(p))
    kinds = [type(objective.preconditioner(at)) for _ in range(3)]
    assert kinds == 3 * [EvenPreconditioner if better else ClassPreconditioner]
    assert len(asked) == 1
    kept.total = 100 * kept.total  # out of date
    objective.preconditioner(at)
    assert len(asked) == 2


def test_where_one_ratio_says_as_much_no_other_model_is_tried(monkeypatch):
    p = problem(alpha=1e-6)
    at = p.objective.evaluate(p.objective.start())
    monkeypatch.setattr(objective_module.SoftmaxObjective, "_better", None)
    assert isinstance(p.objective.preconditioner(at), EvenPreconditioner)


def test_passes_are_counted():
    p = problem()
    at = p.objective.evaluate(p.objective.start())
    assert p.objective.tally.passes == 1
    p.objective.curvature(at).product(at.point)
    assert p.objective.tally.passes == 2


def mean_curvature(p, at):
    """X~' diag(w) X~ plus the ridge, from all rows at once."""
    X = torch.cat([b.dense() for b in p.objective.design.blocks(torch.float64)])
    X = torch.cat([X, torch.ones(len(X), 1, dtype=torch.float64)], 1)
    P = torch.cat([torch.softmax(z, 1) for _, z in logits_module.parts(at.state)])
    w = p.objective.weights * (1 - P.square().sum(1)) / 2
    return X.T @ (w[:, None] * X) + torch.diag(p.objective.ridge_columns())


@pytest.mark.parametrize("rows", ROWS)
def test_the_preconditioner_has_the_mean_curvature_and_the_diagonal_of_every_class(
    rows, monkeypatch
):
    monkeypatch.setattr(own_rows_module, "MOST_ROWS", 0)  # all rows of a class alike
    p = problem(rows=rows)
    at = p.objective.evaluate(random_point(p))
    found = p.objective.preconditioner(at)
    assert isinstance(found, ClassPreconditioner)
    torch.testing.assert_close(found.gram, mean_curvature(p, at), rtol=1e-12, atol=1e-14)
    full = p.objective.curvature(at).matrix().diagonal().reshape(3, -1)
    torch.testing.assert_close(found.diagonals, full, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rows", ROWS)
def test_where_classes_are_not_told_apart_it_is_the_inverse_of_the_mean_curvature(rows):
    p = problem(contrasts=True, rows=rows)
    at = p.objective.evaluate(random_point(p))
    R = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = R @ torch.linalg.inv(mean_curvature(p, at))
    torch.testing.assert_close(p.objective.preconditioner(at)(R), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("contrasts", [True, False])
@pytest.mark.parametrize("rows", ROWS)
def test_wide_designs_are_preconditioned_by_their_diagonal(monkeypatch, contrasts, rows):
    p = problem(contrasts=contrasts, rows=rows)
    at = p.objective.evaluate(random_point(p))
    full = p.objective.curvature(at).matrix().diagonal().reshape(at.point.shape)
    monkeypatch.setattr(objective_module, "WIDEST_GRAM", 1)
    diagonal = p.objective.preconditioner(at).diagonal
    if contrasts:  # the diagonal in the coordinates of the classes, carried over
        basis = p.objective.basis
        everything = replace(p.objective, basis=None)
        full = everything.curvature(at).matrix().diagonal().reshape(3, -1)
        ridge = p.objective.ridge_columns()
        full = basis.square().T @ (full - ridge) + ridge
    torch.testing.assert_close(diagonal, full, rtol=1e-12, atol=0)


def test_an_evaluation_of_another_problem_is_refused():
    p = problem()
    at = replace(p.objective.evaluate(p.objective.start()), state=None)
    with pytest.raises(TypeError, match="another problem"):
        p.objective.curvature(at)
