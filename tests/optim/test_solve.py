"""How a solve ends: certified, cut short, stalled, uncertified, or refused; never silently."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.datasets import load_iris, load_wine

from polylogit.design import design_of
from polylogit.errors import OptionError, SolveError, TargetError
from polylogit.optim import cost as cost_module
from polylogit.optim import objective as objective_module
from polylogit.optim import preconditioner as preconditioner_module
from polylogit.optim import solve as module
from polylogit.optim import sums as sums_module
from polylogit.optim.cost import Cost
from polylogit.optim.curvature import SoftmaxCurvature
from polylogit.optim.preconditioner import (
    ClassDiagonalPreconditioner,
    ClassPreconditioner,
    DiagonalPreconditioner,
)
from polylogit.optim.problem import Status
from polylogit.optim.solve import Settings, solve
from polylogit.optim.targets import Distributions, Labels


def run(X, y, alpha=0.01, *, start=None, progress=None, weights=None, intercept=True, **settings):
    y = np.asarray(y)
    k = int(y.max()) + 1
    weights = torch.ones(len(y), dtype=torch.float64) if weights is None else torch.tensor(weights)
    return solve(
        design_of(np.asarray(X, dtype=float), centred=intercept),
        Labels(torch.from_numpy(y), k),
        weights,
        n_classes=k,
        alpha=alpha,
        intercept=intercept,
        settings=Settings(**settings),
        start=start,
        progress=progress,
    )


WINE = load_wine(return_X_y=True)
IRIS = load_iris(return_X_y=True)
SOLVERS = [name for name in module.SOLVERS if name != "auto"]


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


def test_separated_classes_without_a_penalty_are_refused():
    with pytest.raises(TargetError, match=r"separate the classes perfectly.*set C to a finite"):
        run(*WINE, alpha=0.0)
    with pytest.raises(TargetError, match=r"separate the classes in some rows"):
        run(*IRIS, alpha=0.0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_overlapping_classes_without_a_penalty_have_an_optimum(solver):
    y = np.random.default_rng(0).integers(3, size=150)
    solution = run(IRIS[0], y, alpha=0.0, solver=solver)
    assert solution.certificate.kind == "Newton"
    assert solution.certified
    assert solution.objective == pytest.approx(run(IRIS[0], y, alpha=1e-13).objective, abs=1e-9)


@pytest.mark.parametrize(("noise", "certified"), [(0.0, True), (1e-7, False)])
def test_columns_without_a_penalty_that_others_make_are_left_out_of_the_proof(noise, certified):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=150)
    beside = IRIS[0].sum(1) + noise * rng.normal(size=150)
    solution = run(np.c_[IRIS[0], beside], y, alpha=0.0)
    assert solution.certified == certified
    if certified:
        plain = run(IRIS[0], y, alpha=0.0)
        assert solution.objective == pytest.approx(plain.objective, abs=1e-12)
    else:
        assert solution.status is Status.UNCERTIFIED
        assert "nothing penalises" in solution.message


def test_a_large_fit_without_a_penalty_writes_no_hessian_out(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 40)) * 10.0 ** rng.uniform(-2, 2, 40)
    y = (X / X.std(0) @ rng.normal(size=(40, 15)) + 2 * rng.gumbel(size=(2000, 15))).argmax(1)
    exact = run(X, y, alpha=0.0, solver="newton")
    monkeypatch.setattr(SoftmaxCurvature, "matrix", None)
    solution = run(X, y, alpha=0.0)
    assert solution.certified
    assert solution.objective - exact.objective <= solution.certificate.gap < 1e-8


def test_an_optimum_that_is_proven_asks_no_linear_program(monkeypatch):
    monkeypatch.setattr("polylogit.optim.solve.is_separable", None)
    y = np.random.default_rng(0).integers(3, size=150)
    assert run(IRIS[0], y, alpha=0.0).certified


def test_smoothed_labels_have_an_optimum_even_where_separated():
    X, y = WINE
    soft = np.eye(3)[y] * 0.9 + 0.1 / 3
    solution = solve(
        design_of(X), Distributions(torch.from_numpy(soft)), torch.ones(178, dtype=torch.float64),
        n_classes=3, alpha=0.0,
    )  # fmt: skip
    assert solution.certified


def test_a_class_without_weight_is_refused():
    weights = np.where(WINE[1] == 1, 0.0, 1.0)
    with pytest.raises(TargetError, match="class 1 has no weight in any row"):
        run(*WINE, weights=weights)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"tol": 0.0}, "tol must be a positive number"),
        ({"tol": -1.0}, "tol must be a positive number"),
        ({"tol": math.nan}, "tol must be a positive number"),
        ({"tol": "1"}, "tol must be a positive number of nats per row, not '1'"),
        ({"max_iter": 0}, "max_iter must be a whole number >= 1, not 0"),
        ({"max_iter": 2.5}, "max_iter must be a whole number >= 1, not 2.5"),
        ({"max_iter": True}, "max_iter must be a whole number >= 1, not True"),
        ({"solver": "newtn"}, "did you mean 'newton'"),
        ({"n_threads": 0}, "n_threads must be a whole number >= 1, not 0"),
    ],
)
def test_options_are_checked(option, message):
    with pytest.raises(OptionError, match=message.replace("(", r"\(")):
        Settings(**option)


def test_a_warm_start_sets_out_from_the_given_model():
    first = run(*WINE)
    again = run(*WINE, start=(first.weight, first.bias))
    assert again.statistics.iterations <= 1
    assert again.objective == pytest.approx(first.objective, abs=1e-12)


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


def names(stages):
    return [(stage.name, stage.dtype) for stage in stages]


def test_the_solvers_follow_the_size():
    wide, small = (50, 2000), WINE[0].shape
    double, single = torch.float64, torch.float32

    def stages(solver, shape, n_classes, penalised, dtype="auto"):
        settings = module.Settings(solver=solver, dtype=dtype)
        return module._stages(settings, Cost(*shape, math.prod(shape), n_classes), penalised)

    assert names(stages("auto", small, 3, True)) == [("newton", double)]
    assert names(stages("auto", wide, 3, True)) == [
        ("lbfgs", double),
        ("newton-cg", double),
    ]
    assert names(stages("auto", wide, 3, False)) == [("newton-cg", double)]
    assert names(stages("lbfgs", small, 3, True)) == [("lbfgs", double)]
    assert names(stages("auto", wide, 100, True))[0] == ("lbfgs", single)
    assert names(stages("auto", wide, 100, True, dtype="float64"))[0] == ("lbfgs", double)
    assert names(stages("auto", wide, 3, True, dtype="float32"))[0] == ("lbfgs", single)


def test_first_steps_do_without_a_hessian_that_costs_many_products():
    many = Cost(2000, 60, 2000 * 60.0, 10)
    auto = module._stages(module.Settings(), many, True)
    assert [stage.name for stage in auto] == ["newton-cg", "newton"]
    assert module._stages(module.Settings(), many, False) == auto
    assert len(module._stages(module.Settings(solver="newton"), many, True)) == 1


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
    monkeypatch.setattr(module, "is_compact", lambda _: False)


@pytest.mark.usefixtures("dear")
@pytest.mark.parametrize(("solver", "n_classes"), [("newton", 2), ("newton-cg", 5)])
def test_the_decrement_proves_sooner_than_duality(solver, n_classes, monkeypatch):
    X, y, alpha = uneven(5000, n_classes)
    sooner = run(X, y, alpha, solver=solver)
    exact = run(X, y, alpha, tol=1e-13)
    assert sooner.certificate.kind == "Newton"
    assert 0 <= sooner.objective - exact.objective <= sooner.certificate.gap <= 1e-6
    monkeypatch.setattr(module._Run, "_decrement_pays", lambda *_: False)
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
    monkeypatch.setattr(Cost, "hessian_in_products", module.MANY_PRODUCTS + 0.5)
    solution = run(*hard(), alpha=1e-6)
    assert solution.certified
    assert solution.statistics.solver == "newton-cg + newton"
    assert solution.objective == pytest.approx(
        run(*hard(), alpha=1e-6, solver="newton").objective, abs=1e-6
    )
    passes = np.diff([step.passes for step in solution.statistics.history])
    assert sum(passes > module.MANY_PRODUCTS + 0.5) == 1  # the step that was too dear


@pytest.mark.parametrize(("dear", "reads"), [(False, 1), (True, 2)])
@pytest.mark.parametrize(("settled", "looks"), [(1e-5, 0), (0.0, 1)])
def test_what_float32_has_found_is_proven_by_a_read_or_two(
    dear, reads, settled, looks, monkeypatch
):
    monkeypatch.setattr(module, "FAST_WORK", 0)
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
    monkeypatch.setattr(module, "_quickest", lambda *_: "mixed")
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
    passed, solver = [], module._Run._solver
    monkeypatch.setattr(module._Run, "_solver", lambda r, o: passed.append(r.stage) or solver(r, o))
    return run_once(), names(passed)


def test_what_float32_has_only_just_missed_lbfgs_ends_in_float64(monkeypatch):
    monkeypatch.setattr(module, "_quickest", lambda *_: "mixed")
    monkeypatch.setattr(module, "FAST_WORK", 0)
    monkeypatch.setattr(module, "SAFETY", 4.0)
    solution, passed = stages_of(lambda: run(*WINE), monkeypatch)
    assert solution.certified
    assert passed == [("lbfgs", torch.float32), ("lbfgs", torch.float64)]
    assert solution.statistics.iterations < 40  # what it remembered served on


def test_what_is_slow_in_float32_is_not_tried_again_in_float64(monkeypatch):
    monkeypatch.setattr(module, "_quickest", lambda *_: "mixed")
    monkeypatch.setattr(module, "FAST_WORK", 0)
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

    monkeypatch.setattr(module, "is_compact", lambda _: False)
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
    monkeypatch.setattr(module, "MANY_PRODUCTS", 0)  # to begin with them, and leave the rest
    assert run(*WINE).certified
    (_, alone), (worth, before) = given
    assert alone == module.MOST_PRODUCTS
    assert worth <= before <= worth + 1


def test_after_the_first_diagonals_correlated_columns_get_their_matrix(monkeypatch):
    made, first = [], objective_module.SoftmaxObjective.preconditioner
    monkeypatch.setattr(
        objective_module.SoftmaxObjective,
        "preconditioner",
        lambda o, at: made.append(first(o, at)) or made[-1],
    )
    monkeypatch.setattr(Cost, "steps_before_a_matrix", lambda *_, **__: 1.0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 3)) @ rng.normal(size=(3, 60)) + 0.1 * rng.normal(size=(600, 60))
    y = (X[:, :6] + rng.gumbel(size=(600, 6))).argmax(1)
    assert run(X, y, alpha=1e-5, solver="lbfgs").certified
    assert [type(one) for one in made[:3]] == [
        ClassDiagonalPreconditioner,
        ClassDiagonalPreconditioner,
        ClassPreconditioner,
    ]


def test_where_float32_no_longer_moves_float64_goes_on():
    still, seen = module._is_still, [1.0] * 5
    assert not still(seen, seen)  # too few steps to tell
    falling = [1.0 - 1e-6 * step for step in range(20)]
    assert not still(falling, [1.0] * 20)
    assert still([1.0] * 20, [1e-3] * 20)
    assert not still([1.0] * 20, [2.0**-step for step in range(20)])  # the gap still falls


def test_what_float32_cannot_tell_apart_does_not_hold_it_up(monkeypatch):
    monkeypatch.setattr(module, "FAST_WORK", 0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 3)) @ rng.normal(size=(3, 20)) + 1e-3 * rng.normal(size=(600, 20))
    y = (X[:, :3] + rng.gumbel(size=(600, 3))).argmax(1)
    solution = run(X, y, alpha=1e-9, solver="lbfgs")
    assert solution.certified
    assert solution.statistics.iterations < 100  # not the steps over which a pace is measured


def one_hot(n_rows, n_columns, levels, n_classes):
    """Categories as indicators, correlated with each other; labels that depend on them."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(n_rows, 3))
    tables, logits = [], 0.0
    for _ in range(n_columns):
        level = np.argsort(np.argsort(hidden @ rng.normal(size=3) + rng.normal(size=n_rows)))
        codes = (levels * (level / n_rows) ** 2).astype(int)
        tables.append(np.eye(levels)[codes])
        logits = logits + 0.5 * rng.normal(size=(levels, n_classes))[codes]
    return np.hstack(tables), (logits + rng.gumbel(size=(n_rows, n_classes))).argmax(1)


