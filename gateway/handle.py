"""The handle: a dataset that this process knows, its run and what has happened to it."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from contract.problems import Problem
from gateway.run import Run

_EVENTS_KEPT = 1000


@dataclass
class Handle:
    """A run, its task and its events."""

    run: Run
    task: asyncio.Task[None] | None = None
    is_cancelling: bool = False
    problem: Problem | None = None
    started: float = field(default_factory=time.time)
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_EVENTS_KEPT))
    n_events: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_working(self) -> bool:
        """True while its task runs."""
        return self.task is not None and not self.task.done()

    def emit(self, kind: str, data: dict[str, Any]) -> None:
        """Record an event and wake who listens."""
        self.n_events += 1
        self.events.append({"id": self.n_events, "event": kind, "time": round(time.time(), 3), "data": data})
        news, self.news = self.news, asyncio.Event()
        news.set()
