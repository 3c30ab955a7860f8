"""The files of the page: two dictionaries that say the same things, and nothing from elsewhere."""

import json
import re

import pytest

from polylogit.app.lab.page import PAGE

SCRIPTS = sorted(PAGE.rglob("*.js"))
WORDS = {name: json.loads((PAGE / f"{name}.json").read_text("utf-8")) for name in ("en", "ko")}
USED = re.compile(r'\bt\(\s*"([^"]+)"')
PLACES = re.compile(r"\{\w+\}")


def test_both_languages_have_the_same_keys():
    assert list(WORDS["en"]) == list(WORDS["ko"])


def test_both_languages_fill_in_the_same_places():
    for key, text in WORDS["en"].items():
        assert sorted(PLACES.findall(text)) == sorted(PLACES.findall(WORDS["ko"][key])), key


def test_korean_is_korean_and_english_is_not():
    hangul = re.compile(r"[가-힣]")
    assert not [key for key, text in WORDS["en"].items() if hangul.search(text)]
    plain = [key for key, text in WORDS["ko"].items() if not hangul.search(text)]
    assert all(WORDS["ko"][key] == WORDS["en"][key] or len(WORDS["ko"][key]) < 12 for key in plain)


def test_every_key_in_use_has_words():
    used = {key for path in SCRIPTS for key in USED.findall(path.read_text("utf-8"))}
    assert len(used) > 40
    assert used <= set(WORDS["en"])


def test_no_words_are_left_over():
    text = "".join(path.read_text("utf-8") for path in SCRIPTS)
    built = re.findall(r"`([a-z-]+(?:\.[a-z-]+)*[.-])\$\{", text)  # as `die.preset.${name}`
    for key in WORDS["en"]:
        frame = key.partition(".")[2] in {"title", "lead", "short"}
        assert f'"{key}"' in text or frame or any(key.startswith(start) for start in built), key


@pytest.mark.parametrize("path", [*SCRIPTS, *PAGE.glob("*.css"), *PAGE.glob("*.html")])
def test_nothing_is_asked_from_elsewhere_or_read_as_markup(path):
    text = path.read_text("utf-8").replace("http://www.w3.org/", "")
    assert not re.search(r"https?:|//[a-z]+\.|innerHTML|insertAdjacentHTML|eval\(", text)
    assert "style=" not in text


def test_digits_are_made_by_python_alone():
    for path in SCRIPTS:
        if path.name != "parts.js" and "toFixed" in (text := path.read_text("utf-8")):
            rounded = re.findall(r"[^\n]*toFixed[^\n]*", text)
            assert all("translate" in line or "X(x)" in line for line in rounded), rounded


def test_the_page_is_small():
    assert sum(path.stat().st_size for path in PAGE.rglob("*") if path.is_file()) < 200_000
