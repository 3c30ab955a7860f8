"""`polylogit.app.commands`: the summaries are those of the library, and no file is half-written."""

import csv
import io
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import polylogit
from polylogit.app import terminal
from polylogit.app.commands import path as path_command
from polylogit.app.commands import scoring
from polylogit.app.commands.evaluate import evaluate
from polylogit.app.commands.fit import FitRequest, fit
from polylogit.app.commands.path import PathRequest
from polylogit.app.commands.predict import (
    FORMULA_STARTS,
    Prediction,
    StoredProbabilities,
    harmless,
    predict,
)
from polylogit.data import budget
from polylogit.data.read import prepare, read_table, split
from polylogit.diagnostics.metrics import score
from polylogit.errors import DataError, InputError, OptionError, SchemaError, TargetError
from polylogit.model import SoftmaxModel
from polylogit.schema import Schema

PLAIN = {
    "target": None,
    "model": None,
    "C": "auto",
    "l1_ratio": 0.0,
    "holdout": 0.2,
    "refit": False,
    "weights": None,
    "class_weight": None,
    "label_smoothing": 0.0,
    "intercept": True,
    "categorical": (),
    "ignore": (),
    "delimiter": None,
    "tol": 1e-6,
    "max_iter": 1000,
    "solver": "auto",
    "n_threads": None,
    "seed": 0,
}


class Log:
    """A watch that remembers, and may stop the fit at a step, as Ctrl-C does."""

    def __init__(self, stop_at=math.inf):
        self.stages, self.steps, self.stop_at = [], [], stop_at

    def stage(self, text):
        self.stages.append(text)

    def step(self, now):
        self.steps.append(now)
        if len(self.steps) >= self.stop_at:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fitted(data, watch=None, **options):
    return fit(FitRequest(data, **{**PLAIN, **options}), watch or Log())


def refusal(call, *args, **options):
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    return type(caught.value), str(caught.value)


@pytest.fixture(scope="module")
def noisy():
    """120 rows, three classes, weights, a category: nothing fits it perfectly."""
    rng = np.random.default_rng(0)
    codes = rng.integers(3, size=120)
    x = rng.normal(size=(120, 2)) + np.eye(3)[codes][:, :2]
    return pd.DataFrame(
        {
            "a": x[:, 0],
            "b": x[:, 1],
            "c": rng.choice(["u", "v"], size=120),
            "w": rng.uniform(0.5, 2, size=120),
            "y": np.array(["p", "q", "r"])[codes],
        }
    )


@pytest.fixture
def file(noisy):
    noisy.to_csv("a.csv", index=False)
    return "a.csv"


# ----------------------------------------------------------------------------------------- fit


def test_the_scores_are_those_of_the_model_on_the_rows_that_it_never_saw(file):
    found = fitted(file, target="y", model=Path("m.safetensors"), weights="w")
    model = polylogit.load("m.safetensors")
    training, held_out = split(read_table(file), target="y", fraction=0.2, seed=0)
    expected = polylogit.fit(prepare(training, target="y", weights="w"))
    torch.testing.assert_close(model.weight, expected.model.weight, rtol=0, atol=0)
    rows = prepare(held_out, target="y", weights="w", schema=model.schema)
    scores = score(model.log_probabilities(rows.features).numpy(), rows.targets, rows.weights)
    assert found["holdout"] == scores.to_json()
    assert (
        found["holdout"]
        != score(model.log_probabilities(rows.features).numpy(), rows.targets).to_json()
    )
    assert (found["n_rows"], found["n_train"], found["holdout"]["n_rows"]) == (120, 96, 24)
    assert found["alpha"] == expected.alpha
    assert found["objective"] == expected.solution.objective
    assert found["classes"] == ["p", "q", "r"]


def test_sizes_in_the_penalty_leave_zeros(file):
    found = fitted(file, target="y", model=Path("m.safetensors"), C=0.05, l1_ratio=1.0)
    weight = polylogit.load("m.safetensors").weight
    assert (found["certified"], found["solver"], found["l1_ratio"]) == (True, "proximal", 1.0)
    assert found["n_zero_weights"] == int((weight == 0).sum()) > 0


def test_the_seed_chooses_the_rows(file):
    one, same, other = (fitted(file, target="y", seed=seed) for seed in (1, 1, 2))
    assert one["holdout"] == same["holdout"]
    assert one["holdout"] != other["holdout"]


def test_no_holdout_learns_from_all_rows(file):
    found = fitted(file, target="y", holdout=0.0, refit=True)
    assert (found["holdout"], found["refit"], found["n_train"]) == (None, False, 120)


