"""Every point of a path is the optimum of its own problem, certified, for less."""

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.datasets import load_digits, load_wine
from solved import SOLVERS

from polylogit.design import design_of
from polylogit.optim import objective, preconditioner, sums
from polylogit.optim import run as run_module
from polylogit.optim import stages as stages_module
from polylogit.optim.path import solve_path
from polylogit.optim.problem import Status
from polylogit.optim.settings import Settings
from polylogit.optim.solve import solve
from polylogit.optim.targets import Labels
from polylogit.optim.threads import Crew

X, Y = load_digits(return_X_y=True)
X, Y = X[:600], Y[:600]
ALPHAS = tuple((10.0 ** np.linspace(4, -5, 11)).tolist())


def problem(features=X, y=Y, **options):
    k = int(y.max()) + 1
    centred = options.get("intercept", True)
    rows = (
        design_of(features, centred=centred),
        Labels(torch.from_numpy(y), k),
        torch.ones(len(y)).double(),
    )
    return rows, {"n_classes": k, **options}


def check(rows, options, alphas=ALPHAS, **settings):
    """The path, each point of which is compared with a solve of its own, much finer."""
    found = list(solve_path(*rows, alphas=alphas, settings=Settings(**settings), **options))
    assert len(found) == len(alphas)
    for alpha, solution in zip(alphas, found, strict=True):
        truth = solve(*rows, alpha=alpha, settings=Settings(tol=1e-10), **options)
        assert solution.certified
        assert 0 <= solution.certificate.gap <= 1e-6
        excess = solution.objective - truth.objective
        assert -1e-10 <= excess <= solution.certificate.gap + 1e-14
    return found


@pytest.mark.parametrize("solver", [*SOLVERS, "auto"])
def test_every_point_is_an_optimum(solver):
    check(*problem(), solver=solver)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "auto"])
def test_float32_steers_and_float64_proves(solver, monkeypatch):
    monkeypatch.setattr(stages_module, "FAST_WORK", 0)
    monkeypatch.setattr(stages_module, "_quickest", lambda *_: "mixed")
    check(*problem(), solver=solver)


@pytest.mark.parametrize("room", [0, len(Y) * 10 * 4], ids=["none", "in float32 only"])
@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg"])
def test_logits_that_are_not_kept(solver, room, monkeypatch):
    monkeypatch.setattr(sums, "LOGITS_BYTES", room)
    monkeypatch.setattr(stages_module, "FAST_WORK", 0)
    monkeypatch.setattr(stages_module, "_quickest", lambda *_: "mixed")
    check(*problem(), solver=solver, alphas=ALPHAS[::2])


def test_the_diagonal_is_kept_too(monkeypatch):
    monkeypatch.setattr(objective, "WIDEST_GRAM", 10)
    check(*problem(scipy.sparse.csr_array(X)), solver="lbfgs", alphas=ALPHAS[::2])


@pytest.mark.parametrize(
    "options",
    [
        {"intercept": False},
        {"factors": torch.linspace(0.1, 3, 13).double()},
        {"offsets": torch.randn(178, 3, generator=torch.Generator().manual_seed(0)).double()},
    ],
    ids=["no intercept", "factors", "offsets"],
)
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_every_kind_of_problem(options, solver):
    check(*problem(*load_wine(return_X_y=True), **options), solver=solver)


def test_a_path_costs_less_than_its_points():
    rows, options = problem()
    path = check(rows, options, solver="lbfgs")
    cold = [
        solve(*rows, alpha=alpha, settings=Settings(solver="lbfgs"), **options) for alpha in ALPHAS
    ]
    passes = sum(solution.statistics.passes for solution in path)
    assert passes < 0.6 * sum(solution.statistics.passes for solution in cold)


@pytest.mark.parametrize("solver", SOLVERS)
def test_where_the_last_optimum_is_proven_to_do_no_step_is_made(solver, monkeypatch):
    monkeypatch.setattr(stages_module, "FAST_WORK", 0)  # float32, where it is used at all
    rows, options = problem()
    alphas = (1e9, 0.999e9, 0.998e9)
    settings = Settings(solver=solver)
    third = list(solve_path(*rows, alphas=alphas, settings=settings, **options))[2]
    assert (
        third.statistics.passes <= 1
    )  # for the best bias, where that is not kept to the last digit
    assert third.statistics.iterations == 0
    truth = solve(*rows, alpha=alphas[2], **options).objective
    assert 0 <= third.objective - truth + 1e-15 <= third.certificate.gap + 1e-15


