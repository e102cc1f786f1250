"""What is done side by side: so many shards of a source for every replica of its service."""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any

from distillery.errors import Problem

_LOOK_AGAIN_SECONDS = 5.0


class KeyedSemaphore:
    """A semaphore per key whose size may change while it is used."""

    def __init__(self, count: Callable[[str], Awaitable[int]]) -> None:
        """`count(key)` says how many turns there are; it is asked again after 5 s."""
        self._count = count
        self._sizes: dict[str, tuple[float, int]] = {}
        self._taken: Counter[str] = Counter()
        self._freed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._lines: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Of those who wait: only the first of a line looks for a turn, and a lock hands on in order."""

    @contextlib.asynccontextmanager
    async def take(self, key: str) -> AsyncIterator[None]:
        """Wait for a turn and hold it; who waits longest comes first."""
        async with self._lines[key]:
            await self._wait_until_free(key)
            self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            self._freed[key].set()

    async def _wait_until_free(self, key: str) -> None:
        while True:
            self._freed[key].clear()  # first: a turn may be freed while the size is asked for
            size = await self._size(key)
            if self._taken[key] < size:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_SECONDS):  # wait_for loses a cancellation that comes with a turn, before Python 3.12
                    await self._freed[key].wait()

    async def _size(self, key: str) -> int:
        counted, size = self._sizes.get(key, (-_LOOK_AGAIN_SECONDS, 1))
        if time.monotonic() - counted >= _LOOK_AGAIN_SECONDS:
            self._sizes[key] = (time.monotonic(), size)
            size = await self._count(key)
            self._sizes[key] = (time.monotonic(), size)
        return size


async def run_all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines side by side; the first that fails stops the others, and its exception is raised itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except BaseExceptionGroup as failures:
        found = list(_leaves(failures))
        raise next((error for error in found if isinstance(error, Problem)), found[0]) from failures


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
