"""Honest confidence: the digits are the library's, and temperature moves them, not the accuracy."""

import pytest

from polylogit.app.lab.confidence import ConfidenceRequest, confidence

pytestmark = pytest.mark.browser


def facts(page):
    return [cell.inner_text() for cell in page.locator(".facts dd").all()]


def wanted(answer):
    return [
        answer[name] for name in ("accuracy", "confidence", "smooth_error", "log_loss", "brier")
    ]


def test_every_number_is_the_librarys_and_a_key_changes_the_temperature(watched):
    page = watched().go("confidence")
    answer = confidence(ConfidenceRequest(C=100))
    assert facts(page) == wanted(answer)
    page.locator("summary").click()
    cells = [cell.inner_text() for cell in page.locator(".bins td").all()]
    assert cells == [bin_[name]["short"] for bin_ in answer["bins"] for name in ("sure", "right")]
    page.get_by_role("slider", name="Temperature").focus()
    page.keyboard.press("ArrowRight")
    warmer = confidence(ConfidenceRequest(C=100, temperature=1.5))
    page.wait_for_function(
        "(text) => document.querySelectorAll('.facts dd')[1].textContent === text",
        arg=warmer["confidence"],
    )
    assert facts(page) == wanted(warmer)
    assert facts(page)[0] == answer["accuracy"]
