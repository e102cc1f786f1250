"""A real uvicorn on a free port, in a thread."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from fastapi import FastAPI

from distillery.http.server import configure_server


@contextmanager
def serve(app: FastAPI, *, wait_until_ready: bool = True, port: int = 0) -> Iterator[str]:
    """The base URL of `app`, served until the block ends."""
    listening = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5, **configure_server()))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        wait_for_answer(url + ("/v1/health/ready" if wait_until_ready else "/v1/health/live"))
        yield url
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def wait_for_answer(url: str, seconds: float = 120) -> None:
    """Ask until the answer is 200."""
    end = time.monotonic() + seconds
    while True:
        try:
            response = httpx.get(url, timeout=5)
            if response.status_code == 200:
                return
            answer = response.text
        except httpx.TransportError as error:
            answer = repr(error)
        if time.monotonic() > end:
            raise TimeoutError(f"{url} is not ready after {seconds} s: {answer}")
        time.sleep(0.05)
