"""The page without a server: its files, and the library's answers to a grid of questions."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from polylogit.app.lab import boundary, routes
from polylogit.app.lab.confidence import ConfidenceRequest, confidence
from polylogit.app.lab.die import DieRequest, die
from polylogit.app.lab.logits import LogitsRequest, walk
from polylogit.app.lab.page import PAGE
from polylogit.app.lab.table import RowRequest, TableRequest, row, table
from polylogit.app.lab.tour import tour
from polylogit.app.lab.twins import twins
from polylogit.errors import OptionError
from polylogit.storage import write_atomically

BAKED = "baked.json"
_LIVE, _BAKED = ('"lab-numbers" content="live"', '"lab-numbers" content="baked"')

_ROWS: Sequence[list[float]] = (
    [1, 2, 3],
    [100, 101, 102],
    [0, 200],
    [9, 0, 0],
    [2, 1, 0.1, -1, 0.5, -3],
)

Answer = tuple[str, dict[str, Any], dict[str, Any]]  # route, question, answer


def export(folder: Path) -> dict[str, int]:
    """Write the page into `folder`, new, empty or of an earlier export; count what was baked."""
    _check(folder)
    answers: dict[str, list[dict[str, Any]]] = {}
    for route, body, answer in baked():
        answers.setdefault(route, []).append({"body": body, "answer": answer})
    data = json.dumps(answers, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    index = (PAGE / "index.html").read_text(encoding="utf-8")
    write_atomically(folder / "index.html", index.replace(_LIVE, _BAKED).encode())
    write_atomically(folder / BAKED, data)
    return {"answers": sum(map(len, answers.values())), "bytes": len(data)}


def _check(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"--export {folder} is a file; name a folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / BAKED).exists():
        raise OptionError(f"--export {folder} holds other files; name a new or an empty folder")


def baked() -> Iterator[Answer]:
    """Every question of the grid with the library's answer."""
    yield "about", {}, routes.about()
    yield "twins", {}, twins()
    yield "tour", {}, tour()
    yield from _dice()
    yield from _walks()
    yield from _boundaries()
    yield from _tables()
    yield from _confidences()


def _dice() -> Iterator[Answer]:
    """One face loaded under P and under Q, and what the buttons set."""
    loads = [[1.0] * 5 + [float(load)] for load in (0, 1, 2, 3, 5, 10)]
    others = [[0.0] * 5 + [1.0], [0.0] + [1.0] * 5]
    for p, q in itertools.product(loads + others, loads + others):
        asked = DieRequest(p=p, q=q)
        yield "die", _question(asked, "p", "q"), die(asked)


def _walks() -> Iterator[Answer]:
    """The rows of the buttons, every class, temperature and switch."""
    for logits in _ROWS:
        switches = itertools.product(range(len(logits)), (0.1, 1, 10), (True, False), (True, False))
        for target, temperature, shift, again in switches:
            asked = LogitsRequest(
                logits=logits, target=target, temperature=temperature, shift=shift, again=again
            )
            yield "logits", asked.model_dump(), walk(asked)


def _boundaries() -> Iterator[Answer]:
    """Every set of points under two penalties, trained at three rates."""
    names: Sequence[boundary.Name] = ("blobs", "separable", "ring", "penguins")
    for data, penalty in itertools.product(names, (0.0, 0.01)):
        scene = boundary.PointsRequest(data=data, penalty=penalty)
        yield "boundary/scene", _question(scene, "data", "penalty"), boundary.scene(scene)
        for rate in (0.1, 1.0, 10.0):
            train = boundary.TrainRequest(data=data, penalty=penalty, learning_rate=rate, steps=150)
            frames = list(boundary.pictures(train))
            question = _question(train, "data", "penalty", "learning_rate")
            yield "boundary/train", question, {"lines": frames}


def _tables() -> Iterator[Answer]:
    """The first rows of the built-in tables."""
    names: Sequence[Literal["penguins", "lesson"]] = ("penguins", "lesson")
    for name in names:
        whole = TableRequest(example=name)
        yield "table/fit", _question(whole, "example"), table(whole)
        for at in range(1, 9):
            asked = RowRequest(example=name, row=at)
            yield "table/row", _question(asked, "example", "row"), row(asked)


def _confidences() -> Iterator[Answer]:
    """Strengths and temperatures."""
    for C, temperature in itertools.product((0.01, 1, 100, 10000), (0.5, 1, 2, 3, 5)):
        asked = ConfidenceRequest(C=C, temperature=temperature)
        yield "confidence", asked.model_dump(), confidence(asked)


def _question(asked: BaseModel, *names: str) -> dict[str, Any]:
    return asked.model_dump(include=set(names))
