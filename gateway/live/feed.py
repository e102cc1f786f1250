"""Feeds: pieces of HTML that change while they are looked at, made once for all who look and sent as server-sent events."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from distillery.errors import Problem

_EVERY_SECONDS = 1.0
_REST, _LONGEST_REST = 10.0, 5.0
"""After a making comes a rest of so many times its length, at most so many seconds: looking may not slow what is looked at."""
_HEARTBEAT_SECONDS = 15.0
_UNUSED_SECONDS = 60.0
_log = logging.getLogger("distillery.gateway")
Pieces = Mapping[str, str]
"""HTML by the name of the place on the page that it belongs to."""


class Feed:
    """One page's pieces, made anew every second while somebody looks."""

    def __init__(self, make: Callable[[], Awaitable[Pieces]]) -> None:
        self._make = make
        self._pieces: Pieces = {}
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._opened = time.monotonic()
        self.n_watching = 0

    @property
    def is_over(self) -> bool:
        """True if nobody looks, and whoever asked for it would look by now."""
        return not self.n_watching and time.monotonic() - self._opened > _UNUSED_SECONDS

    async def follow(self) -> AsyncIterator[str]:
        """The pieces as server-sent events, then each that changes; the first come at once. Ends where they can't be made any more."""
        self.n_watching += 1
        self._opened = time.monotonic()
        if self._task is None:
            self._task = asyncio.create_task(self._keep_making(), name="live page")
        sent: dict[str, str] = {}
        try:
            while self._task is not None and not self._task.done():
                news = self._news
                for name, html in self._pieces.items():
                    if sent.get(name) != html:
                        sent[name] = html
                        yield _write(name, html)
                try:
                    async with asyncio.timeout(_HEARTBEAT_SECONDS):  # before Python 3.12, wait_for loses a cancellation
                        await news.wait()
                except TimeoutError:
                    yield ": still here\n\n"
        finally:
            self.n_watching -= 1
            if not self.n_watching:
                self._end()

    def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _keep_making(self) -> None:
        try:
            while True:
                began = time.monotonic()
                try:
                    self._take(await self._make())
                except Problem as problem:
                    self._take({"gone": problem.detail})
                took = time.monotonic() - began
                await asyncio.sleep(max(_EVERY_SECONDS, min(_REST * took, _LONGEST_REST)))
        except Exception:
            _log.exception("the live page can't be made; browsers ask for it again")
        finally:
            self._wake_all()

    def _take(self, pieces: Pieces) -> None:
        if pieces != self._pieces:
            self._pieces = pieces
            self._wake_all()

    def _wake_all(self) -> None:
        """Wake all who wait; what they wait for next is not there yet, even if a making ends after another has begun."""
        news, self._news = self._news, asyncio.Event()
        news.set()


def _write(name: str, html: str) -> str:
    """A piece as an event. One that is empty has a line of no data: without any, browsers pass over the event, and what it was stays."""
    lines = "".join(f"data: {line}\n" for line in html.splitlines() or [""])
    return f"event: {name}\n{lines}\n"