def test_refit_scores_the_first_model_and_saves_the_second(file):
    watch = Log()
    found = fitted(file, watch, target="y", refit=True, model=Path("m.safetensors"))
    assert (found["refit"], found["n_train"]) == (True, 120)
    assert found["holdout"] == fitted(file, target="y")["holdout"]
    everything = polylogit.fit(polylogit.read(file, target="y"))
    weight = polylogit.load("m.safetensors").weight
    torch.testing.assert_close(weight, everything.model.weight, rtol=0, atol=0)
    assert watch.stages == [
        "reading a.csv",
        "fitting 96 rows",
        "fitting 120 rows",
        "saving m.safetensors",
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"C": 0.1},
        {"C": math.inf},
        {"class_weight": "balanced"},
        {"label_smoothing": 0.2},
        {"fit_intercept": False},
        {"max_iter": 1, "solver": "newton-cg"},
        {"tol": 0.1, "solver": "newton-cg"},
        {"n_threads": 1},
    ],
    ids=str,
)
def test_every_option_reaches_the_fit(options, file):
    asked = {name: value for name, value in options.items() if name != "fit_intercept"}
    found = fitted(file, target="y", holdout=0.0, intercept="fit_intercept" not in options, **asked)
    expected = polylogit.fit(polylogit.read(file, target="y"), **options)
    assert found["objective"] == expected.solution.objective
    assert found["iterations"] == expected.solution.statistics.iterations
    assert found["certified"] == expected.solution.certified
    assert found["C"] == (None if expected.C == math.inf else expected.C)


def test_columns_left_out_and_taken_as_text(noisy):
    noisy.assign(n=np.arange(120) % 4, junk=0).to_csv("a.csv", index=False)
    found = fitted("a.csv", target="y", ignore=("junk", "w"), categorical=("n",))
    assert found["ignored"] == ["junk", "w"]
    assert found["n_features"] == 8


def test_a_gap_that_is_not_proven_is_null(noisy):
    made = noisy.a + noisy.b + 1e-7 * np.random.default_rng(0).normal(size=len(noisy))
    noisy.assign(made=made).to_csv("a.csv", index=False)
    found = fitted("a.csv", target="y", weights="w", C=math.inf)
    assert (found["C"], found["gap"], found["certified"]) == (None, None, False)


def test_the_progress_of_the_fit_is_told(file):
    watch = Log()
    found = fitted(file, watch, target="y", C=1.0)
    assert watch.steps[-1].iteration == found["iterations"] > 0


def test_after_ctrl_c_there_is_no_second_fit_and_the_first_is_saved(file):
    watch = Log(stop_at=2)
    found = fitted(file, watch, target="y", refit=True, model=Path("m.safetensors"))
    assert (found["interrupted"], found["refit"], found["n_train"]) == (True, False, 96)
    assert len(watch.steps) == 2
    assert polylogit.load("m.safetensors").record["certified"] is False
    assert found["holdout"]["n_rows"] == 24


@pytest.mark.parametrize("kind", ["npz", "svmlight", "distributions"])
def test_what_is_numbers_already_needs_no_target(kind, noisy):
    X, y = noisy[["a", "b"]].to_numpy(), pd.factorize(noisy["y"], sort=True)[0]
    name = "a.svm" if kind == "svmlight" else "a.npz"
    if kind == "svmlight":
        lines = (f"{label} 1:{a} 2:{b}" for label, (a, b) in zip(y, X, strict=True))
        Path(name).write_text("\n".join(lines))
    else:
        np.savez(name, X=X, y=np.eye(3)[y] * 0.9 + 0.1 / 3 if kind == "distributions" else y)
    found = fitted(
        name, model=Path("m.safetensors"), label_smoothing=0.1 * (kind != "distributions")
    )
    expected = fitted(name, target="y", label_smoothing=0.1 * (kind != "distributions"))
    assert found["holdout"] == expected["holdout"]
    assert found["classes"] == [0, 1, 2]
    assert evaluate(Path("m.safetensors"), name, Log())["n_rows"] == 120
    assert predict(Path("m.safetensors"), name, Log()).summary["n_rows"] == 120


