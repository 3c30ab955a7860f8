"""`polylogit explain`: the library's explanation as JSON, text and a page that stands alone."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import polylogit
from polylogit.app import cli
from polylogit.app.texts import explain as text
from polylogit.diagnostics.explain import explain
from polylogit.estimator import SoftmaxClassifier
from polylogit.schema import Schema


@pytest.fixture(autouse=True)
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = polylogit.read("penguins", target="species")
    fitted = polylogit.fit(data, C=1.0).model
    polylogit.save(fitted, tmp_path / "m.safetensors")
    return data, fitted


def typed(capsys, line):
    status = cli.run(line.split())
    return status, *capsys.readouterr()


def test_json_is_the_librarys(capsys, model):
    data, fitted = model
    status, out, _ = typed(capsys, "explain m.safetensors penguins --row 6 --json")
    answer = json.loads(out)
    assert status == 0
    assert answer["row"] == 6
    expected = explain(fitted, data.features[5]).to_json()
    assert {name: answer[name] for name in expected} == json.loads(json.dumps(expected))


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_text_has_the_sum_and_the_flip(capsys, model, lang):
    data, fitted = model
    why = explain(fitted, data.features[5])
    _, out, _ = typed(capsys, f"explain m.safetensors penguins --row 6 --lang {lang}")
    assert f"{why.margin:+.4f}" in out
    assert f"{why.smallest_flip.change:+.6g}" in out
    assert text.WORDS[lang]["caution"] in out
    assert text.WORDS[lang]["inside"] in out


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.cells, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.cells.append(data)


def test_the_page_stands_alone_and_has_the_numbers(capsys, model):
    data, fitted = model
    status, _, _ = typed(capsys, "explain m.safetensors penguins --row 6 --html why.html")
    page = Path("why.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(page)
    why = explain(fitted, data.features[5])
    best = why.classes.index(why.decision)
    assert status == 0
    for part in why.contributions:
        assert f"{part.differences[best]:+.4f}" in reader.cells
    assert "script" not in reader.tags
    assert not re.search(r"\b(src|href)=|url\(|@import", page)
    assert ("lang", "en") in reader.attributes


def test_names_cannot_break_the_page():
    schema = Schema.for_array(1, ("<b>", '"&'), names=["<script>alert(1)</script>"])
    hostile = polylogit.SoftmaxModel([[0.0], [1.0]], [0.0, 0.0], schema)
    answer = {"row": 1, "source": "<i>", **explain(hostile, [1.0]).to_json()}
    page = text.page(answer, "en")
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;script&gt;" in page


def test_both_languages_say_the_same_things():
    assert text.WORDS["en"].keys() == text.WORDS["ko"].keys()
    fields = {lang: [set(re.findall(r"{(\w+)", w)) for w in text.WORDS[lang].values()]
              for lang in text.WORDS}  # fmt: skip
    assert fields["en"] == fields["ko"]


def test_what_is_odd_is_said(capsys):
    with open("odd.csv", "w", encoding="utf-8") as file:
        file.write("island,bill_length_mm,bill_depth_mm,flipper_length_mm,body_mass_g,sex,year\n")
        file.write("Ross,39,18,190,99999,male,2008\n")
    status, out, _ = typed(capsys, "explain m.safetensors odd.csv --row 1")
    assert status == 0
    assert "body_mass_g is 99999; training had 2700 to 6300" in out
    assert "island is 'Ross', which training never had" in out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("explain m.safetensors penguins --row 0", "--row must be from 1 to the 344 rows"),
        ("explain m.safetensors penguins --row 345", "--row must be from 1 to the 344 rows"),
        ("explain none.safetensors penguins --row 1", "none.safetensors"),
        ("explain m.safetensors penguins --row 1 --lang xx", "--lang must be en or ko"),
        ("explain m.safetensors penguins --row 1 --html m.safetensors", "would overwrite"),
        ("explain m.safetensors penguins --row 1 --html no/such/why.html", "no/such"),
    ],
)
def test_what_cannot_be_explained_is_one_line(capsys, line, says):
    status, out, err = typed(capsys, line)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_the_classifier_explains_a_row():
    X = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 0.0], [3.0, 0.5]])
    clf = SoftmaxClassifier(C=1.0).fit(X, ["no", "no", "yes", "yes"])
    why = clf.explain(X[0])
    assert why == clf.explain(X[:1]) == explain(clf.model_, X[0])
    assert (why.decision, why.ranges_known) == ("no", True)
    with pytest.raises(ValueError, match="takes one row, not 4"):
        clf.explain(X)
