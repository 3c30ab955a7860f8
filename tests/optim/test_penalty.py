import torch

from polylogit.optim.penalty import Ridge


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
