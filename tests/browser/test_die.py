"""The die panel shows the library's numbers, those of its sliders as they are moved."""

import pytest

from polylogit.app.lab.die import DieRequest, die

pytestmark = pytest.mark.browser


def test_every_cell_is_the_librarys(watched):
    page = watched().go("die", **{"die.p": "1,2,3,4,5,6", "die.q": "6,5,4,3,2,1"})
    lines = die(DieRequest(p=[1, 2, 3, 4, 5, 6], q=[6, 5, 4, 3, 2, 1]))["lines"]
    for face, row in enumerate(page.locator(".faces tbody tr").all()):
        cells = [cell.inner_text() for cell in row.locator("td .value").all()]
        assert cells == [lines[name]["short"][face] for name in ("p", "q", "surprise")]
    facts = [cell.inner_text() for cell in page.locator(".facts .value").all()]
    assert facts == [lines[n]["short"] for n in ("entropy", "cross_entropy", "kl", "kl_reverse")]


def test_an_arrow_key_changes_the_die_and_the_link(watched):
    page = watched().go("die", **{"die.p": "1,1,1,1,1,1"})
    page.get_by_label("Weight of face 3 under P").focus()
    page.keyboard.press("ArrowRight")
    lines = die(DieRequest(p=[1, 1, 2, 1, 1, 1], q=[1, 1, 1, 1, 1, 5]))["lines"]
    page.wait_for_function(
        "(text) => document.querySelector('.facts .value').textContent === text",
        arg=lines["entropy"]["short"],
    )
    assert "die.p=1,1,2,1,1,1" in page.url


def test_bits_and_the_impossible_face(watched):
    page = watched().go("die")
    page.get_by_role("button", name="Fair", exact=True).click()
    page.get_by_role("button", name="bits").click()
    page.wait_for_function("() => document.querySelector('.facts .value').textContent === '2.5850'")
    page.get_by_role("button", name="Impossible").click()
    page.wait_for_function(
        "() => document.querySelectorAll('.facts .value')[2].textContent === '∞'"
    )
    assert "infinite" in page.locator("main").inner_text()
