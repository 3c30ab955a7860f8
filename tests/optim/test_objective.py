"""Value, gradient, Hessian and lines equal autograd on the user's own, unscaled features."""

import itertools
from dataclasses import replace

import pytest
import torch
from oracle import KINDS, ROWS, problem, random_point, value

from polylogit import design as design_module
from polylogit.optim import bias as bias_module
from polylogit.optim import logits as logits_module
from polylogit.optim import objective as objective_module
from polylogit.optim import own_rows as own_rows_module
from polylogit.optim.bias import BiasCurvature
from polylogit.optim.logits import parts
from polylogit.optim.penalty import ElasticNet
from polylogit.optim.preconditioner import ClassPreconditioner

CASES = [
    {"kind": kind, "intercept": intercept, "contrasts": contrasts, "rows": rows}
    for kind, intercept, contrasts, rows in itertools.product(
        KINDS, (True, False), (True, False), ROWS
    )
]


@pytest.fixture(params=CASES, ids=lambda case: "-".join(map(str, case.values())))
def p(request):
    return problem(**request.param)


@pytest.fixture(params=["one block", "many blocks", "row by row", "no logits kept"])
def blocks(request, monkeypatch):
    if request.param == "row by row":
        monkeypatch.setattr(logits_module, "FEW_CLASSES", 0)
    if request.param == "no logits kept":
        monkeypatch.setattr(objective_module, "LOGITS_BYTES", 0)
    if request.param != "one block":
        monkeypatch.setattr(design_module, "BLOCK_BYTES", 1)
        monkeypatch.setattr(design_module, "SPARSE_BLOCK", 1)
        monkeypatch.setattr(design_module, "SMALLEST_BLOCK", 7)
        monkeypatch.setattr(logits_module, "CHUNK_ELEMENTS", 10)
        monkeypatch.setattr(objective_module, "PRODUCT_BYTES", 1)


