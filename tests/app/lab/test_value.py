"""`polylogit.app.lab.value`: digits made here, and Python that gives them again."""

import contextlib
import io

import pytest
import torch

from polylogit.app.lab.value import literal, long, opened, short, vector
from polylogit.steps import Step


def test_a_line_is_printed_drawn_and_described():
    z = torch.tensor([[1.0, float("inf")], [float("nan"), -2.5]])
    line = opened([Step("z", "whatever", z)])["z"]
    assert (line["shape"], line["dtype"], line["expression"]) == ([2, 2], "float32", "whatever")
    assert line["drawn"] == [[1.0, None], [None, -2.5]]
    assert line["short"] == [["1.0000", "∞"], ["nan", "-2.5000"]]
    assert line["long"] == [["1.00000000", "∞"], ["nan", "-2.50000000"]]


def test_the_python_of_a_line_holds_all_lines_before_it_and_runs():
    z = vector([0.1, 2.0])
    lines = [Step("z", literal([0.1, 2.0]), z), Step("p", "torch.softmax(z, -1)", z.softmax(-1))]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(opened(lines)["p"]["python"])  # noqa: S102
    assert out.getvalue().strip() == str(z.softmax(-1))
    assert "softmax" not in opened(lines)["z"]["python"]


@pytest.mark.parametrize(
    "value", torch.rand(50, generator=torch.Generator().manual_seed(0)).tolist()
)
def test_nine_digits_tell_which_float32_is_meant(value):
    assert torch.tensor(float(long(value))).item() == value


@pytest.mark.parametrize(
    ("value", "digits"),
    [(0.0, "0.0000"), (4e-5, "4.0e-05"), (5e-5, "0.0001"), (-1e6, "-1.0e+06"), (7, "7")],
)
def test_short_digits_never_hide_a_number(value, digits):
    assert short(value) == digits