def test_categories_as_indicators_take_few_passes(monkeypatch):
    """Their columns add up to one: a model with a ratio for each column goes astray there."""
    X, y = one_hot(6000, 12, 5, 8)

    def fitted(**settings):
        return run(X, y, alpha=1 / (1000 * len(y)), solver="lbfgs", **settings)

    quick = fitted()
    monkeypatch.setattr(objective_module, "MUCH", math.inf)  # no other model is looked at
    slow = fitted()
    assert quick.certified
    assert slow.certified
    assert slow.statistics.passes > 2 * quick.statistics.passes
    monkeypatch.setattr(preconditioner_module, "MISFIT", 0.0)
    assert not fitted(max_iter=2 * slow.statistics.iterations).certified


def test_float32_comes_close_and_float64_proves(monkeypatch):
    monkeypatch.setattr(module, "FAST_WORK", 0)
    solution = run(*WINE, solver="lbfgs")
    assert solution.certified
    assert (
        0 <= solution.objective - run(*WINE, solver="newton").objective <= solution.certificate.gap
    )


def test_interrupted_in_float32_the_certificate_is_still_float64(monkeypatch):
    monkeypatch.setattr(module, "FAST_WORK", 0)

    def stop_at_three(note):
        if note.iteration == 3:
            raise KeyboardInterrupt

    solution = run(*WINE, solver="lbfgs", progress=stop_at_three)
    assert solution.status is Status.INTERRUPTED
    assert solution.weight.dtype == torch.float64
    assert solution.objective - run(*WINE).objective <= solution.certificate.gap


