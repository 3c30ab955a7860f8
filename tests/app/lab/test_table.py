"""`polylogit.app.lab.table`: any CSV is fitted, any row adds up, and what would flip it does."""

import math
import re

import numpy as np
import pytest

import polylogit
from polylogit.app.lab.table import RowRequest, TableRequest, row, table
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


@pytest.mark.parametrize("at", [0, 3, 5])
def test_a_row_adds_up_and_its_scripts_run(at):
    answer = row(RowRequest(text=CSV, row=at))
    lines = answer["lines"]
    assert_reproduced(lines)
    whole = lines["base"]["drawn"] + math.fsum(lines["contributions"]["drawn"])
    assert whole == pytest.approx(lines["margin"]["drawn"], abs=1e-12)
    assert lines["margin"]["drawn"] >= 0
    sizes = np.abs(lines["contributions"]["drawn"])[answer["order"]]
    assert (np.diff(sizes) <= 0).all()


@pytest.mark.parametrize("at", range(0, 344, 43))
def test_the_probabilities_are_the_models_and_the_flip_flips(at):
    answer = row(RowRequest(example="penguins", row=at))
    data = polylogit.read("penguins", target="species")
    model = polylogit.fit(data, C=1.0).model
    x = np.array(data.features[at : at + 1])
    assert answer["lines"]["p"]["drawn"] == pytest.approx(
        model.probabilities(x)[0].tolist(), abs=1e-6
    )
    assert answer["lines"]["mean"]["drawn"] == pytest.approx(np.asarray(data.features).mean(0))
    assert answer["predicted"] == model.labels(x)[0]
    flip = answer["flip"]
    d = data.schema.names.index(flip["feature"])
    change = float(flip["to"]) - x[0, d]
    for scale, label in ((0.99, answer["predicted"]), (1.01, flip["becomes"])):
        moved = x.copy()
        moved[0, d] += scale * change
        assert model.labels(moved)[0] == label


def test_no_other_single_number_flips_it_sooner():
    answer = row(RowRequest(example="penguins", row=0))
    data = polylogit.read("penguins", target="species")
    model = polylogit.fit(data, C=1.0).model
    X = np.asarray(data.features)
    for name in ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"):
        d = data.schema.names.index(name)
        reach = 0.98 * float(answer["flip"]["deviations"]) * X[:, d].std(ddof=1)
        moved = X[[0, 0]].copy()
        moved[:, d] += [-reach, reach]
        assert set(model.labels(moved)) == {answer["predicted"]}


def test_a_row_at_the_edge_of_the_table_says_so():
    assert row(RowRequest(text=CSV, row=4))["outside"] == ["size"]
    assert row(RowRequest(text=CSV, row=3))["outside"] == []


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"text": "a,b\n1,2,3\n"}, DataError, "table.csv"),
        ({"text": ""}, InputError, "table.csv"),
        ({"text": CSV, "target": "king"}, InputError, "kind"),
        ({"text": CSV, "row": 6}, OptionError, "rows are 0 to 5"),
    ],
)
def test_what_cannot_be_read_is_explained_without_a_path(options, kind, words):
    with pytest.raises(kind, match=words) as caught:
        row(RowRequest(**{"row": 0, **options}))
    assert not re.search(r"\w/\w*table.csv", str(caught.value))
