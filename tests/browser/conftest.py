"""The lab in Debian's Chromium: a server of its own, pages that watch what they ask and say."""

import re
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
import uvicorn

from polylogit.app.lab import server

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "artefacts" / "lab"
AXE = ROOT / ".tmp" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"]
PANELS = re.findall(
    r"^import \* as (\w+) from \"\./panels", (server.PAGE / "main.js").read_text(), re.M
)


@pytest.fixture(scope="session")
def address():
    """A lab that answers while the tests run."""
    torch.set_num_threads(1)
    listener = server.listening(0)
    listener.listen()
    running = uvicorn.Server(
        uvicorn.Config(server.application(), log_level="warning", lifespan="off", ws="none")
    )
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    running.should_exit = True
    thread.join(10)


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


class Watched:
    """A page with what it asked for and what it complained of."""

    def __init__(self, page, address):
        self.page, self.address = page, address
        self.requests, self.messages = [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))

    def go(self, panel, **state):
        """Open a panel and wait until it has numbers."""
        words = {"panel": panel, **state}
        self.page.goto("about:blank")
        self.page.goto(self.address + "#" + "&".join(f"{k}={v}" for k, v in words.items()))
        self.page.wait_for_selector("main[data-ready]")
        return self.page

    def elsewhere(self):
        """Requests to anything but this machine."""
        hosts = {urlsplit(url).hostname for url in self.requests if not url.startswith("about:")}
        return hosts - {"127.0.0.1"}


@pytest.fixture
def watched(chromium, address):
    """Open a page: `watched(width=380)`; in the end nobody was asked and nothing was said."""
    opened = []

    def page(*, width=1280, height=900, dark=False, **options):
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            locale="en-US",
            reduced_motion="reduce",
            **options,
        )
        opened.append((context, Watched(context.new_page(), address)))
        return opened[-1][1]

    yield page
    for context, one in opened:
        context.close()
        assert one.elsewhere() == set()
        assert one.messages == []