@pytest.mark.parametrize("kind", ["SoftmaxObjective", "CompactObjective"])
def test_an_objective_that_is_not_finite_is_an_error(monkeypatch, kind):
    monkeypatch.setattr(module, "is_compact", lambda _: kind == "CompactObjective")
    objective = getattr(module, kind)
    evaluate = objective.evaluate

    def broken(self, point):
        at = evaluate(self, point)
        return type(at)(at.point, math.nan, at.gradient, at.state)

    monkeypatch.setattr(objective, "evaluate", broken)
    with pytest.raises(SolveError, match="objective became nan"):
        run(*WINE)


def test_factors_are_penalties_of_their_own():
    factors = torch.linspace(0.1, 3.0, 13, dtype=torch.float64)
    X, y = WINE
    solution = solve(
        design_of(X), Labels(torch.from_numpy(y), 3), torch.ones(178, dtype=torch.float64),
        n_classes=3, alpha=0.01, factors=factors,
    )  # fmt: skip
    scaled = run(X / factors.sqrt().numpy(), y)  # w sqrt(f) on x / sqrt(f) has the plain penalty
    assert solution.objective == pytest.approx(scaled.objective, abs=1e-10)
    torch.testing.assert_close(
        solution.weight, scaled.weight / factors.sqrt(), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_offsets_are_logits_that_are_given(solver):
    X, y = WINE
    given = torch.randn(178, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def fit(columns, offsets):
        return solve(
            design_of(columns), Labels(torch.from_numpy(y), 3),
            torch.ones(178, dtype=torch.float64),
            n_classes=3, alpha=0.01, offsets=offsets, settings=Settings(solver=solver, tol=1e-10),
        )  # fmt: skip

    # an offset that the features could have made themselves changes nothing but the weights
    V = torch.randn(3, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    V /= torch.from_numpy(X).std(0)
    plain = fit(X, None)
    assert fit(X, given).objective != pytest.approx(plain.objective, abs=1e-3)
    shift = fit(X, torch.full((178, 3), 7.0, dtype=torch.float64))
    torch.testing.assert_close(shift.weight, plain.weight, rtol=1e-6, atol=1e-8)
    logits = torch.from_numpy(X) @ V.T
    free = solve_free(X, y, None, solver)
    torch.testing.assert_close(
        solve_free(X, y, logits, solver).weight + V - V.mean(0), free.weight, rtol=1e-4, atol=1e-6
    )


def solve_free(X, y, offsets, solver):
    """Next to no penalty, on labels that nothing separates."""
    labels = torch.from_numpy(np.random.default_rng(0).integers(3, size=len(y)))
    return solve(
        design_of(X), Labels(labels, 3), torch.ones(len(y), dtype=torch.float64),
        n_classes=3, alpha=1e-12, offsets=offsets, settings=Settings(solver=solver),
    )  # fmt: skip


# ----------------------------------------------------------------------------- kinks: l1_ratio > 0


def hard_cases():
    """Curvature by class alone may not converge (scikit-learn #34561, #34681); and worse."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(60, 1))
    twins = base + 1e-3 * rng.normal(size=(60, 6))
    yield "nearly equal columns", twins, rng.integers(3, size=60)
    yield "nearly equal and separated", twins, np.digitize(base[:, 0], [0, 1])
    yield "equal columns", np.c_[twins[:, :2], twins[:, :2], -twins[:, :1]], np.arange(60) % 4
    yield "more columns than rows", rng.normal(size=(20, 60)), np.arange(20) % 4
    x = np.linspace(-1, 1, 40)
    yield "separated", np.c_[x, x**2, x**3], np.digitize(x, [-0.3, 0.3])
    outlier = rng.normal(size=(60, 3))
    outlier[0] *= 1e4
    yield "an outlier", outlier, np.arange(60) % 3
    yield "many classes", rng.normal(size=(90, 4)), np.arange(90) % 15
    yield "scarce classes", rng.normal(size=(150, 4)), np.r_[1, 1, 2, np.zeros(147, int)]


def net(X, y, l1_ratio, alpha=0.01, *, targets=None, weights=None, **options):
    settings = options.pop("settings", Settings())
    k = int(np.max(y)) + 1
    return solve(
        design_of(X, centred=options.get("intercept", True)),
        targets or Labels(torch.as_tensor(np.asarray(y, dtype=np.int64)), k),
        torch.ones(len(y), dtype=torch.float64) if weights is None else torch.as_tensor(weights),
        n_classes=k, alpha=alpha, l1_ratio=l1_ratio, settings=settings, **options,
    )  # fmt: skip


def cost(X, T, solution, alpha, l1_ratio, weights=None, offsets=0.0, factors=1.0):
    """The objective on the user's own columns, from scratch."""
    W, b = solution.weight.numpy(), solution.bias.numpy()
    z = X @ W.T + b + offsets
    losses = np.logaddexp.reduce(z, axis=1) - (T * z).sum(1)
    penalty = l1_ratio * np.abs(W).sum(0) + (1 - l1_ratio) / 2 * np.square(W).sum(0)
    return np.average(losses, weights=weights) + alpha * (factors * penalty).sum()


@pytest.mark.parametrize("case", list(hard_cases()), ids=lambda case: case[0])
@pytest.mark.parametrize("alpha", [1e-2, 1e-5])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_hard_cases_with_kinks_are_certified(case, alpha, l1_ratio):
    _, X, y = case
    solution = net(X, y, l1_ratio, alpha)
    assert solution.certified
    assert solution.statistics.solver == "proximal"
    assert solution.statistics.iterations < 60
    value = cost(X, np.eye(y.max() + 1)[y], solution, alpha, l1_ratio)
    assert value == pytest.approx(solution.objective, rel=1e-9)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.7])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("kind", ["labels", "smoothed", "distributions"])
def test_every_option_at_once_on_dense_and_sparse_rows(l1_ratio, intercept, kind):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(80, 5)) * [1, 10, 0.1, 1, 1] * (rng.uniform(size=(80, 5)) < 0.5)
    y = np.arange(80) % 3
    T = {"labels": np.eye(3)[y], "smoothed": 0.7 * np.eye(3)[y] + 0.1}.get(
        kind, rng.dirichlet(np.ones(3), size=80)
    )
    given = {
        "labels": Labels(torch.from_numpy(y), 3),
        "smoothed": Labels(torch.from_numpy(y), 3, 0.3),
    }
    weights, offsets = rng.uniform(size=80), rng.normal(size=(80, 3))
    factors = np.array([0.5, 1.0, 2.0, 3.0, 1.0])
    options = {
        "targets": given.get(kind, Distributions(torch.from_numpy(T))),
        "weights": weights,
        "intercept": intercept,
        "offsets": torch.from_numpy(offsets),
        "factors": torch.from_numpy(factors),
        "settings": Settings(tol=1e-11),
    }
    dense = net(X, y, l1_ratio, **options)
    sparse = net(scipy.sparse.csr_array(X), y, l1_ratio, **options)
    assert dense.certified
    assert sparse.certified
    torch.testing.assert_close(dense.weight, sparse.weight, rtol=1e-5, atol=1e-7)
    value = cost(X, T, dense, 0.01, l1_ratio, weights, offsets, factors)
    assert value == pytest.approx(dense.objective, rel=1e-12)
    generator = np.random.default_rng(4)
    for size in (1e-1, 1e-3):  # no neighbour is better
        for _ in range(10):
            moved = dataclasses.replace(
                dense,
                weight=dense.weight + size * torch.from_numpy(generator.normal(size=(3, 5))),
                bias=dense.bias + intercept * size * torch.from_numpy(generator.normal(size=3)),
            )
            assert cost(X, T, moved, 0.01, l1_ratio, weights, offsets, factors) > value


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_a_free_column_that_separates_is_refused_with_kinks_too(l1_ratio):
    rng = np.random.default_rng(0)
    y = np.arange(20) // 10
    X = np.c_[y, rng.normal(size=20)]
    with pytest.raises(TargetError, match=r"separate the classes .* penalty factor above 0"):
        net(X, y, l1_ratio, factors=torch.tensor([0.0, 1.0]).double())


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_by_products_alone_it_is_the_same_optimum(monkeypatch, l1_ratio):
    monkeypatch.setattr(cost_module, "PRODUCTS_SAVED", 0)
    few = net(*WINE, l1_ratio, settings=Settings(tol=1e-9))
    monkeypatch.undo()
    written = net(*WINE, l1_ratio, settings=Settings(tol=1e-9))
    assert few.certified
    assert few.objective == pytest.approx(written.objective, abs=2e-9)
    assert few.statistics.passes > written.statistics.passes


