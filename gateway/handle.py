"""The handle: a dataset that this process knows, its run and what has happened to it."""

import asyncio
import time
from dataclasses import dataclass, field

from contract.problems import Problem
from gateway.events import Events
from gateway.run import Run


@dataclass
class Handle:
    """A run, its task and its events."""

    run: Run
    events: Events
    task: asyncio.Task[None] | None = None
    is_cancelling: bool = False
    problem: Problem | None = None
    started: float = field(default_factory=time.time)

    @property
    def is_working(self) -> bool:
        """True while its task runs."""
        return self.task is not None and not self.task.done()
