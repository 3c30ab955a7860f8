"""Which solvers run, by the size of the problem and by the wish of the user."""

import math

import torch
from solved import WINE, names

from polylogit.optim import stages as module
from polylogit.optim.cost import Cost
from polylogit.optim.settings import Settings


def test_the_solvers_follow_the_size():
    wide, small = (50, 2000), WINE[0].shape
    double, single = torch.float64, torch.float32

    def stages(solver, shape, n_classes, penalised, dtype="auto"):
        settings = Settings(solver=solver, dtype=dtype)
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
    auto = module._stages(Settings(), many, True)
    assert [stage.name for stage in auto] == ["newton-cg", "newton"]
    assert module._stages(Settings(), many, False) == auto
    assert len(module._stages(Settings(solver="newton"), many, True)) == 1
