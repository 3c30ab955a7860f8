"""`polylogit.formulas` against the truth in 45 digits, against torch, autograd and differences."""

import itertools

import mpmath
import pytest
import torch
import torch.nn.functional as F

from polylogit import formulas, functional

EXACT = mpmath.MPContext()
EXACT.prec = 150
HAIR = 4  # ulp of the largest number added: what we may err beyond torch
FAR = 4  # ulp, and half of one for each term of a sum: what we may err at all

TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def random(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype)


def first_set_apart(k, other, first):
    z = torch.full((k,), other, dtype=torch.float64)
    z[0] = first
    return z


ROWS = {
    "ordinary": lambda k: random(k),
    "wide": lambda k: 10 * random(k),
    "softmax underflows": lambda k: 60 * random(k),
    "far apart": lambda k: 1e4 * random(k),
    "at both ends": lambda k: 1e4 * random(k).sign(),
    "far from zero": lambda k: 1e4 + random(k),
    "far below zero": lambda k: -1e4 + random(k),
    "almost equal": lambda k: 1e-30 * random(k),
    "equal": lambda k: torch.full((k,), 0.3, dtype=torch.float64),
    "almost sure": lambda k: first_set_apart(k, 0.0, 20.0),
    "surer than softmax can say": lambda k: first_set_apart(k, 0.0, 200.0),
    "one masked": lambda k: first_set_apart(k, 0.0, -torch.inf) if k > 1 else random(k),
    "all but one masked": lambda k: first_set_apart(k, -torch.inf, 1.0),
}
WIDTHS = (1, 2, 3, 7, 100)


@pytest.fixture(params=ROWS)
def rows(request):
    """One kind of row in every width."""
    return [ROWS[request.param](k) for k in WIDTHS]


def exact(values):
    return [EXACT.mpf(v) for v in values.double().flatten().tolist()]


def exact_exp(x):
    return EXACT.zero if x == EXACT.ninf else EXACT.exp(x)


def exact_logsumexp(z):
    return EXACT.log(EXACT.fsum(exact_exp(x) for x in z))


def exact_log_softmax(z):
    lse = exact_logsumexp(z)
    return [x - lse for x in z]


def exact_log(x):
    return EXACT.log(x) if x > 0 else EXACT.ninf


def exact_cross_terms(p, q):
    """-p_k log q_k, 0 where p_k is."""
    return [-x * exact_log(y) if x > 0 else EXACT.zero for x, y in zip(p, q, strict=True)]


def largest_added(z):
    """For each log p_k, the largest of the numbers that its formula adds: |z_k - m|, log K, 1."""
    top, least = max(z), max(EXACT.one, EXACT.log(len(z)))
    return [least if x == EXACT.ninf else max(least, top - x) for x in z]


def assert_near(name, arguments, truth, size):
    """Ours errs by at most `far`, and by at most HAIR more than torch, in ulp of `size`."""
    ours = getattr(formulas, name)(*arguments)
    torchs = getattr(functional, name)(*arguments)
    assert ours.dtype == torchs.dtype == arguments[0].dtype
    assert ours.shape == torchs.shape
    limits, far = torch.finfo(ours.dtype), FAR + arguments[0].shape[-1] / 2
    for a, b, true, unit in zip(exact(ours), exact(torchs), truth, size, strict=True):
        if EXACT.isinf(true):
            assert a == b == true
            continue
        ulp = max(unit * limits.eps, EXACT.mpf(limits.tiny) * limits.eps)
        assert abs(a - true) <= far * ulp
        assert abs(a - true) <= abs(b - true) + HAIR * ulp


# --- the truth ------------------------------------------------------------------------------------


@TYPES
def test_log_softmax_is_true(rows, dtype):
    for row in rows:
        z = exact(row.to(dtype))
        assert_near("log_softmax", [row.to(dtype)], exact_log_softmax(z), largest_added(z))


@TYPES
def test_softmax_is_true(rows, dtype):
    for row in rows:
        z = exact(row.to(dtype))
        p = [exact_exp(x) for x in exact_log_softmax(z)]
        size = [share * added for share, added in zip(p, largest_added(z), strict=True)]
        assert_near("softmax", [row.to(dtype)], p, size)


@TYPES
def test_logsumexp_is_true(rows, dtype):
    for row in rows:
        z = exact(row.to(dtype))
        size = [max(EXACT.one, abs(max(z)), EXACT.log(len(z)))]
        assert_near("logsumexp", [row.to(dtype)], [exact_logsumexp(z)], size)


def test_logsumexp_of_infinities():
    z = torch.tensor([[-torch.inf] * 2, [torch.inf, 0.0], [torch.inf] * 2, [torch.nan, 0.0]])
    torch.testing.assert_close(
        formulas.logsumexp(z), torch.tensor([-torch.inf, torch.inf, torch.inf, torch.nan]),
        equal_nan=True,
    )  # fmt: skip


