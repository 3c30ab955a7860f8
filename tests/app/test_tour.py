"""`polylogit tour`: the lesson's costs on the screen, and the same as JSON."""

import json

import pytest

from polylogit.app import cli
from polylogit.app.texts import tour as text
from polylogit.lesson import CELLS, tour


def test_json_is_the_librarys(capsys):
    assert cli.run(["tour", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == tour().to_json()


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_every_cost_is_on_the_screen(capsys, lang):
    assert cli.run(["tour", "--lang", lang]) == 0
    out = capsys.readouterr().out
    for cell in tour().to_json()["cells"]:
        assert all(cost in out for cost in cell["printed"])
        assert text.WORDS["cells"][lang][cell["cell"]] in out
    assert "0.551445" in out


def test_both_languages_say_the_same_things():
    for words in text.WORDS.values():
        assert words["en"].keys() == words["ko"].keys()
    assert text.WORDS["cells"]["en"].keys() == CELLS.keys()
