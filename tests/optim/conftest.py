"""Problems of every kind, and blocks of every size, for the sums over rows."""

import itertools

import pytest
from oracle import KINDS, ROWS, problem, small_blocks

from polylogit.optim import curvature as curvature_module
from polylogit.optim import logits as logits_module
from polylogit.optim import sums as sums_module

CASES = [
    {"kind": kind, "intercept": intercept, "contrasts": contrasts, "rows": rows}
    for kind, intercept, contrasts, rows in itertools.product(
        KINDS, (True, False), (True, False), ROWS
    )
]


@pytest.fixture(params=CASES, ids=lambda case: "-".join(map(str, case.values())))
def p(request):
    return problem(**request.param)


@pytest.fixture(params=["one block", "many blocks", "row by row", "no logits kept"])
def blocks(request, monkeypatch):
    if request.param == "row by row":
        monkeypatch.setattr(logits_module, "FEW_CLASSES", 0)
    if request.param == "no logits kept":
        monkeypatch.setattr(sums_module, "LOGITS_BYTES", 0)
    if request.param != "one block":
        small_blocks(monkeypatch)
        monkeypatch.setattr(logits_module, "CHUNK_ELEMENTS", 10)
        monkeypatch.setattr(curvature_module, "PRODUCT_BYTES", 1)
