"""`polylogit calibrate`: a model calibrated is a model again; scores of any model have theirs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import polylogit
from polylogit.app import cli
from polylogit.data.labels import read_labels
from polylogit.diagnostics.recalibration import calibrate
from polylogit.diagnostics.training_rows import TrainingRows
from polylogit.errors import DataError

K, N = 3, 400


def draw(seed):
    """Rows, labels drawn from a softmax of them, and its logits."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 4))
    z = X @ rng.normal(size=(4, K))
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return X, np.array([rng.choice(K, p=row) for row in p]), z


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y, z = draw(0)
    words = np.array(["red", "green", "blue"])[y]
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"]).assign(label=words)
    frame[:200].to_csv("train.csv", index=False)
    frame[200:].to_csv("new.csv", index=False)
    model = polylogit.fit(polylogit.read("train.csv", target="label"), C=1e4).model
    sure = polylogit.SoftmaxModel(3 * model.weight, 3 * model.bias, model.schema, model.record)
    polylogit.save(sure, "sure.model")
    polylogit.save(model, "plain.model")
    np.save("z.npy", 3 * z)
    np.save("y.npy", y)
    pd.DataFrame(3 * z, columns=["0", "1", "2"]).to_csv("z.csv", index=False)
    pd.Series(y, name="y").to_csv("y.csv", index=False)
    return z, y


def typed(capsys, line):
    status = cli.run(line.split())
    return status, *capsys.readouterr()


@pytest.mark.parametrize("method", ["temperature", "vector", "matrix"])
def test_an_overconfident_model_becomes_an_honest_one(capsys, method):
    line = f"calibrate sure.model new.csv --method {method} --model new.model --json"
    status, out, _ = typed(capsys, line)
    found = json.loads(out)
    assert status == 0
    assert found["temperature"] > 2
    assert found["after"]["log_loss"] < found["before"]["log_loss"] - 0.05
    assert found["after"]["smooth_error"] < found["before"]["smooth_error"]
    data = polylogit.read("new.csv", target="label", schema=polylogit.load("new.model").schema)
    one, other = (polylogit.load(name).probabilities(data.features) for name in
                  ("sure.model", "new.model"))  # fmt: skip
    assert float(other.max(1).values.mean()) < float(one.max(1).values.mean())
    if method == "temperature":
        assert torch.equal(one.argmax(1), other.argmax(1))


def test_the_text_shows_before_and_after(capsys):
    status, out, _ = typed(capsys, "calibrate sure.model new.csv --method temperature")
    assert status == 0
    assert "temperature scaling on 200 rows" in out
    assert "before" in out
    assert "every fifth of the rows" in out


@pytest.mark.parametrize("scores", ["z.npy", "z.csv"])
@pytest.mark.parametrize("labels", ["y.npy", "y.csv"])
def test_scores_of_any_model(capsys, here, scores, labels):
    z, y = here
    line = f"calibrate --logits {scores} --targets {labels} --method temperature --model c.model"
    status, out, _ = typed(capsys, f"{line} --json")
    found = json.loads(out)
    truth = calibrate(3 * z, y, classes=(0, 1, 2), method="temperature")
    assert status == 0
    assert found["temperature"] == pytest.approx(
        truth.model.record["calibrator"]["temperature"], rel=1e-6
    )
    assert found["classes"] == [0, 1, 2]
    assert polylogit.load("c.model").classes == (0, 1, 2)


