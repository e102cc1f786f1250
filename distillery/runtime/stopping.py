"""Stopping: work that is abandoned once nobody waits for it."""

from typing import Protocol


class Stopped(Exception):
    """The client left or the service is shutting down; the work is abandoned."""


class Stop(Protocol):
    """What work asks whether it should stop: a `threading.Event` without the methods that set it."""

    def is_set(self) -> bool: ...
