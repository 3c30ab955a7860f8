"""`polylogit.functional` is torch under the field's names; the numbers of the lesson come out."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from polylogit import formulas, functional


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def digits(values, places=4):
    return [f"{value:.{places}f}" for value in torch.as_tensor(values).flatten().tolist()]


# --- the numbers of the lesson --------------------------------------------------------------------

both = pytest.mark.parametrize("module", [functional, formulas], ids=["functional", "formulas"])


@pytest.fixture
def lesson():
    """The random batch of the lesson, z (3, 5) and y (3,)."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return torch.rand(3, 5), torch.randint(5, (3,))


@both
def test_softmax_of_one_two_three(module):
    p = module.softmax(torch.tensor([1.0, 2.0, 3.0]), dim=0)
    assert digits(p) == ["0.0900", "0.2447", "0.6652"]
    assert digits(p.sum()) == ["1.0000"]


@both
def test_the_batch_of_the_lesson(module, lesson):
    z, y = lesson
    assert y.tolist() == [0, 2, 1]
    assert digits(module.softmax(z, dim=1)) == [
        *["0.2645", "0.1639", "0.1855", "0.2585", "0.1277"],
        *["0.2430", "0.1624", "0.2322", "0.1930", "0.1694"],
        *["0.2226", "0.1986", "0.2326", "0.1594", "0.1868"],
    ]
    assert module.one_hot(y, 5).tolist() == [[1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 0]]


@both
def test_four_routes_to_the_loss_of_the_lesson(module, lesson):
    z, y = lesson
    losses = [
        module.naive_cross_entropy(z, y),
        module.one_hot_cross_entropy(z, y),
        module.nll_loss(module.log_softmax(z, 1), y),
        module.cross_entropy(z, y),
    ]
    assert digits(losses) == ["1.4689"] * 4


X = torch.tensor(
    [
        *[[1, 2, 1, 1], [2, 1, 3, 2], [3, 1, 3, 4], [4, 1, 5, 5]],
        *[[1, 7, 5, 5], [1, 2, 5, 6], [1, 6, 6, 6], [1, 7, 7, 7]],
    ],
    dtype=torch.float32,
)
LABELS = torch.tensor([2, 2, 2, 1, 1, 1, 0, 0])


def softmax_twice(z, y):
    return functional.cross_entropy(functional.softmax(z, 1), y)


@pytest.mark.parametrize(
    ("loss", "printed"),
    [
        (functional.cross_entropy, ["1.098612", "0.761050"]),
        (softmax_twice, ["1.098612", "0.901535"]),
    ],
)
def test_the_first_costs_of_the_lesson_by_autograd(loss, printed):
    """`test_formulas` goes on to epoch 1000, by hand."""
    W, b = torch.zeros(4, 3, requires_grad=True), torch.zeros(1, requires_grad=True)
    costs = []
    for _ in range(101):
        cost = loss(X @ W + b, LABELS)
        costs.append(cost.item())
        dW, db = torch.autograd.grad(cost, [W, b])
        W, b = (W - 0.1 * dW).detach(), (b - 0.1 * db).detach()
        W.requires_grad_(), b.requires_grad_()
    assert digits(costs[::100], 6) == printed


@both
def test_the_naive_loss_is_nan_where_softmax_underflows_and_the_others_are_not(module):
    z, y = torch.tensor([[0.0, 200.0]]), torch.tensor([1])
    assert module.naive_cross_entropy(z, y).isnan()
    assert module.one_hot_cross_entropy(z, y) == 0
    assert module.nll_loss(module.log_softmax(z), y) == 0
    assert module.cross_entropy(z, y) == 0


@both
def test_a_loaded_die(module):
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5])
    measured = [
        module.entropy(p),
        module.kl_divergence(p, q),
        module.distribution_cross_entropy(p, q),
        module.entropy(torch.full((6,), 1 / 6)) / math.log(2),
    ]
    assert digits(measured) == ["1.0297", "0.2749", "1.3045", "2.5850"]