@pytest.fixture
def grouped(noisy):
    """Every row three times: from its copies a row is known."""
    copies = noisy.loc[noisy.index.repeat(3)].drop(columns="w").assign(who=np.arange(360) // 3)
    copies.to_csv("grouped.csv", index=False)
    return "grouped.csv"


def test_groups_are_on_one_side_and_leave_together(grouped):
    found = fitted(grouped, target="y", group="who", model=Path("m.safetensors"))
    assert (found["n_train"], found["holdout"]["n_rows"]) == (288, 72)
    assert "who" not in polylogit.load("m.safetensors").schema.names
    table = read_table(grouped, ignore=("who",))
    who = np.arange(360) // 3
    held = np.random.default_rng(0).permutation(120)[:24]
    kept = np.flatnonzero(~np.isin(who, held))
    expected = polylogit.choose_C(prepare(table.take(kept), target="y"), groups=who[kept])
    assert found["C_table"] == [line.to_json() for line in expected.table]
    apart = fitted(grouped, target="y", ignore=("who",))
    assert found["C"] < apart["C"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"C": 2.0}, "--group serves to choose C, and --C 2 leaves no choice"),
        ({"group": "y"}, "--group 'y' is the target or the weights already"),
        ({"group": "x"}, "no column 'x'"),
        ({"ignore": ("who",)}, "--ignore who would leave out the column that --group names"),
        ({"l1_ratio": 0.5}, "groups serve to choose C, but leave-one-out needs a smooth penalty"),
    ],
)
def test_what_cannot_be_done_with_groups(options, message, grouped):
    with pytest.raises(InputError, match=message):
        fitted(grouped, **{"target": "y", "group": "who", **options})


def test_groups_that_cannot_be_told_apart_are_refused(grouped, noisy):
    text = Path(grouped).read_text().splitlines()
    Path("gap.csv").write_text("\n".join([*text[:5], text[5].rsplit(",", 1)[0] + ",", *text[6:]]))
    with pytest.raises(
        DataError, match=r"gap\.csv, line 6: the cell of the --group 'who' is missing"
    ):
        fitted("gap.csv", target="y", group="who")
    noisy.assign(who="a").to_csv("one.csv", index=False)
    with pytest.raises(TargetError, match="all rows are of one --group, so none can be held out"):
        fitted("one.csv", target="y", group="who")
    np.savez("a.npz", X=noisy[["a", "b"]].to_numpy(), y=np.arange(120) % 3)
    with pytest.raises(OptionError, match=r"--group names a column, and a\.npz has no named"):
        fitted("a.npz", group="who")


def test_the_rule_chooses_too(file):
    lowest, strong = fitted(file, target="y"), fitted(file, target="y", rule="one-standard-error")
    assert strong["C"] < lowest["C"]
    with pytest.raises(OptionError, match="--rule serves to choose C, and --C 1 leaves no choice"):
        fitted(file, target="y", C=1.0, rule="one-standard-error")
    with pytest.raises(OptionError, match="--rule 'best' is not one of lowest, one-standard-error"):
        fitted(file, target="y", rule="best")


def test_hard_and_soft_targets_give_the_same_fit(noisy):
    X, y = noisy[["a", "b"]].to_numpy(), pd.factorize(noisy["y"], sort=True)[0]
    np.savez("hard.npz", X=X, y=y)
    np.savez("soft.npz", X=X, y=np.eye(3)[y] * 0.9 + 0.1 / 3)
    hard, soft = (
        fitted(name, C=1.0, label_smoothing=smoothing)
        for name, smoothing in (("hard.npz", 0.1), ("soft.npz", 0.0))
    )
    assert hard["objective"] == pytest.approx(soft["objective"], abs=1e-9)
    assert hard["holdout"]["confusion"] == soft["holdout"]["confusion"]


# ------------------------------------------------------------------------- what a fit refuses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tol": -1.0}, "--tol must be a positive number of nats per row, not -1.0"),
        ({"max_iter": 0}, "--max-iter must be a whole number >= 1, not 0"),
        ({"n_threads": 0}, "--threads must be a whole number >= 1, not 0"),
        ({"device": "gpu"}, "--device must be 'auto', 'cpu' or one that is there"),
        ({"l1_ratio": 2.0}, "--l1-ratio must be a number from 0"),
        ({"l1_ratio": 0.5, "solver": "newton"}, "--solver must be 'auto' where l1_ratio is above"),
        ({"solver": "x"}, "--solver 'x' is not one of auto, newton, "),
        ({"label_smoothing": 2.0}, "--label-smoothing must be at least 0 and below 1, not 2.0"),
        (
            {"holdout": -0.5},
            "--holdout must be at least 0 and below 1, a part of the rows, not -0.5",
        ),
        ({"ignore": ("y",)}, "--ignore y would leave out the column that --target names"),
        (
            {"ignore": ("w",), "weights": "w"},
            "--ignore w would leave out the column that --weights names",
        ),
        ({"weights": "y"}, "--target and --weights cannot both be 'y'"),
        (
            {"model": Path("no/m.safetensors")},
            "cannot write 'no/m.safetensors': there is no folder",
        ),
    ],
)
def test_options_are_refused_before_the_data_are_read(options, message):
    kind, found = refusal(fitted, "no such file", **{"target": "y", **options})
    assert (kind, found[: len(message)]) == (OptionError, message)


