"""`polylogit.app.lab.table`: any CSV is fitted, any row adds up, and what would flip it does."""

import math
import re

import numpy as np
import pytest

import polylogit
from polylogit.app.lab.table import RowRequest, TableRequest, row, table
from polylogit.diagnostics.explain import explain
from polylogit.errors import DataError, InputError, OptionError

from .notebook import assert_reproduced

CSV = "size,colour,kind\n1,red,a\n2,red,a\n3,blue,b\n4,red,b\n9,blue,c\n8,blue,c\n"


def test_a_csv_is_fitted_as_the_library_fits_it(tmp_path):
    answer = table(TableRequest(text=CSV))
    assert answer["target"] == "kind"
    assert answer["classes"] == ["a", "b", "c"]
    assert answer["columns"] == ("size", "colour", "kind")
    assert answer["rows"] == 6
    (tmp_path / "t.csv").write_text(CSV)
    best = polylogit.fit(polylogit.read(tmp_path / "t.csv", target="kind"), C=1.0)
    assert answer["objective"] == f"{best.solution.objective:.4f}"
    assert "best possible" in answer["proof"]


@pytest.mark.parametrize("at", [1, 4, 6])
def test_a_row_adds_up_and_its_scripts_run(at):
    answer = row(RowRequest(text=CSV, row=at))
    lines = answer["lines"]
    assert_reproduced(lines)
    whole = lines["base"]["drawn"] + math.fsum(lines["contributions"]["drawn"])
    assert whole == pytest.approx(lines["margin"]["drawn"], abs=1e-12)
    assert lines["margin"]["drawn"] >= 0
    sizes = np.abs(lines["contributions"]["drawn"])
    assert (np.diff(sizes) <= 0).all()


@pytest.mark.parametrize("at", range(1, 345, 43))
def test_a_row_is_explained_as_the_library_explains_it(at):
    answer = row(RowRequest(example="penguins", row=at))
    data = polylogit.read("penguins", target="species")
    model = polylogit.fit(data, C=1.0).model
    why = explain(model, np.asarray(data.features)[at - 1])
    lines = answer["lines"]
    assert (answer["predicted"], answer["runner_up"]) == (why.decision, why.runner_up)
    assert lines["p"]["drawn"] == pytest.approx(why.probabilities)
    c = model.classes.index(why.decision)
    assert [one["name"] for one in answer["features"]] == [p.feature for p in why.contributions]
    parts = [part.differences[c] for part in why.contributions]
    assert lines["contributions"]["drawn"] == pytest.approx(parts)
    assert answer["flip"]["feature"] == why.smallest_flip.feature
    assert answer["flip"]["becomes"] == why.smallest_flip.to


def test_a_row_at_the_edge_of_the_table_says_so():
    assert row(RowRequest(text=CSV, row=5))["edges"] == ["size"]
    assert row(RowRequest(text=CSV, row=4))["edges"] == []


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"text": "a,b\n1,2,3\n"}, DataError, "table.csv"),
        ({"text": ""}, InputError, "table.csv"),
        ({"text": CSV, "target": "king"}, InputError, "kind"),
        ({"text": CSV, "row": 7}, OptionError, "rows are 1 to 6"),
    ],
)
def test_what_cannot_be_read_is_explained_without_a_path(options, kind, words):
    with pytest.raises(kind, match=words) as caught:
        row(RowRequest(**{"row": 1, **options}))
    assert not re.search(r"\w/\w*table.csv", str(caught.value))
