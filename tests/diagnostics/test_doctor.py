"""`polylogit.diagnostics.doctor`: every planted misuse is found, and health is not mistaken."""

import inspect
import json
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from polylogit.diagnostics import doctor as module
from polylogit.diagnostics.doctor import doctor
from polylogit.errors import InputError, OptionError
from polylogit.lesson import rows, run

rng = np.random.default_rng(0)
Z = torch.from_numpy(rng.normal(size=(12, 4)) * 3)
Y = torch.from_numpy(rng.integers(0, 4, 12))
P = torch.softmax(Z, 1)
SURE = torch.softmax(20 * F.one_hot(Y, 4).double(), 1)


def only(diagnosis):
    assert len(diagnosis.findings) == 1
    return diagnosis.findings[0]


def cell(value, row=2, column=1):
    z = Z.clone()
    z[row, column] = value
    return z


PLANTED = {
    "probabilities_as_logits": ((P, Y), {}),
    "softmax_twice": ((torch.softmax(SURE, 1), Y), {"kind": "probabilities"}),
    "log_probabilities_as_logits": ((torch.log_softmax(Z, 1), Y), {}),
    "wrong_dim": ((torch.softmax(Z, 0), Y), {"kind": "probabilities"}),
    "transposed": ((Z.T, Y), {}),
    "nan": ((cell(math.nan), Y), {}),
    "infinite": ((cell(math.inf), Y), {}),
    "log_of_zero": ((torch.log(torch.softmax(cell(5e3, 0, 3), 1)), Y), {}),
    "rows_alike": ((torch.ones(12, 1) * torch.tensor([[1.0, 2.0, 0.0, -1.0]]), Y), {}),
    "column_of_labels": ((Z, Y[:, None]), {}),
    "integer_one_hot": ((Z, F.one_hot(Y, 4)), {}),
    "float_labels": ((Z, Y.double()), {}),
    "labels_from_one": ((Z, (torch.arange(12) % 4) + 1), {}),
    "labels_out_of_range": ((Z, Y + 7), {}),
    "targets_are_no_distributions": ((Z, 2 * P), {}),
    "all_ignored": ((Z, torch.full((12,), -100)), {}),
    "shared_bias": ((Z, Y), {"bias": [0.0]}),
    "weighted_mean": ((Z, Y), {"weight": [1.0, 5.0, 0.1, 2.0]}),
    "smoothing_with_weights": ((Z, Y), {"weight": [1.0, 5.0, 0.1, 2.0], "label_smoothing": 0.1}),
    "stuck_at_chance": ((Z, Y), {"losses": [1.388, 1.387, 1.386, 1.386, 1.3863, 1.386]}),
    "stuck_at_floor": ((Z, Y), {"losses": [0.78, 0.76, 0.755, 0.752, 0.75, 0.749]}),
}


@pytest.mark.parametrize("code", PLANTED)
def test_every_misuse_is_found_alone(code):
    given, options = PLANTED[code]
    finding = only(doctor(*given, **options))
    assert finding.code == code
    assert finding.fix
    json.dumps(doctor(*given, **options).to_json(), allow_nan=False)


def test_the_table_of_misuses_is_whole():
    in_source = set(re.findall(r'Finding\(\s*"(\w+)"', inspect.getsource(module)))
    assert in_source == {*PLANTED, "softmax_in_model"}


def healthy(seed):
    """Scores and targets as they should be: any K, N, dtype and confidence, any kind of target."""
    draw = np.random.default_rng(seed)
    n, k = int(draw.integers(1, 60)), int(draw.integers(2, 12))
    size = 10.0 ** draw.uniform(-3, 2)
    z = torch.from_numpy(draw.normal(size=(n, k)) * size + draw.normal() * size)
    z = z.to([torch.float64, torch.float32, torch.float16][seed % 3])
    y = torch.from_numpy(draw.integers(0, k, n))
    if seed % 5 == 1:
        z = z + 30 * F.one_hot(y, k)  # a model that knows
    if seed % 4 == 2:
        y[0] = -100 if n > 1 else y[0]
    if seed % 7 == 3:
        return z, torch.softmax(torch.from_numpy(draw.normal(size=(n, k))), 1), {}
    options = {"losses": np.exp(-np.arange(10) / 5) + 0.1} if seed % 3 == 0 else {}
    return z, y, options | ({"bias": draw.normal(size=k)} if seed % 6 == 0 else {})


