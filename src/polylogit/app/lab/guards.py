"""What stands before every request: whose page may ask, how much, and what a page may load."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost", "[::1]")
LARGEST_BODY = 8 * 2**20  # bytes

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Guards:
    """Refuses a request from elsewhere or of too many bytes; adds `HEADERS` to every answer.

    The Host must be this machine's (a name that somebody's DNS points to 127.0.0.1 is not), and an
    Origin, if there is one, must be the page's own. A body is counted while it arrives, whatever
    Content-Length says, and one that is encoded is not unpacked.
    """

    def __init__(self, app: ASGIApp, largest_body: int = LARGEST_BODY) -> None:
        self.app = app
        self.largest_body = largest_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        refusal = _refused(headers, self.largest_body)
        if refusal is not None:
            await refusal(scope, receive, guarded)
            return
        body = await _read(receive, self.largest_body)
        if body is None:
            await _too_large(self.largest_body)(scope, receive, guarded)
            return
        await self.app(scope, _again(body, receive), guarded)


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The whole body, or None as soon as it is longer than `limit`."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            return None
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, then what is new."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again


def _refused(headers: Headers, limit: int) -> JSONResponse | None:
    """The answer to a request that goes no further, if it is one."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if _name(host) not in HOSTS:
        return _refusal(421, "this page answers only under 127.0.0.1 or localhost")
    if origin is not None and origin != f"http://{host}":
        return _refusal(403, "another site asked; only the page itself may")
    if headers.get("content-encoding", "identity") != "identity":
        return _refusal(415, "send the body as it is, not encoded")
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > limit:
        return _too_large(limit)
    return None


def _name(host: str) -> str:
    """A Host header without its port.

    >>> _name("127.0.0.1:8000"), _name("[::1]:80"), _name("localhost")
    ('127.0.0.1', '[::1]', 'localhost')
    """
    name, colon, port = host.rpartition(":")
    return name.lower() if colon and port.isdecimal() else host.lower()


def _too_large(limit: int) -> JSONResponse:
    return _refusal(413, f"the request is larger than {limit // 2**20} MiB; send fewer rows")


def _refusal(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status)
