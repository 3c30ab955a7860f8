"""Few rows of many columns: as good as the rows themselves, in fewer coordinates."""

import time

import numpy as np
import pytest
import scipy.sparse
import torch
from oracle import stored

from polylogit.design import design_of
from polylogit.optim import objective as objectives
from polylogit.optim import row_span as module
from polylogit.optim import run as run_module
from polylogit.optim import solve as solve_module
from polylogit.optim import stages as stages_module
from polylogit.optim.cost import Cost
from polylogit.optim.path import solve_path
from polylogit.optim.problem import Status
from polylogit.optim.row_span import RowSpan, fits
from polylogit.optim.settings import Settings
from polylogit.optim.solve import solve
from polylogit.optim.targets import Distributions, Labels
from polylogit.optim.threads import Crew

N, D, K = 24, 400, 3


def wide(seed=0):
    """Columns from 1e-6 to 1 in size, one of them constant, and the same row twice."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, D)) * 10.0 ** rng.uniform(-6, 0, D) + rng.normal(size=D)
    X[:, 7], X[5] = 3.0, X[6]
    return X, np.arange(N) % K


def problem(X=None, **options):
    drawn, y = wide()
    X = drawn if X is None else X
    options = {"n_classes": K, **options}
    design = design_of(X, centred=options.get("intercept", True))
    return (design, Labels(torch.from_numpy(y), K), torch.ones(N).double()), options


def run(alpha=0.01, rows=None, **options):
    settings = {
        name: options.pop(name) for name in ("tol", "solver", "max_iter") if name in options
    }
    default, options = problem(**options)
    return solve(*(rows or default), alpha=alpha, settings=Settings(**settings), **options)


def span_of(X, **options):
    design = design_of(X, **options)
    costs = torch.rand(design.n_features, dtype=torch.float64) / design.scale.square()
    return design, costs, RowSpan(design, costs)


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("shape", [(N, D), (40, 5)], ids=["wide", "tall"])
def test_the_same_logits_and_the_same_penalty_in_both_coordinates(kind, centred, shape):
    torch.manual_seed(0)
    X = wide()[0] if shape == (N, D) else np.random.default_rng(0).normal(size=shape)
    design, costs, span = span_of(kind(X), centred=centred)
    assert span.n_features == min(shape)
    weight, bias = torch.randn(K, span.n_features).double(), torch.randn(K).double()
    weight *= span.scale / span.scale.max()  # the last coordinate of centred rows is rounding
    (block,) = span.blocks(torch.float64)
    logits = block.matmul(weight) + bias
    W, a = span.to_user(weight, bias)
    torch.testing.assert_close(torch.from_numpy(X) @ W.T + a, logits, rtol=1e-9, atol=1e-9)
    V, _ = design.from_user(W, a)
    there, here = (V.square() @ costs).sum(), (weight.square() @ (1 / span.scale.square())).sum()
    torch.testing.assert_close(there, here, rtol=1e-9, atol=0)
    for back, before in zip(span.from_user(W, a), (weight, bias), strict=True):
        torch.testing.assert_close(back, before, rtol=1e-7, atol=1e-7)


def test_what_no_row_sees_is_left_out_and_costs_nothing_any_more():
    torch.manual_seed(0)
    X, _ = wide()
    design, costs, span = span_of(X)
    W, a = torch.randn(K, D).double() / torch.from_numpy(1 + X.std(0)), torch.randn(K).double()
    W[:, 7] = 0.0
    nearer, bias = span.to_user(*span.from_user(W, a))
    logits = torch.from_numpy(X) @ W.T + a
    torch.testing.assert_close(torch.from_numpy(X) @ nearer.T + bias, logits, rtol=1e-9, atol=1e-9)
    before, after = (design.from_user(w, a)[0].square() @ costs for w in (W, nearer))
    assert (after < 0.5 * before).all()


@pytest.mark.parametrize("different", [0, 1, 2])
def test_the_span_of_rows_that_are_mostly_the_same(different, monkeypatch):
    monkeypatch.setattr(Cost, "span_pays", True)
    X = np.ones((N, D)) * np.arange(D)
    X[:different] = np.random.default_rng(0).integers(9, size=(different, D))
    rows = design_of(X), *problem()[0][1:]
    solution = run(rows=rows)
    assert solution.certified
    assert solution.statistics.solver == ("row span + newton" if different else "row span")
    assert solution.objective == pytest.approx(run(rows=rows, solver="lbfgs", tol=1e-10).objective)


def test_rows_that_stay_in_a_file_or_are_too_many_are_not_factored(monkeypatch):
    X, y = wide()
    assert fits(design_of(X))
    assert not fits(design_of(stored(X)))
    rows = design_of(stored(X)), Labels(torch.from_numpy(y), K), torch.ones(N).double()
    assert "row span" not in run(rows=rows).statistics.solver
    monkeypatch.setattr(module, "SPAN_BYTES", 8 * N * (D - 1) - 1)
    assert not fits(design_of(X))


@pytest.mark.parametrize("mixed", [False, True], ids=["newton", "float32 first"])
def test_a_wide_problem_is_solved_in_the_span_and_proven_by_one_look_at_the_rows(
    mixed, monkeypatch
):
    if mixed:
        monkeypatch.setattr(stages_module, "FAST_WORK", 0)
        monkeypatch.setattr(stages_module, "_quickest", lambda *_: "mixed")
    solution, slow = run(), run(solver="lbfgs", tol=1e-9)
    assert solution.statistics.solver == ("row span + lbfgs" if mixed else "row span + newton")
    assert solution.certified
    assert -1e-12 <= solution.objective - slow.objective + slow.certificate.gap
    assert solution.objective - slow.objective <= solution.certificate.gap
    last, proof = solution.statistics.history[-2:]
    assert (proof.iteration, proof.passes) == (last.iteration + 1, last.passes + 1)
    assert proof.objective == pytest.approx(last.objective, abs=1e-12)
    assert proof.gap == pytest.approx(last.gap, rel=0.1, abs=1e-12)


def test_the_clock_runs_while_the_span_is_found(monkeypatch):
    monkeypatch.setattr(solve_module, "RowSpan", lambda *of: time.sleep(0.05) or RowSpan(*of))
    assert run().statistics.history[0].seconds > 0.05


_draw = torch.Generator().manual_seed(1)
OTHERS = {
    "no intercept": {"intercept": False},
    "factors": {"factors": torch.rand(D, generator=_draw, dtype=torch.float64) + 0.01},
    "offsets": {"offsets": torch.randn(N, K, generator=_draw, dtype=torch.float64)},
}


@pytest.mark.parametrize("other", OTHERS)
def test_every_ridge_is(other):
    options = OTHERS[other]
    solution, slow = run(**options), run(solver="newton-cg", tol=1e-9, **options)
    assert solution.statistics.solver.startswith("row span")
    assert solution.certified
    excess = solution.objective - slow.objective
    assert -slow.certificate.gap - 1e-12 <= excess <= solution.certificate.gap


def test_distributions_and_row_weights_are():
    rng = np.random.default_rng(2)
    design, _, _ = problem()[0]
    soft = Distributions(torch.from_numpy(rng.dirichlet(np.ones(K), N)))
    weights = torch.from_numpy(rng.uniform(0.1, 3, N))
    solution, slow = (
        run(rows=(design, soft, weights), **way) for way in ({}, {"solver": "lbfgs", "tol": 1e-9})
    )
    assert solution.statistics.solver.startswith("row span")
    assert solution.objective == pytest.approx(slow.objective, abs=1e-8)


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "newton"},
        {"l1_ratio": 0.5},
        {"factors": torch.tensor([0.0, *[1.0] * (D - 1)]).double()},
        {"alpha": 0.0, "max_iter": 1},
    ],
    ids=["a solver by name", "kinks", "a column that costs nothing", "no penalty"],
)
def test_nothing_else_is(options, monkeypatch):
    monkeypatch.setattr(solve_module, "RowSpan", None)
    monkeypatch.setattr(run_module, "refuse_separated", lambda _: None)
    monkeypatch.setattr(run_module, "refuse_trouble", lambda *_: None)
    assert "row span" not in run(**options).statistics.solver


def test_a_fit_goes_on_from_a_model_on_the_users_scale():
    first = run()
    again = run(start=(first.weight, first.bias))
    assert again.statistics.passes <= 3
    assert again.objective == pytest.approx(first.objective, abs=1e-12)


def test_points_are_offered_on_the_users_scale():
    seen = []
    solution = run(keep=lambda step, point: seen.append((step, *point())))
    assert [step for step, *_ in seen] == list(range(len(seen)))
    assert all(weight.shape == (K, D) for _, weight, _ in seen)
    torch.testing.assert_close(seen[-2][1], solution.weight, rtol=1e-6, atol=1e-12)
    assert all((weight[:, 7] == 0).all() for _, weight, _ in seen)


@pytest.mark.parametrize("last", [0, 2, None])
def test_stopped_by_hand_it_ends_with_the_best_so_far_and_a_bound(last):
    """At the start, on the way, or at the proof."""
    full = run()
    last = full.statistics.iterations if last is None else last

    def stop(note):
        if note.iteration == last:
            raise KeyboardInterrupt

    solution = run(progress=stop)
    assert solution.status is Status.INTERRUPTED
    assert solution.statistics.iterations == last
    assert 0 <= solution.objective - full.objective + 1e-12 <= solution.certificate.gap + 1e-12


def test_max_iter_counts_the_steps_of_both():
    solution = run(max_iter=2)
    assert solution.status is Status.ITERATION_LIMIT
    assert solution.objective - run().objective <= solution.certificate.gap


@pytest.mark.parametrize("n_classes", [K, N])
def test_where_the_span_was_wrong_the_rows_are_heard(n_classes, monkeypatch):
    """The proof is theirs. With a row of each class the model keeps the rows of a class apart."""
    monkeypatch.setattr(Cost, "span_pays", True)
    if n_classes == N:
        monkeypatch.setattr(stages_module, "_quickest", lambda *_: "mixed")
        monkeypatch.setattr(objectives, "has_own_rows", lambda *_: True)
    labels = Labels(torch.arange(N) % n_classes, n_classes)
    rows = design_of(wide()[0]), labels, torch.ones(N).double()
    right, back = run(rows=rows, n_classes=n_classes), RowSpan.to_user
    monkeypatch.setattr(
        RowSpan, "to_user", lambda span, w, b: tuple(1.1 * part for part in back(span, w, b))
    )
    solution = run(rows=rows, n_classes=n_classes)
    assert solution.certified
    assert solution.statistics.iterations > right.statistics.iterations
    monkeypatch.undo()
    truth = run(rows=rows, n_classes=n_classes, solver="lbfgs", tol=1e-9)
    assert solution.objective - truth.objective <= solution.certificate.gap


@pytest.mark.parametrize("size", [1e-60, 1e60])
def test_coordinates_of_any_size_serve_in_float32(size, monkeypatch):
    monkeypatch.setattr(stages_module, "FAST_WORK", 0)
    monkeypatch.setattr(stages_module, "_quickest", lambda *_: "mixed")
    (_, *others), _ = problem()
    rows = design_of(wide()[0] * size), *others
    solution = run(rows=rows, factors=torch.full((D,), size**2, dtype=torch.float64))
    assert solution.certified
    assert solution.objective == pytest.approx(run().objective, abs=2e-6)


def test_a_path_finds_the_span_once(monkeypatch):
    made = []
    monkeypatch.setattr(solve_module, "RowSpan", lambda *of: made.append(RowSpan(*of)) or made[-1])
    rows, options = problem()
    alphas = (10.0 ** np.linspace(2, -5, 8)).tolist()
    found = list(solve_path(*rows, alphas=alphas, **options))
    assert len(made) == 1
    for alpha, solution in zip(alphas, found, strict=True):
        assert solution.certified
        slow = run(alpha, solver="newton-cg", tol=1e-9)
        excess = solution.objective - slow.objective
        assert -slow.certificate.gap - 1e-12 <= excess <= solution.certificate.gap


def test_a_small_row_beside_large_ones_keeps_its_digits():
    X, y = wide()
    X[3] *= 1e-9
    solution = solve(
        design_of(X, centred=False), Labels(torch.from_numpy(y), K), torch.ones(N).double(),
        n_classes=K, alpha=1e-3, intercept=False,
    )  # fmt: skip
    assert solution.certified
    assert solution.statistics.solver == "row span + newton"


def test_it_runs_on_as_many_threads_as_the_rows_deserve(monkeypatch):
    asked, looked = [], []
    monkeypatch.setattr(run_module, "Crew", lambda *at: asked.append(at) or Crew(*at))
    monkeypatch.setattr(Crew, "look", lambda self, _: looked.append(self))
    solution = run()
    assert asked == [(N * K * (D - 1), None)]  # more than a pass in the span, and no Hessian
    assert len(looked) == len(solution.statistics.history)  # of the proof too
    assert len(set(looked)) == 1
