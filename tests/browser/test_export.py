"""The exported page on a plain web server: the same numbers, and no library behind it."""

import functools
import http.server
import threading

import pytest

from polylogit.app.lab.export import export
from polylogit.app.lab.logits import LogitsRequest, walk

from .conftest import PANELS, Watched

pytestmark = pytest.mark.browser


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    export(folder)
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as plain:
        thread = threading.Thread(target=plain.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{plain.server_port}/"
        plain.shutdown()


@pytest.fixture
def exported(chromium, site):
    context = chromium.new_context(locale="en-US")
    one = Watched(context.new_page(), site)
    yield one
    context.close()
    assert one.elsewhere() == set()
    assert one.messages == []
    assert not [url for url in one.requests if "/api/" in url]


def test_every_panel_has_its_numbers(exported):
    for panel in PANELS:
        page = exported.go(panel)
        assert page.locator("[role=alert]:not([hidden])").count() == 0
        assert "computed beforehand" in page.locator("footer").inner_text()


def test_a_state_that_was_not_baked_snaps_to_one_that_was(exported):
    page = exported.go("logits", **{"logits.z": "1.3,2,3", "logits.t": "2"})
    lines = walk(LogitsRequest(logits=[1, 2, 3], target=2))["lines"]
    shown = [cell.inner_text() for cell in page.locator(".row-p td:not(.total) .value").all()]
    assert shown == lines["p"]["short"]
    assert page.get_by_role("slider", name="Logit 0").input_value() == "1"


def test_training_plays(exported):
    page = exported.go("boundary", **{"boundary.rate": "1", "boundary.penalty": "0"})
    page.get_by_role("button", name="Train").click()
    page.wait_for_function("() => Number(document.querySelector('canvas').dataset.step) >= 100")
