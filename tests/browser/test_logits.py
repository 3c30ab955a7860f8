"""The logits panel shows torch's numbers for the row that is set, by slider, text or link."""

import pytest

from polylogit.app.lab.logits import LogitsRequest, walk
from polylogit.app.lab.twins import twins

pytestmark = pytest.mark.browser

STEPS = ["z", "scaled", "shifted", "powers", "p", "one_hot", "surprise"]


def shown(page, name):
    return [cell.inner_text() for cell in page.locator(f".row-{name} td:not(.total) .value").all()]


def assert_librarys(page, answer):
    lines = answer["lines"]
    for name in STEPS:
        assert shown(page, name) == lines[name]["short"], name
    tables = page.locator("table:not(.steps)")
    losses = [cell.inner_text() for cell in tables.nth(0).locator(".value").all()]
    assert losses == [lines[name]["long"] for name in ("low", "low_stable", "nll", "cross")]
    pushes = [cell.inner_text() for cell in tables.nth(1).locator(".value").all()]
    routes = ("by_formula", "by_autograd", "by_difference")
    assert pushes == [text for name in routes for text in lines[name]["short"]]


@pytest.mark.parametrize("state", [{}, {"logits.again": "on"}, {"logits.shift": "off"}])
def test_every_cell_is_the_librarys(watched, state):
    words = {"logits.z": "2,1,0.1,-4", "logits.y": "3", "logits.t": "0.5", **state}
    page = watched().go("logits", **words)
    asked = LogitsRequest(
        logits=[2, 1, 0.1, -4],
        target=3,
        temperature=0.5,
        shift="logits.shift" not in state,
        again="logits.again" in state,
    )
    assert_librarys(page, walk(asked))


def test_a_key_moves_a_logit_and_typing_sets_them_all(watched):
    page = watched().go("logits")
    page.get_by_role("slider", name="Logit 0").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("body[data-logits='1.1,2,3']")
    assert_librarys(page, walk(LogitsRequest(logits=[1.1, 2, 3], target=2)))
    page.get_by_label("Logits", exact=True).fill("100, 101, 102, 7")
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-logits='100,101,102,7']")
    assert_librarys(page, walk(LogitsRequest(logits=[100, 101, 102, 7], target=2)))
    assert page.get_by_role("slider", name="Logit 3").count() == 1
    page.get_by_label("Logits", exact=True).fill("nonsense")
    page.keyboard.press("Enter")
    assert "Between 2 and 10 numbers" in page.get_by_role("alert").inner_text()


def test_the_twins_say_torchs_own_words(watched):
    page = watched().go("logits")
    page.wait_for_selector(".twin")
    text = page.locator(".twins").inner_text()
    for twin in twins()["twins"]:
        for side in (twin["wrong"], twin["right"]):
            assert side["code"] in text
            assert side.get("error", "") in text