@pytest.mark.parametrize("seed", range(200))
def test_no_alarm_where_nothing_is_wrong(seed):
    z, targets, options = healthy(seed)
    assert doctor(z, targets, **options).findings == ()
    p = torch.softmax(z.double(), 1)
    assert doctor(p, targets, kind="probabilities").findings == ()
    assert doctor(z.tolist(), targets.tolist()).findings == ()


def test_the_effect_is_that_of_these_numbers():
    finding = only(doctor(P, Y))
    assert finding.effect["loss"] == pytest.approx(float(F.cross_entropy(P, Y)))
    assert finding.effect["right"] == pytest.approx(float(F.cross_entropy(Z, Y)))
    assert finding.effect["floor"] == pytest.approx(math.log(math.e + 3) - 1)
    weight = torch.tensor([1.0, 5.0, 0.1, 2.0]).double()
    finding = only(doctor(Z, Y, weight=weight))
    rows = F.cross_entropy(Z, Y, reduction="none") * weight[Y]
    assert finding.effect["loss"] == pytest.approx(float(rows.sum() / weight[Y].sum()))
    assert finding.effect["by_rows"] == pytest.approx(float(rows.mean()))
    finding = only(doctor(Z, Y, weight=weight, label_smoothing=0.1))
    smooth = F.cross_entropy(Z, Y, label_smoothing=0.1, reduction="none") * weight[Y]
    assert finding.effect["by_rows"] == pytest.approx(float(smooth.sum() / weight[Y].sum()))
    assert finding.effect["loss"] == pytest.approx(
        float(F.cross_entropy(Z, Y, weight, label_smoothing=0.1))
    )


def test_the_cell_of_a_nan_is_named():
    finding = only(doctor(cell(math.nan, 5, 3), Y))
    assert (finding.seen["row"], finding.seen["class"], finding.seen["count"]) == (5, 3, 1)


def test_labels_from_one_know_their_right_loss():
    labels = torch.arange(12) % 4
    finding = only(doctor(Z, labels + 1))
    assert finding.effect["right"] == pytest.approx(float(F.cross_entropy(Z, labels)))


def test_the_lessons_own_bugs():
    twice, shared = run("twice"), run("shared")
    assert doctor(Z, bias=shared.last.bias).codes == ("shared_bias",)
    x, y = rows()
    handed_in = torch.softmax(x @ twice.last.weight.T + twice.last.bias, 1)
    finding = only(doctor(handed_in, y))
    assert finding.code == "probabilities_as_logits"
    assert f"{finding.effect['loss']:.6f}" == "0.738749"


class Shared(torch.nn.Module):
    def __init__(self, biases):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.eye(4))
        self.bias = torch.nn.Parameter(torch.zeros(biases))

    def forward(self, x):
        return x @ self.weight + self.bias


def test_a_model_with_a_batch():
    x = Z.float()
    assert doctor(Shared(4), (x, Y)).findings == ()
    finding = only(doctor(Shared(1), (x, Y)))
    assert (finding.code, finding.seen["name"]) == ("shared_bias", "bias")
    soft = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Softmax(dim=1))
    assert doctor(soft, (x, Y)).codes == ("softmax_in_model", "probabilities_as_logits")
    assert doctor(soft, (x, Y), kind="probabilities").findings == ()
    assert doctor(lambda rows: torch.softmax(rows, 1), (x, Y)).codes == ("probabilities_as_logits",)


def test_the_model_is_left_as_it_was():
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 4)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    doctor(model, (Z.float(), Y))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_notes_are_no_illness():
    assert doctor(torch.log_softmax(Z, 1), Y).healthy
    assert not doctor(P, Y).healthy
    assert doctor(Z, Y).loss == pytest.approx(float(F.cross_entropy(Z, Y)))


@pytest.mark.parametrize(
    ("given", "options", "error", "says"),
    [
        (("abc",), {}, InputError, "scores must be numbers"),
        ((np.zeros((2, 3, 4)),), {}, InputError, r"must be \(N, K\).*not of shape \(2, 3, 4\)"),
        ((np.zeros((3, 1)),), {}, InputError, "single column"),
        ((np.zeros((0, 3)),), {}, InputError, r"shape \(0, 3\)"),
        ((Z, Y), {"kind": "logit"}, OptionError, "kind must be"),
        ((Shared(4), Z), {}, InputError, r"doctor\(model, \(x, y\)\)"),
    ],
)
def test_what_cannot_be_examined(given, options, error, says):
    with pytest.raises(error, match=says):
        doctor(*given, **options)