@TYPES
def test_measures_of_distributions_are_true(rows, dtype):
    for row in rows:
        p = torch.softmax(row, 0).to(dtype)
        for q in (p, torch.softmax(random(len(p), seed=1), 0).to(dtype), p.flip(0)):
            P, Q = exact(p), exact(q)
            own, cross = exact_cross_terms(P, P), exact_cross_terms(P, Q)
            h, hq = EXACT.fsum(own), EXACT.fsum(cross)
            added = EXACT.fsum(abs(term) for term in own + cross)
            assert_near("entropy", [p], [h], [h])
            assert_near("distribution_cross_entropy", [p, q], [hq], [hq])
            assert_near("kl_divergence", [p, q], [hq - h], [added])


@TYPES
def test_kl_divergence_is_as_near_as_that_of_torch(dtype):
    p = torch.softmax(random(100, 7), 1).to(dtype)
    q = torch.softmax(random(100, 7) + 1e-3 * random(100, 7, seed=1), 1).to(dtype)
    torchs = F.kl_div(q.log(), p, reduction="none").sum(1)
    for i in range(len(p)):
        own, cross = (exact_cross_terms(exact(p[i]), exact(r[i])) for r in (p, q))
        true = EXACT.fsum(cross) - EXACT.fsum(own)
        hair = HAIR * torch.finfo(dtype).eps * EXACT.fsum(abs(term) for term in own + cross)
        ours = EXACT.mpf(formulas.kl_divergence(p[i], q[i]).item())
        assert abs(ours - true) <= abs(torchs[i].item() - true) + hair


# --- the truth of the losses ----------------------------------------------------------------------


def exact_shares(z, targets, weight, smoothing):
    """a_ik and what the mean divides by, for labels (N,) or probabilities (N, K)."""
    n, k = z.shape
    labels = targets.ndim == 1
    T = [exact(row) for row in (F.one_hot(targets, k).double() if labels else targets)]
    w = [EXACT.one] * k if weight is None else exact(weight)
    e = EXACT.mpf(smoothing)
    shares = [[((1 - e) * t + e / k) * v for t, v in zip(row, w, strict=True)] for row in T]
    return shares, EXACT.fsum(w[y] for y in targets.tolist()) if labels else EXACT.mpf(n)


def exact_cross_entropy(z, targets, weight, smoothing):
    """(losses of the rows, the size of what they add up, the mean's divisor)."""
    shares, divisor = exact_shares(z, targets, weight, smoothing)
    losses, sizes = [], []
    for row, a in zip(z, shares, strict=True):
        logs, added = exact_log_softmax(exact(row)), largest_added(exact(row))
        losses.append(EXACT.fsum(-s * x if s else EXACT.zero for s, x in zip(a, logs, strict=True)))
        sizes.append(EXACT.fsum(s * x for s, x in zip(a, added, strict=True)))
    return losses, sizes, divisor


