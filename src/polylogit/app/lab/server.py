"""The lab as an application, and as a server on this machine alone."""

from __future__ import annotations

import contextlib
import socket
import threading
import webbrowser
from collections.abc import Callable
from typing import cast

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from polylogit.app.lab.guards import Guards
from polylogit.app.lab.page import PAGE
from polylogit.app.lab.routes import api
from polylogit.errors import OptionError, PolylogitError

HOST = "127.0.0.1"


def application() -> FastAPI:
    """The page and its numbers. Every error is `{"error": sentence}`; no input is echoed by it."""
    app = FastAPI(title="polylogit lab", openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(api, prefix="/api")
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    app.add_exception_handler(PolylogitError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _missing)
    app.add_middleware(Guards)
    return app


def _refused(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 422)


def _malformed(_: Request, error: Exception) -> JSONResponse:
    first = cast("RequestValidationError", error).errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return JSONResponse({"error": f"{where}: {first['msg']}"[:300]}, 422)


def _missing(_: Request, error: Exception) -> JSONResponse:
    status = getattr(error, "status_code", 500)
    return JSONResponse({"error": str(getattr(error, "detail", error))[:300]}, status)


def listening(port: int) -> socket.socket:
    """A socket on the loopback address; port 0 takes any that is free."""
    # The protocol by name, or asyncio leaves Nagle's algorithm on and an answer waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise OptionError(
            f"--port {port} cannot be used ({error.strerror}); try another, or 0 for any"
        ) from error
    return listener


def serve(listener: socket.socket, started: Callable[[str], None], *, browser: bool) -> None:
    """Serve the lab until Ctrl-C; `started` is told the address once it answers."""
    torch.set_num_threads(1)  # every answer is small; two threads would wait for each other
    address = f"http://{HOST}:{listener.getsockname()[1]}/"
    config = uvicorn.Config(
        application(), log_level="warning", access_log=False, lifespan="off", ws="none"
    )
    listener.listen(64)
    started(address)
    if browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