# --- four routes to one loss ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (64, 7), (9, 7, 4), (5, 7, 3, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@both
def test_four_routes_are_equal(module, dtype, shape):
    axis = min(1, len(shape) - 1)
    for seed in range(20):
        z = 3 * random(*shape, seed=seed, dtype=dtype)
        y = random(*shape, seed=seed + 100).argmax(axis)
        loss = module.cross_entropy(z, y)
        assert module.nll_loss(module.log_softmax(z, axis), y) == loss
        hair = 4 * torch.finfo(dtype).eps * loss
        assert abs(module.one_hot_cross_entropy(z, y) - loss) <= hair
        assert abs(module.naive_cross_entropy(z, y) - loss) <= hair


# --- torch, bit for bit ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "argmax"])
def test_functions_of_rows_are_those_of_torch(name):
    z = random(3, 4, 5)
    for dim in (0, 1, -1):
        assert torch.equal(getattr(functional, name)(z, dim), getattr(torch, name)(z, dim))
    assert torch.equal(getattr(functional, name)(z), getattr(torch, name)(z, -1))


def test_measures_are_those_of_torch():
    p, q = (torch.softmax(random(6, 5, seed=seed), 1) for seed in (0, 1))
    entropies = torch.distributions.Categorical(p).entropy()
    torch.testing.assert_close(functional.entropy(p), entropies)
    torch.testing.assert_close(
        functional.kl_divergence(p, q), F.kl_div(q.log(), p, reduction="none").sum(1)
    )
    torch.testing.assert_close(
        functional.distribution_cross_entropy(p, q),
        F.cross_entropy(q.log(), p, reduction="none"),
    )


def targets_for(z, kind, ignored):
    axis = min(1, z.ndim - 1)
    if kind == "probabilities":
        return torch.softmax(random(*z.shape, seed=1), axis)
    y = random(*z.shape, seed=1).argmax(axis)
    return torch.where(torch.arange(y.numel()).reshape(y.shape) == 1, ignored, y)


@pytest.mark.parametrize("kind", ["labels", "probabilities"])
@pytest.mark.parametrize("shape", [(4,), (5, 4), (3, 4, 2), (2, 4, 3, 2), (2, 4, 1, 2, 2)], ids=str)
def test_losses_are_those_of_torch_in_every_combination(shape, kind):
    z = random(*shape)
    for weight, ignored, smoothing, reduction in itertools.product(
        [None, random(4, seed=2).abs()], [-100, -1, 2], [0.0, 0.3], ["mean", "sum", "none"]
    ):
        if kind == "probabilities" and ignored >= 0:
            continue
        options = {"weight": weight, "ignore_index": ignored, "reduction": reduction}
        targets = targets_for(z, kind, ignored)
        ours = functional.cross_entropy(z, targets, label_smoothing=smoothing, **options)
        theirs = F.cross_entropy(z, targets, label_smoothing=smoothing, **options)
        assert torch.equal(ours, theirs)
        if kind == "labels":
            ours = functional.nll_loss(z, targets, **options)
            assert torch.equal(ours, F.nll_loss(z, targets, **options))


def test_options_that_are_not_given_are_those_of_torch():
    z, y = random(5, 4), torch.tensor([0, -100, 3, 1, 2])
    assert torch.equal(functional.cross_entropy(z, y), F.cross_entropy(z, y))
    assert torch.equal(functional.nll_loss(z, y), F.nll_loss(z, y))


def test_gradients_flow_to_scores_and_probabilities():
    z, T = random(5, 4).requires_grad_(), torch.softmax(random(5, 4, seed=1), 1).requires_grad_()
    ours = torch.autograd.grad(functional.cross_entropy(z, T), [z, T])
    theirs = torch.autograd.grad(F.cross_entropy(z, T), [z, T])
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_labels_are_not_written_to():
    y = torch.tensor([0, 2, 1])
    functional.one_hot(y, 3)
    functional.cross_entropy(random(3, 3), y, ignore_index=2)
    assert y.tolist() == [0, 2, 1]