def assert_loss_near(z, targets, weight, smoothing):
    losses, sizes, divisor = exact_cross_entropy(z, targets, weight, smoothing)
    eps, far = torch.finfo(z.dtype).eps, FAR + z.numel() / 2
    wanted = {
        "none": (losses, sizes),
        "sum": ([EXACT.fsum(losses)], [EXACT.fsum(sizes)]),
        "mean": ([EXACT.fsum(losses) / divisor], [EXACT.fsum(sizes) / divisor]),
    }
    for reduction, (truth, size) in wanted.items():
        options = {"weight": weight, "label_smoothing": smoothing, "reduction": reduction}
        ours = exact(formulas.cross_entropy(z, targets, **options))
        torchs = exact(F.cross_entropy(z, targets, **options))
        for a, b, true, unit in zip(ours, torchs, truth, size, strict=True):
            if EXACT.isinf(true):
                assert a == b == true
                continue
            assert abs(a - true) <= far * unit * eps
            assert abs(a - true) <= abs(b - true) + HAIR * unit * eps


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@TYPES
def test_cross_entropy_is_true(rows, dtype, weighted, smoothing):
    for row in rows[1:5]:
        k = len(row)
        z = torch.stack([row, row.flip(0), row.roll(1)]).to(dtype)
        weight = random(k, seed=2, dtype=dtype).abs() if weighted else None
        assert_loss_near(z, torch.tensor([0, k - 1, k // 2]), weight, smoothing)
        if bool(z.isfinite().all()):
            probabilities = torch.softmax(random(3, k, seed=3), 1).to(dtype)
            assert_loss_near(z, probabilities, weight, smoothing)


# --- every option, as torch defines it ------------------------------------------------------------

SHAPES = [(4,), (5, 4), (3, 4, 2), (2, 4, 3, 2), (2, 4, 1, 2, 2)]
OPTIONS = [
    {"kind": kind, "weighted": weighted, "ignored": ignored, "smoothing": smoothing}
    for kind, weighted, ignored, smoothing in itertools.product(
        ["labels", "probabilities"], [False, True], [-100, -1, 2], [0.0, 0.3]
    )
    if kind == "labels" or ignored < 0
]


def scores_and_targets(shape, kind, ignored=-100):
    axis = 0 if len(shape) == 1 else 1
    z = 3 * random(*shape)
    if kind == "probabilities":
        return z, torch.softmax(random(*shape, seed=1), axis)
    y = random(*shape, seed=1).argmax(axis)
    if ignored < 0 and y.numel() > 1:
        y.view(-1)[1] = ignored
    return z, y


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cross_entropy_and_its_gradient_in_every_combination(shape, options, reduction):
    z, targets = scores_and_targets(shape, options["kind"], options["ignored"])
    given = {
        "weight": random(4, seed=2).abs() if options["weighted"] else None,
        "ignore_index": options["ignored"],
        "label_smoothing": options["smoothing"],
        "reduction": reduction,
    }
    z.requires_grad_()
    value = F.cross_entropy(z, targets, **given)
    assert_same(formulas.cross_entropy(z.detach(), targets, **given), value.detach())
    assert_gradient(
        formulas.cross_entropy_gradient(z.detach(), targets, **given),
        value,
        z,
        lambda moved: formulas.cross_entropy(moved, targets, **given),
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("ignored", [-100, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nll_loss_and_its_gradient_in_every_combination(shape, weighted, ignored, reduction):
    z, targets = scores_and_targets(shape, "labels", ignored)
    given = {
        "weight": random(4, seed=2).abs() if weighted else None,
        "ignore_index": ignored,
        "reduction": reduction,
    }
    z.requires_grad_()
    value = F.nll_loss(z, targets, **given)
    assert_same(formulas.nll_loss(z.detach(), targets, **given), value.detach())
    assert_gradient(
        formulas.nll_loss_gradient(z.detach(), targets, **given),
        value,
        z,
        lambda moved: formulas.nll_loss(moved, targets, **given),
    )


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=1e-14, equal_nan=True)


def assert_gradient(by_hand, value, x, function, direction=None):
    """By hand as by autograd of `value` at x, and as central differences of `function`."""
    (by_autograd,) = torch.autograd.grad(value.sum(), x)
    assert_same(by_hand, by_autograd)
    if not bool(value.isnan().any()):
        u, h, at = random(*x.shape, seed=9) if direction is None else direction, 1e-5, x.detach()
        slope = (function(at + h * u).sum() - function(at - h * u).sum()) / (2 * h)
        assert float((by_hand * u).sum()) == pytest.approx(float(slope), abs=1e-8)


# --- the other gradients --------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_gradients_of_rows_under_an_upstream(name, dim):
    z, upstream = random(3, 4, 5).requires_grad_(), random(3, 4, 5, seed=1)
    by_hand = getattr(formulas, f"{name}_gradient")(z.detach(), upstream, dim)
    value = upstream * getattr(functional, name)(z, dim)
    assert_gradient(by_hand, value, z, lambda moved: upstream * getattr(formulas, name)(moved, dim))


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_gradient_of_logsumexp(dim):
    z = random(3, 4, 5).requires_grad_()
    by_hand = formulas.logsumexp_gradient(z.detach(), dim)
    value = functional.logsumexp(z, dim)
    assert_gradient(by_hand, value, z, lambda moved: formulas.logsumexp(moved, dim))


@pytest.mark.parametrize("name", ["entropy", "distribution_cross_entropy", "kl_divergence"])
def test_gradients_of_measures_of_distributions(name):
    p = torch.softmax(random(6, 4), 1).requires_grad_()
    others = [] if name == "entropy" else [torch.softmax(random(6, 4, seed=1), 1)]
    by_hand = getattr(formulas, f"{name}_gradient")(p.detach(), *others)
    within = random(6, 4, seed=2)  # a direction in which the rows go on summing to one
    within = 1e-2 * (within - within.mean(1, keepdim=True))
    assert_gradient(
        by_hand,
        getattr(functional, name)(p, *others),
        p,
        lambda moved: getattr(formulas, name)(moved, *others),
        within,
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["naive_cross_entropy", "one_hot_cross_entropy"])
def test_gradients_of_the_losses_of_the_lesson(name, shape):
    z, y = scores_and_targets(shape, "labels", ignored=2)
    by_hand = getattr(formulas, f"{name}_gradient")(z, y)
    z.requires_grad_()
    value = getattr(functional, name)(z, y)
    assert_same(getattr(formulas, name)(z.detach(), y), value.detach())
    assert_gradient(by_hand, value, z, lambda moved: getattr(formulas, name)(moved, y))


def test_the_gradient_of_the_naive_loss_outlives_its_value():
    z, y = torch.tensor([[0.0, 200.0], [200.0, 0.0]], requires_grad=True), torch.tensor([1, 1])
    functional.naive_cross_entropy(z, y).backward()
    assert z.grad.isnan().all()
    by_hand = formulas.naive_cross_entropy_gradient(z.detach(), y)
    assert by_hand.tolist() == [[0.0, 0.0], [0.5, -0.5]]


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0, 0.0], [0.0] * 4], ids=str)
def test_masked_classes_are_as_torch_has_them(kind, weight, smoothing):
    z, targets = scores_and_targets((5, 4), kind, ignored=2)
    z[:, 3] = -torch.inf
    if kind == "labels":
        targets[0] = 3
    given = {
        "weight": None if weight is None else torch.tensor(weight, dtype=torch.float64),
        "label_smoothing": smoothing,
    }
    losses = F.cross_entropy(z, targets, reduction="none", **given)
    assert_same(formulas.cross_entropy(z, targets, reduction="none", **given), losses)
    z.requires_grad_()
    (by_autograd,) = torch.autograd.grad(F.cross_entropy(z, targets, **given), z)
    assert_same(formulas.cross_entropy_gradient(z.detach(), targets, **given), by_autograd)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_where_no_row_counts_the_mean_is_nan_and_the_gradient_zero(smoothing):
    z, y = random(3, 4), torch.full((3,), -100)
    assert formulas.cross_entropy(z, y, label_smoothing=smoothing).isnan()
    assert formulas.nll_loss(z, y).isnan()
    assert formulas.cross_entropy(z, y, reduction="sum").item() == 0.0
    assert not formulas.cross_entropy_gradient(z, y, label_smoothing=smoothing).any()
    assert not formulas.nll_loss_gradient(z, y).any()


@TYPES
def test_the_gradient_keeps_the_type_of_the_scores(dtype):
    z, y = random(3, 4, dtype=dtype), torch.tensor([0, 1, 2])
    for smoothing in (0.0, 0.3):
        assert formulas.cross_entropy_gradient(z, y, label_smoothing=smoothing).dtype == dtype
    assert formulas.nll_loss_gradient(z, y).dtype == dtype
    assert formulas.one_hot_cross_entropy_gradient(z, y).dtype == dtype


# --- the lesson by hand ---------------------------------------------------------------------------

X = torch.tensor(
    [
        *[[1, 2, 1, 1], [2, 1, 3, 2], [3, 1, 3, 4], [4, 1, 5, 5]],
        *[[1, 7, 5, 5], [1, 2, 5, 6], [1, 6, 6, 6], [1, 7, 7, 7]],
    ],
    dtype=torch.float64,
)
LABELS = torch.tensor([2, 2, 2, 1, 1, 1, 0, 0])


def once(z):
    return formulas.cross_entropy(z, LABELS), formulas.cross_entropy_gradient(z, LABELS)


def twice(z):
    """The first cell of the lesson: softmax, and then a loss that takes softmax again."""
    p = formulas.softmax(z, 1)
    upstream = formulas.cross_entropy_gradient(p, LABELS)
    return formulas.cross_entropy(p, LABELS), formulas.softmax_gradient(z, upstream, 1)


@pytest.mark.parametrize(
    ("loss", "shared", "printed"),
    [
        (
            once,
            True,  # one bias for all classes: the same shift for each logit, which softmax ignores
            "1.098612 0.761050 0.689991 0.643229 0.604117 0.568255 0.533922 0.500291 0.466908 "
            "0.433507 0.399962",
        ),
        (
            twice,
            True,
            "1.098612 0.901535 0.839114 0.807826 0.788472 0.774822 0.764449 0.756191 0.749398 "
            "0.743671 0.738749",
        ),
        (once, False, "... 0.248155"),
        (twice, False, "... 0.712426"),
    ],
)
def test_the_costs_that_the_lesson_prints(loss, shared, printed):
    W, b, costs = torch.zeros(4, 3).double(), torch.zeros(1 if shared else 3).double(), []
    for _ in range(1001):
        cost, dz = loss(X @ W + b)
        costs.append(cost.item())
        W -= 0.1 * X.T @ dz
        b -= 0.1 * (dz.sum() if shared else dz.sum(0))
    wanted = [float(cost) for cost in printed.removeprefix("... ").split()]
    # the lesson printed float32, which after 1000 steps may be one off in the sixth digit
    assert costs[::100][-len(wanted) :] == pytest.approx(wanted, rel=0, abs=1e-6)
