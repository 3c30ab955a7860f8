"""How a solve ends: certified, cut short, stalled, uncertified; never silently."""

import itertools

import numpy as np
import pytest
import torch
from solved import SOLVERS, WINE, names, run

from polylogit.design import design_of
from polylogit.optim import cost as cost_module
from polylogit.optim import objective as objective_module
from polylogit.optim import run as module
from polylogit.optim import stages as stages_module
from polylogit.optim import sums as sums_module
from polylogit.optim.cost import Cost
from polylogit.optim.problem import Status
from polylogit.optim.settings import Settings
from polylogit.optim.solve import solve
from polylogit.optim.targets import Labels


@pytest.mark.parametrize("solver", SOLVERS)
def test_certified_with_a_diary(solver):
    seen = []
    solution = run(*WINE, solver=solver, progress=seen.append)
    assert solution.status is Status.CERTIFIED
    assert 0 <= solution.certificate.gap <= 1e-6
    assert solution.statistics.solver == solver
    assert tuple(seen) == solution.statistics.history
    values = [note.objective for note in seen]
    assert all(b <= a + 1e-15 for a, b in itertools.pairwise(values))
    passes = [note.passes for note in seen]
    assert passes == sorted(passes)
    assert solution.statistics.passes >= passes[-1] >= 1
    assert solution.statistics.iterations == seen[-1].iteration


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_iteration_limit_is_said_and_bounded(solver):
    solution = run(*WINE, solver=solver, max_iter=1)
    assert solution.status is Status.ITERATION_LIMIT
    assert solution.statistics.iterations == 1
    assert "raise max_iter" in solution.message
    assert solution.objective - run(*WINE).objective <= solution.certificate.gap


@pytest.mark.parametrize("solver", SOLVERS)
def test_rounding_is_the_end_and_is_said(solver):
    solution = run(*WINE, solver=solver, tol=1e-18)
    assert solution.status is Status.STALLED
    assert solution.certificate.gap < 1e-10
    assert "Rounding stopped the fit" in solution.message


def test_by_hand_gives_the_best_so_far():
    def stop_at_two(note):
        if note.iteration == 2:
            raise KeyboardInterrupt

    solution = run(*WINE, progress=stop_at_two)
    assert solution.status is Status.INTERRUPTED
    assert not solution.certified
    assert solution.objective == solution.statistics.history[-1].objective or (
        solution.objective < solution.statistics.history[-1].objective
    )


def test_the_number_of_threads_is_restored():
    before = torch.get_num_threads()
    run(*WINE, n_threads=2)
    assert torch.get_num_threads() == before


def test_threads_are_left_alone_where_no_product_is_ever_shared_out(monkeypatch):
    asked, threads = [], module.threads
    monkeypatch.setattr(module, "threads", lambda count: asked.append(count) or threads(count))
    assert run(*WINE).certified
    assert asked == []
    assert run(*WINE, n_threads=1).certified
    monkeypatch.setattr(module, "UNSHARED", 1e4)
    assert run(*WINE).certified
    assert asked == [1, 1]


def test_a_fit_that_changes_its_threads_restores_the_number_too(monkeypatch):
    looked, before = [], torch.get_num_threads()

    def look(_, passes):
        looked.append(passes)
        torch.set_num_threads(before + 2)

    monkeypatch.setattr(module.Crew, "look", look)
    assert run(*WINE, n_threads=before).certified
    assert len(looked) > 3
    assert looked == sorted(set(looked))
    assert torch.get_num_threads() == before


