"""`polylogit.lesson`: the numbers that the lesson printed, and what is behind them."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from polylogit import lesson
from polylogit.errors import OptionError
from polylogit.lesson import CELLS, floor, rows, run, tour, train

PRINTED = [
    "1.098612", "0.761050", "0.689991", "0.643229", "0.604117", "0.568255",
    "0.533922", "0.500291", "0.466908", "0.433507", "0.399962",
]  # fmt: skip


def printed(run):
    return [f"{cost:.6f}" for cost in run.costs]


def test_the_eleven_costs_that_the_lesson_prints():
    assert printed(run("shared")) == PRINTED


@pytest.mark.parametrize(
    ("cell", "cost"),
    [
        ("twice", "0.738749"), ("shared", "0.399962"), ("right", "0.248155"),
        ("low", "0.248155"), ("head", "0.248155"),
    ],
)  # fmt: skip
def test_the_numbers_of_the_mystery(cell, cost):
    assert printed(run(cell))[-1] == cost


@pytest.mark.parametrize("cell", [name for name in CELLS if name != "head"])
def test_the_cells_are_what_their_text_says(cell):
    x_train, y_train = rows()
    W = torch.zeros(4, 3, requires_grad=True)
    b = torch.zeros(CELLS[cell].biases, requires_grad=True)
    names = {"torch": torch, "F": F, "x_train": x_train, "y_train": y_train, "W": W, "b": b}
    optimizer = torch.optim.SGD([W, b], lr=0.1)
    for _ in range(101):
        names["hypothesis"] = eval(CELLS[cell].hypothesis, names)  # noqa: S307  our own text
        cost = eval(CELLS[cell].cost, names)  # noqa: S307
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
    assert float(cost.detach()) == pytest.approx(run(cell, 100).costs[-1], abs=2e-6)


def test_a_shared_bias_never_learns():
    assert abs(float(run("shared").last.bias)) < 1e-6
    assert run("shared").accuracy == 0.875
    assert float(run("right").last.bias.abs().max()) > 1
    assert run("right").accuracy == 1.0


@pytest.mark.parametrize("k", [2, 3, 5, 10, 100])
def test_the_floor_is_the_least_cost_behind_two_softmaxes(k):
    sure = torch.zeros(k, dtype=torch.float64)
    sure[0] = 1000.0
    twice = F.cross_entropy(torch.softmax(sure, 0)[None], torch.tensor([0]))
    assert float(twice) == pytest.approx(floor(k), abs=1e-12)
    draws = torch.randn(200, k, generator=torch.Generator().manual_seed(k)) * 20
    costs = F.cross_entropy(
        torch.softmax(draws, 1), torch.zeros(200, dtype=torch.long), reduction="none"
    )
    assert float(costs.min()) >= floor(k) - 1e-6


def test_even_after_many_epochs_two_softmaxes_stay_above_their_floor():
    assert f"{run('twice', 5000).costs[-1]:.6f}" == "0.685888"
    assert f"{run('right', 5000).costs[-1]:.6f}" == "0.075553"
    assert run("twice", 5000).costs[-1] > floor(3)


def test_too_large_a_learning_rate_does_not_settle():
    told = tour()
    assert [run.costs[-1] > 1 for run in told.diverging] == [True, True]
    assert told.cells[2].costs[3] < 0.6  # at the lesson's own rate


def test_without_a_penalty_the_weights_grow_and_with_one_there_is_an_optimum():
    told = tour()
    norms = [epoch.norm for epoch in told.growth]
    assert [round(norm, 1) for norm in norms] == [5.3, 11.5, 18.5]
    assert told.optimum.solution.certified
    assert "separate" in told.without


def test_minibatches_reach_the_same_place_on_another_way():
    told = tour()
    assert told.minibatches.accuracy == 1.0
    assert told.minibatches.costs[0] == pytest.approx(math.log(3))
    assert told.minibatches.costs != told.cells[2].costs


def test_epochs_come_one_by_one():
    epochs = train("head", epochs=3)
    first = next(epochs)
    assert (first.number, f"{first.cost:.6f}") == (0, "1.098612")
    assert float(first.weight.abs().max()) == 0.0  # a copy: the steps after leave it alone
    assert [epoch.number for epoch in epochs] == [1, 2, 3]
    assert float(first.weight.abs().max()) == 0.0


def test_the_story_is_plain_json():
    json.dumps(tour().to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cell": "rihgt"}, "not 'rihgt'; did you mean 'right'"),
        ({"epochs": -1}, "epochs must be a whole number from 0"),
        ({"epochs": True}, "epochs must be"),
        ({"learning_rate": 0}, "learning_rate must be a finite number above 0"),
        ({"learning_rate": math.nan}, "learning_rate must be"),
        ({"batch_size": 9}, "batch_size must be from 1 to the 8 rows"),
    ],
)
def test_what_cannot_be_trained(options, says):
    with pytest.raises(OptionError, match=says):
        next(lesson.train(**options))
