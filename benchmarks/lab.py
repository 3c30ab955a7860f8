"""The lab in Chromium: from a key press to torch's number, and pictures a second while training.

    python -m benchmarks.lab

The server is `polylogit lab` in a process of its own. A key on the slider of a logit is timed in
the page, from the key event until the new digits stand there; a picture counts when the boundary
has been painted from another step. Needs what `make test-browser` sets up.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

KEYS = 80
SECONDS = 4
MOST_MS, LEAST_FRAMES = 50, 30
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

WATCH_KEYS = """() => {
  window.waits = [];
  let pressed = 0;
  addEventListener("keydown", () => (pressed = performance.now()), true);
  new MutationObserver(() => waits.push(performance.now() - pressed)).observe(document.body, {
    attributeFilter: ["data-logits"] });
}"""

COUNT_FRAMES = """(seconds) => new Promise((done) => {
  let painted = 0;
  const watch = new MutationObserver((changes) => (painted += changes.length));
  watch.observe(document.querySelector("canvas"), { attributeFilter: ["data-step"] });
  setTimeout(() => done(painted / seconds), 1000 * seconds);
})"""


@contextmanager
def lab() -> Iterator[str]:
    """The address of a lab of its own."""
    line = [sys.executable, "-m", "polylogit", "lab", "--port", "0", "--no-browser", "--json"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # noqa: S101  it was asked for
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()


def waits(page: Any, address: str) -> list[float]:
    """Milliseconds from each key press to its number."""
    page.goto(f"{address}#panel=logits")
    page.wait_for_selector("main[data-ready=logits]")
    page.evaluate(WATCH_KEYS)
    page.get_by_role("slider", name="Logit 0").focus()
    for count in range(1, KEYS + 1):
        page.keyboard.press("ArrowRight")
        page.wait_for_function("(count) => window.waits.length >= count", arg=count)
    return page.evaluate("() => window.waits")


def frames(page: Any, address: str, data: str) -> float:
    """Pictures painted a second while gradient descent runs."""
    page.goto("about:blank")
    page.goto(f"{address}#panel=boundary&boundary.data={data}")
    page.wait_for_selector("main[data-ready=boundary]")
    page.get_by_role("button", name="Train").click()
    return page.evaluate(COUNT_FRAMES, SECONDS)


def main() -> int:
    """Print the figures; fail where one misses its target."""
    from playwright.sync_api import sync_playwright

    with lab() as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(locale="en-US")
        times = waits(page, address)
        rates = {data: frames(page, address, data) for data in ("blobs", "penguins")}
        version = browser.version
        browser.close()
    median, slow = statistics.median(times), statistics.quantiles(times, n=20)[-1]
    print(f"Chromium {version}, headless")
    print(f"key press to torch's number: median {median:.1f} ms, 95 % within {slow:.1f} ms")
    for data, rate in rates.items():
        print(f"pictures a second while training {data}: {rate:.1f}")
    return int(median > MOST_MS or min(rates.values()) < LEAST_FRAMES)


if __name__ == "__main__":
    sys.exit(main())
