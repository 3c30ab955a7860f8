"""Laws of the functions of softmax classification, for every one that `functional` and `formulas`
offer: who adds a name to them has it tested here.
"""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from polylogit import formulas, functional
from polylogit.errors import InputError, OptionError, TargetError

STEPS = {"argmax", "one_hot"}  # without a gradient


def parameters(name):
    return list(inspect.signature(getattr(functional, name)).parameters)


NAMES = functional.__all__
OF_ROWS = [name for name in NAMES if parameters(name) == ["logits", "dim"]]
MEASURES = [name for name in NAMES if parameters(name)[0] == "p"]
LOSSES = [name for name in NAMES if parameters(name)[1] == "targets"]
LOSSES_OF_LOGITS = [name for name in LOSSES if parameters(name)[0] == "logits"]

both = pytest.mark.parametrize("module", [functional, formulas], ids=["functional", "formulas"])

numbers = st.integers(-480, 480).map(lambda i: i / 16)  # whose sums are exact
widths = st.shared(st.integers(1, 8), key="width")
rows = widths.flatmap(lambda k: st.lists(numbers, min_size=k, max_size=k)).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)
distributions = rows.map(lambda row: torch.softmax(row, 0))


def close(a, b):
    return torch.allclose(a.double(), b.double(), rtol=1e-12, atol=1e-12)


