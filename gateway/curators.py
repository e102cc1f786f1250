"""Who curates the structures of shards: a thread of the gateway at first, then, once they are worth the start, processes."""

import asyncio
import contextvars
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from distillery.runtime.workers import STRUCTURES_A_WORKER, WorkerPool
from distillery.structures.structure import Structure
from gateway.curate import Curated, curate


class Curators:
    """Structures are checked and hashed here; however many shards are in work, requests are answered."""

    def __init__(self, n_workers: int) -> None:
        """n_workers  processes; with fewer than two all is done in a thread of this one"""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="curate")
        self._workers = WorkerPool(n_workers) if n_workers > 1 else None
        self._n_seen, self._n_first = 0, n_workers * STRUCTURES_A_WORKER

    async def curate(self, structures: list[Structure], elements: Sequence[str], atoms: tuple[int, int] | None) -> Curated:
        """As the function of that name; WorkerDied if it kills a process twice."""
        self._n_seen += len(structures)
        if self._workers is not None and self._n_seen > self._n_first:
            return await self._workers.run(curate, structures, elements, atoms)
        work = partial(contextvars.copy_context().run, curate, structures, elements, atoms)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """End thread and processes."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._workers is not None:
            await asyncio.to_thread(self._workers.close)