def test_a_heavy_lasso_leaves_nothing_and_a_light_one_little():
    nothing = net(*WINE, 1.0, 1e4)
    assert nothing.certified
    assert not nothing.weight.any()
    assert 0 < int((net(*WINE, 1.0, 0.01).weight != 0).sum()) < 39


def test_of_wholly_sizes_zero_is_a_median_of_every_column():
    weight = net(*WINE, 1.0, 0.01, settings=Settings(tol=1e-12)).weight
    assert torch.equal(weight.median(0).values, torch.zeros(13, dtype=torch.float64))


def test_a_warm_start_with_kinks():
    first = net(*WINE, 1.0)
    again = net(*WINE, 1.0, start=(first.weight, first.bias))
    assert again.statistics.iterations <= 1
    assert again.objective == pytest.approx(first.objective, abs=1e-10)


def test_kinks_do_not_depend_on_units():
    X, y = WINE
    scale = 10.0 ** np.linspace(-6, 6, 13)
    plain = net(X, y, 1.0, settings=Settings(tol=1e-10))
    factors = torch.from_numpy(scale)  # |w| f = |w / scale| f scale
    scaled = net(X * scale, y, 1.0, factors=factors, settings=Settings(tol=1e-10))
    assert scaled.objective == pytest.approx(plain.objective, abs=1e-10)


