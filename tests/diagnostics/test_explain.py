"""`polylogit.diagnostics.explain`: contributions that add up, and a flip that is the smallest."""

import json

import numpy as np
import pytest
import torch
from scipy import sparse

import polylogit
from polylogit.diagnostics.explain import explain
from polylogit.errors import DataError
from polylogit.model import SoftmaxModel
from polylogit.schema import Schema


@pytest.fixture(scope="module")
def penguins():
    data = polylogit.read("penguins", target="species")
    return data, polylogit.fit(data, C=1.0).model


def random_model(seed, d=4, k=3):
    draw = np.random.default_rng(seed)
    schema = Schema.for_array(d, tuple("abcdefgh"[:k]))
    record = {
        "columns": {"low": [-2.0] * d, "high": [2.0] * d, "mean": draw.normal(size=d).tolist()}
    }
    return SoftmaxModel(draw.normal(size=(k, d)), draw.normal(size=k), schema, record), draw


@pytest.mark.parametrize("seed", range(20))
def test_contributions_and_bias_sum_to_the_margin(seed):
    model, draw = random_model(seed, k=2 + seed % 4)
    x = draw.normal(size=4)
    why = explain(model, x)
    best, second = (model.classes.index(label) for label in (why.decision, why.runner_up))
    z = model.logits(x[None])[0]
    assert why.logits == pytest.approx(z.tolist())
    assert why.probabilities == pytest.approx(torch.softmax(z, 0).tolist())
    assert why.margin == pytest.approx(float(z[best] - z[second]), abs=1e-12)
    for k in range(len(model.classes)):
        total = why.base[k] + sum(part.differences[k] for part in why.contributions)
        assert total == pytest.approx(float(z[k] - z[second]), abs=1e-12)
    sizes = [abs(part.differences[best]) for part in why.contributions]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("seed", range(20))
def test_the_smallest_flip_is_what_a_search_finds(seed):
    model, draw = random_model(100 + seed, k=2 + seed % 4)
    x = draw.normal(size=4)
    why = explain(model, x)
    found = {}
    for d in range(4):
        steps = np.linspace(0, 40, 400_001)
        for sign in (1, -1):
            rows = np.repeat(x[None], len(steps), 0)
            rows[:, d] += sign * steps
            codes = (rows[:, d : d + 1] - x[d]) * model.weight[:, d].numpy() + np.array(why.logits)
            flipped = np.flatnonzero(codes.argmax(1) != model.classes.index(why.decision))
            if len(flipped):
                found[d] = min(found.get(d, np.inf), steps[flipped[0]])
    ours = {int(flip.feature[1]): abs(flip.change) for flip in why.flips if abs(flip.change) < 39}
    assert ours == pytest.approx(found, abs=1.01e-4)
    assert why.smallest_flip.feature == f"x{min(found, key=found.get)}"  # equal ranges


@pytest.mark.parametrize("row", [0, 100, 200, 300])
def test_every_flip_flips(penguins, row):
    data, model = penguins
    x = data.features[row]
    for flip in explain(model, x).flips:
        feature = next(f for f in model.schema.features if f.name == flip.feature)
        moved = x.copy()
        if feature.kind == "numeric":
            moved[model.schema.names.index(flip.feature)] = flip.value
        else:
            for word in feature.categories:
                moved[model.schema.names.index(f"{flip.feature}={word}")] = word == flip.value
            if feature.has_missing:
                moved[model.schema.names.index(f"{flip.feature} missing")] = 0
        assert model.classes[model.predict_codes(moved[None])[0]] == flip.to


def test_values_are_what_stood_in_the_table(penguins):
    data, model = penguins
    why = explain(model, data.features[0])
    values = {part.feature: part.value for part in why.contributions}
    assert values["island"] == "Torgersen"
    assert values["bill_length_mm"] == pytest.approx(39.1)
    assert why.outside == ()
    missing = {part.feature: part.value for part in explain(model, data.features[3]).contributions}
    assert missing["bill_length_mm"] is None


def test_what_training_never_saw_is_said(penguins):
    data, model = penguins
    x = data.features[0].copy()
    x[model.schema.names.index("body_mass_g")] = 20_000.0
    for word in ("Biscoe", "Dream", "Torgersen"):
        x[model.schema.names.index(f"island={word}")] = 0
    odd = {o.feature: o for o in explain(model, x, {"island": ["Ross"]}).outside}
    assert odd["body_mass_g"].value == 20_000.0
    assert (odd["body_mass_g"].low, odd["body_mass_g"].high) == (2700.0, 6300.0)
    assert odd["island"].value == "Ross"


def test_a_model_without_ranges_says_that_it_has_none():
    schema = Schema.for_array(2, ("no", "yes"))
    plain = SoftmaxModel([[0.0, 0.0], [2.0, -1.0]], [0.0, 0.5], schema)
    why = explain(plain, [100.0, 0.5])
    assert (why.ranges_known, why.outside) == (False, ())
    assert why.smallest_flip.size is None
    good = {"low": [0.0, 0.0], "high": [1.0, 1.0], "mean": [0.5, 0.5]}
    odd = [
        {"low": [0.0, 0.0]},
        "x",
        None,
        good | {"low": [0.0]},
        good | {"mean": [float("nan"), 0.0]},
    ]
    for told in odd:
        model = SoftmaxModel(plain.weight, plain.bias, schema, {"columns": told})
        assert not explain(model, [1.0, 0.5]).ranges_known
    assert explain(
        SoftmaxModel(plain.weight, plain.bias, schema, {"columns": good}), [1.0, 0.5]
    ).ranges_known


def test_the_mean_row_itself_owes_nothing_to_any_feature(penguins):
    _, model = penguins
    why = explain(model, np.array(model.record["columns"]["mean"]))
    assert max(abs(d) for part in why.contributions for d in part.differences) == 0.0
    assert max(why.base) == pytest.approx(why.margin)


def test_a_feature_that_no_class_looks_at_cannot_flip():
    schema = Schema.for_array(2, ("no", "yes"))
    model = SoftmaxModel([[1.0, 0.0], [1.0, 0.0]], [0.0, 0.5], schema)
    assert explain(model, [3.0, 4.0]).flips == ()
    assert explain(model, [3.0, 4.0]).smallest_flip is None


def test_ranges_are_remembered_for_any_kind_of_rows():
    X = np.array([[0.0, 5.0], [1.0, -2.0], [0.0, 3.0]])
    for rows in (X, sparse.csr_array(X), X.astype(np.float32)):
        model = polylogit.fit(polylogit.from_arrays(rows, [0, 1, 0]), C=1.0).model
        assert model.record["columns"] == {
            "low": [0.0, -2.0], "high": [1.0, 5.0], "mean": [1 / 3, 2.0]
        }  # fmt: skip
        assert explain(model, rows[:1]).ranges_known


def test_the_explanation_is_plain_json_and_survives_the_file(penguins, tmp_path):
    data, model = penguins
    polylogit.save(model, tmp_path / "m.safetensors")
    again = polylogit.load(tmp_path / "m.safetensors")
    text = json.dumps(explain(again, data.features[5]).to_json(), allow_nan=False)
    assert text == json.dumps(explain(model, data.features[5]).to_json())


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([1.0], r"one row of 4 encoded features can be explained, not an array of shape \(1,\)"),
        (np.zeros((2, 4)), r"not an array of shape \(2, 4\)"),
        ([1.0, np.nan, 0.0, 0.0], "x1 is nan"),
    ],
)
def test_what_is_no_row(row, says):
    with pytest.raises(DataError, match=says):
        explain(random_model(0)[0], row)