def batch(n=6, k=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = 3 * torch.randn(n, k, dtype=torch.float64, generator=generator)
    return z, torch.arange(n) % k


# --- the two modules ------------------------------------------------------------------------------


def test_every_function_is_of_a_kind_that_has_laws():
    assert sorted([*OF_ROWS, *MEASURES, *LOSSES, "one_hot"]) == NAMES


def test_both_modules_have_the_same_names_and_formulas_the_gradients_too():
    gradients = {f"{name}_gradient" for name in NAMES if name not in STEPS}
    for module, extra in ((functional, set()), (formulas, gradients)):
        defined = {
            name
            for name, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
        }
        assert module.__all__ == sorted(NAMES)
        assert defined == {*NAMES, *extra}


@pytest.mark.parametrize("name", NAMES)
def test_both_modules_are_called_alike(name):
    assert inspect.signature(getattr(functional, name)) == inspect.signature(
        getattr(formulas, name)
    )


def test_every_function_has_its_formula_and_an_example():
    for module in (functional, formulas):
        for name, value in vars(module).items():
            if name.removesuffix("_gradient") in NAMES:
                assert ">>>" in value.__doc__, name


# --- functions of rows ----------------------------------------------------------------------------


@both
@pytest.mark.parametrize("name", OF_ROWS)
@given(z=rows, c=numbers)
def test_a_shift_of_all_logits_moves_only_logsumexp(module, name, z, c):
    f = getattr(module, name)
    assert close(f(z + c), f(z) + (c if name == "logsumexp" else 0))


@both
@pytest.mark.parametrize("name", OF_ROWS)
@given(z=rows, data=st.data())
def test_the_order_of_the_classes_does_not_matter(module, name, z, data):
    order = torch.tensor(data.draw(st.permutations(range(len(z)))))
    before, after = getattr(module, name)(z), getattr(module, name)(z[order])
    if name == "argmax":
        assert z[order][after] == z[before]
    else:
        assert close(after, before if before.ndim == 0 else before[order])


@both
@pytest.mark.parametrize("name", OF_ROWS)
def test_rows_do_not_know_each_other(module, name):
    z = batch()[0].reshape(2, 3, 4)
    f = getattr(module, name)
    assert close(f(z), torch.stack([torch.stack([f(row) for row in part]) for part in z]))
    for dim in (0, 1, 2, -3, -2):
        moved = f(z.movedim(dim, -1))
        assert close(f(z, dim), moved.movedim(-1, dim) if moved.ndim == 3 else moved)
    assert f(z[:0]).shape == (0, *f(z).shape[1:])
    assert close(f(torch.tensor(3.0)), getattr(torch, name)(torch.tensor(3.0), -1))


@both
@given(z=rows)
def test_softmax_sums_to_one_and_keeps_the_order(module, z):
    p = module.softmax(z)
    assert bool((p > 0).all())
    assert close(p.sum(), torch.tensor(1.0))
    assert close(module.log_softmax(z).exp(), p)
    assert close(module.log_softmax(z), z - module.logsumexp(z))
    assert p[module.argmax(z)] == p.max()
    assert bool((p[z.argsort()].diff() >= 0).all())


@both
@given(z=st.lists(st.sampled_from([-1.0, 0.0, 2.0, math.inf, -math.inf, math.nan]), min_size=1))
def test_argmax_is_the_first_of_equals_and_nan_is_largest(module, z):
    largest = [i for i, x in enumerate(z) if math.isnan(x)] or [z.index(max(z))]
    assert module.argmax(torch.tensor(z)).item() == largest[0]
    assert module.argmax(torch.tensor(z)).dtype == torch.int64


@both
def test_infinite_logits_end_as_in_torch(module):
    inf, nan = torch.inf, torch.nan
    z = torch.tensor(
        [[-inf, 0, 1], [-inf] * 3, [inf, 0, 1], [inf, inf, 0], [inf, -inf, 0], [nan, 0, 1]]
    )
    for name in ("softmax", "log_softmax", "logsumexp", "argmax"):
        assert torch.equal(
            getattr(module, name)(z).nan_to_num(9.0, 8.0, 7.0),
            getattr(torch, name)(z, -1).nan_to_num(9.0, 8.0, 7.0),
        )


# --- one-hot rows ---------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (2, 3, 2)], ids=str)
def test_one_hot_is_that_of_torch_with_the_classes_in_dimension_one(module, shape, dtype):
    y = torch.arange(math.prod(shape)).reshape(shape) % 4
    wanted = F.one_hot(y, 4).movedim(-1, min(1, y.ndim)).to(dtype)
    for labels in (y, y.to(torch.uint8)):
        found = module.one_hot(labels, 4, dtype)
        assert found.dtype == dtype
        assert torch.equal(found, wanted)
    assert torch.equal(module.argmax(module.one_hot(y, 4), min(1, y.ndim)), y)


# --- measures of distributions --------------------------------------------------------------------


def arguments(name, p, q):
    return [p, q] if "q" in parameters(name) else [p]


@both
@given(p=distributions, q=distributions)
def test_gibbs(module, p, q):
    h, hq, kl = (
        module.entropy(p),
        module.distribution_cross_entropy(p, q),
        module.kl_divergence(p, q),
    )
    rounding = 4e-15 * float(1 + h + hq)
    assert -rounding <= h <= math.log(len(p)) + 1e-14
    assert kl >= -rounding
    assert close(hq, h + kl)
    assert module.kl_divergence(p, p) == 0
    assert close(module.distribution_cross_entropy(p, p), h)


@both
@pytest.mark.parametrize("name", MEASURES)
@given(p=distributions, q=distributions, data=st.data())
def test_the_order_of_the_outcomes_does_not_matter(module, name, p, q, data):
    order, f = torch.tensor(data.draw(st.permutations(range(len(p))))), getattr(module, name)
    assert close(f(*arguments(name, p[order], q[order])), f(*arguments(name, p, q)))


@both
@pytest.mark.parametrize("name", MEASURES)
@given(p=distributions, q=distributions)
def test_what_cannot_happen_adds_nothing(module, name, p, q):
    f, zero = getattr(module, name), torch.zeros(1, dtype=torch.float64)
    longer = f(*arguments(name, torch.cat([p, zero]), torch.cat([q, zero])))
    assert close(longer, f(*arguments(name, p, q)))


@both
@pytest.mark.parametrize("name", MEASURES)
def test_distributions_stand_along_any_dimension(module, name):
    p, q = (torch.softmax(batch(seed=seed)[0].reshape(2, 3, 4), 2) for seed in (0, 1))
    f = getattr(module, name)
    across = f(*arguments(name, p, q))
    assert across.shape == (2, 3)
    assert close(across[1, 2], f(*arguments(name, p[1, 2], q[1, 2])))
    for dim in (0, 1, -2):
        moved = arguments(name, p.movedim(-1, dim), q.movedim(-1, dim))
        assert close(f(*moved, dim), across)
    assert f(*arguments(name, p[:0], q[:0])).shape == (0, 3)


@both
def test_an_outcome_that_q_rules_out_costs_infinity(module):
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    assert module.distribution_cross_entropy(p, q) == torch.inf
    assert module.kl_divergence(p, q) == torch.inf
    assert module.kl_divergence(q, p).item() == pytest.approx(math.log(2))
    assert module.entropy(q) == 0


@both
def test_an_outcome_that_q_hardly_allows_costs_much_and_no_more(module):
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([1e-40, 1.0])  # p / q is beyond float32
    assert module.kl_divergence(p, q).item() == pytest.approx(20 * math.log(10) - math.log(2))


# --- losses ---------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("name", LOSSES)
def test_losses_do_not_depend_on_the_order_of_rows_or_classes(module, name):
    z, y = batch()
    f, order = getattr(module, name), torch.tensor([2, 0, 3, 1])
    assert close(f(z[:, order], order.argsort()[y]), f(z, y))
    assert close(f(z.flip(0), y.flip(0)), f(z, y))
    assert close(f(torch.cat([z, z]), torch.cat([y, y])), f(z, y))


@both
@pytest.mark.parametrize("name", LOSSES_OF_LOGITS)
def test_losses_do_not_see_a_shift_of_a_row(module, name):
    z, y = batch()
    f = getattr(module, name)
    assert close(f(z + torch.arange(6.0)[:, None], y), f(z, y))
    assert f(z, y) > 0
    assert close(f(torch.zeros(6, 4), y), torch.tensor(math.log(4), dtype=torch.float32))


@pytest.mark.parametrize("name", LOSSES_OF_LOGITS)
def test_the_force_on_each_row_adds_up_to_nothing(name):
    z, y = batch()
    gradient = getattr(formulas, f"{name}_gradient")(z, y)
    assert close(gradient.sum(1), torch.zeros(6))
    assert gradient.abs().sum() > 0.1


@both
@pytest.mark.parametrize("name", LOSSES)
def test_trailing_dimensions_are_more_rows(module, name):
    z, y = batch(n=12)
    blocks, labels = z.reshape(3, 2, 2, 4).movedim(-1, 1), y.reshape(3, 2, 2)
    f = getattr(module, name)
    assert close(f(blocks, labels), f(z, y))
    assert close(f(z[0], y[0]), f(z[:1], y[:1]))


@both
@pytest.mark.parametrize("name", LOSSES)
def test_labels_in_bytes_are_labels(module, name):
    z, y = batch()
    assert torch.equal(getattr(module, name)(z, y.to(torch.uint8)), getattr(module, name)(z, y))


@both
def test_a_byte_is_no_other_number(module):
    """As uint8, -100 would be 156 and 300 classes 44."""
    z, y = batch(n=2, k=300)[0], torch.tensor([156, 200])
    options = {"label_smoothing": 0.1, "reduction": "none"}
    in_bytes = module.cross_entropy(z, y.to(torch.uint8), **options)
    assert close(in_bytes, F.cross_entropy(z, y, **options))
    assert close(module.nll_loss(z, y.to(torch.uint8)), F.nll_loss(z, y))


@both
@pytest.mark.parametrize("name", LOSSES)
def test_no_rows_have_no_mean(module, name):
    assert getattr(module, name)(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)).isnan()


