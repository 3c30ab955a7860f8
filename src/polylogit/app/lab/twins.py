"""Broken twins: the wrong line beside the right one, and what torch itself says to both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F

from polylogit.app.lab.value import each, long, short

_ROW = "torch.tensor([[1.0, 2.0, 3.0]])"
_PAIR = "torch.tensor([[0.0, 200.0]])"
_P, _Q = "torch.tensor([0.5, 0.3, 0.2])", "torch.tensor([0.2, 0.3, 0.5])"


@dataclass(frozen=True)
class Twin:
    """Two expressions that are meant to say the same; `name` keys the words about them."""

    name: str
    wrong: str
    right: str


TWINS = (
    Twin(
        "twice",
        f"F.cross_entropy(torch.softmax({_ROW}, 1), torch.tensor([2]))",
        f"F.cross_entropy({_ROW}, torch.tensor([2]))",
    ),
    Twin(
        "overflow",
        "torch.tensor([100.0, 101.0, 102.0]).exp()"
        " / torch.tensor([100.0, 101.0, 102.0]).exp().sum()",
        "torch.softmax(torch.tensor([100.0, 101.0, 102.0]), 0)",
    ),
    Twin(
        "log",
        f"torch.log(torch.softmax({_PAIR}, 1))",
        f"torch.log_softmax({_PAIR}, 1)",
    ),
    Twin(
        "zero-times-infinity",
        f"(torch.tensor([[0.0, 1.0]]) * -torch.log(torch.softmax({_PAIR}, 1))).sum()",
        f"F.cross_entropy({_PAIR}, torch.tensor([1]))",
    ),
    Twin(
        "dim",
        f"torch.softmax({_ROW}.repeat(2, 1), 0)",
        f"torch.softmax({_ROW}.repeat(2, 1), 1)",
    ),
    Twin(
        "from-one",
        f"F.cross_entropy({_ROW}, torch.tensor([3]))",
        f"F.cross_entropy({_ROW}, torch.tensor([3]) - 1)",
    ),
    Twin(
        "scatter",
        "torch.zeros(2, 3).scatter_(1, torch.tensor([0, 2]), 1)",
        "torch.zeros(2, 3).scatter_(1, torch.tensor([0, 2]).unsqueeze(1), 1)",
    ),
    Twin(
        "column",
        f"F.cross_entropy({_ROW}, torch.tensor([[2]]))",
        f"F.cross_entropy({_ROW}, torch.tensor([[2]]).squeeze(1))",
    ),
    Twin(
        "float",
        f"F.cross_entropy({_ROW}, torch.tensor([2.0]))",
        f"F.cross_entropy({_ROW}, torch.tensor([2.0]).long())",
    ),
    Twin(
        "integer-one-hot",
        f"F.cross_entropy({_ROW}, F.one_hot(torch.tensor([2]), 3))",
        f"F.cross_entropy({_ROW}, F.one_hot(torch.tensor([2]), 3).float())",
    ),
    Twin(
        "shared-bias",
        f"torch.softmax({_ROW} + torch.tensor([5.0]), 1)",
        f"torch.softmax({_ROW} + torch.tensor([5.0, 0.0, 0.0]), 1)",
    ),
    Twin(
        "plain",
        "torch.tensor([-1.0, 0.0, 1.0]) / torch.tensor([-1.0, 0.0, 1.0]).sum()",
        "torch.softmax(torch.tensor([-1.0, 0.0, 1.0]), 0)",
    ),
    Twin(
        "divergence",
        f"F.kl_div({_P}, {_Q}, reduction='sum')",
        f"F.kl_div({_Q}.log(), {_P}, reduction='sum')",
    ),
)


@lru_cache(maxsize=1)
def twins() -> dict[str, Any]:
    """Both lines of every pair, run now, on this torch."""
    return {
        "twins": [
            {
                "name": twin.name,
                "wrong": {"code": twin.wrong, **said(twin.wrong)},
                "right": {"code": twin.right, **said(twin.right)},
            }
            for twin in TWINS
        ]
    }


def said(code: str) -> dict[str, Any]:
    """What torch answers to a line of `TWINS`: numbers, or the name and words of its error.

    >>> said("torch.tensor([0.5, 1.0]).log()")["short"]
    ['-0.6931', '0.0000']
    >>> said("torch.zeros(2) + torch.zeros(3)")["error"].split(":")[0]
    'RuntimeError'
    """
    try:
        answer = eval(code, {"torch": torch, "F": F})  # noqa: S307  our own constants, as shown
    except (RuntimeError, IndexError, ValueError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    values = answer.tolist()
    return {"short": each(short, values), "long": each(long, values)}
