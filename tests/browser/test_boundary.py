"""The boundary panel: JavaScript colours as torch computes, training streams, pauses, goes on."""

import pytest
import torch

from polylogit import functional
from polylogit.app.lab import boundary

pytestmark = pytest.mark.browser

FIELD = """async ([weight, bias, xs, ys]) => {
  const { field } = await import("/core.js");
  return [...field(weight, bias, Float64Array.from(xs), Float64Array.from(ys))];
}"""


@pytest.mark.parametrize("scale", [0.1, 30.0, 3000.0])
@pytest.mark.parametrize("K", [2, 3, 6])
def test_the_colours_are_torchs(watched, K, scale):
    generator = torch.Generator().manual_seed(K)
    weight, bias = (scale * torch.randn(K, n, generator=generator) for n in (2, 1))
    xs, ys = torch.linspace(-3, 3, 21), torch.linspace(-2, 2, 17)
    page = watched().go("die")
    painted = page.evaluate(FIELD, [weight.tolist(), bias[:, 0].tolist(), xs.tolist(), ys.tolist()])
    grid = torch.cartesian_prod(ys, xs).flip(1).double()
    ours = functional.softmax(grid @ weight.double().T + bias[:, 0].double(), 1)
    difference = torch.tensor(painted, dtype=torch.float64).view_as(ours) - ours
    assert float(difference.abs().max()) < 1e-6


def measures(page):
    return [cell.inner_text() for cell in page.locator(".facts dd").all()]


def test_training_paints_pauses_and_its_numbers_open(watched):
    page = watched().go("boundary", **{"boundary.rate": "0.3"})
    page.get_by_role("button", name="Train").click()
    page.wait_for_function("() => Number(document.querySelector('canvas').dataset.step) >= 30")
    page.get_by_role("button", name="Pause").click()
    page.wait_for_selector(".facts .value")
    step, *shown = measures(page)
    asked = boundary.TrainRequest(
        data="blobs", penalty=0.01, learning_rate=0.3, steps=int(step), per_frame=int(step)
    )
    last = list(boundary.pictures(asked))[-1]
    assert shown == [last[name]["short"] for name in ("loss", "objective", "accuracy", "norm")]
    page.get_by_role("button", name="One step").click()
    page.wait_for_function(
        f"() => document.querySelector('.facts dd').textContent === '{int(step) + 1}'"
    )


def test_the_goal_is_told_or_why_there_is_none(watched):
    page = watched().go("boundary", **{"boundary.data": "separable", "boundary.penalty": "0"})
    assert "weights grow for ever" in page.locator("main").inner_text()
    page.get_by_role("slider", name="Penalty").focus()
    for _ in range(2):  # the slider keeps the focus while the panel is drawn again
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(200)
    assert "boundary.penalty=0.001" in page.url
    page.wait_for_function(
        "() => document.querySelector('main').innerText.includes('of the best possible')"
    )