def test_labels_come_from_an_array_or_a_single_column():
    assert read_labels("y.npy").codes.tolist() == read_labels("y.csv").codes.tolist()
    for wrong, says in (("z.npy", r"labels must be an array \(N,\)"), ("z.csv", "has one column")):
        with pytest.raises(DataError, match=says):
            read_labels(wrong)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("calibrate", "MODEL and DATA (or --training FILE), or --logits FILE"),
        ("calibrate sure.model", "calibrate takes MODEL and DATA"),
        ("calibrate plain.model new.csv --training train.csv", "not both"),
        ("calibrate --logits z.npy --targets y.npy --training train.csv", "calibrate takes MODEL"),
        ("calibrate plain.model --training new.csv", "holds other rows than those of the fit"),
        ("calibrate sure.model --training train.csv", "nats a row from the optimum"),
        ("predict plain.model new.csv --training train.csv", "go together"),
        ("predict plain.model new.csv --sets 0.9 --training new.csv", "other rows than those"),
        (
            "predict plain.model new.csv --sets 0.9 --training train.csv --calibration new.csv",
            "keep one",
        ),
        ("calibrate sure.model new.csv --logits z.npy", "calibrate takes MODEL and DATA"),
        ("calibrate --logits z.npy --probabilities z.npy --targets y.npy", "calibrate takes"),
        ("calibrate --logits z.npy", "calibrate takes"),
        ("calibrate sure.model new.csv --method matrx", "did you mean 'matrix'"),
        ("calibrate sure.model new.csv --method dirichlet", "no softmax model can hold it"),
        ("calibrate sure.model new.csv --model new.csv", "would overwrite what is read"),
        ("calibrate --logits z.npy --targets short.csv", "there must be one label for each row"),
        ("calibrate --logits z.npy --targets two.csv", "has 3 columns"),
    ],
)
def test_what_cannot_be_calibrated_is_one_line(capsys, line, says):
    Path("short.csv").write_text("y\n0\n1\n2\n", encoding="utf-8")
    Path("two.csv").write_text("y\n" + "0\n1\n" * (N // 2), encoding="utf-8")
    status, out, err = typed(capsys, line)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_the_rows_of_the_fit_calibrate_it_and_make_sets(capsys):
    line = "calibrate plain.model --training train.csv --method temperature --model honest.model"
    status, out, _ = typed(capsys, f"{line} --json")
    found = json.loads(out)
    model = polylogit.load("plain.model")
    train, new = (polylogit.read(name, target="label", schema=model.schema)
                  for name in ("train.csv", "new.csv"))  # fmt: skip
    honest = TrainingRows.of(model, train).calibrated("temperature")
    assert (status, found["rows"], found["n_rows"]) == (0, "left out", 200)
    assert found["temperature"] == honest.record["calibration"]["temperature"]
    torch.testing.assert_close(
        polylogit.load("honest.model").logits(new.features), honest.logits(new.features)
    )
    assert "on 200 rows of train.csv, each left out of the fit: " in typed(capsys, line)[1]
    line = "predict honest.model new.csv --sets 0.9 --training train.csv --output o.csv"
    sets = json.loads(typed(capsys, f"{line} --json")[1])["sets"]
    expected = TrainingRows.of(honest, train).sets(0.9)
    assert (sets["approximate"], sets["calibration"]) == (True, "train.csv")
    assert sets["threshold"] == pytest.approx(expected.threshold.tolist(), rel=1e-9)
    text = typed(capsys, line)[1]
    assert "hold the truth in about 0.9 of rows like those of train.csv" in text
    assert "Approximate: by leave-one-out of the rows of the fit, which proves no coverage." in text
    assert "lies between" not in text


def test_weights_are_copies(capsys, here):
    z, y = here
    times = np.random.default_rng(4).integers(1, 4, size=N)
    table = pd.DataFrame(3 * z, columns=["0", "1", "2"]).assign(times=times)
    table.to_csv("weighed.csv", index=False)
    table.drop(columns="times").loc[np.repeat(table.index, times)].to_csv("copied.csv", index=False)
    pd.Series(np.repeat(y, times), name="y").to_csv("labels.csv", index=False)
    held = pd.read_csv("new.csv").assign(times=times[:200])
    held.to_csv("weighed-rows.csv", index=False)
    held.loc[np.repeat(held.index, times[:200])].to_csv("copied-rows.csv", index=False)
    for one, other in (
        ("--logits weighed.csv --targets y.csv", "--logits copied.csv --targets labels.csv"),
        ("sure.model weighed-rows.csv", "sure.model copied-rows.csv --ignore times"),
    ):
        found = json.loads(typed(capsys, f"calibrate {one} --weights times --json")[1])
        expected = json.loads(typed(capsys, f"calibrate {other} --json")[1])
        assert found["penalty"] == expected["penalty"]
        assert found["temperature"] == pytest.approx(expected["temperature"], rel=1e-9)
        assert found["before"] == pytest.approx(expected["before"], rel=1e-9)
        assert found["after"] != found["before"]


@pytest.fixture
def foreign(here):
    """Calibrators of foreign scores in files, by what they read and their method."""
    z, y = here
    p = np.exp(3 * z) / np.exp(3 * z).sum(1, keepdims=True)
    words = np.array(["red", "green", "blue"])
    table = pd.DataFrame(p, columns=words)
    table[["blue", "red", "green"]].to_csv("p.csv", index=False)
    table.assign(y=words[y], note="x").to_csv("labelled.csv", index=False)
    table.set_axis(["u", "v", "w"], axis=1)[["w", "v", "u"]].to_csv("nameless.csv", index=False)
    np.save("p.npy", p[:, [2, 1, 0]])  # blue, green, red
    made = {
        (reads, method): calibrate(scores, words[y], classes=words, method=method, reads=reads)
        for reads, scores in (("probabilities", p), ("logits", 3 * z))
        for method in ("temperature", "dirichlet")
    }
    for (reads, method), calibrator in made.items():
        polylogit.save(calibrator.model, f"{reads}-{method}.model")
    in_order = calibrate(p[:, [2, 1, 0]], words[y], method="matrix", reads="probabilities")
    polylogit.save(in_order.model, "in-order.model")
    return made, p, 3 * z


def predicted(capsys, line):
    status, out, err = typed(capsys, f"predict {line} --json")
    assert (status, err) == (0, "")
    return json.loads(out)


@pytest.mark.parametrize("method", ["temperature", "dirichlet"])
def test_a_calibrator_predicts_from_scores(capsys, foreign, method):
    made, p, _ = foreign
    expected = made["probabilities", method].probabilities(p)
    for source in ("p.csv", "labelled.csv"):  # by name, in any order, beside anything else
        found = predicted(capsys, f"probabilities-{method}.model {source}")
        assert found["classes"] == ["red", "green", "blue"]
        np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-12)
    assert found["ignored"] == ["y", "note"]


def test_nameless_scores_stand_in_the_order_of_the_classes(capsys, foreign):
    _, p, _ = foreign
    model = polylogit.load("in-order.model")
    expected = model.probabilities(np.log(p[:, [2, 1, 0]] + np.finfo(float).eps))
    for source in ("p.npy", "nameless.csv"):
        found = predicted(capsys, f"in-order.model {source}")
        assert found["classes"] == ["blue", "green", "red"]
        np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-12)