def uneven(n_rows, n_classes):
    """Columns of sizes 1e-3 to 1e3, where a weak ridge makes the duality gap a loose bound."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(n_rows, 20))
    logits = Z @ rng.normal(size=(20, n_classes))
    y = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    return Z * 10.0 ** np.linspace(-3, 3, 20), y, 1 / n_rows


@pytest.fixture
def dear(monkeypatch):
    """Steps count as so dear that their digits are not waited for."""
    monkeypatch.setattr(module, "POLISH_WORK", 0)
    monkeypatch.setattr(stages_module, "is_compact", lambda _: False)


@pytest.mark.usefixtures("dear")
@pytest.mark.parametrize(("solver", "n_classes"), [("newton", 2), ("newton-cg", 5)])
def test_the_decrement_proves_sooner_than_duality(solver, n_classes, monkeypatch):
    X, y, alpha = uneven(5000, n_classes)
    sooner = run(X, y, alpha, solver=solver)
    exact = run(X, y, alpha, tol=1e-13)
    assert sooner.certificate.kind == "Newton"
    assert 0 <= sooner.objective - exact.objective <= sooner.certificate.gap <= 1e-6
    monkeypatch.setattr(module.Run, "_decrement_pays", lambda *_: False)
    later = run(X, y, alpha, solver=solver)
    assert sooner.statistics.passes < later.statistics.passes


@pytest.mark.usefixtures("dear")
def test_a_matrix_that_costs_more_than_a_step_proves_nothing_early(monkeypatch):
    monkeypatch.setattr(cost_module, "DOUBLE_FLOPS", 1e3)
    X, y, alpha = uneven(5000, 5)
    assert run(X, y, alpha, solver="newton-cg").certificate.kind == "duality"


@pytest.mark.usefixtures("dear")
def test_what_the_decrement_does_not_prove_goes_on(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "certify_roughly", lambda *_: asked.append(1) or module.NONE)
    solution = run(*uneven(5000, 5), solver="newton-cg")
    assert asked
    assert solution.status is Status.CERTIFIED
    assert solution.certificate.kind == "duality"


@pytest.mark.usefixtures("dear")
@pytest.mark.parametrize("options", [{"solver": "lbfgs"}, {"l1_ratio": 0.5}], ids=str)
def test_no_other_solver_ends_by_the_decrement(options, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "certify_roughly", lambda *_: asked.append(1) or module.NONE)
    X, y, alpha = uneven(500, 3)
    settings = Settings(tol=1e-18, solver=options.get("solver", "auto"))
    solution = solve(
        design_of(X), Labels(torch.from_numpy(y), 3), torch.ones(500, dtype=torch.float64),
        n_classes=3, alpha=alpha, l1_ratio=options.get("l1_ratio", 0.0), settings=settings,
    )  # fmt: skip
    assert solution.status is Status.STALLED
    assert not asked


def test_where_steps_are_cheap_they_are_waited_for():
    X, y, alpha = uneven(2000, 3)
    assert run(X, y, alpha).certificate.kind == "duality"


def test_a_hessian_is_written_out_once_it_costs_less_than_the_last_step(monkeypatch):
    monkeypatch.setattr(Cost, "hessian_in_products", stages_module.MANY_PRODUCTS + 0.5)
    solution = run(*hard(), alpha=1e-6)
    assert solution.certified
    assert solution.statistics.solver == "newton-cg + newton"
    assert solution.objective == pytest.approx(
        run(*hard(), alpha=1e-6, solver="newton").objective, abs=1e-6
    )
    passes = np.diff([step.passes for step in solution.statistics.history])
    assert sum(passes > stages_module.MANY_PRODUCTS + 0.5) == 1  # the step that was too dear


@pytest.mark.parametrize(("dear", "reads"), [(False, 1), (True, 2)])
@pytest.mark.parametrize(("settled", "looks"), [(1e-5, 0), (0.0, 1)])
def test_what_float32_has_found_is_proven_by_a_read_or_two(
    dear, reads, settled, looks, monkeypatch
):
    monkeypatch.setattr(stages_module, "FAST_WORK", 0)
    if dear:  # to look at all logits
        monkeypatch.setattr(objective_module.SoftmaxObjective, "bounds_bias", False)
    monkeypatch.setattr(sums_module, "BALANCED", 0.0)  # never so good that it stops by that
    monkeypatch.setattr(sums_module, "SETTLED", {torch.float32: settled})
    solution = run(*WINE, solver="lbfgs")
    assert solution.certified
    last = solution.statistics.history[-2]
    proof = solution.statistics.passes - last.passes
    assert proof == reads + looks  # in float64; before, if due, a look at the best bias


def test_a_look_at_the_best_bias_that_does_not_end_it_is_not_lost(monkeypatch):
    """Its point is a better one, and the next step sets out from there."""
    monkeypatch.setattr(sums_module, "LOGITS_BYTES", 0)  # a look takes several passes
    kind, found, left = objective_module.SoftmaxObjective, [], []
    best, line = kind.with_best_bias, kind.line
    monkeypatch.setattr(kind, "with_best_bias", lambda *a: found.append(best(*a)) or found[-1])
    monkeypatch.setattr(kind, "line", lambda o, at, d: left.append(at) or line(o, at, d))
    rng, y = np.random.default_rng(0), np.arange(300) % 40
    X = rng.normal(size=(40, 10))[y] + rng.normal(size=(300, 10))
    assert run(X, y, alpha=1e-3, solver="lbfgs", dtype="float32", tol=1e-7).certified
    assert len(found) == 2
    assert any(at is found[0] for at in left)


def hard():
    """Nearly separable, with columns that only single rows use: L-BFGS crawls."""
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(60, 20)), np.eye(60)[:, :40] * 300]
    return X, rng.integers(4, size=60)


def test_newton_takes_over_where_lbfgs_is_slow(monkeypatch):
    monkeypatch.setattr(stages_module, "_quickest", lambda *_: "mixed")
    monkeypatch.setattr(module, "SLOW", 1)
    monkeypatch.setattr(module, "PACE", 10)
    solution = run(*hard(), alpha=1e-6)
    assert solution.certified
    assert solution.statistics.solver == "lbfgs + newton-cg"
    assert solution.objective == pytest.approx(
        run(*hard(), alpha=1e-6, solver="newton").objective, abs=1e-6
    )


def stages_of(run_once, monkeypatch):
    """What `run_once` gives back, and the solvers it went through with their precision."""
    passed, solver = [], module.Run._solver
    monkeypatch.setattr(module.Run, "_solver", lambda r, o: passed.append(r.stage) or solver(r, o))
    return run_once(), names(passed)


def test_what_float32_has_only_just_missed_lbfgs_ends_in_float64(monkeypatch):
    monkeypatch.setattr(stages_module, "_quickest", lambda *_: "mixed")
    monkeypatch.setattr(stages_module, "FAST_WORK", 0)
    monkeypatch.setattr(module, "SAFETY", 4.0)
    solution, passed = stages_of(lambda: run(*WINE), monkeypatch)
    assert solution.certified
    assert passed == [("lbfgs", torch.float32), ("lbfgs", torch.float64)]
    assert solution.statistics.iterations < 40  # what it remembered served on


def test_what_is_slow_in_float32_is_not_tried_again_in_float64(monkeypatch):
    monkeypatch.setattr(stages_module, "_quickest", lambda *_: "mixed")
    monkeypatch.setattr(stages_module, "FAST_WORK", 0)
    monkeypatch.setattr(module, "SLOW", 1)
    monkeypatch.setattr(module, "PACE", 10)
    solution, passed = stages_of(lambda: run(*hard(), alpha=1e-6), monkeypatch)
    assert solution.certified
    assert passed[0] == ("lbfgs", torch.float32)
    assert set(passed[1:]) == {("newton-cg", torch.float64)}
    alone, passed = stages_of(lambda: run(*hard(), alpha=1e-4, solver="lbfgs"), monkeypatch)
    assert alone.certified
    assert passed == [("lbfgs", torch.float32), ("lbfgs", torch.float64)]  # there is no other


def test_where_products_in_float32_lead_nowhere_they_are_made_in_float64(monkeypatch):
    tried, newton_cg = [], module.newton_cg

    def lost_in_float32(problem, at, **options):
        tried.append(problem.fast)
        if problem.fast == torch.float64:
            yield from newton_cg(problem, at, **options)

    monkeypatch.setattr(stages_module, "is_compact", lambda _: False)
    monkeypatch.setattr(module, "newton_cg", lost_in_float32)
    assert run(*WINE, solver="newton-cg").certified
    assert tried == [torch.float32, torch.float64]


def test_a_step_of_conjugate_gradients_never_takes_longer_than_newtons(monkeypatch):
    given, newton_cg = [], module.newton_cg

    def seen(problem, at, **options):
        given.append((problem.cost.hessian_in_products, options["most"]))
        yield from newton_cg(problem, at, **options)

    monkeypatch.setattr(module, "newton_cg", seen)
    assert run(*WINE, solver="newton-cg").certified
    monkeypatch.setattr(stages_module, "MANY_PRODUCTS", 0)  # to begin with them, and leave the rest
    assert run(*WINE).certified
    (_, alone), (worth, before) = given
    assert alone == module.MOST_PRODUCTS
    assert worth <= before <= worth + 1


def test_where_float32_no_longer_moves_float64_goes_on():
    still, seen = module._is_still, [1.0] * 5
    assert not still(seen, seen)  # too few steps to tell
    falling = [1.0 - 1e-6 * step for step in range(20)]
    assert not still(falling, [1.0] * 20)
    assert still([1.0] * 20, [1e-3] * 20)
    assert not still([1.0] * 20, [2.0**-step for step in range(20)])  # the gap still falls


def test_what_float32_cannot_tell_apart_does_not_hold_it_up(monkeypatch):
    monkeypatch.setattr(stages_module, "FAST_WORK", 0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 3)) @ rng.normal(size=(3, 20)) + 1e-3 * rng.normal(size=(600, 20))
    y = (X[:, :3] + rng.gumbel(size=(600, 3))).argmax(1)
    solution = run(X, y, alpha=1e-9, solver="lbfgs")
    assert solution.certified
    assert solution.statistics.iterations < 100  # not the steps over which a pace is measured


def test_float32_comes_close_and_float64_proves(monkeypatch):
    monkeypatch.setattr(stages_module, "FAST_WORK", 0)
    solution = run(*WINE, solver="lbfgs")
    assert solution.certified
    assert (
        0 <= solution.objective - run(*WINE, solver="newton").objective <= solution.certificate.gap
    )


def test_interrupted_in_float32_the_certificate_is_still_float64(monkeypatch):
    monkeypatch.setattr(stages_module, "FAST_WORK", 0)

    def stop_at_three(note):
        if note.iteration == 3:
            raise KeyboardInterrupt

    solution = run(*WINE, solver="lbfgs", progress=stop_at_three)
    assert solution.status is Status.INTERRUPTED
    assert solution.weight.dtype == torch.float64
    assert solution.objective - run(*WINE).objective <= solution.certificate.gap
