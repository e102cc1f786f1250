"""A job: a dataset that this process makes, its run and its events."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

from distillery.errors import Problem
from distillery.schema.dataset import Event, EventData, EventKind
from gateway.roll_call import RollCall
from gateway.run import Run
from gateway.status_writer import StatusWriter

_KEPT = 1000


class Events:
    """The last 1000 events, numbered on from `last`; `news` is set, and replaced, when there is another, which `hear` is told of."""

    def __init__(self, last: int = 0, hear: Callable[[Event], None] = lambda event: None) -> None:
        self._hear = hear
        self.news = asyncio.Event()
        self.last = last
        self._kept: deque[Event] = deque(maxlen=_KEPT)

    def emit(self, kind: EventKind, data: EventData) -> None:
        """Record an event and wake who listens."""
        self.last += 1
        event = Event(id=self.last, event=kind, time=round(time.time(), 3), data=data)
        self._kept.append(event)
        self._hear(event)
        news, self.news = self.news, asyncio.Event()
        news.set()

    def since(self, id: int) -> Iterator[Event]:
        """Those with a larger id that are still kept; all if there never was this one (it is of an earlier process)."""
        id = id if id <= self.last else 0
        return (event for event in tuple(self._kept) if event.id > id)


@dataclass
class Job:
    """A run, its task and its events.

    roll_call  whether those are there whom it will ask; ends with its task
    status_writer  writes its status into its folder; its task ends after the job's
    is_new   its folder was made for it
    """

    run: Run
    events: Events
    roll_call: RollCall
    status_writer: StatusWriter
    is_new: bool = False
    task: asyncio.Task[None] | None = None
    writing_task: asyncio.Task[None] | None = None
    problem: Problem | None = None
    started: float = field(default_factory=time.time)

    @property
    def is_working(self) -> bool:
        """True while its task runs."""
        return self.task is not None and not self.task.done()

    async def wait(self) -> None:
        """Wait for the end of its task, however that ends."""
        if tasks := {task for task in (self.task, self.writing_task) if task is not None}:
            await asyncio.wait(tasks)

    async def follow(self, after: int) -> AsyncIterator[Event]:
        """Events with an id over `after`, until the task ends."""
        while True:
            news, has_ended = self.events.news, not self.is_working
            for event in self.events.since(after):
                after = event.id
                yield event
            if has_ended:
                return
            await news.wait()
