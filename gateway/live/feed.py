"""Feeds: pieces of HTML that change while they are looked at, made once for all who look and sent as server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from distillery.errors import Problem

_EVERY_SECONDS = 1.0
_HEARTBEAT_SECONDS = 15.0
Pieces = Mapping[str, str]
"""HTML by the name of the place on the page that it belongs to."""


class Feed:
    """One page's pieces, made anew every second while somebody looks."""

    def __init__(self, make: Callable[[], Awaitable[Pieces]]) -> None:
        self._make = make
        self._pieces: Pieces = {}
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.n_watching = 0

    async def follow(self) -> AsyncIterator[str]:
        """The pieces as server-sent events, then each that changes; the first come at once."""
        self.n_watching += 1
        if self._task is None:
            self._task = asyncio.create_task(self._keep_making(), name="live page")
        sent: dict[str, str] = {}
        try:
            while True:
                news = self._news
                for name, html in self._pieces.items():
                    if sent.get(name) != html:
                        sent[name] = html
                        yield _write(name, html)
                try:
                    await asyncio.wait_for(news.wait(), _HEARTBEAT_SECONDS)
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
        while True:
            try:
                pieces = await self._make()
            except Problem as problem:
                pieces = {"gone": problem.detail}
            if pieces != self._pieces:
                self._pieces = pieces
                news, self._news = self._news, asyncio.Event()
                news.set()
            await asyncio.sleep(_EVERY_SECONDS)


def _write(name: str, html: str) -> str:
    lines = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"event: {name}\n{lines}\n"
