"""What holds on every panel: access, width, languages, links that keep the state."""

import pytest

from .conftest import AXE, PANELS, PICTURES

pytestmark = pytest.mark.browser

WIDTH = "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
RULES = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .flatMap((one) => one.nodes.map((node) => `${one.id} ${node.target} ${node.failureSummary}`))"""


def korean(page):
    page.get_by_role("button", name="한국어").click()
    page.wait_for_selector("html[lang=ko] main[data-ready]")


@pytest.mark.parametrize("panel", PANELS)
def test_axe_finds_nothing_in_light_and_dark(watched, panel):
    page = watched(bypass_csp=True).go(panel, theme="light")
    page.add_script_tag(path=AXE)
    assert page.evaluate(RULES) == []
    page.get_by_role("button", name="Dark").click()
    korean(page)
    assert page.evaluate(RULES) == []


@pytest.mark.parametrize("panel", PANELS)
def test_a_phone_scrolls_down_only_and_pictures_are_kept(watched, panel):
    PICTURES.mkdir(parents=True, exist_ok=True)
    page = watched().go(panel)
    for language in ("en", "ko"):
        for name, width, scheme in (("desk", 1280, "light"), ("phone", 380, "dark")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=PICTURES / f"{panel}-{language}-{name}.png", full_page=True)
            assert page.evaluate(WIDTH) == [width, width]
        if language == "en":
            korean(page)


def test_the_language_changes_in_place_and_stays_in_the_link(watched):
    page = watched().go("die", **{"die.unit": "bits"})
    page.get_by_role("button", name="한국어").click()
    page.wait_for_selector("html[lang=ko]")
    assert page.get_by_role("heading", level=1).inner_text() == "주사위 하나에 얼마나 놀라야 할까?"
    assert "lang=ko" in page.url
    assert "die.unit=bits" in page.url
    assert page.evaluate("() => document.activeElement.id") == "lang-ko"


def test_a_panel_is_reached_by_keyboard_and_back_leads_back(watched):
    page = watched().go("die")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "skip"
    page.locator("#to-boundary").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("main[data-ready=boundary]")
    assert page.locator("nav [aria-current=page]").inner_text() == "Boundary"
    page.go_back()
    page.wait_for_selector("main[data-ready=die]")


def test_dark_can_be_chosen_on_a_light_machine(watched):
    page = watched().go("die")
    light = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Dark").click()
    page.wait_for_selector("html[data-theme=dark]")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") != light


def test_a_value_opens_copies_and_gives_the_focus_back(watched):
    page = watched(permissions=["clipboard-read", "clipboard-write"]).go("die")
    button = page.locator(".facts .value").first
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert "torch.special.entr(p).sum()" in dialog.inner_text()
    assert "float32" in dialog.inner_text()
    dialog.get_by_role("button", name="Copy as Python").click()
    page.wait_for_function("() => document.querySelector('.said').textContent")
    copied = page.evaluate("() => navigator.clipboard.readText()")
    scope = {}
    exec(copied.rsplit("print(", 1)[0], scope)  # noqa: S102
    assert f"{float(scope['entropy']):#.9g}" in dialog.inner_text()
    page.keyboard.press("Escape")
    assert button.evaluate("(element) => element === document.activeElement")
