from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import problem, random_point

from polylogit.design import design_of
from polylogit.optim import own_rows as module
from polylogit.optim.own_rows import OwnRowsPreconditioner, has_own_rows, own_rows
from polylogit.optim.preconditioner import MISFIT, ClassPreconditioner
from polylogit.optim.settings import Settings
from polylogit.optim.solve import solve
from polylogit.optim.targets import Labels

K, N_OWN, WIDTH = 4, 3, 6


def model():
    """A preconditioner from nothing but random numbers, and every M_k of it, written out."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(K, N_OWN, WIDTH, generator=draw)
    shares = torch.rand(K, N_OWN, generator=draw, dtype=torch.float64) * 5
    shares[1, 2] = 0.0  # a class with fewer rows
    half = torch.randn(WIDTH, WIDTH, generator=draw, dtype=torch.float64)
    gram = half @ half.T + torch.eye(WIDTH, dtype=torch.float64)
    diagonals = gram.diagonal() * (1 + torch.rand(K, WIDTH, generator=draw, dtype=torch.float64))
    made = OwnRowsPreconditioner(gram, diagonals, rows, shares)
    root = (diagonals / gram.diagonal()).sqrt()
    uneven = (root / root.median(1, keepdim=True).values - 1).square().mean(0)
    lifted = gram + torch.diag(MISFIT * uneven * gram.diagonal())
    exact = rows.double()
    own = torch.einsum("kna,kn,knb->kab", exact, shares, exact)
    return made, root[:, :, None] * lifted * root[:, None, :] + own


def expected(blocks, gradient):
    """u_k = M_k^-1 (g_k - l) with sum_k u_k = 0, by one dense system in u and l."""
    whole = torch.block_diag(*blocks)
    ties = torch.eye(WIDTH, dtype=torch.float64).repeat(K, 1)
    corner = torch.zeros(WIDTH, WIDTH, dtype=torch.float64)
    system = torch.cat([torch.cat([whole, ties], 1), torch.cat([ties.T, corner], 1)])
    right = torch.cat([gradient.flatten(), torch.zeros(WIDTH, dtype=torch.float64)])
    return torch.linalg.solve(system, right)[: K * WIDTH].view(K, WIDTH)


def gradients(count):
    g = torch.randn(
        count, K, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(9)
    )
    return g - g.mean(1, keepdim=True)


@pytest.mark.parametrize("part_bytes", [1, 2**26])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_the_inverse_of_the_blocks_where_steps_sum_to_zero(dtype, part_bytes, monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", part_bytes)
    precondition, blocks = model()
    both = gradients(2)
    found = precondition(both.to(dtype))
    assert found.dtype == dtype
    for g, u in zip(both, found, strict=True):
        torch.testing.assert_close(u.double(), expected(blocks, g), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(precondition(both[0].to(dtype)), found[0], rtol=1e-5, atol=1e-6)


def test_its_curvature_is_that_of_the_blocks():
    precondition, blocks = model()
    direction = gradients(1)[0]
    found = precondition.curvature(direction)
    torch.testing.assert_close(
        found, torch.einsum("kab,kb->ka", blocks, direction), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("bordered", [False, True])
@pytest.mark.parametrize("most", [2, 32])
def test_the_rows_of_every_class_are_found(bordered, most, monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", most)
    rng = np.random.default_rng(0)
    X, codes = rng.normal(size=(900, 3)), torch.from_numpy(rng.integers(300, size=900))
    design = design_of(X)
    own = own_rows(design, codes, 300, bordered, torch.float64)
    Z = torch.cat([block.dense() for block in design.blocks(torch.float64)])
    values = torch.arange(1.0, 901.0)
    for k in range(300):
        mine = (codes == k).nonzero().squeeze(1)[:most]
        torch.testing.assert_close(own.features[k, : len(mine), :3], Z[mine])
        assert bool((own.features[k, : len(mine), 3:] == 1).all())
        assert not own.features[k, len(mine) :].any()
        assert own.picked(values)[k].tolist()[: len(mine)] == values[mine].tolist()
        assert not own.picked(values)[k, len(mine) :].any()
    assert own.features.shape[2] == 3 + bordered
    assert int(own.is_among(900).sum()) == int((own.numbers < 900).sum())


@pytest.mark.parametrize("most", [20, 100])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_diagonal_of_the_model_is_that_of_the_hessian(most, smoothing, monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", most)
    p = problem()
    objective = replace(p.objective, fast=torch.float64)
    objective = replace(objective, targets=Labels(objective.targets.codes, 3, smoothing))
    at = objective.evaluate(random_point(p))
    made = objective.preconditioner(at)
    assert isinstance(made, OwnRowsPreconditioner)
    own = torch.einsum("kna,kn->ka", made.rows.square(), made.shares)
    truth = objective.curvature(at).diagonal()
    torch.testing.assert_close(made.diagonals + own, truth, rtol=1e-10, atol=0)
    assert objective.preconditioner(at).rows is made.rows  # copied once


def test_it_is_for_few_rows_a_class_that_are_told_apart(monkeypatch):
    p = problem()
    at = p.objective.evaluate(random_point(p))
    assert isinstance(p.objective.preconditioner(at), OwnRowsPreconditioner)
    start = p.objective.evaluate(p.objective.start())
    assert type(p.objective.preconditioner(start)) is ClassPreconditioner
    other = problem("distributions")
    at_other = other.objective.evaluate(random_point(other))
    assert type(other.objective.preconditioner(at_other)) is ClassPreconditioner
    assert has_own_rows(p.objective.design, 3)
    assert not has_own_rows(problem(rows="stored").objective.design, 3)
    monkeypatch.setattr(module, "OWN_BYTES", 60 * 5 * 4 - 1)
    assert not has_own_rows(p.objective.design, 3)
    monkeypatch.undo()
    monkeypatch.setattr(module, "MOST_ROWS", 19)
    assert not has_own_rows(p.objective.design, 3)


def test_with_few_rows_a_class_it_saves_steps(monkeypatch):
    rng, y = np.random.default_rng(0), np.arange(2000) % 200
    X = rng.normal(size=(200, 40))[y] / 2 + rng.normal(size=(2000, 40))

    def steps():
        found = solve(
            design_of(X),
            Labels(torch.from_numpy(y), 200),
            torch.ones(2000, dtype=torch.float64),
            n_classes=200,
            alpha=1 / 2000,
            settings=Settings(solver="lbfgs"),
        )
        assert found.certified
        return found.statistics.iterations

    with_them = steps()
    monkeypatch.setattr(module, "MOST_ROWS", 0)
    assert with_them < 0.8 * steps()
