"""`polylogit summary`: tables on stdout, one JSON object, one line of error."""

import json

import numpy as np
import pytest

from polylogit.app import cli


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a line in this process, in a folder with t.csv: status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.normal(size=90)
    y = np.array(["no", "so", "yes"])[(x + rng.normal(size=90) > 0).astype(int) + (x > 0.8)]
    words = np.array(["p", "q"])[rng.integers(2, size=90)]
    lines = [
        f"{a:.4f},{b},{g},{c}" for a, b, g, c in zip(x, words, np.arange(90) % 9, y, strict=True)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["x,w,g,y", *lines]) + "\n")

    def line(text):
        return cli.run(text.split()), *capsys.readouterr()

    return line


def test_every_table_says_what_it_is_from(run):
    status, out, _ = run("summary lesson --target y")
    assert status == 0
    for title in ("Coefficients", "Joint Wald test", "Average marginal effects"):
        (line,) = [line for line in out.splitlines() if line.startswith(title)]
        assert "likelihood" in line
        assert "errors from the inverse information" in line


def test_separation_is_named_in_words_and_has_no_p_value(run):
    status, out, _ = run("summary penguins --target species --ignore year")
    assert status == 0
    assert "Class Gentoo is separated from Adelie; no finite maximum likelihood" in out
    assert "estimate has: (intercept), island=Dream," in out
    rows = [line for line in out.splitlines() if "separated  -" in line]
    assert len(rows) == 2 * 10
    assert "Baseline of its column: island=Biscoe, sex=female." in out
    assert "nan" not in out


def test_json_is_one_line(run):
    status, out, _ = run("summary t.csv --target y --reference so --robust hc0 --ignore g --json")
    found = json.loads(out)
    assert (status, out.count("\n"), found["reference"]) == (0, 1, "so")
    assert found["coefficients"]["covariance"] == "hc0"


def test_a_column_of_groups_is_no_feature(run):
    status, out, _ = run("summary t.csv --target y --cluster g")
    assert status == 0
    assert "cluster-robust errors" in out
    assert "one of 9 groups" in out
    assert "With so few" in out
    found = json.loads(run("summary t.csv --target y --cluster w --json")[1])
    assert [test["name"] for test in found["wald"]["rows"]] == ["x", "g"]


def test_a_penalty_is_said_to_leave_no_p_value(run):
    _, out, _ = run("summary t.csv --target y --C 1 --sum-to-zero")
    assert "penalised fit with C = 1" in out
    assert "against the mean of all classes" in out
    assert "no valid p-value" in out
    assert "<0.0001" not in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("summary t.csv", "name the column with the labels by --target"),
        ("summary t.csv --target y --reference maybe", "--reference maybe is no class"),
        ("summary t.csv --target y --robust hc3", "--robust must be hc0"),
        ("summary t.csv --target y --cluster y", "--cluster y names a column that has another"),
        ("summary t.csv --target y --cluster g --robust hc0", "ask for one of them"),
        ("summary t.csv --target y --cluster h", "no column 'h'"),
        ("summary t.csv --target y --sum-to-zero --reference no", "has no reference"),
        ("summary t.csv --target y --C auto", "--C must be inf or a positive number"),
        ("summary t.csv --target y --level 2", "level must lie between 0 and 1"),
    ],
)
def test_errors_are_one_line(run, line, said):
    status, out, err = run(line)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
