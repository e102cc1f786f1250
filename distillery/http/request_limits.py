"""What every request of an app is held to before the app sees it: printable names, and a body that is neither too large nor too slow."""

import asyncio
import re
from collections.abc import Mapping
from urllib.parse import unquote_plus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distillery.errors import InvalidRequest, NotFound, Problem, TooLarge
from distillery.http.error_responses import as_response
from distillery.runtime.limits import BODY_SECONDS, SLOWEST_BODY

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_WHOLE_URL = re.compile(r"/?https?://[^/]*", re.IGNORECASE)
_TIMEOUT, _URI_TOO_LONG = 408, 414
_LONGEST_TARGET, _SHOWN = 8192, 100
"""Bytes of a path with its query; characters of one that are told again."""


class RequestLimits:
    """Refuses, as a problem, what no request may be.

    largest_body  bytes
    too_large     what is said of one that has more
    larger        paths whose bodies may have more: so many bytes
    """

    def __init__(self, app: ASGIApp, largest_body: int, too_large: str, larger: Mapping[str, int]) -> None:
        self._app, self._largest, self._too_large, self._larger = app, largest_body, too_large, larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _take_path(scope)
        if len(scope["path"]) + len(scope["query_string"]) > _LONGEST_TARGET:
            said = f"a path and its query have at most {_LONGEST_TARGET} bytes; send less, or in a body"
            await as_response(InvalidRequest(said), scope["path"][:_SHOWN], _URI_TOO_LONG)(scope, receive, send)
            return
        problem = _find_unprintable(scope) or self._find_excess(scope)
        if problem is not None:
            await as_response(problem, scope["path"])(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._refuse(scope), self._find_largest(scope))
        await self._app(scope, exchange.receive, exchange.send)

    def _find_excess(self, scope: Scope) -> Problem | None:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        return self._refuse(scope) if length.isdigit() and int(length) > self._find_largest(scope) else None

    def _find_largest(self, scope: Scope) -> int:
        return self._larger.get(scope["path"], self._largest)

    def _refuse(self, scope: Scope) -> TooLarge:
        largest = self._larger.get(scope["path"])
        return TooLarge(self._too_large if largest is None else f"a body has at most {largest} bytes here, this one has more; send less")


def _take_path(scope: Scope) -> None:
    """Only the path of a target that is a whole URL, as clients send it to a proxy; every server must understand it (RFC 9112, 3.2.2)."""
    if (whole := _WHOLE_URL.match(scope["path"])) is not None:
        scope["path"] = scope["path"][whole.end() :] or "/"
        scope["raw_path"] = scope["path"].encode()


def _find_unprintable(scope: Scope) -> Problem | None:
    """Only characters that have no place in any name are refused here; what a name may be is said where it is used."""
    if not scope["path"].isprintable():
        return NotFound(f"{scope['path']!r} holds characters that are not printable; no path here does")
    if _CONTROL.search(unquote_plus(scope["query_string"].decode("latin-1"), "latin-1").encode("latin-1")):
        return InvalidRequest("the query holds control characters; leave them out")
    for name, value in scope["headers"]:
        if _CONTROL.search(value):
            return InvalidRequest(f"the header {name.decode('latin-1')} holds control characters; leave them out")
    return None


class _Exchange:
    """One request's body on its way in; one that is refused is answered at once, and the app finds that its client has left."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, too_large: Problem, largest: int) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._too_large, self._largest = too_large, largest
        self._size, self._is_whole, self._has_begun, self._is_refused = 0, False, False, False
        self._start: float | None = None

    async def receive(self) -> Message:
        if self._is_whole or self._is_refused:
            return {"type": "http.disconnect"} if self._is_refused else await self._receive()
        try:
            async with asyncio.timeout_at(self._find_deadline()):
                message = await self._receive()
        except TimeoutError:
            detail = f"{self._size} bytes of the body came in time, at least {SLOWEST_BODY} a second are wanted; send it faster"
            return await self._refuse(InvalidRequest(detail), _TIMEOUT)
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._is_whole = not message.get("more_body", False)
            if self._size > self._largest:
                return await self._refuse(self._too_large)
        return message

    async def send(self, message: Message) -> None:
        if not self._is_refused:
            self._has_begun = True
            await self._send(message)

    def _find_deadline(self) -> float:
        now = asyncio.get_running_loop().time()
        self._start = now if self._start is None else self._start
        return self._start + BODY_SECONDS + self._size / SLOWEST_BODY

    async def _refuse(self, problem: Problem, status: int | None = None) -> Message:
        self._is_refused = True
        if not self._has_begun:
            response = as_response(problem, self._scope["path"], status)
            response.headers["Connection"] = "close"
            await response(self._scope, self._receive, self._send)
        return {"type": "http.disconnect"}
