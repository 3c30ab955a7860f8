"""One's own table: opened from disk, fitted, any row walked, mistakes explained."""

import pytest

from polylogit.app.lab.table import RowRequest, row

pytestmark = pytest.mark.browser

CSV = "size,colour,kind\n1,red,a\n2,red,a\n3,blue,b\n4,red,b\n9,blue,c\n8,blue,c\n"


def assert_walked(page, answer):
    lines = answer["lines"]
    page.wait_for_function(
        "(text) => document.querySelector('.row-contributions tr:last-child .value')"
        ".textContent === text",
        arg=lines["margin"]["short"],
    )
    cells = [cell.inner_text() for cell in page.locator(".row-classes .value").all()]
    pairs = zip(lines["z"]["short"], lines["p"]["short"], strict=True)
    assert cells == [text for pair in pairs for text in pair]
    shown = [cell.inner_text() for cell in page.locator(".row-contributions .value").all()]
    parts = lines["contributions"]["short"][:12]
    assert shown == [lines["base"]["short"], *parts, lines["margin"]["short"]]


def test_rows_are_walked_by_button_and_by_number(watched):
    page = watched().go("table", **{"table.row": "100"})
    assert_walked(page, row(RowRequest(example="penguins", row=100)))
    page.get_by_role("button", name="Next").click()
    assert_walked(page, row(RowRequest(example="penguins", row=101)))
    assert "table.row=101" in page.url
    page.get_by_label("Row", exact=True).fill("7")
    page.keyboard.press("Enter")
    assert_walked(page, row(RowRequest(example="penguins", row=7)))


def test_a_file_of_ones_own(watched):
    page = watched().go("table")
    mine = {"name": "mine.csv", "mimeType": "text/csv", "buffer": CSV.encode()}
    page.get_by_label("Open a CSV of yours").set_input_files(mine)
    page.get_by_role("button", name="mine.csv").wait_for()
    assert_walked(page, row(RowRequest(text=CSV, row=1)))
    page.get_by_label("Predict", exact=True).select_option("colour")
    assert_walked(page, row(RowRequest(text=CSV, target="colour", row=1)))


def test_a_broken_file_is_explained(watched):
    one = watched()
    page = one.go("table")
    broken = {"name": "broken.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2,3\n"}
    page.get_by_label("Open a CSV of yours").set_input_files(broken)
    page.wait_for_selector("[role=alert]:not([hidden])")
    assert "table.csv" in page.get_by_role("alert").inner_text()
    assert len(one.messages) == 1  # Chromium itself notes the refusal
    assert "422" in one.messages.pop()
