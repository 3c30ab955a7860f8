"""`polylogit.app.lab.tour`: the costs that the lesson prints, run, to the last printed digit."""

import contextlib
import io

import pytest

from polylogit.app.lab import tour
from polylogit.app.lab.value import long

PRINTED = (
    "1.098612 0.761050 0.689991 0.643229 0.604117 0.568255 "
    "0.533922 0.500291 0.466908 0.433507 0.399962"
)


@pytest.fixture(scope="module")
def told():
    return tour.tour()


def test_the_eleven_costs_of_the_lesson(told):
    assert told["cells"]["shared"]["printed"] == PRINTED.split()


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        ("twice", "0.738749"),
        ("shared", "0.399962"),
        ("right", "0.248155"),
        ("twice_longer", "0.685888"),
        ("right_longer", "0.075553"),
    ],
)
def test_the_costs_that_differ(told, name, cost):
    assert told["cells"][name]["printed"][-1] == cost
    assert told["cells"][name]["lines"]["cost"]["long"] == cost


@pytest.mark.parametrize("name", ["twice", "shared", "right"])
def test_the_script_of_a_cell_prints_the_same_costs(told, name):
    out = io.StringIO()
    scope = {}
    with contextlib.redirect_stdout(out):
        exec(told["cells"][name]["lines"]["accuracy"]["python"], scope)  # noqa: S102
    shown = told["cells"][name]["lines"]["b"]["long"]
    assert [long(value) for value in scope["b"].tolist()] == shown
    *lines, accuracy = out.getvalue().splitlines()
    assert [line.split()[-1] for line in lines] == told["cells"][name]["printed"]
    assert accuracy.startswith("tensor(")


def test_a_shared_bias_never_learns_and_its_own_does(told):
    assert abs(told["cells"]["shared"]["lines"]["b"]["drawn"][0]) < 1e-6
    assert min(map(abs, told["cells"]["right"]["lines"]["b"]["drawn"])) > 0.1
    assert told["cells"]["shared"]["lines"]["accuracy"]["short"] == "0.8750"
    assert told["cells"]["right"]["lines"]["accuracy"]["short"] == "1.0000"


def test_the_floor_lies_below_the_cell_that_cannot_pass_it(told):
    assert told["lines"]["floor"]["short"] == "0.5514"
    assert told["cells"]["twice_longer"]["curve"][-1][1] > told["lines"]["floor"]["drawn"]


def test_weights_grow_without_a_penalty_and_the_library_says_why(told):
    norms = [told["cells"][name]["lines"]["norm"]["drawn"] for name in ("right", "right_longer")]
    assert norms == sorted(norms)
    assert "weights grow for ever" in told["without"]
    assert "best possible" in told["optimum"]["proof"]


def test_adding_to_all_logits_changes_no_probability(told):
    assert told["lines"]["p"]["short"] == told["lines"]["p_shifted"]["short"]
