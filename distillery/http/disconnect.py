"""Clients that disconnect: the work for them is stopped."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import Request

from distillery.runtime.stopping import Stopped

T = TypeVar("T")
CLIENT_LEFT = 499
"""The status of an answer that nobody waits for (nginx's custom)."""


async def until_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Run `work`; cancel it, wait for its end and raise Stopped once the client has gone. Being cancelled cancels it too.

    The request's body must have been read before.
    """
    job = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_wait_until_gone(request))
    waiting: set[asyncio.Future[Any]] = {job, gone}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            raise Stopped
        return job.result()
    finally:
        job.cancel()
        gone.cancel()
        await asyncio.gather(job, gone, return_exceptions=True)


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def run_in_thread(executor: ThreadPoolExecutor, work: Callable[[threading.Event], T]) -> T:
    """Run `work` in a thread; being cancelled sets its event and waits for its end."""
    stop = threading.Event()
    job = asyncio.get_running_loop().run_in_executor(executor, work, stop)
    try:
        return await asyncio.shield(job)
    finally:
        stop.set()
        await asyncio.gather(job, return_exceptions=True)