def test_data_are_never_overwritten_by_the_model(file):
    before = Path(file).read_bytes()
    Path("link.csv").symlink_to(file)
    Path("hard.csv").hardlink_to(file)
    for name in ("a.csv", "./a.csv", "link.csv", "hard.csv"):
        kind, found = refusal(fitted, file, target="y", model=Path(name))
        assert kind is OptionError
        assert found == f"--model {Path(name)} would overwrite what is read; name another file"
    assert Path(file).read_bytes() == before


def test_a_table_needs_a_target(file):
    assert refusal(fitted, file) == (
        OptionError,
        "a.csv is a table: name the column with the labels by --target COLUMN (columns: 'a', 'b', "
        "'c', 'w', 'y')",
    )


LEFT = " (among the {} rows that --holdout {:g} {}; try --holdout 0)"


@pytest.mark.parametrize(
    ("content", "options", "kind", "message"),
    [
        # of the whole file, in its own numbers
        ("x,y\n1,a\n2,a\n3,a\n", {}, TargetError, "a.csv: all 3 rows have the class 'a'; a "),
        ("x,y\n1,a\n2,b\n3,c\n", {}, TargetError, "a.csv: the labels are 3 different classes in 3"),
        ("x,w,y\n1,1,a\n2,-1,b\n3,1,a\n4,1,b\n", {"weights": "w"}, TargetError,
         "a.csv: the weight of line 3 is -1.0 (1 such); weights lie between 0 and 1e+100"),
        ("x,w,y\n1,u,a\n2,v,b\n3,u,a\n4,v,b\n", {"weights": "w"}, TargetError,
         "a.csv: the weights column 'w' is categorical; weights are numbers >= 0"),
        ("x,w,y\n1,0,a\n2,1,b\n3,0,a\n4,1,b\n", {"weights": "w"}, TargetError,
         "a.csv: the class 'a' has no row of positive weight; drop the class or its rows"),
        ("x,y\n1,a\n2,b\n", {}, TargetError,
         "a.csv: no class has two rows (2 rows, 2 classes), so nothing can be held out"),
        ("d,y\n2024-01-01,a\n2024-01-02,b\n2024-01-03,a\n2024-01-04,b\n", {}, SchemaError,
         "a.csv: column 'd' holds dates ("),
        # of a part of it
        ("x,y\n1,a\n2,a\n3,b\n4,b\n5,c\n6,c\n", {}, TargetError,
         "a.csv: the labels are 3 different classes in 3 rows (such as 'a', 'b' and 1 more), so "
         "they name rows; choose a column of classes" + LEFT.format(3, 0.2, "leaves")),
        ("x,y\n,a\n,a\n,b\n,b\n", {"holdout": 0.5}, SchemaError,
         "a.csv: column 'x' holds no value in any of 2 rows; leave it out (ignore)"
         + LEFT.format(2, 0.5, "leaves")),
        ("x,w,y\n1,1,a\n2,0,a\n3,1,b\n4,0,b\n", {"weights": "w", "holdout": 0.5, "seed": 2},
         TargetError,
         "a.csv: the class 'a' has no row of positive weight; drop the class or its rows"
         + LEFT.format(2, 0.5, "leaves")),
        ("x,w,y\n1,1,a\n2,0,a\n3,1,b\n4,0,b\n", {"weights": "w", "holdout": 0.5, "seed": 5},
         TargetError,
         "a.csv: all 2 weights are zero; no row counts" + LEFT.format(2, 0.5, "holds out")),
    ],
)  # fmt: skip
def test_a_refusal_says_which_rows_it_means(content, options, kind, message):
    Path("a.csv").write_text(content)
    found = refusal(fitted, "a.csv", target="y", **options)
    assert found[0] is kind
    assert found[1].startswith(message)
    assert ("among the" in found[1]) == ("among the" in message)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.ones((0, 2)), "y": np.ones(0)}, "a.npz: there are no rows to learn from"),
        ({"X": np.ones((3, 2))}, "a.npz holds no labels; save them beside X as 'y'"),
        (
            {"X": np.ones((3, 2)), "y": np.ones(3)},
            "a.npz: all 3 rows have the class 1; a classifier needs at least two classes",
        ),
    ],
)
def test_arrays_that_cannot_be_learned_from(arrays, message):
    np.savez("a.npz", **arrays)
    assert refusal(fitted, "a.npz") == (TargetError, message)


# ------------------------------------------------------------------------------------- predict


@pytest.fixture
def model(file):
    fitted(file, target="y", model=Path("m.safetensors"), ignore=("w",))
    return Path("m.safetensors")


