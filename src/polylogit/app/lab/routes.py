"""What the page may ask: each route is one question to the library."""

from __future__ import annotations

from typing import Any

import torch
from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from polylogit.app.lab import boundary
from polylogit.app.lab.confidence import ConfidenceRequest, confidence
from polylogit.app.lab.die import DieRequest, die
from polylogit.app.lab.logits import LogitsRequest, walk
from polylogit.app.lab.table import RowRequest, TableRequest, row, table
from polylogit.app.lab.tour import tour
from polylogit.app.lab.twins import twins
from polylogit.version import __version__

api = APIRouter()


@api.get("/about")
def about() -> dict[str, Any]:
    """Whose digits these are."""
    return {"polylogit": __version__, "torch": torch.__version__, "dtype": "float32"}


@api.post("/die")
def _die(asked: DieRequest) -> dict[str, Any]:
    return die(asked)


@api.post("/logits")
def _logits(asked: LogitsRequest) -> dict[str, Any]:
    return walk(asked)


@api.get("/twins")
def _twins() -> dict[str, Any]:
    return twins()


@api.get("/tour")
def _tour() -> dict[str, Any]:
    return tour()


@api.post("/table/fit")
def _table(asked: TableRequest) -> dict[str, Any]:
    return table(asked)


@api.post("/table/row")
def _row(asked: RowRequest) -> dict[str, Any]:
    return row(asked)


@api.post("/confidence")
def _confidence(asked: ConfidenceRequest) -> dict[str, Any]:
    return confidence(asked)


@api.post("/boundary/scene")
def _scene(asked: boundary.PointsRequest) -> dict[str, Any]:
    return boundary.scene(asked)


@api.post("/boundary/train")
def _train(asked: boundary.TrainRequest) -> StreamingResponse:
    boundary.start(asked)  # refuse before the first line, while there still is a status to give
    return StreamingResponse(boundary.paced(asked), media_type="application/x-ndjson")


@api.post("/boundary/values")
def _values(asked: boundary.ModelRequest) -> dict[str, Any]:
    return boundary.values(asked)
