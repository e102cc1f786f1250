"""Stopping: work that is abandoned once nobody waits for it."""

from typing import Protocol


class Stopped(Exception):
    """The client left or the service is shutting down; the work is abandoned."""


class Stop(Protocol):
    """`threading.Event` seen by the one who asks it."""

    def is_set(self) -> bool: ...
