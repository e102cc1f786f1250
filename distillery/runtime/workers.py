"""Worker processes: for what is cut into pieces, results in order, and for pieces that come one by one."""

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, Protocol, TypeVar

from distillery.errors import Unavailable
from distillery.runtime.machine import count_cores

STRUCTURES_A_WORKER = 2_000
"""Starting a worker takes as long as inspecting or formatting this many structures."""
_AHEAD = 4
"""Pieces a worker that may be waiting or done: results lie in memory until their turn."""
_DIED = "a worker process died: memory was too small for it, or it was killed; try again with less else running"
Item = TypeVar("Item")
Found = TypeVar("Found")
_log = logging.getLogger("distillery")
_preparing = threading.Lock()


class WorkerDied(Unavailable):
    """A worker was killed, or ended by itself: memory was too small, or what it read makes HDF5 crash."""


class Each(Protocol):
    """A `map`."""

    def __call__(self, function: Callable[[Item], Found], items: Iterable[Item], /) -> Iterator[Found]:
        """What the function gives for each item, in order."""
        ...


@contextmanager
def open_workers(n_structures: int, ahead: int = _AHEAD) -> Iterator[Each]:
    """A `map` over as many processes as cores, or in this one where so many structures are not worth the start.

    n_structures  to be inspected or formatted, or what takes as long
    ahead         pieces a worker that may be waiting or done

    The map raises what the function raises, and WorkerDied. After an error pieces that nobody began are dropped.
    """
    n = min(n_structures // STRUCTURES_A_WORKER, count_cores())
    if n < 2:
        yield map
        return
    pool = ProcessPoolExecutor(n, _Context(), _start_worker)
    try:
        yield lambda function, items: _map_in_order(pool, ahead * n, function, items)
    finally:
        pool.shutdown(cancel_futures=True)


def _map_in_order(pool: ProcessPoolExecutor, most: int, function: Callable[[Item], Found], items: Iterable[Item]) -> Iterator[Found]:
    pending: deque[Future[Found]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) == most:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerDied(_DIED) from error


class WorkerPool:
    """So many processes for pieces that come one by one. They start with the first piece, and stay until `close`."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._pool: ProcessPoolExecutor | None = None

    async def run(self, function: Callable[..., Found], *arguments: Any) -> Found:
        """What the function gives. If a worker dies, what it had is tried once more in a new one, then WorkerDied."""
        for tries in (1, 2):
            if self._pool is None:
                self._pool = ProcessPoolExecutor(self._n, _Context(), _start_worker)
            pool = self._pool
            try:
                return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
            except BrokenProcessPool as error:
                if self._pool is pool:  # else another piece of it was first
                    self._pool = None
                    pool.shutdown(wait=False)
                if tries == 2:
                    raise WorkerDied(_DIED) from error
                _log.warning("a worker process died; what it had is tried once more")
        raise AssertionError

    def close(self) -> None:
        """End the processes; pieces that nobody began are dropped, those in work are waited for."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def die_with_parent() -> None:
    """End this process, from a thread of its own, when the one that started it ends."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _start_worker() -> None:
    """Ctrl-C, and SIGTERM where all processes of a job get it, are the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    die_with_parent()


class _Process(SpawnProcess):
    """A process that does not import the user's script: one without `if __name__ == "__main__"` would begin anew in each worker."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802  as multiprocessing calls it
        with _preparing:
            describe, caller = spawn.get_preparation_data, threading.get_ident()

            def describe_without_script(name: str) -> dict[str, Any]:
                found = describe(name)
                is_own = threading.get_ident() == caller
                return {key: value for key, value in found.items() if not (is_own and key.startswith("init_main"))}

            spawn.get_preparation_data = describe_without_script
            try:
                return SpawnProcess._Popen(process_obj)
            finally:
                spawn.get_preparation_data = describe


class _Context(SpawnContext):
    """multiprocessing's `spawn`, of such processes."""

    Process = _Process
