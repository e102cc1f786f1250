"""Running a coroutine that Ctrl-C and SIGTERM let clean up."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_until_signal(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; at SIGINT or SIGTERM it is cancelled, and asyncio.CancelledError raised once it has cleaned up."""

    async def watch() -> T:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, task.cancel)
        return await task

    return asyncio.run(watch())
