"""`polylogit.app.lab.boundary`: gradient descent against autograd, and the goal it approaches."""

import asyncio
import json
import math

import pytest
import torch
import torch.nn.functional as F

from polylogit.app.lab import boundary
from polylogit.errors import OptionError

from .notebook import assert_reproduced

NAMES = ["blobs", "separable", "ring", "penguins"]


def trained(**options):
    asked = boundary.TrainRequest(**{"data": "blobs", "learning_rate": 0.1, **options})
    return list(boundary.pictures(asked))


@pytest.mark.parametrize("name", NAMES)
def test_points_are_in_the_plane_and_numbered(name):
    here = boundary.points(name)
    assert here.x.shape == (len(here.y), 2)
    assert here.x.dtype == torch.float32
    assert here.x.isfinite().all()
    assert sorted(set(here.y.tolist())) == list(range(len(here.classes)))


@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_a_step_is_the_step_of_autograd(penalty):
    here = boundary.points("penguins")
    weight, bias = torch.randn(3, 2), torch.randn(3)
    ours = boundary.stepped(boundary.Model(weight, bias), here, 0.7, penalty)
    W, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    optimiser = torch.optim.SGD([{"params": [W], "weight_decay": penalty}, {"params": [b]}], lr=0.7)
    F.cross_entropy(here.x @ W.T + b, here.y).backward()
    optimiser.step()
    torch.testing.assert_close(ours.weight, W.detach())
    torch.testing.assert_close(ours.bias, b.detach())


@pytest.mark.parametrize("name", NAMES)
def test_the_certified_optimum_is_where_steps_stand_still(name):
    best = boundary.optimum(name, 0.01)
    model = boundary.start(
        boundary.ModelRequest(data=name, weight=best["weight"], bias=best["bias"])
    )
    after = boundary.stepped(model, boundary.points(name), 1.0, 0.01)
    torch.testing.assert_close(after.weight, model.weight, atol=1e-6, rtol=0)
    torch.testing.assert_close(after.bias, model.bias, atol=1e-6, rtol=0)
    objective = {line.name: line for line in boundary.measures(model, boundary.points(name), 0.01)}
    assert float(objective["objective"].value) == pytest.approx(best["objective"]["drawn"], 1e-6)


def test_training_approaches_the_optimum_and_counts_its_steps():
    frames = trained(penalty=0.1, steps=300, learning_rate=0.5, per_frame=10, step=40)
    assert [frame["step"] for frame in frames] == list(range(40, 341, 10))
    assert frames[0]["loss"]["drawn"] == pytest.approx(math.log(3))
    best = boundary.optimum("blobs", 0.1)["objective"]["drawn"]
    assert best < frames[-1]["objective"]["drawn"] + 1e-7 < best + 1e-5


def test_training_goes_on_from_the_model_it_is_given():
    whole = trained(steps=20)[-1]
    half = trained(steps=10)[-1]
    rest = trained(steps=10, weight=half["weight"], bias=half["bias"])[-1]
    assert (rest["weight"], rest["bias"]) == (whole["weight"], whole["bias"])


def test_separable_points_without_a_penalty_have_no_optimum_and_weights_that_grow():
    assert "weights grow for ever" in boundary.optimum("separable", 0.0)["message"]
    frames = trained(data="separable", learning_rate=1.0, steps=2000, per_frame=100)
    norms = [frame["norm"]["drawn"] for frame in frames]
    assert norms == sorted(norms)
    assert frames[-1]["accuracy"]["drawn"] == 1


def test_a_stream_ends_before_numbers_that_json_cannot_say():
    frames = trained(data="penguins", learning_rate=100.0, penalty=10.0, steps=2000)
    assert len(frames) < 2000
    for frame in frames:
        json.dumps(frame, allow_nan=False)


def test_paced_lines_are_the_pictures():
    asked = boundary.TrainRequest(data="ring", learning_rate=0.1, steps=5)

    async def collect():
        return [json.loads(line) async for line in boundary.paced(asked)]

    assert asyncio.run(collect()) == list(boundary.pictures(asked))


def test_the_measures_can_be_taken_home():
    frame = trained(steps=7, data="penguins", penalty=0.01)[-1]
    lines = boundary.values(
        boundary.ModelRequest(
            data="penguins", penalty=0.01, weight=frame["weight"], bias=frame["bias"]
        )
    )
    assert_reproduced(lines)
    for name, line in lines.items():
        assert line["short"] == frame[name]["short"]


def test_a_model_of_another_shape_is_refused():
    with pytest.raises(OptionError, match=r"3 classes need weight \(3, 2\)"):
        boundary.start(boundary.ModelRequest(data="blobs", weight=[[0.0, 0.0]], bias=[0.0] * 3))
