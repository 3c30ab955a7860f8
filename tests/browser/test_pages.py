"""The pages that commands write, opened from disk: the report and an explained row."""

import pytest

import polylogit
from polylogit.app import cli

from .conftest import AXE, PICTURES
from .test_frame import RULES, WIDTH

pytestmark = pytest.mark.browser

COMMANDS = {
    "report": "fit penguins --target species --C 0.01 --quiet --report {page} --lang {lang}",
    "explain": "explain m.safetensors penguins --row 21 --quiet --html {page} --lang {lang}",
}


@pytest.fixture(params=[(name, lang) for name in COMMANDS for lang in ("en", "ko")], ids="-".join)
def page_file(request, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name, lang = request.param
    model = polylogit.fit(polylogit.read("penguins", target="species"), C=1.0).model
    polylogit.save(model, "m.safetensors")
    file = tmp_path / f"{name}-{lang}.html"
    assert cli.run(COMMANDS[name].format(page=file, lang=lang).split()) == 0
    capsys.readouterr()
    return file


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
    page.add_script_tag(path=AXE)
    assert page.evaluate(RULES) == []


def test_a_phone_scrolls_down_only(chromium, page_file):
    page, _, _ = opened(chromium, page_file)
    page.set_viewport_size({"width": 380, "height": 900})
    assert page.evaluate(WIDTH) == [380, 380]
