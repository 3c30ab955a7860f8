import itertools

import pytest
import torch

from polylogit.optim.penalty import ElasticNet, Ridge, shrink

NETS = {
    "lasso": ElasticNet(torch.tensor([0.5, 1e-6, 3.0, 1.0]).double(), torch.zeros(4).double()),
    "both": ElasticNet(
        torch.tensor([0.5, 1e-6, 3.0, 1.0]).double(), torch.tensor([1.0, 1e-3, 0.1, 1e3]).double()
    ),
    "mixed": ElasticNet(
        torch.tensor([0.5, 0.0, 3.0, 1.0]).double(), torch.tensor([0.0, 2.0, 0.1, 0.0]).double()
    ),
}


@pytest.fixture(params=NETS.values(), ids=NETS.keys())
def net(request):
    return request.param


def drawn(seed, k=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(k, 4, dtype=torch.float64, generator=generator).round(decimals=1)


def test_gradient_and_conjugate_are_those_of_the_value():
    generator = torch.Generator().manual_seed(0)
    V = torch.randn(3, 4, dtype=torch.float64, generator=generator).requires_grad_()
    strength = torch.tensor([0.5, 1e-6, 3.0, 1e6], dtype=torch.float64)
    ridge = Ridge(strength)
    value = 0.5 * (V.square() * strength).sum()
    (gradient,) = torch.autograd.grad(value, V)
    V = V.detach()
    assert abs(ridge.value(V) - value.item()) <= 1e-12 * value.item()
    torch.testing.assert_close(ridge.gradient(V), gradient)
    # Fenchel-Young: R(V) + R*(G) >= <V, G>, with equality at the gradient
    G = torch.randn(3, 4, dtype=torch.float64, generator=generator)
    assert ridge.value(V) + ridge.conjugate(G) >= float((V * G).sum())
    equal = ridge.value(V) + ridge.conjugate(gradient)
    assert abs(equal - float((V * gradient).sum())) <= 1e-12 * equal


def test_a_column_without_penalty_makes_any_gradient_infinite():
    ridge = Ridge(torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert ridge.conjugate(torch.tensor([[1.0, 1e-30]], dtype=torch.float64)) == float("inf")
    assert ridge.conjugate(torch.tensor([[1.0, 0.0]], dtype=torch.float64)) == 0.5


def test_the_prox_is_the_lowest_point(net):
    V, step = drawn(0), 0.3
    nearest = net.prox(V, step)

    def cost(U):
        return 0.5 * float((U - V).square().sum()) + step * net.value(U)

    for seed, size in itertools.product(range(5), (1e-6, 1e-3, 1.0)):
        assert cost(nearest) <= cost(nearest + size * drawn(seed)) + 1e-15
    assert torch.equal(shrink(V, step * net.lasso) == 0, V.abs() <= step * net.lasso)


def test_the_gradient_is_that_of_the_squares(net):
    V = drawn(1).requires_grad_()
    (gradient,) = torch.autograd.grad(0.5 * (V.square() @ net.strength).sum(), V)
    torch.testing.assert_close(net.gradient(V.detach()), gradient)


def test_fenchel_young_with_equality_at_a_subgradient(net):
    V = drawn(2)
    V[0] = 0.0
    subgradient = net.lasso * torch.where(V == 0, 0.7, V.sign()) + net.strength * V
    pairing = float((V * subgradient).sum())
    assert net.value(V) + net.conjugate(subgradient) == pytest.approx(pairing, rel=1e-12)
    assert net.left(V, -subgradient) == pytest.approx(0, abs=1e-12 * pairing)
    for seed in range(3, 9):
        U, G = drawn(seed), drawn(seed + 50)
        expected = net.value(U) + net.conjugate(-G) + float((U * G).sum())
        assert expected >= 0
        assert net.left(U, G) == pytest.approx(expected, rel=1e-12)


def test_beyond_a_kink_that_nothing_curves_the_conjugate_is_infinite():
    net = NETS["lasso"]
    assert net.conjugate(net.lasso.expand(3, 4)) == 0
    assert net.conjugate(1.001 * net.lasso.expand(3, 4)) == float("inf")


def test_feasible_is_the_largest_scale_into_the_box(net):
    G, flat = drawn(3), net.strength == 0
    theta = net.feasible(G, flat)
    assert (theta * G.abs() <= net.lasso)[:, flat].all()
    if flat.any():
        assert not (1.001 * theta * G.abs() <= net.lasso)[:, flat].all()
    assert net.feasible(torch.zeros(3, 4).double(), flat) == 1.0


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_the_common_shift_costs_least(net, k):
    for seed in range(20):
        V = drawn(seed, k)
        here = net.value(net.centred(V))
        shift = V - net.centred(V)
        assert float((shift - shift[0]).abs().max()) < 1e-14
        for c in torch.cat([V, V.mean(0)[None], drawn(seed + 99), (V - shift + 1e-5)]):
            assert here <= net.value(V - c) + 1e-12 * (1 + here)


def test_zeros_stay_where_zero_is_a_median():
    V = torch.tensor([[0.0, 2.0, -1.0], [0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [1.0, -4.0, 1.0]])
    lasso = ElasticNet(torch.ones(3), torch.zeros(3))
    assert torch.equal(lasso.centred(V), V)


def test_of_two_classes_one_mirrors_the_other():
    V = torch.tensor([[0.0, 2.0], [3.0, -1.0]])
    centred = ElasticNet(torch.ones(2), torch.zeros(2)).centred(V)
    assert centred.tolist() == [[-1.5, 1.5], [1.5, -1.5]]
