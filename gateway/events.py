"""Events: what has happened to a dataset, numbered, for everybody who listens."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

_KEPT = 1000

Event = dict[str, Any]


class Events:
    """The last 1000 events; `news` is set, and replaced, when there is another."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self._kept: deque[Event] = deque(maxlen=_KEPT)
        self._n_emitted = 0

    def emit(self, kind: str, data: dict[str, Any]) -> None:
        """Record an event and wake who listens."""
        self._n_emitted += 1
        self._kept.append({"id": self._n_emitted, "event": kind, "time": round(time.time(), 3), "data": data})
        news, self.news = self.news, asyncio.Event()
        news.set()

    def since(self, id: int) -> Iterator[Event]:
        """Those with a larger id that are still kept."""
        return (event for event in tuple(self._kept) if event["id"] > id)
