"""A job's status is written into its dataset's folder while the dataset is made, and at its end."""

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
"""The pause after a status: so many times as long as making and writing it took, at most so many seconds, so that the job is not slowed."""


class StatusWriter:
    """Writes the status that `make` gives whenever it has changed, and emits an event for each request that has begun to be asked again."""

    def __init__(self, dataset: StoredDataset, make: Callable[[], Awaitable[Status]], emit: Emit) -> None:
        self._dataset, self._make, self._emit = dataset, make, emit
        self._retries: set[tuple[str, str]] = set()
        self._writing = asyncio.Lock()
        self._is_over = False
        self._last: Status | None = None

    async def write_until_end(self, making: asyncio.Task[None]) -> None:
        """Write until `making` ends, and once more then."""
        while not making.done():
            began = time.monotonic()
            await self._write()
            took = time.monotonic() - began
            await asyncio.wait({making}, timeout=max(_EVERY_SECONDS, min(_REST * took, _LONGEST_REST)))
        self._last = None
        await self._write()

    async def stop(self) -> None:
        """Write nothing from now on, for the folder goes; what is being written is there once this returns."""
        async with self._writing:
            self._is_over = True

    async def _write(self) -> None:
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