def test_value_and_gradient(p, blocks):
    point = random_point(p).requires_grad_()
    truth = value(p, point)
    (gradient,) = torch.autograd.grad(truth, point)
    ours = p.objective.evaluate(point.detach())
    assert ours.value == pytest.approx(truth.item(), rel=1e-13)
    torch.testing.assert_close(ours.gradient, gradient, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", ROWS)
def test_rows_that_weigh_the_same(kind, rows, blocks):
    p = problem(kind, rows=rows, alike=True)
    test_value_and_gradient(p, blocks)
    test_a_line_is_the_objective_along_it(p, blocks)


def test_where_no_feature_is_seen_yet(p, blocks):
    point = p.objective.start().requires_grad_()
    (gradient,) = torch.autograd.grad(value(p, point), point)
    ours = p.objective.evaluate(point.detach())
    assert ours.value == pytest.approx(value(p, point).item(), rel=1e-13)
    torch.testing.assert_close(ours.gradient, gradient, rtol=1e-11, atol=1e-13)
    if p.objective.keeps_logits:
        assert ours.state.stride(0) == 0  # one row of logits, repeated


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


@pytest.mark.parametrize("few", [2, 4])
def test_hessian_product_and_matrix(p, blocks, few, monkeypatch):
    monkeypatch.setattr(objective_module, "FEW_PAIRED", few)  # columns by pairs, or a matrix each
    point = random_point(p)
    truth = torch.autograd.functional.hessian(lambda v: value(p, v), point)
    size = point.numel()
    at = p.objective.evaluate(point)
    curvature = p.objective.curvature(at)
    direction = random_point(p, seed=5)
    expected = (truth.reshape(size, size) @ direction.reshape(-1)).reshape(point.shape)
    torch.testing.assert_close(curvature.product(direction), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        curvature.matrix(), truth.reshape(size, size), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("k", [3, 4])
@pytest.mark.parametrize("rows", ROWS)
def test_a_part_of_the_hessian(rows, blocks, k):
    p = problem(k=k, rows=rows)
    curvature = p.objective.curvature(p.objective.evaluate(random_point(p)))
    whole, size = curvature.matrix(), k * 5
    torch.testing.assert_close(curvature.diagonal().flatten(), whole.diagonal())
    for seed in range(4):
        order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
        entries = order[: 3 + 4 * seed].sort().values
        part = whole[entries[:, None], entries]
        torch.testing.assert_close(curvature.part(entries), part, rtol=1e-11, atol=1e-13)


def test_a_part_is_cheap_while_it_is_small():
    p = problem(k=3)
    curvature = p.objective.curvature(p.objective.evaluate(random_point(p)))
    assert [curvature.part_is_cheap(count) for count in (1, 2000, 2001)] == [True, True, False]


def test_an_elastic_net_shows_its_kinks_in_the_value_alone(p):
    if p.objective.basis is not None:
        p = replace(p, objective=replace(p.objective, basis=None))
    ridge, point = p.objective.ridge, random_point(p)
    lasso = torch.linspace(0.1, 0.4, 4, dtype=torch.float64) * ridge.strength.mean()
    objective = replace(p.objective, ridge=ElasticNet(lasso, ridge.strength))
    plain, kinked = p.objective.evaluate(point), objective.evaluate(point)
    weight, _ = objective.split(point)
    cost = float((weight.abs() @ lasso).sum())
    assert kinked.value == pytest.approx(plain.value + cost, rel=1e-14)
    assert torch.equal(kinked.gradient, plain.gradient)
    expected = torch.zeros_like(point)
    expected[:, :4] = lasso
    assert torch.equal(objective.thresholds(), expected)
    assert not p.objective.thresholds().any()
    columns = torch.tensor([0, 2, *[4] * objective.intercept])
    moved = point + 3.0
    moved[:, columns] = objective.centred(moved[:, columns], columns)
    moved[:, [1, 3]] = objective.centred(moved[:, [1, 3]], torch.tensor([1, 3]))
    torch.testing.assert_close(moved, objective.join(*objective.split(point + 3.0)))
    centred = objective.evaluate(moved)
    assert centred.value <= kinked.value + 1e-14
    torch.testing.assert_close(
        probabilities(centred), probabilities(kinked), rtol=1e-10, atol=1e-13
    )


def probabilities(at):
    return torch.cat([torch.softmax(logits, 1) for _, logits in parts(at.state)])


def test_a_line_is_the_objective_along_it(p, blocks):
    point, direction = random_point(p), random_point(p, seed=7)
    line = p.objective.line(p.objective.evaluate(point), direction)
    t = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    truth = value(p, point + t * direction)
    (slope,) = torch.autograd.grad(truth, t, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, t)
    assert line.slope(0.7) == pytest.approx(slope.item(), rel=1e-10, abs=1e-13)
    if p.objective.keeps_logits:
        assert line.curvature(0.7) == pytest.approx(curvature.item(), rel=1e-10, abs=1e-13)
    there, weights = line.evaluate(0.7), slice(0, p.objective.design.n_features)
    on_line = (point + 0.7 * direction)[:, weights]
    torch.testing.assert_close(there.point[:, weights], on_line, rtol=0, atol=0)
    again = p.objective.evaluate(there.point)
    assert there.value == pytest.approx(again.value, rel=1e-13)
    torch.testing.assert_close(there.gradient, again.gradient, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(probabilities(there), probabilities(again), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("rows", ROWS)
def test_on_a_line_the_bias_follows_the_weights(rows, blocks, intercept, dtype):
    p = problem(intercept=intercept, rows=rows)
    objective = replace(p.objective, dtype=dtype, bias_curvature=BiasCurvature())
    start = replace(p.objective, dtype=dtype).balanced(random_point(p))
    direction = 0.1 * random_point(p, seed=7)
    line, point = objective.line(start, direction), start.point
    passes = objective.tally.passes
    there, on_line = line.evaluate(0.7), point + 0.7 * direction
    assert objective.tally.passes == passes + 1
    if not (intercept and objective.keeps_logits):  # where it would cost passes it does not
        torch.testing.assert_close(there.point, on_line, rtol=0, atol=0)
        return
    torch.testing.assert_close(there.point[:, :-1], on_line[:, :-1], rtol=0, atol=0)
    without = p.objective.evaluate(on_line)
    assert there.value < without.value
    assert there.value == pytest.approx(p.objective.balanced(on_line).value, rel=1e-6)
    left, before = (at.gradient[:, -1].abs().max() for at in (there, without))
    assert float(left) <= 1e-3 * float(before)


def test_the_bias_does_not_follow_where_classes_are_many(monkeypatch):
    monkeypatch.setattr(objective_module, "FEW_BESIDE", 2)
    p = problem()
    point, direction = random_point(p), random_point(p, seed=7)
    assert p.objective.n_classes > max(2, p.objective.design.n_features // 2)
    there = p.objective.line(p.objective.evaluate(point), direction).evaluate(0.7)
    torch.testing.assert_close(there.point, point + 0.7 * direction, rtol=0, atol=0)


@pytest.mark.parametrize("many", [2, 2048], ids=["a Hessian at times", "a Hessian a step"])
@pytest.mark.parametrize("rows", ROWS)
def test_the_best_bias_balances_every_class(rows, many, monkeypatch):
    monkeypatch.setattr(bias_module, "MANY_CLASSES", many)
    p = problem(rows=rows)
    at = p.objective.evaluate(random_point(p))
    best = p.objective.with_best_bias(at)
    _, left = p.objective.split_gradient(best.gradient)
    assert float(left.abs().max()) < 1e-15
    assert best.value < at.value
    torch.testing.assert_close(best.point[:, :-1], at.point[:, :-1], rtol=0, atol=0)


@pytest.mark.parametrize("intercept", [True, False])
def test_balanced_is_the_evaluation_at_the_best_bias(intercept):
    p = problem(intercept=intercept, contrasts=True)
    point = random_point(p)
    best = p.objective.with_best_bias(p.objective.evaluate(point))
    p.objective.tally.passes = 0
    balanced = p.objective.balanced(point)
    assert p.objective.tally.passes == 2  # one product for the logits, one for the gradient
    assert balanced.value == pytest.approx(best.value, rel=1e-14)
    torch.testing.assert_close(balanced.point, best.point, rtol=0, atol=1e-14)
    torch.testing.assert_close(balanced.gradient, best.gradient, rtol=1e-11, atol=1e-14)


def test_the_start_is_the_best_model_that_sees_no_feature():
    p = problem()
    at = p.objective.evaluate(p.objective.start())
    _, bias = p.objective.split_gradient(at.gradient)
    assert float(bias.abs().max()) < 1e-15


def test_the_two_sums_of_two_shards_are_the_sum():
    """`reduce` is all that sharding needs: it is handed one flat partial sum per loop."""
    p = problem()
    point = random_point(p)
    whole = p.objective.evaluate(point)
    seen = []
    spied = replace(p.objective, reduce=lambda partial: seen.append(partial.clone()) or partial)
    assert spied.evaluate(point).value == whole.value
    doubled = replace(p.objective, reduce=lambda partial: 2 * partial).evaluate(point)
    penalty = p.objective.ridge.value(p.objective.split(point)[0])
    assert doubled.value - penalty == pytest.approx(2 * (whole.value - penalty), rel=1e-13)
    assert len(seen) == 1


def test_passes_are_counted():
    p = problem()
    at = p.objective.evaluate(p.objective.start())
    assert p.objective.tally.passes == 1
    p.objective.curvature(at).product(at.point)
    assert p.objective.tally.passes == 2


def test_where_no_logits_are_kept_a_trial_costs_a_pass_and_the_step_none():
    p = problem(rows="stored")
    at = p.objective.evaluate(p.objective.start())
    line = p.objective.line(at, random_point(p, seed=2))
    line.slope(1.0)
    assert p.objective.tally.passes == 2
    line.evaluate(1.0)
    assert p.objective.tally.passes == 2
    line.evaluate(0.5)
    assert p.objective.tally.passes == 3


def test_where_no_logits_are_kept_the_curvature_is_that_between_the_last_two_trials():
    p = problem(rows="stored")
    line = p.objective.line(p.objective.evaluate(random_point(p)), random_point(p, seed=7))
    slopes = [float((line.evaluate(t).gradient * line.direction).sum()) for t in (0.0, 0.7, 0.4)]
    for t, between in ((0.7, (slopes[1] - slopes[0]) / 0.7), (0.4, (slopes[2] - slopes[1]) / -0.3)):
        for _ in range(2):  # asked again, the answer is the same
            assert line.curvature(t) == pytest.approx(between, rel=1e-9)


def test_logits_are_kept_up_to_their_bound_and_never_of_stored_rows(monkeypatch):
    dense, stored = problem().objective, problem(rows="stored").objective
    assert dense.keeps_logits
    assert not stored.keeps_logits
    monkeypatch.setattr(objective_module, "LOGITS_BYTES", 60 * 3 * 8)
    assert dense.keeps_logits
    monkeypatch.setattr(objective_module, "LOGITS_BYTES", 60 * 3 * 8 - 1)
    assert not dense.keeps_logits
    assert isinstance(dense.evaluate(dense.start()).state, logits_module.RecomputedLogits)


def test_float32_products_steer_close_to_float64():
    p = problem()
    at = p.objective.evaluate(random_point(p))
    direction = random_point(p, seed=3)
    fast = replace(p.objective, fast=torch.float32).curvature(at).product(direction)
    torch.testing.assert_close(
        fast, p.objective.curvature(at).product(direction), rtol=1e-4, atol=1e-5
    )


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
