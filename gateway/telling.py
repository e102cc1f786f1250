"""Telling: what a job's status is, written into its dataset's folder while it is made and at its end."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from distillery.errors import Problem
from distillery.schema.dataset import Status
from gateway.last_status import look_at, write_last_status
from gateway.preflight import Emit
from gateway.stored_dataset import StoredDataset

_EVERY_SECONDS = 2.0
_REST, _LONGEST_REST = 10.0, 5.0
"""After it was told comes a rest of so many times as long as that took, at most so many seconds: telling may not slow what is told of."""


class Telling:
    """Writes what `tell` says of a dataset, whenever it says something else, and emits what has begun to be asked again."""

    def __init__(self, dataset: StoredDataset, tell: Callable[[], Awaitable[Status]], emit: Emit) -> None:
        self._dataset, self._make, self._emit = dataset, tell, emit
        self._retries: set[tuple[str, str]] = set()
        self._writing = asyncio.Lock()
        self._is_over = False
        self._last: Status | None = None

    async def keep_on(self, making: asyncio.Task[None]) -> None:
        """Tell until `making` ends, and what is told then."""
        while not making.done():
            began = time.monotonic()
            await self._tell()
            took = time.monotonic() - began
            await asyncio.wait({making}, timeout=max(_EVERY_SECONDS, min(_REST * took, _LONGEST_REST)))
        self._last = None
        await self._tell()

    async def stop(self) -> None:
        """Write nothing from now on, for the folder goes; what is being written is there once this returns."""
        async with self._writing:
            self._is_over = True

    async def _tell(self) -> None:
        seen = await asyncio.to_thread(look_at, self._dataset)
        try:
            status = await self._make()
        except Problem:
            return
        self._emit_retries(status)
        async with self._writing:
            if status != self._last and not self._is_over:
                await asyncio.to_thread(write_last_status, self._dataset, seen, status)
                self._last = status

    def _emit_retries(self, status: Status) -> None:
        """An event for each failure that was not there the last time; what is over within a moment is not worth one."""
        for retry in status.retries:
            if (retry.service, retry.kind) not in self._retries:
                self._emit("retry", retry)
        self._retries = {(retry.service, retry.kind) for retry in status.retries}
