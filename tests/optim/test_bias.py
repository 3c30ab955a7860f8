import numpy as np
import pytest
import scipy.optimize
import scipy.special
import torch

from polylogit.optim import bias as module
from polylogit.optim import logits as logits_module
from polylogit.optim.bias import BiasCurvature, best_bias_shift, follow


def rows(n=40, k=4, seed=0, dtype=torch.float64):
    """Z (N, K), weights that sum to one, and the mass that the best bias has to give."""
    rng = np.random.default_rng(seed)
    weights = torch.from_numpy(rng.dirichlet(np.ones(n)))
    mass = torch.from_numpy(rng.dirichlet(5 * np.ones(k)))
    return torch.from_numpy(2 * rng.normal(size=(n, k))).to(dtype), weights, mass


def calls_of(name, monkeypatch):
    """A list that grows by one with every call of a function of the module."""
    made, function = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *a: made.append(1) or function(*a))
    return made


def by_scipy(logits, weights, mass):
    """The shift from the function itself, by somebody else's method."""
    z, s, m = (part.double().numpy() for part in (logits, weights, mass))
    found = scipy.optimize.minimize(
        lambda u: s @ scipy.special.logsumexp(z + u, axis=1) - m @ u,
        np.zeros(len(m)),
        jac=lambda u: s @ scipy.special.softmax(z + u, axis=1) - m,
        method="BFGS",
        options={"gtol": 1e-11},
    )
    return torch.from_numpy(found.x - found.x.mean())


def test_the_shift_is_the_minimum():
    logits, weights, mass = rows()
    shift = best_bias_shift(logits, mass, weights, BiasCurvature())
    torch.testing.assert_close(shift, by_scipy(logits, weights, mass), rtol=0, atol=1e-8)
    left = weights @ torch.softmax(logits + shift, 1) - mass
    assert float(left.abs().max()) < 1e-15
    assert abs(float(shift.sum())) < 1e-13


@pytest.mark.parametrize(("move", "near"), [(1e-4, True), (1.0, False)])
def test_near_the_optimum_one_hessian_serves_to_the_end(move, near, monkeypatch):
    logits, weights, mass = rows()
    best = logits + best_bias_shift(logits, mass, weights, BiasCurvature())
    made = calls_of("_solver", monkeypatch)
    z = best + move * torch.tensor([1, -1, 0, 0], dtype=torch.float64)
    left = weights @ torch.softmax(z + best_bias_shift(z, mass, weights, BiasCurvature()), 1) - mass
    assert float(left.abs().max()) < 1e-15
    assert (len(made) == 1) == near


def test_with_many_classes_a_hessian_of_before_serves_while_it_leads_down_fast(monkeypatch):
    monkeypatch.setattr(module, "MANY_CLASSES", 2)
    logits, weights, mass = rows()
    made, curvature = calls_of("_solver", monkeypatch), BiasCurvature()
    best = logits + best_bias_shift(logits, mass, weights, curvature)
    for move, renewed in ((1e-3, False), (5.0, True)):
        made.clear()
        z = best + move * torch.tensor([1, -1, 0, 0], dtype=torch.float64)
        left = weights @ torch.softmax(z + best_bias_shift(z, mass, weights, curvature), 1) - mass
        assert float(left.abs().max()) < 1e-15
        assert bool(made) == renewed


def test_sums_that_are_known_save_a_look_at_the_logits(monkeypatch):
    monkeypatch.setattr(module, "MANY_CLASSES", 2)
    logits, weights, mass = rows()
    looks, curvature = calls_of("_sums_at", monkeypatch), BiasCurvature()
    z = logits + best_bias_shift(logits, mass, weights, curvature)
    z += 1e-3 * torch.tensor([1, -1, 0, 0], dtype=torch.float64)
    found, made = [], []
    for sums in (None, weights @ torch.softmax(z, 1)):
        looks.clear()
        found.append(best_bias_shift(z, mass, weights, curvature, sums=sums))
        made.append(len(looks))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-15)
    assert made[1] == made[0] - 1


def test_in_float32_it_ends_where_the_rest_is_next_to_nothing(monkeypatch):
    logits, weights, mass = rows(dtype=torch.float32)
    looks = calls_of("_sums_at", monkeypatch)
    shift = best_bias_shift(logits, mass, weights, BiasCurvature())
    left = weights @ torch.softmax(logits.double() + shift, 1) - mass
    assert float((left.abs() / mass).max()) <= 2 * module.BEST[torch.float32]
    quick = len(looks)
    looks.clear()
    best_bias_shift(logits.double(), mass, weights, BiasCurvature())
    assert quick <= len(looks)


