"""A server beside the other work of a process: for the live page of a run."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import uvicorn

from distillery.http.server import configure_server

if TYPE_CHECKING:
    from fastapi import FastAPI


class _BackgroundServer(uvicorn.Server):
    """A server that leaves the signals of its process to whoever has them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serve_in_background(app: "FastAPI") -> AsyncIterator[str]:
    """Serve an app that runs already in this process, on this machine alone; its address. Its lifespan is the caller's."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = _BackgroundServer(uvicorn.Config(app, lifespan="off", log_level="warning", timeout_graceful_shutdown=2, **configure_server()))
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="live page")
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)
        listening.close()