def test_the_rows_are_those_of_the_model_to_the_last_digit(model, file):
    watch = Log()
    prediction = predict(model, file, watch, output=Path("p.csv"))
    loaded = polylogit.load(model)
    features = polylogit.read(file, schema=loaded.schema).features
    header, *rows = csv.reader(Path("p.csv").read_text().splitlines())
    assert header == ["prediction", "p_p", "p_q", "p_r"]
    assert [row[0] for row in rows] == loaded.labels(features).tolist()
    np.testing.assert_array_equal(
        np.array([row[1:] for row in rows], dtype=float), loaded.probabilities(features).numpy()
    )
    assert prediction.summary["predicted"] == [
        [row[0] for row in rows].count(name) for name in "pqr"
    ]
    assert prediction.summary["ignored"] == ["w"]
    assert watch.stages == ["loading m.safetensors", "reading a.csv", "predicting 120 rows"]


def test_a_tsv_file_is_cut_by_tabs(model, file):
    predict(model, file, Log(), output=Path("p.TSV"))
    assert Path("p.TSV").read_text().startswith("prediction\tp_p\tp_q\tp_r\n")


@pytest.mark.parametrize("name", ["p.txt", "p", "csv", "/dev/stdout"])
def test_rows_go_to_a_table_or_to_stdout(name, model, file):
    assert refusal(predict, model, file, Log(), output=Path(name)) == (
        OptionError,
        f"--output must name a .csv or .tsv file, not '{name}'; without it the rows go to "
        "standard output",
    )


def test_nothing_that_is_read_is_overwritten(model, file):
    model.rename("m.csv")
    for name in (file, "m.csv"):
        before = Path(name).read_bytes()
        kind, found = refusal(predict, Path("m.csv"), file, Log(), output=Path(name))
        assert (kind, "would overwrite what is read" in found) == (OptionError, True)
        assert Path(name).read_bytes() == before


def test_predictions_from_before_stay_if_the_new_ones_fail(model):
    Path("p.csv").write_text("before")
    Path("b.csv").write_text("a,b,c\n1,2\n")
    kind, _ = refusal(predict, model, "b.csv", Log(), output=Path("p.csv"))
    assert (kind, Path("p.csv").read_text()) == (DataError, "before")


def test_labels_in_the_file_are_no_hindrance():
    labels = ["1", "x"] * 8
    pd.DataFrame({"a": np.arange(16) % 5, "y": labels}).to_csv("a.csv", index=False)
    fitted("a.csv", target="y", categorical=("y",), model=Path("m.safetensors"))
    prediction = predict(Path("m.safetensors"), "a.csv", Log())
    assert set(prediction.to_json()["prediction"]) <= {"1", "x"}
    assert prediction.summary["ignored"] == []


def made(classes, probabilities):
    codes = np.argmax(probabilities, 1)
    return Prediction({}, tuple(classes), codes, np.array(probabilities))


def test_a_table_is_read_back_as_it_was_meant():
    classes = ("a,b", 'say "x"', "two\nlines", "one\rline", "tab\tbed", " edge ", "🌹", "")
    prediction = made(classes, np.eye(8))
    for delimiter in (",", "\t"):
        text = prediction.text(delimiter)
        header, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        assert header == ["prediction", *(f"p_{label}" for label in classes)]
        assert [row[0] for row in rows] == list(classes)
        assert text.endswith("0,1.0\n".replace(",", delimiter))


@pytest.mark.parametrize(
    ("classes", "cells"),
    [((-1, 1), ["-1", "1"]), ((False, True), ["False", "True"]), ((0.5, 1.5), ["0.5", "1.5"])],
)
def test_labels_that_are_no_text(classes, cells):
    prediction = made(classes, [[0.75, 0.25], [0.125, 0.875]])
    assert prediction.text(",") == (
        f"prediction,p_{cells[0]},p_{cells[1]}\n{cells[0]},0.75,0.25\n{cells[1]},0.125,0.875\n"
    )
    assert prediction.to_json() == {
        "prediction": list(classes),
        "probabilities": [[0.75, 0.25], [0.125, 0.875]],
    }