def test_of_a_large_square_only_what_a_factor_reads_is_made(monkeypatch):
    p = torch.softmax(rows(n=30, k=20)[0], 1)
    weights = torch.rand(30, dtype=torch.float64)
    whole, part = (torch.zeros(20, 20, dtype=torch.float64) for _ in range(2))
    module._add_squares(whole, p, weights)
    torch.testing.assert_close(whole, p.T @ (weights[:, None] * p))
    monkeypatch.setattr(module, "MANY_CLASSES", 20)
    module._add_squares(part, p, weights)
    torch.testing.assert_close(part.tril(), whole.tril())
    assert not part[0, 3:].any()
    lift = torch.eye(20, dtype=torch.float64)
    torch.testing.assert_close(module.cholesky(part + lift), module.cholesky(whole + lift))


def test_it_is_found_even_where_every_row_is_saturated():
    logits = torch.tensor([[900.0, 0.0], [0.0, 900.0], [900.0, 0.0]], dtype=torch.float64)
    weights = torch.full((3,), 1 / 3, dtype=torch.float64)
    mass = torch.tensor([0.5, 0.5], dtype=torch.float64)
    shift = best_bias_shift(logits, mass, weights, BiasCurvature(), steps=2000)
    p = torch.softmax(logits + shift, 1)
    assert float((weights @ p - mass).abs().max()) < 1e-12


@pytest.mark.parametrize("by_class", [True, False])
@pytest.mark.parametrize("chunk", [12, 10**6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_that_follow_end_where_the_best_bias_is(dtype, chunk, by_class, monkeypatch):
    monkeypatch.setattr(logits_module, "CHUNK_ELEMENTS", chunk)
    monkeypatch.setattr(module, "FOLLOWING_STEPS", 20)
    logits, weights, mass = rows(dtype=dtype)
    z = logits.T.contiguous().T if by_class else logits.clone()
    p = torch.softmax(z.T, 0).T if by_class else torch.softmax(z, 1)
    shift = follow(z, p, weights @ p.double(), mass, weights, BiasCurvature())
    atol = {torch.float32: 1e-4, torch.float64: 1e-7}[dtype]
    torch.testing.assert_close(shift, by_scipy(logits, weights, mass), rtol=0, atol=atol)
    torch.testing.assert_close(z, logits + shift.to(dtype))
    torch.testing.assert_close(p, torch.softmax(z, 1))
    left = weights @ p.double() - mass
    assert float((left.abs() / mass).max()) <= module.SETTLED[dtype]


@pytest.mark.parametrize("far", [0.1, 5.0])
def test_with_time_they_end_at_the_best_bias_itself(far):
    logits, weights, mass = rows()
    z = logits + far * torch.tensor([1.0, -2.0, 0.5, 0.5])
    p, kept = torch.softmax(z, 1), z.clone()
    shift = follow(z, p, weights @ p, mass, weights, BiasCurvature(), best=True)
    truth = best_bias_shift(kept, mass, weights, BiasCurvature())
    torch.testing.assert_close(shift, truth, rtol=0, atol=1e-13)
    torch.testing.assert_close(z, kept + shift, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(p, torch.softmax(z, 1), rtol=1e-13, atol=0)
    assert float((weights @ p - mass).abs().max()) < 1e-15


def test_near_the_best_bias_the_second_step_is_known_to_be_the_last(monkeypatch):
    logits, weights, mass = rows()
    best = logits + best_bias_shift(logits, mass, weights, BiasCurvature())
    noise, move = 2e-15 * torch.tensor([1.0, -1.0, 1.0, -1.0]), module._moved

    def moved_as_of_many_rows(p, shift, weights):
        sums, scale = move(p, shift, weights)
        return sums + noise.neg_(), scale

    monkeypatch.setattr(module, "_moved", moved_as_of_many_rows)
    moves = calls_of("_moved", monkeypatch)
    z = best + 1e-6 * torch.tensor([1.0, -2.0, 0.5, 0.5])
    p = torch.softmax(z, 1)
    follow(z, p, weights @ p, mass, weights, BiasCurvature(), best=True)
    assert len(moves) == 2
    assert float((weights @ p - mass).abs().max()) < 1e-14


def test_a_hessian_serves_while_it_leads_down_fast(monkeypatch):
    made = calls_of("_square", monkeypatch)
    logits, weights, mass = rows()
    best = logits + best_bias_shift(logits, mass, weights, BiasCurvature())
    curvature = BiasCurvature()
    for move, expected in ((0.01, 1), (0.02, 0), (4.0, 1)):
        made.clear()
        z = best + torch.tensor([move, -move, 0, 0], dtype=torch.float64)
        follow(z, p := torch.softmax(z, 1), weights @ p, mass, weights, curvature)
        assert len(made) == expected


def test_a_bias_that_is_best_stays():
    logits, weights, mass = rows()
    z = logits + best_bias_shift(logits, mass, weights, BiasCurvature())
    before, curvature = z.clone(), BiasCurvature()
    p = torch.softmax(z, 1)
    assert not follow(z, p, weights @ p, mass, weights, curvature).any()
    assert torch.equal(z, before)
    assert curvature.solve is None