def test_a_free_column_is_certified_as_well():
    X, y = IRIS
    factors = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    free = net(X, y, 1.0, factors=factors)
    near = net(X, y, 1.0, factors=factors.clamp_min(1e-7))
    assert free.certified
    assert near.certified
    assert free.objective == pytest.approx(near.objective, abs=1e-6)


@pytest.mark.parametrize("solver", ["newton", "lbfgs", "newton-cg"])
def test_the_smooth_solvers_are_refused_for_kinks(solver):
    with pytest.raises(OptionError, match=f"'{solver}' cannot follow the kinks of l1_ratio > 0"):
        net(*WINE, 0.5, settings=Settings(solver=solver))


@pytest.mark.parametrize("l1_ratio", [-0.1, 1.1, math.nan])
def test_the_share_of_the_sizes_is_checked(l1_ratio):
    with pytest.raises(OptionError, match="l1_ratio must be from 0 to 1, not"):
        net(*WINE, l1_ratio)


@pytest.mark.parametrize("widest", [4096, 1], ids=["one matrix", "diagonals"])
def test_columns_weighed_for_each_class_save_steps(widest, monkeypatch):
    monkeypatch.setattr(objective_module, "WIDEST_GRAM", widest)

    def steps():
        return run(*WINE, alpha=1e-4, solver="lbfgs").statistics.iterations

    own = steps()
    monkeypatch.setattr(
        objective_module,
        "ClassPreconditioner",
        lambda gram, _: ClassPreconditioner(gram, gram.diagonal().expand(3, -1)),
    )
    monkeypatch.setattr(objective_module, "ClassDiagonalPreconditioner", DiagonalPreconditioner)
    assert own < 0.95 * steps()


@pytest.mark.parametrize("solver", [name for name in module.SOLVERS if name != "auto"])
def test_a_constant_column_without_a_penalty_stops_no_solver(solver):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 8)), rng.integers(4, size=300)
    X[:, 3] = 2.0
    truth = run(np.delete(X, 3, 1), y, alpha=0.0, solver="newton").objective
    assert run(X, y, alpha=0.0, solver=solver).objective == pytest.approx(truth, abs=1e-9)
