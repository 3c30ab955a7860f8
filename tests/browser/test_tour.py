"""The tour by keyboard alone, from the first question to the last, with the library's numbers."""

import re

import pytest

from polylogit.app.lab.tour import tour

pytestmark = pytest.mark.browser

RIGHT = [1, 2, 1, 0, 2, 0, 1, 2]


def focused(page):
    return page.evaluate("() => document.activeElement.id || document.activeElement.type")


def reach(page, what):
    """Press Tab until the focus is there, as someone without a mouse would."""
    for _ in range(60):
        if focused(page) == what:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{what} is never reached; the focus is at {focused(page)}")


def test_the_whole_tour_by_keyboard(watched):
    page = watched().go("tour")
    reach(page, "radio")
    for step, right in enumerate(RIGHT):
        assert f"Question {step + 1} of {len(RIGHT)}" in page.locator("main").inner_text()
        assert page.locator(".answer").count() == 0  # predicted first, revealed after
        page.keyboard.press("Space")
        for _ in range(right):
            page.keyboard.press("ArrowDown")
        reach(page, "tour-show")
        page.keyboard.press("Enter")
        assert page.locator(".option.right").count() == 1
        assert page.locator(".option.wrong").count() == 0
        assert "Yes." in page.locator(".answer").inner_text()
        if step < len(RIGHT) - 1:
            assert focused(page) == "tour-next"
            page.keyboard.press("Enter")
    assert page.locator(".end").is_visible()
    text = page.locator(".three").inner_text()
    told = tour()
    for name in ("twice", "shared", "right"):
        assert told["cells"][name]["printed"][-1] in text
    assert "Why this number" not in text


def test_a_wrong_guess_is_told_kindly_and_nothing_is_shown_before(watched):
    page = watched().go("tour")
    assert page.locator("#tour-show").is_disabled()
    page.get_by_role("radio").first.check()
    page.locator("#tour-show").click()
    assert "Not quite." in page.locator(".answer").inner_text()
    assert page.locator(".option.wrong").count() == 1


def test_a_link_leads_to_a_question_with_its_answer(watched):
    page = watched().go("tour", **{"tour.step": "2", "tour.said": ",,1", "tour.seen": "2"})
    told = tour()
    shown = [cell.inner_text() for cell in page.locator(".answer .value").all()]
    assert shown == [
        told["lines"]["floor"]["short"],
        told["cells"]["twice_longer"]["lines"]["cost"]["long"],
    ]


def test_the_printed_costs_are_the_cells(watched):
    page = watched().go("tour")
    page.get_by_text("The printed costs").first.click()
    rows = page.locator(".printed tbody tr").all()
    cells = tour()["cells"]
    for i, row in enumerate(rows):
        texts = re.split(r"\s+", row.inner_text().strip())[1:]
        assert texts == [cells[name]["printed"][i] for name in ("twice", "shared", "right")]
