"""`polylogit chain` as it is typed: JSON as the library has it, text in two languages."""

import json

import pytest

from polylogit.app import cli
from polylogit.app.texts import chain as text
from polylogit.steps import chain, compare


def typed(capsys, *words):
    status = cli.run(list(words))
    return status, *capsys.readouterr()


def test_json_is_the_librarys(capsys):
    status, out, _ = typed(capsys, "chain", "--logits", "1,2,3;0,0,9", "--target", "2,0", "--json")
    assert status == 0
    assert json.loads(out) == chain([[1, 2, 3], [0, 0, 9]], [2, 0]).to_json()
    _, out, _ = typed(capsys, "chain", "--p", "0.5,0.5", "--q", "1,0", "--json")
    assert json.loads(out) == compare([0.5, 0.5], [1, 0]).to_json()


@pytest.mark.parametrize(("lang", "word"), [("en", "softmax: probabilities"), ("ko", "소프트맥스")])
def test_every_number_is_on_the_screen(capsys, lang, word):
    status, out, _ = typed(capsys, "chain", "--logits", "1,2,3", "--target", "2", "--lang", lang)
    assert status == 0
    assert word in out
    assert "0.0900  0.2447  0.6652" in out
    for route in chain([1, 2, 3], 2).to_json()["routes"]:
        assert route["float32"] in out
        assert route["float64"] in out


def test_distributions_are_measured_in_both_units(capsys):
    _, out, _ = typed(capsys, "chain", "--p", "0.5,0.5", "--q", "1,0", "--lang", "ko")
    assert "0.693147181  1.000000000" in out
    assert "무한대" in out


def test_both_languages_say_the_same_things():
    for words in text.WORDS.values():
        assert words["en"].keys() == words["ko"].keys()
        assert all(map(str.strip, (*words["en"].values(), *words["ko"].values())))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("chain", "give --logits and --target, or --p"),
        ("chain --logits 1,2 --p 1,0 --target 0", "give --logits and --target, or --p"),
        ("chain --logits 1,2", "--logits needs --target"),
        ("chain --logits 1,x --target 0", "--logits must be numbers between commas, not '1,x'"),
        ("chain --logits 1,2 --target one", "--target must be class numbers"),
        ("chain --logits 1,2 --target 2", "target 2 at position"),
        ("chain --p 0.5,0.6", "P sums to 1.1"),
        ("chain --p 0.5;0.5", "--p must be numbers"),
        ("chain --logits 1,2 --target 0 --lang de", "--lang must be en or ko, not 'de'"),
        ("chain --logits 1,2 --target 0 --temperature 0", "temperature must be"),
    ],
)
def test_what_cannot_be_walked_is_one_line(capsys, line, says):
    status, out, err = typed(capsys, *line.split())
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