@pytest.mark.parametrize(
    "text", ["=1+1", "+a", "-cmd|x", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"]
)
def test_no_cell_begins_like_a_formula(text):
    assert harmless(text) == f"'{text}"
    table = made((text, "b"), [[1.0, 0.0]]).text(",")
    header, row = csv.reader(io.StringIO(table, newline=""))
    assert row[0] == f"'{text}"
    assert header[1] == f"p_{text}"
    assert not any(cell.startswith(FORMULA_STARTS) for cell in (*header, *row))


@pytest.mark.parametrize("label", ["a=1", "-", "+", "-1", "+1.5", "-inf", "'=1", "", -1, True, 2.5])
def test_what_is_no_formula_stays_as_it_is(label):
    assert harmless(label) is label


# ------------------------------------------------------------------------------------ evaluate


def test_an_evaluation_counts_every_row(model, file):
    watch = Log()
    found = evaluate(model, file, watch)
    assert found["n_rows"] == np.sum(found["confusion"]) == 120
    assert (found["model"], found["source"]) == ("m.safetensors", "a.csv")
    assert found["classes"] == ["p", "q", "r"]
    assert watch.stages == ["loading m.safetensors", "reading a.csv", "scoring 120 rows"]


def test_an_evaluation_takes_another_target_and_weights(model, noisy):
    plain = evaluate(model, "a.csv", Log())
    noisy.rename(columns={"y": "truth"}).to_csv("b.csv", index=False)
    assert refusal(evaluate, model, "b.csv", Log())[0] is SchemaError
    other = evaluate(model, "b.csv", Log(), target="truth")
    assert other["log_loss"] == plain["log_loss"]
    weighed = evaluate(model, "a.csv", Log(), weights="w")
    assert weighed["log_loss"] != plain["log_loss"]
    assert weighed["confusion"] == plain["confusion"]


def test_a_delimiter_can_be_named(model, noisy):
    noisy.to_csv("b.csv", index=False, sep=":")
    assert evaluate(model, "b.csv", Log(), delimiter=":") == {
        **evaluate(model, "a.csv", Log()),
        "source": "b.csv",
    }
    rows, same = (
        predict(model, name, Log(), delimiter=mark).to_json()["probabilities"]
        for name, mark in (("a.csv", None), ("b.csv", ":"))
    )
    assert rows == same


def test_the_likeliest_class_is_found_where_probabilities_are_equal_in_print():
    logits = torch.tensor([[0.0], [1e-17]])
    model = SoftmaxModel(logits, torch.zeros(2), Schema.for_array(1, ("a", "b"), "y"))
    polylogit.save(model, "m.safetensors")
    np.savez("a.npz", X=np.ones((2, 1)))
    found = predict(Path("m.safetensors"), "a.npz", Log()).to_json()
    assert found["prediction"] == ["b", "b"]
    assert found["probabilities"] == [[0.5, 0.5], [0.5, 0.5]]


def test_a_watch_of_the_terminal_will_do(file):
    with terminal.watching(shown=False) as watch:
        assert fitted(file, watch, target="y")["certified"]


# --------------------------------------------------------------------------------- checkpoints


def test_a_checkpoint_is_made_gone_on_from_and_removed(folder):
    class StoppedLater(Log):
        def step(self, now):
            super().step(now)
            assert now.iteration < 2 or Path("c.ckpt").exists()

    own = {"C": 1.0, "target": "species", "solver": "newton-cg", "checkpoint": Path("c.ckpt")}
    options = {**PLAIN, **own}
    first = fit(FitRequest("penguins", **options), StoppedLater(stop_at=5))
    assert (first["interrupted"], Path("c.ckpt").exists()) == (True, True)
    log = Log()
    again = fit(FitRequest("penguins", **{**options, "refit": True}), log)
    assert (again["certified"], again["refit"]) == (True, True)
    assert log.steps[0].objective == pytest.approx(first["objective"], abs=1e-12)
    assert list(Path().glob("c.ckpt*")) == []


def test_the_fit_on_all_rows_has_a_checkpoint_of_its_own(folder):
    class StoppedInRefit(Log):
        def step(self, now):
            super().step(now)
            if len(self.stages) > 2 and now.iteration == 2:
                raise KeyboardInterrupt

    own = {"C": 1.0, "target": "species", "refit": True, "checkpoint": Path("c.ckpt")}
    options = {**PLAIN, **own}
    summary = fit(FitRequest("penguins", **options), StoppedInRefit())
    assert summary["interrupted"]
    assert [path.name for path in Path().glob("c.ckpt*")] == ["c.ckpt.refit"]
    assert fit(FitRequest("penguins", **options), Log())["certified"]
    assert list(Path().glob("c.ckpt*")) == []


def test_a_checkpoint_over_the_model_or_the_data_is_refused(folder):
    both = {**PLAIN, "target": "species", "model": Path("m"), "checkpoint": Path("m")}
    with pytest.raises(OptionError, match="--model and --checkpoint cannot both be 'm'"):
        fit(FitRequest("penguins", **both), Log())
    Path("d.csv").write_text("x,y\n1,a\n2,b\n")
    over = {**PLAIN, "target": "y", "checkpoint": Path("d.csv")}
    with pytest.raises(OptionError, match=r"--checkpoint d\.csv would overwrite what is read"):
        fit(FitRequest("d.csv", **over), Log())


# ------------------------------------------------------------------------------------------ path


def asked(data="penguins", Cs=(0.01, 1.0, 100.0), validation=None, protocol=None, **options):
    shared = FitRequest(data, **{**PLAIN, "target": "species", **options})
    return PathRequest(shared, Cs, validation, protocol)


def test_the_path_is_that_of_the_library_and_the_best_is_saved(folder):
    summary = path_command.path(asked(model=Path("m")), Log())
    table = read_table("penguins", target="species")
    training, held = split(table, target="species", fraction=0.2, seed=0)
    data = prepare(training, target="species")
    other = prepare(held, target="species", schema=data.schema)
    truth = polylogit.fit_path(data, (0.01, 1.0, 100.0), validation=other)
    for line, point in zip(summary["table"], truth.table, strict=True):
        assert {**line, "seconds": 0} == {**point.to_json(), "seconds": 0}
    assert summary["best"] == truth.best("loss") == 2
    assert (summary["n_train"], summary["n_validation"]) == (data.n_rows, other.n_rows)
    model = polylogit.load("m")
    everything = polylogit.fit(prepare(table, target="species"), C=100.0)
    torch.testing.assert_close(model.weight, everything.model.weight)
    assert model.record["C"] == 100.0


@pytest.mark.parametrize("validation", [None, "other.csv"])
def test_a_path_over_streamed_rows_is_that_over_rows_in_memory(folder, monkeypatch, validation):
    monkeypatch.setattr(budget, "LEAST", 1)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])
    frame["y"] = np.array(["u", "v", "w"])[rng.integers(3, size=300)]
    frame[:200].to_csv("train.csv", index=False)
    frame[200:].to_csv("other.csv", index=False)
    plain = {"target": "y", "holdout": 0.0 if validation else 0.2}
    tables = []
    for memory in (None, "2KB"):
        file = Path(f"{memory}.model")
        request = asked("train.csv", validation=validation, memory=memory, model=file, **plain)
        summary = path_command.path(request, Log())
        assert summary["certified"]
        tables.append([(line["objective"], line["loss"]) for line in summary["table"]])
    np.testing.assert_allclose(tables[0], tables[1], atol=2e-6)
    one, other = polylogit.load("None.model"), polylogit.load("2KB.model")
    torch.testing.assert_close(one.weight, other.weight, rtol=1e-3, atol=1e-3)


