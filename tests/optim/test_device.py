"""`polylogit.optim.device`: all that a solve makes lies where its rows lie."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.overrides import TorchFunctionMode

from polylogit import choice
from polylogit.data.arrays import from_arrays
from polylogit.design import design_of
from polylogit.errors import OptionError
from polylogit.estimator import SoftmaxClassifier
from polylogit.optim import solve as solve_module
from polylogit.optim.compact import is_compact
from polylogit.optim.device import CPU, checked_device, on
from polylogit.optim.objective import SoftmaxObjective
from polylogit.optim.penalty import Ridge
from polylogit.optim.settings import SOLVERS
from polylogit.optim.sums import contrast_basis
from polylogit.optim.targets import Labels
from polylogit.training import Prepared, fit, prepare

META = torch.device("meta")
X = np.random.default_rng(0).normal(size=(90, 4)) * [1, 10, 0.1, 3]
Y = np.arange(90) % 3


def test_the_cpu_is_what_auto_means():
    assert checked_device("auto") == checked_device("cpu") == CPU
    assert checked_device(torch.device("cpu")) == CPU


@pytest.mark.parametrize("option", ["gpu", "cuda:99", 7.5, None, "hpu"])
def test_a_device_that_is_not_there_is_refused_by_name(option):
    with pytest.raises(OptionError, match="device must be 'auto', 'cpu' or one that is there"):
        fit(from_arrays(X, Y), C=1.0, device=option)


def test_new_tensors_are_made_there():
    with on(META):
        assert torch.zeros(2).device == contrast_basis(3).device == META
    with on(CPU):
        assert torch.zeros(2).device == CPU
    assert torch.zeros(2).device == CPU


class Factories(TorchFunctionMode):
    """Where tensors were made while a solve ran."""

    def __init__(self):
        super().__init__()
        self.devices = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.devices.add(made.device)
        return made


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solve_runs_on_the_device_of_its_design(solver, monkeypatch):
    asked = []
    monkeypatch.setattr(solve_module, "on", lambda device: asked.append(device) or on(device))
    with Factories() as seen:
        outcome = fit(from_arrays(X, Y), C=1.0, solver=solver, device="cpu")
    assert outcome.solution.certified
    assert asked == [CPU]
    assert seen.devices == {CPU}


def objective():
    """On a device that has shapes and no numbers: mixing it with the CPU is an error."""
    design = design_of(X, device=META)
    with on(META):
        return SoftmaxObjective(
            design,
            Labels(torch.from_numpy(Y), 3).to(META),
            torch.ones(90, dtype=torch.float64),
            Ridge(torch.ones(4, dtype=torch.float64) / design.scale.square()),
            3,
            basis=contrast_basis(3),
        )


def test_blocks_products_and_sums_stay_on_the_device():
    problem = objective()
    assert problem.design.device == META
    with on(META):
        point = torch.zeros(2, 5, dtype=torch.float64)
        logits = problem._products(point)
        assert point.device == logits.device == META
        (block,) = problem.design.blocks(torch.float64)
        sums = problem._gradient_sums(block, logits, torch.softmax(logits, 1))
        assert sums.device == META
        curvature = problem.curvature(at_of(point, logits))
        assert curvature.product(point).device == META
        assert curvature.matrix().shape == (10, 10)
        assert curvature.matrix().device == META
        assert problem._mean_gram(logits).device == META
    assert not is_compact(problem)


def at_of(point, logits):
    from polylogit.optim.problem import Evaluation

    return Evaluation(point, 0.0, point, logits)


def test_parameters_come_back_to_the_cpu():
    design = design_of(X)
    weight, bias = torch.ones(3, 4).double(), torch.zeros(3).double()
    there = design.from_user(weight, bias)
    back = design.to_user(*there)
    assert {t.device for t in (*there, *back)} == {CPU}
    torch.testing.assert_close(back[0], weight)
    on_meta = design_of(X, device=META).from_user(weight, bias)
    assert {t.device for t in on_meta} == {META}


def test_sparse_rows_are_multiplied_on_the_cpu():
    with pytest.raises(OptionError, match="sparse rows are multiplied on the CPU, not on meta"):
        design_of(sparse.csr_array(X), device=META)


@pytest.mark.parametrize("solver", ["lbfgs", "auto"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_precision_that_steers_changes_no_optimum(dtype, solver):
    one = fit(from_arrays(X, Y), C=1.0, tol=1e-9)
    other = fit(from_arrays(X, Y), C=1.0, dtype=dtype, solver=solver, tol=1e-9)
    assert other.solution.certified
    assert other.solution.objective == pytest.approx(one.solution.objective, abs=1e-9)


def test_float64_makes_no_float32():
    large = np.random.default_rng(1).normal(size=(3000, 60))
    codes = np.arange(3000) % 30  # large enough for float32 to be chosen otherwise
    for dtype, expected in (("auto", True), ("float64", False)):
        with Dtypes() as seen:
            fit(from_arrays(large, codes), C=1.0, dtype=dtype)
        assert (torch.float32 in seen.dtypes) is expected


class Dtypes(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.dtypes = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.ndim == 2 and len(made) > 1000:
            self.dtypes.add(made.dtype)
        return made


def test_questions_about_a_fit_are_answered_on_the_cpu():
    prepared = prepare(from_arrays(X, Y))
    assert prepared.on_cpu() is prepared
    away = replace(prepared, design=design_of(X, device=META)).on_cpu()
    assert away.design.device == CPU
    torch.testing.assert_close(away.design.scale, prepared.design.scale, rtol=0, atol=0)


def test_C_is_judged_on_the_cpu_wherever_it_is_fitted(monkeypatch):
    here, judged, real = prepare(from_arrays(X, Y)), [], choice.leave_one_out

    def seen(where, fit, **options):
        judged.append(where)
        return real(where, fit, **options)

    monkeypatch.setattr(Prepared, "on_cpu", lambda _: here)
    monkeypatch.setattr(choice, "leave_one_out", seen)
    choice.choose_C(from_arrays(X, Y), (0.1, 1.0))
    assert [where is here for where in judged] == [True, True]


def test_the_classifier_passes_both_on():
    clf = SoftmaxClassifier(C=1.0, device="cpu", dtype="float64").fit(X, Y)
    assert clf.certificate_.gap <= 1e-6
    with pytest.raises(OptionError, match="did you mean 'float32'"):
        SoftmaxClassifier(dtype="flaot32").fit(X, Y)
    with pytest.raises(OptionError, match="not 'cuda:99'"):
        SoftmaxClassifier(device="cuda:99").fit(X, Y)
