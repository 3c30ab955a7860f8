"""A number on the page: its digits, its shape and dtype, and the torch expression that made it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from polylogit.steps import Step, digits

Nested = Any  # a number or text, or lists of them as deep as the tensor has dimensions

_IMPORTS = "import math\nimport torch\nimport torch.nn.functional as F\n"


def opened(lines: Sequence[Step]) -> dict[str, dict[str, Any]]:
    """Every line by its name, ready to be printed, opened, and copied as Python.

    `drawn` are floats for the painter, null where not finite; `short` and `long` are the digits to
    print, made here so that the browser prints none of its own. `python` runs as it stands.

    >>> line = opened([Step("z", "torch.tensor([1.0, 2.0])", torch.tensor([1.0, 2.0]))])["z"]
    >>> line["short"], line["shape"], line["dtype"]
    (['1.0000', '2.0000'], [2], 'float32')
    """
    script = _IMPORTS
    answer = {}
    for line in lines:
        script += f"{line.name} = {line.expression}\n"
        answer[line.name] = _printed(line) | {"python": f"{script}print({line.name})\n"}
    return answer


def _printed(line: Step) -> dict[str, Any]:
    values = line.value.tolist()
    return {
        "expression": line.expression,
        "shape": list(line.value.shape),
        "dtype": str(line.value.dtype).removeprefix("torch."),
        "drawn": each(drawn, values),
        "short": each(short, values),
        "long": each(long, values),
    }


def each(change: Callable[[float], Any], values: Nested) -> Nested:
    """`change` of every number of nested lists."""
    if isinstance(values, list):
        return [each(change, value) for value in values]
    return change(values)


def drawn(value: float) -> float | None:
    """A float for the painter; JSON has no infinity."""
    return float(value) if math.isfinite(value) else None


def short(value: float) -> str:
    """Four decimals; where they would hide the number, two digits and a power of ten.

    >>> short(0.09003), short(3e-7), short(2.0e8), short(-math.inf), short(3)
    ('0.0900', '3.0e-07', '2.0e+08', '-∞', '3')
    """
    if isinstance(value, int) or not math.isfinite(value):
        return _exact(value)
    small, large = 0 < abs(value) < 5e-5, abs(value) >= 1e6
    return f"{value:.1e}" if small or large else f"{value:.4f}"


def long(value: float) -> str:
    """Nine significant digits, which tell any two float32 numbers apart.

    >>> long(0.4170299768), long(0.1), long(True)
    ('0.417029977', '0.100000000', '1')
    """
    if isinstance(value, int) or not math.isfinite(value):
        return _exact(value)
    return digits(value)


def _exact(value: float) -> str:
    """An integer, or what is no number."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return str(value if math.isnan(value) else int(value))


def literal(values: Sequence[float]) -> str:
    """`torch.tensor([...])` that makes the same float32 numbers.

    >>> literal([1.0, 2.5])
    'torch.tensor([1.0, 2.5])'
    """
    return f"torch.tensor({[float(value) for value in values]})"


def vector(values: Sequence[float]) -> Tensor:
    """What `literal` spells."""
    return torch.tensor([float(value) for value in values])
