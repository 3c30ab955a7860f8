"""The Hessian, its products and its parts equal autograd's."""

from dataclasses import replace

import pytest
import torch
from oracle import ROWS, problem, random_point, value

from polylogit.optim import curvature as curvature_module


@pytest.mark.parametrize("few", [2, 4])
def test_hessian_product_and_matrix(p, blocks, few, monkeypatch):
    monkeypatch.setattr(curvature_module, "FEW_PAIRED", few)  # columns by pairs, or a matrix each
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


def test_float32_products_steer_close_to_float64():
    p = problem()
    at = p.objective.evaluate(random_point(p))
    direction = random_point(p, seed=3)
    fast = replace(p.objective, fast=torch.float32).curvature(at).product(direction)
    torch.testing.assert_close(
        fast, p.objective.curvature(at).product(direction), rtol=1e-4, atol=1e-5
    )