def test_clip_searches_and_so_keeps_no_checkpoint(folder):
    request = asked(Cs=None, protocol="clip", holdout=0.1, checkpoint=Path("c"))
    with pytest.raises(OptionError, match="clip searches instead"):
        path_command.path(request, Log())


def test_rows_to_judge_on_may_be_a_file_and_are_fitted_in_the_end(folder):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(90, 3)), columns=["a", "b", "c"])
    frame["y"] = np.array(["u", "v", "w"])[rng.integers(3, size=90)]
    frame[:60].to_csv("train.csv", index=False)
    frame[60:].to_csv("other.csv", index=False)
    frame.to_csv("all.csv", index=False)
    plain = {"target": "y", "holdout": 0.0, "model": Path("m")}
    summary = path_command.path(asked("train.csv", validation="other.csv", **plain), Log())
    assert (summary["n_train"], summary["n_validation"]) == (60, 30)
    truth = polylogit.fit(polylogit.read("all.csv", target="y"), C=summary["C"])
    torch.testing.assert_close(polylogit.load("m").weight, truth.model.weight, atol=1e-7, rtol=0)


def test_sparse_rows_and_weights_are_joined(folder):
    rng = np.random.default_rng(1)
    rows = sparse.csr_array(rng.normal(size=(40, 3)) * (rng.uniform(size=(40, 3)) < 0.5))
    y, weights = rng.integers(2, size=40), rng.uniform(1, 2, size=40)
    one = polylogit.from_arrays(rows[:30], y[:30], sample_weight=weights[:30])
    two = polylogit.from_arrays(rows[30:], y[30:], sample_weight=weights[30:], schema=one.schema)
    both = path_command._joined(one, two)
    assert isinstance(both.features, sparse.csr_array)
    assert (both.features != rows).nnz == 0
    np.testing.assert_array_equal(both.targets, y)
    np.testing.assert_array_equal(both.weights, weights)


@pytest.mark.parametrize(("protocol", "count"), [("dino", 45), ("clip", 15)])
def test_protocols_judge_by_top1(protocol, count, folder):
    summary = path_command.path(asked(Cs=None, protocol=protocol, holdout=0.1), Log())
    scores = [point["top1"] for point in summary["table"]]
    assert summary["best"] == int(np.argmax(scores))
    assert (summary["by"], summary["n_validation"]) == ("top1", 34)
    assert count - 4 <= len(scores) <= count
    assert summary["certified"]


