"""The HTTP server: uvicorn on h11, with a time limit for the headers of a request and for a client that takes none of its answer.

uvicorn has one for idle connections only, once they have been answered.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from distillery.errors import InvalidRequest
from distillery.http.error_responses import as_response
from distillery.runtime.limits import HEADER_SECONDS

_KEEP_ALIVE_SECONDS = 30


class TimedProtocol(H11Protocol):
    """A connection with a deadline where uvicorn has none."""

    header_seconds = HEADER_SECONDS
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """The client takes nothing: so long as that lasts there is a deadline, whatever the request."""
        super().pause_writing()
        self._forget()
        self._begin()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget()
        self._watch()

    def shutdown(self) -> None:
        """The server ends: streams of events, which have no end of their own, end with it; other answers are finished."""
        super().shutdown()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and _wants_events(cycle.scope):
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered with a problem, as all that goes wrong is."""
        problem = as_response(InvalidRequest("the request is not valid HTTP/1.1, or its headers are too long"), "")
        headers = [*problem.raw_headers, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=problem.status_code, headers=headers),
            h11.Data(data=bytes(problem.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch(self) -> None:
        """A request at work has limits of its own (`request_limits`); before and after one there is a deadline that no byte moves."""
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            self._forget()
        elif self._deadline is None:
            self._begin()

    def _begin(self) -> None:
        self._deadline = self.loop.call_later(self.header_seconds, self._end)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end(self) -> None:
        """Without waiting for what was written to be taken."""
        self.transport.abort()


def _wants_events(scope: Mapping[str, Any]) -> bool:
    return any(name == b"accept" and b"text/event-stream" in value for name, value in scope["headers"])


def configure_server() -> dict[str, Any]:
    """The arguments of `uvicorn.Config` that every server of ours has."""
    return {"http": TimedProtocol, "ws": "none", "access_log": False, "timeout_keep_alive": _KEEP_ALIVE_SECONDS}


class ListeningServer(uvicorn.Server):
    """A server that has something going on for as long as it takes requests: from when its port is known until it is told to stop."""

    def __init__(self, config: uvicorn.Config, meanwhile: Callable[[int], AbstractAsyncContextManager[None]]) -> None:
        """`meanwhile` is given the port; it is left before the requests at work are waited for."""
        super().__init__(config)
        self._meanwhile = meanwhile
        self._entered: AbstractAsyncContextManager[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._entered = self._meanwhile(int(self.servers[0].sockets[0].getsockname()[1]))
            await self._entered.__aenter__()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._entered is not None:
            await self._entered.__aexit__(None, None, None)
        await super().shutdown(sockets)