@both
def test_no_rows_have_no_losses(module):
    z, y = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    for targets in (y, z):
        assert module.cross_entropy(z, targets, reduction="none").shape == (0,)
        assert module.cross_entropy(z, targets, reduction="sum") == 0
    assert module.cross_entropy(z, z).isnan()


@both
def test_a_label_is_a_distribution_that_is_sure(module):
    z, y = batch()
    for smoothing in (0.0, 0.2):
        sure = module.cross_entropy(z, module.one_hot(y, 4, z.dtype), label_smoothing=smoothing)
        assert close(sure, module.cross_entropy(z, y, label_smoothing=smoothing))


@both
def test_the_loss_of_probabilities_is_their_cross_entropy(module):
    z, T = batch()[0], torch.softmax(batch(seed=1)[0], 1)
    measured = module.distribution_cross_entropy(T, module.softmax(z, 1), 1)
    assert close(module.cross_entropy(z, T, reduction="none"), measured)


@both
def test_a_class_of_weight_two_counts_as_two_rows(module):
    z, y = batch()
    twice = torch.cat([torch.arange(6), (y == 1).nonzero().flatten()])
    weight = torch.tensor([1.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    for reduction in ("mean", "sum"):
        weighted = module.cross_entropy(z, y, weight=weight, reduction=reduction)
        assert close(weighted, module.cross_entropy(z[twice], y[twice], reduction=reduction))


@both
def test_a_row_to_ignore_is_as_if_left_out(module):
    z, y = batch()
    for smoothing in (0.0, 0.3):
        left_out = module.cross_entropy(z[y != 1], y[y != 1], label_smoothing=smoothing)
        ignored = module.cross_entropy(z, y, ignore_index=1, label_smoothing=smoothing)
        assert close(ignored, left_out)


# --- what is refused ------------------------------------------------------------------------------

Z, Y, T = torch.zeros(3, 5), torch.tensor([0, 2, 1]), torch.full((3, 5), 0.2)
W = torch.ones(5)
D = torch.tensor([0.5, 0.5])

REFUSED = [
    ("softmax", [Y], {}, InputError,
     "logits must be a float tensor, not torch.int64; write logits.float()"),
    ("log_softmax", [Y], {}, InputError,
     "logits must be a float tensor, not torch.int64; write logits.float()"),
    ("logsumexp", [Y], {}, InputError,
     "logits must be a float tensor, not torch.int64; write logits.float()"),
    ("one_hot", [torch.tensor([0, 3]), 3], {}, TargetError,
     "target 3 at position (1,) is outside 0..2 for 3 classes; labels 1..K need targets - 1"),
    ("one_hot", [torch.tensor([[0, 1], [-1, 5]]), 3], {}, TargetError,
     "target -1 at position (1, 0) is outside 0..2 for 3 classes; number classes from 0"),
    ("one_hot", [torch.tensor(7), 3], {}, TargetError,
     "target 7 is outside 0..2 for 3 classes; number classes from 0"),
    ("one_hot", [Y.int(), 3], {}, TargetError,
     "class numbers must be of type torch.int64, not torch.int32; write targets.long()"),
    ("one_hot", [Y.bool(), 3], {}, TargetError,
     "class numbers must be of type torch.int64, not torch.bool; write targets.long()"),
    ("one_hot", [Y, 0], {}, OptionError, "n_classes must be a whole number >= 1, not 0"),
    ("entropy", [Y], {}, InputError,
     "P must be a float tensor, not torch.int64; write P.float()"),
    ("entropy", [torch.tensor([-0.5, 1.5])], {}, InputError,
     "P holds -0.5, but probabilities are at least 0; for logits, take softmax first"),
    ("entropy", [torch.tensor([[0.5, 0.5], [0.5, 0.6]], requires_grad=True)], {}, InputError,
     "P sums to 1.1 along dimension -1 instead of 1; divide by the sum, or for logits take "
     "softmax first"),
    ("entropy", [torch.tensor([0.5, torch.nan])], {}, InputError,
     "P sums to nan along dimension -1 instead of 1; divide by the sum, or for logits take "
     "softmax first"),
    ("entropy", [torch.zeros(2, 0)], {"dim": 1}, InputError,
     "P sums to 0 along dimension 1 instead of 1; divide by the sum, or for logits take "
     "softmax first"),
    ("distribution_cross_entropy", [D, D * 2], {}, InputError,
     "Q sums to 2 along dimension -1 instead of 1; divide by the sum, or for logits take "
     "softmax first"),
    ("distribution_cross_entropy", [D, torch.ones(1)], {}, InputError,
     "P has 2 outcomes and Q 1 along dimension -1; give both a probability for each outcome, 0 "
     "where it cannot happen"),
    ("kl_divergence", [D * 2, D], {}, InputError,
     "P sums to 2 along dimension -1 instead of 1; divide by the sum, or for logits take "
     "softmax first"),
    ("kl_divergence", [D, D.to(torch.int64)], {}, InputError,
     "Q must be a float tensor, not torch.int64; write Q.float()"),
    ("cross_entropy", [Z.long(), Y], {}, InputError,
     "scores must be a float tensor, not torch.int64; write scores.float()"),
    ("cross_entropy", [torch.tensor(1.0), Y], {}, InputError,
     "scores of shape () hold no class; give (N, K, ...), or (K,) for a single row, with K at "
     "least 1"),
    ("cross_entropy", [torch.zeros(3, 0), Y], {}, InputError,
     "scores of shape (3, 0) hold no class; give (N, K, ...), or (K,) for a single row, with K at "
     "least 1"),
    ("cross_entropy", [Z, torch.tensor([0, 5, 6])], {}, TargetError,
     "target 5 at position (1,) is outside 0..4 for 5 classes; labels 1..K need targets - 1"),
    ("cross_entropy", [Z[0], torch.tensor(-1)], {}, TargetError,
     "target -1 is outside 0..4 for 5 classes; number classes from 0"),
    ("cross_entropy", [Z, Y.float()], {}, TargetError,
     "class numbers must be of type torch.int64, not torch.float32; write targets.long()"),
    ("cross_entropy", [Z, T.long()], {}, TargetError,
     "targets of shape (3, 5) are rows of probabilities, but of type torch.int64; write "
     "targets.to(torch.float32), or targets.argmax(1) for class numbers"),
    ("cross_entropy", [Z[0], T[0].long()], {}, TargetError,
     "targets of shape (5,) are rows of probabilities, but of type torch.int64; write "
     "targets.to(torch.float32), or targets.argmax(0) for class numbers"),
    ("cross_entropy", [Z, Y[:, None]], {}, TargetError,
     "for scores of shape (3, 5) the targets must be class numbers of shape (3,), not (3, 1); "
     "write targets.reshape((3,))"),
    ("cross_entropy", [torch.zeros(3, 7, 5), torch.zeros(3, 7).long()], {}, TargetError,
     "for scores of shape (3, 7, 5) the targets must be class numbers of shape (3, 5), not (3, 7); "
     "classes stand in dimension 1: write scores.movedim(-1, 1)"),
    ("cross_entropy", [Z, Y[:2]], {}, TargetError,
     "for scores of shape (3, 5) the targets must be class numbers of shape (3,), not (2,); "
     "cross_entropy also takes probabilities of shape (3, 5)"),
    ("cross_entropy", [Z, T], {"ignore_index": 0}, OptionError,
     "ignore_index 0 is a class number, but the targets are probabilities; leave the rows out that "
     "shall not count"),
    ("cross_entropy", [Z, Y], {"weight": W[:4]}, TargetError,
     "weight must be torch.float32 of shape (5,), a number for each class, not torch.float32 of "
     "shape (4,); write torch.tensor([w_0, ..., w_4], dtype=torch.float32)"),
    ("nll_loss", [Z, Y], {"weight": W.double()}, TargetError,
     "weight must be torch.float32 of shape (5,), a number for each class, not torch.float64 of "
     "shape (5,); write torch.tensor([w_0, ..., w_4], dtype=torch.float32)"),
    ("nll_loss", [Z, T], {}, TargetError,
     "for scores of shape (3, 5) the targets must be class numbers of shape (3,), not (3, 5); only "
     "cross_entropy takes probabilities: here write targets.argmax(1)"),
    ("nll_loss", [Z, Y], {"reduction": "avg"}, OptionError,
     "reduction 'avg' is not one of mean, sum, none"),
    ("cross_entropy", [Z, Y], {"reduction": "avg"}, OptionError,
     "reduction 'avg' is not one of mean, sum, none"),
    ("cross_entropy", [Z, T], {"reduction": "means"}, OptionError,
     "reduction 'means' is not one of mean, sum, none; did you mean 'mean'?"),
    ("cross_entropy", [Z, Y], {"reduction": None}, OptionError,
     "reduction None is not one of mean, sum, none; did you mean 'none'?"),
    ("cross_entropy", [Z, Y], {"label_smoothing": -0.1}, OptionError,
     "label_smoothing must be at least 0 and below 1, not -0.1"),
    ("cross_entropy", [Z, T], {"label_smoothing": 1.0}, OptionError,
     "label_smoothing must be at least 0 and below 1, not 1.0"),
    ("cross_entropy", [Z, Y], {"label_smoothing": math.nan}, OptionError,
     "label_smoothing must be at least 0 and below 1, not nan"),
    ("naive_cross_entropy", [Z, Y[:1]], {}, TargetError,
     "for scores of shape (3, 5) the targets must be class numbers of shape (3,), not (1,); "
     "cross_entropy also takes probabilities of shape (3, 5)"),
    ("naive_cross_entropy", [Z, torch.tensor([0, -100, 1])], {}, TargetError,
     "target -100 at position (1,) is outside 0..4 for 5 classes; number classes from 0"),
    ("one_hot_cross_entropy", [Z, T], {}, TargetError,
     "for scores of shape (3, 5) the targets must be class numbers of shape (3,), not (3, 5); only "
     "cross_entropy takes probabilities: here write targets.argmax(1)"),
]  # fmt: skip


@both
@pytest.mark.parametrize(("name", "arguments", "options", "error", "message"), REFUSED)
def test_what_cannot_be_used_is_refused(module, name, arguments, options, error, message):
    with pytest.raises(error) as caught:
        getattr(module, name)(*arguments, **options)
    assert type(caught.value) is error
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "arguments", "options", "error", "message"),
    [row for row in REFUSED if row[0] in LOSSES],
)
def test_the_gradient_of_a_loss_refuses_what_the_loss_refuses(
    name, arguments, options, error, message
):
    with pytest.raises(error) as caught:
        getattr(formulas, f"{name}_gradient")(*arguments, **options)
    assert str(caught.value) == message


def test_every_function_but_argmax_refuses_something():
    assert {row[0] for row in REFUSED} == set(NAMES) - {"argmax"}


@both
@pytest.mark.parametrize("name", [*OF_ROWS, *MEASURES])
def test_a_dimension_that_is_not_there_is_named(module, name):
    with pytest.raises(IndexError, match=r"Dimension out of range .* but got 2"):
        getattr(module, name)(*arguments(name, D, D), dim=2)