@pytest.mark.parametrize("options", [{}, {"intercept": False}], ids=["bias", "no bias"])
def test_where_the_way_on_leads_to_the_optimum_one_pass_in_float64_proves_it(options, monkeypatch):
    monkeypatch.setattr(stages_module, "FAST_WORK", 0)
    monkeypatch.setattr(stages_module, "_quickest", lambda *_: "mixed")
    path = check(*problem(**options), alphas=tuple((10.0 ** np.linspace(5, 3, 9)).tolist()))
    costs = [(found.statistics.passes, found.statistics.iterations) for found in path]
    assert costs.count((1, 0)) >= 3


def test_where_the_way_on_no_longer_leads_there_the_solve_goes_on_from_its_end(monkeypatch):
    monkeypatch.setattr(stages_module, "FAST_WORK", 0)
    monkeypatch.setattr(stages_module, "_quickest", lambda *_: "mixed")
    alphas = (*(10.0 ** np.linspace(5, 3, 9)).tolist(), 1.0)
    path = check(*problem(), alphas=alphas)
    last, before = path[-1].statistics, path[-2].statistics
    assert before.iterations == 0 < last.iterations
    first, second = last.history[:2]
    assert (first.passes, second.passes) == (1, 1)  # the same point in float32, for nothing
    assert second.gap == pytest.approx(first.gap, rel=1e-3)


def test_an_estimate_is_no_proof(monkeypatch):
    monkeypatch.setattr(run_module, "estimate", lambda *_: 0.0)
    check(*problem(*load_wine(return_X_y=True)), solver="newton")


def test_the_last_point_may_go_without_a_penalty_and_with_another_solver(monkeypatch):
    monkeypatch.setattr(stages_module, "_quickest", lambda *at: "mixed" if at[1] else "newton")
    y = np.random.default_rng(0).integers(3, size=178)
    rows, options = problem(load_wine(return_X_y=True)[0], y)
    strong, none = solve_path(*rows, alphas=(1.0, 0.0), **options)
    assert strong.certified
    assert none.objective == pytest.approx(solve(*rows, alpha=0.0, **options).objective, abs=1e-9)


def test_by_hand_the_path_ends_with_the_point_at_work():
    rows, options = problem()
    seen = []

    def stop(note):
        seen.append(note)
        if len(seen) == 12:
            raise KeyboardInterrupt

    path = list(solve_path(*rows, alphas=ALPHAS, progress=stop, **options))
    assert 1 < len(path) < len(ALPHAS)
    assert [solution.status for solution in path[:-1]] == [Status.CERTIFIED] * (len(path) - 1)
    assert path[-1].status is Status.INTERRUPTED
    truth = solve(*rows, alpha=ALPHAS[len(path) - 1], settings=Settings(tol=1e-10), **options)
    assert path[-1].objective - truth.objective <= path[-1].certificate.gap


def test_the_sums_of_the_preconditioner_are_made_again_only_where_the_curvature_changed():
    kept, made = preconditioner.Kept(), []

    def compute():
        made.append(len(made) + 1.0)
        return torch.eye(2).double() * made[-1]

    assert kept.renewed(1.0, compute)[0, 0] == 1
    assert kept.renewed(1.2, compute)[0, 0] == pytest.approx(1.2)  # scaled, not made
    near, far = 1.1 / preconditioner.CHANGED, 0.9 / preconditioner.CHANGED
    assert kept.renewed(near, compute)[0, 0] == pytest.approx(near)
    assert kept.renewed(far, compute)[0, 0] == 2
    assert kept.renewed(1.0, compute)[0, 0] == 3
    assert len(made) == 3


def test_a_path_finds_out_once_how_many_threads_pay(monkeypatch):
    asked = []
    monkeypatch.setattr(run_module, "Crew", lambda *at: asked.append(at) or Crew(*at))
    rows, options = problem()
    assert len(list(solve_path(*rows, alphas=ALPHAS[:3], **options))) == 3
    assert len(asked) == 1