def test_ctrl_c_ends_a_path_without_a_model(folder):
    summary = path_command.path(asked(model=Path("m")), Log(stop_at=12))
    assert summary["interrupted"]
    assert 1 <= len(summary["table"]) < 3
    assert (summary["model"], Path("m").exists()) == (None, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "moco", "Cs": None}, "--protocol must be clip or dino, not 'moco'"),
        ({"protocol": "clip"}, "--protocol and --Cs both say which C to fit; give one of them"),
        (
            {"holdout": 0.0, "model": Path("m")},
            "--model needs rows to find the best C on; give --validation a part of the rows or a "
            "file",
        ),
        (
            {"holdout": 0.0, "protocol": "dino", "Cs": None},
            "--protocol needs rows to find the best C on; give --validation a part of the rows or "
            "a file",
        ),
        (
            {"holdout": 1.5},
            "--validation must be at least 0 and below 1, a part of the rows, not 1.5",
        ),
        (
            {"Cs": (-1.0,)},
            "C must be positive, between 1e-100 and 1e+100, or inf for no penalty, not -1.0; C is "
            "the inverse strength of the penalty, try 1.0",
        ),
    ],
)
def test_a_path_that_cannot_be_is_refused_before_anything_is_read(options, message, folder):
    log = Log()
    with pytest.raises(OptionError) as caught:
        path_command.path(asked(**options), log)
    assert str(caught.value) == message
    assert log.stages == []


# ------------------------------------------------------------------------------- bounded memory


@pytest.fixture
def streaming(monkeypatch):
    """Everything is streamed, a few rows at a time."""
    monkeypatch.setattr(budget, "LEAST", 1)
    monkeypatch.setattr(scoring, "PART_BYTES", 200)
    return {"memory": "1"}


@pytest.mark.parametrize("holdout", [0, 0.2])
def test_a_streamed_fit_says_what_a_fit_in_memory_says(file, streaming, holdout):
    options = {"target": "y", "C": 1.0, "ignore": ("w",), "holdout": holdout}
    inside, streamed = fitted(file, **options), fitted(file, **options, **streaming)
    for name in ("n_rows", "n_train", "classes", "C", "missing", "unseen", "ignored", "certified"):
        assert streamed[name] == inside[name], name
    assert abs(streamed["objective"] - inside["objective"]) <= inside["gap"] + streamed["gap"]
    if holdout:
        assert streamed["holdout"]["confusion"] == inside["holdout"]["confusion"]
        assert streamed["holdout"]["log_loss"] == pytest.approx(
            inside["holdout"]["log_loss"], abs=1e-4
        )


def test_streamed_rows_know_no_groups(grouped, streaming):
    with pytest.raises(OptionError, match=r"groups serve to choose C, but .* streamed from a file"):
        fitted(grouped, target="y", group="who", holdout=0.0, **streaming)
    found = fitted(grouped, target="y", holdout=0.0, **streaming)
    assert (found["C"], found["C_table"]) == (1.0, [])
    assert found["C_note"].startswith("auto is 1 here: leave-one-out needs the rows in memory")


def test_streamed_rows_are_predicted_and_scored_as_in_memory(model, file, streaming):
    inside = predict(model, file, Log(), output=Path("inside.csv"))
    streamed = predict(model, file, Log(), output=Path("streamed.csv"), **streaming)
    assert isinstance(streamed.probabilities, StoredProbabilities)
    assert len(list(streamed.pieces(","))) > 10
    assert {**streamed.summary, "output": None} == {**inside.summary, "output": None}
    tables = [pd.read_csv(name) for name in ("inside.csv", "streamed.csv")]
    pd.testing.assert_frame_equal(*tables, rtol=1e-13)
    assert streamed.to_json()["prediction"] == inside.to_json()["prediction"]
    scores = [evaluate(model, file, Log(), **options) for options in ({}, streaming)]
    assert scores[0].keys() == scores[1].keys()
    for name, value in scores[0].items():
        assert scores[1][name] == (
            pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
        )


def test_a_streamed_prediction_that_fails_leaves_nothing(model, file, streaming, monkeypatch):
    Path("p.csv").write_text("before")
    before = sorted(os.listdir())
    pieces, taken = StoredProbabilities.__getitem__, []

    def failing(self, rows):
        taken.append(rows)
        if len(taken) > 3:
            raise KeyboardInterrupt
        return pieces(self, rows)

    monkeypatch.setattr(StoredProbabilities, "__getitem__", failing)
    with pytest.raises(KeyboardInterrupt):
        predict(model, file, Log(), output=Path("p.csv"), **streaming)
    assert Path("p.csv").read_text() == "before"
    assert sorted(os.listdir()) == before


def test_parts_of_wide_rows_are_small():
    assert scoring.row_slices(5, scoring.PART_BYTES) == [slice(i, i + 1) for i in range(5)]
    assert scoring.row_slices(5, 1) == [slice(0, 5)]