def test_logits_reach_the_dirichlet_form_as_log_p(capsys, foreign):
    made, _, z = foreign
    pd.DataFrame(z, columns=["red", "green", "blue"]).to_csv("words.csv", index=False)
    found = predicted(capsys, "logits-dirichlet.model words.csv")
    expected = made["logits", "dirichlet"].probabilities(z)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-12)


def test_sets_of_scores(capsys, foreign):
    line = "probabilities-dirichlet.model p.csv --sets 0.9 --calibration labelled.csv"
    found = predicted(capsys, line)
    assert found["sets"]["n_rows"] == [N]
    inside = [["red", "green", "blue"][label] in row
              for label, row in zip(np.load("y.npy"), found["set"], strict=True)]  # fmt: skip
    assert np.mean(inside) >= 0.9


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("evaluate C new.csv", "polylogit predict takes it"),
        ("evaluate C new.csv --report r.html", "polylogit predict takes it"),
        ("explain C new.csv --row 1", "polylogit predict takes it"),
        ("calibrate C new.csv", "polylogit predict takes it"),
        ("predict C new.csv", "that the model needs: 'red', 'green', 'blue'"),
        ("predict C two.csv", "lacks a column that the model needs: 'blue'"),
        ("predict C gap.csv", "missing"),
        ("predict C z.csv", "outside 0..1"),
        ("predict C z.npy --memory 2GiB", "not the scores of a calibrator"),
        ("predict C p.csv --sets 0.9 --calibration p.csv", "no column 'y'"),
        ("predict C p.csv --sets 0.9 --training labelled.csv", "name scores by --calibration"),
    ],
)
@pytest.mark.usefixtures("foreign")
def test_a_calibrator_is_not_taken_for_a_model_of_rows(capsys, line, says):
    Path("two.csv").write_text("red,green,other\n0.5,0.5,0.5\n", encoding="utf-8")
    Path("gap.csv").write_text("red,green,blue\n0.5,,0.5\n0.2,0.4,0.4\n", encoding="utf-8")
    status, out, err = typed(capsys, line.replace("C", "probabilities-dirichlet.model"))
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
