"""The roll call: whether those that a dataset in the making will ask are there, found out before they are asked."""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import replace

from distillery.errors import Problem
from distillery.http.client import Retry
from distillery.schema.factory import RetryRecord
from gateway.clients import Clients, describe_retry

_EVERY_SECONDS = 3.0


class RollCall:
    """Asks whoever is needed, and keeps who is missing, since when and how often it was asked."""

    def __init__(self, clients: Clients, list_needed: Callable[[], Collection[str]]) -> None:
        self._clients, self._list_needed = clients, list_needed
        self._missing: dict[str, Retry] = {}

    async def keep_calling(self) -> None:
        """Ask all, every three seconds."""
        while True:
            await self._call()
            await asyncio.sleep(_EVERY_SECONDS)

    async def _call(self) -> None:
        names = sorted(self._list_needed())
        problems = await asyncio.gather(*(self._clients.find_absence(name) for name in names))
        found = zip(names, problems, strict=True)
        self._missing = {name: self._note(name, problem) for name, problem in found if problem is not None}

    def list_missing(self) -> list[RetryRecord]:
        """Those that are not there, by name."""
        return [describe_retry(name, retry) for name, retry in self._missing.items()]

    def _note(self, name: str, problem: Problem) -> Retry:
        now, before = time.time(), self._missing.get(name)
        known = before or Retry(problem, 0, now, now)
        return replace(known, problem=problem, tries=known.tries + 1, at=now + _EVERY_SECONDS)
