"""The pages that commands write, opened from disk: the report and an explained row."""

from pathlib import Path

import numpy as np
import pytest

import polylogit
from polylogit.app import cli

from .conftest import AXE, PICTURES
from .test_frame import RULES, WIDTH

pytestmark = pytest.mark.browser

COMMANDS = {
    "report": "fit penguins --target species --quiet --report {page} --lang {lang}",
    "many": "fit many.csv --target y --C 1 --quiet --report {page} --lang {lang}",
    "explain": "explain m.safetensors penguins --row 21 --quiet --html {page} --lang {lang}",
}


INSIDE = """(svg) => { const all = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("*")].filter((one) => {
    const box = one.getBoundingClientRect();
    return box.left < all.left - 1 || box.right > all.right + 1
      || box.top < all.top - 1 || box.bottom > all.bottom + 1;
  }).map((one) => one.outerHTML); }"""  # marks that the edge of their drawing cuts off


@pytest.fixture(params=[(name, lang) for name in COMMANDS for lang in ("en", "ko")], ids="-".join)
def page_file(request, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name, lang = request.param
    model = polylogit.fit(polylogit.read("penguins", target="species"), C=1.0).model
    polylogit.save(model, "m.safetensors")
    write_many_classes("many.csv")
    file = tmp_path / f"{name}-{lang}.html"
    assert cli.run(COMMANDS[name].format(page=file, lang=lang).split()) == 0
    capsys.readouterr()
    return file


def write_many_classes(name):
    """A table of 14 classes with names that are long, Korean, or one word of 60 letters."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    codes = (x @ rng.normal(size=(3, 14)) * 2 + rng.gumbel(size=(400, 14))).argmax(1)
    words = ["아주 긴 이름의 클래스", "letters" * 8, "k"]
    lines = [f"{a},{b},{c},{words[k % 3]} {k}" for (a, b, c), k in zip(x, codes, strict=True)]
    Path(name).write_text("\n".join(["측정값,a_long_name_of_a_column,c,y", *lines]))


def opened(chromium, file, **options):
    """The page, what it asked for and what it complained of."""
    page = chromium.new_context(viewport={"width": 1000, "height": 900}, **options).new_page()
    requests, messages = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(file.as_uri())
    return page, requests, messages


def test_a_page_asks_for_nothing_and_says_nothing(chromium, page_file):
    page, requests, messages = opened(chromium, page_file)
    assert requests == [page_file.as_uri()]
    assert messages == []
    assert page.locator("svg[role=img]").count() >= 1
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{page_file.stem}.png", full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(chromium, page_file, scheme):
    page, _, _ = opened(chromium, page_file, bypass_csp=True, color_scheme=scheme)
    page.evaluate("() => document.querySelectorAll('details').forEach((one) => (one.open = true))")
    page.add_script_tag(path=AXE)
    assert page.evaluate(RULES) == []


def test_a_phone_scrolls_down_only(chromium, page_file):
    page, _, _ = opened(chromium, page_file)
    page.set_viewport_size({"width": 380, "height": 900})
    assert page.evaluate(WIDTH) == [380, 380]


def test_paper_shows_all_of_it(chromium, page_file):
    page, _, _ = opened(chromium, page_file)
    page.set_viewport_size({"width": 720, "height": 1000})  # A4 with margins
    page.emulate_media(media="print")
    assert page.evaluate(WIDTH) == [720, 720]


def test_the_report_has_a_drawing_for_every_question_and_every_class(chromium, page_file):
    names = {"report": 6, "many": 14, "explain": 1}  # convergence, path, top label, classes
    page, _, _ = opened(chromium, page_file)
    drawings = page.locator("svg[role=img]")
    assert drawings.count() == names[page_file.stem.split("-")[0]]
    assert all(drawings.nth(at).get_attribute("aria-label") for at in range(drawings.count()))
    for at in range(drawings.count()):
        inside = drawings.nth(at).evaluate(INSIDE)
        assert inside == []
