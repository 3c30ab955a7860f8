"""`polylogit predict --sets`: the library's sets, in the table, the JSON and the words."""

import json

import numpy as np
import pandas as pd
import pytest

import polylogit
from polylogit.app import cli
from polylogit.app.commands import scoring
from polylogit.data import budget
from polylogit.diagnostics.conformal import conformal


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model of three overlapping classes, and rows it never saw."""
    folder, rng = tmp_path_factory.mktemp("sets"), np.random.default_rng(0)
    y = rng.integers(3, size=400)
    X = pd.DataFrame(rng.normal(size=(400, 2)) + y[:, None], columns=["a", "b"])
    table = X.assign(y=np.array(["low", "mid", "high"])[y])
    for name, rows in (("fit", slice(0, 100)), ("held", slice(100, 300)), ("new", slice(300, 400))):
        table[rows].to_csv(folder / f"{name}.csv", index=False)
    table[100:108].to_csv(folder / "few.csv", index=False)
    model = polylogit.fit(polylogit.read(folder / "fit.csv", target="y")).model
    polylogit.save(model, folder / "m.safetensors")
    return folder, model


@pytest.fixture
def run(files, capsys, monkeypatch):
    monkeypatch.chdir(files[0])

    def run(command):
        status = cli.run(command.split())
        return status, *capsys.readouterr()

    return run


def test_the_table_and_the_json_hold_the_librarys_sets(files, run):
    folder, model = files
    status, out, err = run("predict m.safetensors new.csv --sets 0.9 --calibration held.csv --json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    held, new = (
        polylogit.read(folder / f"{name}.csv", target="y", schema=model.schema)
        for name in ("held", "new")
    )
    made = conformal(model.probabilities(held.features).numpy(), held.targets, 0.9)
    inside = made.sets(model.probabilities(new.features).numpy())
    expected = [[model.classes[k] for k in np.flatnonzero(row)] for row in inside]
    assert found["set"] == expected
    assert found["sets"]["threshold"] == made.threshold.tolist()
    assert found["sets"]["mean_size"] == pytest.approx(inside.sum(1).mean())
    assert sum(found["sets"]["sizes"]) == 100
    status, out, err = run("predict m.safetensors new.csv --sets 0.9 --calibration held.csv")
    assert [line.rsplit(",", 1)[1].split("|") for line in out.splitlines()[1:]] == expected
    assert out.startswith("prediction,p_high,p_low,p_mid,set\n")
    assert "hold the truth in at least 0.9 of rows like those of held.csv." in err
    assert "With these 200 rows it lies between 0.8" in err
    assert "Approximate" not in err
    assert found["sets"]["approximate"] is False


def test_sets_of_a_file_that_is_streamed_are_the_same(run, monkeypatch):
    monkeypatch.setattr(budget, "LEAST", 1)
    monkeypatch.setattr(scoring, "PART_BYTES", 8 * 3 * 17)  # seventeen rows at a time
    command = "predict m.safetensors new.csv --sets 0.8 --calibration held.csv --set-method aps"
    assert run(f"{command} --output plain.csv")[0] == 0
    assert run(f"{command} --output streamed.csv --memory 1")[0] == 0
    one, other = pd.read_csv("plain.csv"), pd.read_csv("streamed.csv")
    assert one["set"].tolist() == other["set"].tolist()
    assert one["set"].nunique() > 3


def test_too_few_rows_are_told(run):
    command = "predict m.safetensors new.csv --sets 0.9 --calibration few.csv --output o.csv"
    status, out, _ = run(command)
    assert status == 0
    assert "note: 8 rows are too few, it takes 9: every set holds every class" in out
    assert (pd.read_csv("o.csv")["set"] == "high|low|mid").all()
    status, out, _ = run(f"{command} --by-class")
    assert "within each class" in out
    assert "too few, it takes 9: the class is in every set" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--sets 0.9", "--sets and --calibration go together"),
        ("--calibration held.csv", "--sets and --calibration go together"),
        ("--sets 90 --calibration held.csv", "coverage must lie between 0 and 1"),
        ("--sets 0.9 --calibration held.csv --set-method lax", "did you mean 'lac'"),
        ("--sets 0.9 --calibration none.csv", "none.csv"),
        ("--sets 0.9 --calibration held.csv --output held.csv", "would overwrite what is read"),
    ],
)
def test_bad_options_are_refused_in_a_line(run, options, message):
    status, out, err = run(f"predict m.safetensors new.csv {options}")
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
