"""`--report`: a page that stands alone, whose numbers are the library's."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import polylogit
from polylogit.app import cli
from polylogit.app.commands.report import gather
from polylogit.app.texts import report as text
from polylogit.data.read import prepare, read_table, split
from polylogit.diagnostics.calibration import measure
from polylogit.diagnostics.explain import explain


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def typed(capsys, line):
    status = cli.run(line.split())
    return status, *capsys.readouterr()


class Reader(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.cells, self.attributes = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.cells.append(data.strip())


def read(name):
    return Reader(Path(name).read_text(encoding="utf-8"))


FIT = "fit penguins --target species --C 0.001 --report r.html --model m.safetensors --quiet"


def test_the_numbers_of_a_fit_are_those_of_the_rows_held_out(capsys):
    status, out, _ = typed(capsys, FIT)
    assert status == 0
    page, model = read("r.html"), polylogit.load("m.safetensors")
    _, held = split(
        read_table("penguins", target="species"), target="species", fraction=0.2, seed=0
    )
    data = prepare(held, target="species", schema=model.schema)
    log_p = model.log_probabilities(data.features).numpy()
    losses = -log_p[np.arange(data.n_rows), data.targets]
    accuracy = (log_p.argmax(1) == data.targets).mean()
    assert f"{losses.mean():.4f}" in page.cells
    assert f"{accuracy:.4f}" in page.cells
    assert f"accuracy     {accuracy:.4f}" in out
    found = measure(log_p, data.targets).top
    for value in (found.smooth_error, found.debiased_error, *found.curve.said, *found.curve.seen):
        assert f"{value:.4f}" in page.cells
    worst = int(losses.argmax())
    why = explain(model, data.features[worst])
    assert f"{why.decision} ({max(why.probabilities):.4f})" in page.cells
    assert any("held out from the fit" in cell for cell in page.cells)
    assert any(model.record["status"] in cell for cell in page.cells)


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_a_page_on_new_rows_stands_alone(capsys, lang):
    typed(capsys, FIT)
    line = f"evaluate m.safetensors penguins --report e.html --lang {lang} --json"
    status, _, _ = typed(capsys, line)
    page = Path("e.html").read_text(encoding="utf-8")
    reader = Reader(page)
    assert status == 0
    assert ("lang", lang) in reader.attributes
    assert text.WORDS[lang]["trust"] in reader.cells
    assert "script" not in reader.tags
    assert not re.search(r"\b(src|href)=|url\(|@import", page)
    pictures = reader.tags.count("svg")
    labels = [value for name, value in reader.attributes if name == "aria-label"]
    assert pictures == len(labels) > 0
    assert all(labels)


def test_without_rows_held_out_it_says_that_it_is_optimistic(capsys):
    typed(capsys, f"{FIT} --holdout 0")
    assert any("optimistic" in cell for cell in read("r.html").cells)


def test_a_refit_does_not_judge_itself_on_rows_that_it_saw(capsys):
    typed(capsys, FIT)
    before = read("r.html").cells
    typed(capsys, f"{FIT} --refit")
    after = read("r.html").cells
    cards = slice(before.index("accuracy"), before.index("macro F1") + 2)
    assert before[cards] == after[cards]


def test_the_path_of_a_choice_is_drawn_and_listed():
    lines = [
        {"C": C, "train_loss": 0.5, "loss": loss, "standard_error": 0.01, "accuracy": 0.9,
         "effective_dof": 3.0}
        for C, loss in ((0.1, 0.6), (1.0, 0.55), (None, None))
    ]  # fmt: skip
    page = Reader(text._path({"path": lines}, text.WORDS["en"]))
    assert page.tags.count("svg") == 1
    assert "0.55" in page.cells
    assert "∞" in page.cells
    assert text._path({"path": []}, text.WORDS["en"]) == ""


def test_names_cannot_break_the_page():
    rows = np.array([[0.0], [1.0], [2.0], [3.0]])
    labels = ["<b>x</b>", '"&', "<b>x</b>", '"&']
    data = polylogit.from_arrays(rows, labels)
    model = polylogit.fit(data, C=1.0).model
    told = gather(model, data, "data") | {"source": "<script>alert(1)</script>"}
    for lang in ("en", "ko"):
        page = text.page(told, lang)
        assert "<script>" not in page
        assert "<b>" not in page


def test_both_languages_say_the_same_things():
    assert text.WORDS["en"].keys() == text.WORDS["ko"].keys()
    for name, words in text.WORDS["en"].items():
        fields = re.findall(r"{(\w+)}", words)
        assert sorted(fields) == sorted(re.findall(r"{(\w+)}", text.WORDS["ko"][name]))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"{FIT} --lang xx", "--lang must be en or ko"),
        ("evaluate m.safetensors penguins --report m.safetensors", "would overwrite what is read"),
        ("evaluate m.safetensors penguins --report no/r.html", "no"),
    ],
)
def test_what_cannot_be_reported_is_one_line(capsys, line, says):
    typed(capsys, FIT)
    status, out, err = typed(capsys, line)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
