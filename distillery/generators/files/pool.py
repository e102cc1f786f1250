"""A pool of rows in files, and structures drawn from it: each request takes its slice, no row twice."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from distillery.generators.files.contents import Contents, RowRefused
from distillery.generators.files.finishing import Finished
from distillery.generators.generator import Made, Progress, Task
from distillery.generators.proposals import ATTEMPTS_PER_STRUCTURE
from distillery.generators.workers import wait_for
from distillery.runtime.stopping import Stop, Stopped
from distillery.structures.checks import Fault
from distillery.structures.structure import Structure

_READ_AHEAD = 2
"""Structures read from the files at a time, for every one that is still missing."""


class RowFile(Protocol):
    """A file whose contents are known."""

    @property
    def contents(self) -> Contents:
        """What its rows are."""

    def read(self, rows: Sequence[int]) -> Iterator[Structure | RowRefused]:
        """What is in these rows, ascending; Unavailable if the file can't be read, or has changed."""


@dataclass(frozen=True, eq=False)
class Pool:
    """The structures that fit a task: row `rows[k]` of file `files[which[k]]`."""

    files: Sequence[RowFile]
    which: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_sound(self) -> int:
        """Without the rows that are refused."""
        return sum(int((file.contents.refused[self.rows[self.which == k]] == "").sum()) for k, file in enumerate(self.files))

    def read(self, chosen: NDArray[np.int64], stop: Stop) -> dict[int, Structure | RowRefused]:
        """What is at the chosen places of the pool; every file is gone through once."""
        read: dict[int, Structure | RowRefused] = {}
        for k in np.unique(self.which[chosen]):
            members = np.unique(chosen[self.which[chosen] == k])
            members = members[np.argsort(self.rows[members], kind="stable")]
            structures = self.files[k].read(self.rows[members].tolist())
            for place in members.tolist():
                if stop.is_set():
                    raise Stopped
                read[place] = next(structures)
        return read


def gather_pool(files: Sequence[RowFile], rows: Sequence[NDArray[np.int64]]) -> Pool:
    """These rows of each of the files."""
    which = np.repeat(np.arange(len(files)), [len(own) for own in rows])
    return Pool(files, which, np.concatenate([np.zeros(0, np.int64), *rows]))


def choose_places(task: Task, n_pool: int, laps: int = 1) -> NDArray[np.int64]:
    """The places in the pool to try, in order; at most as many structures as the pool_slice has, so that none is another task's.

    laps  how often the whole pool is gone through, in the same order
    """
    seed, start, most = (task.seed, 0, ATTEMPTS_PER_STRUCTURE * task.n)
    if task.pool_slice is not None:
        seed, start, most = task.pool_slice.seed, task.pool_slice.start, task.n
    order = np.random.default_rng(seed).permutation(n_pool)
    turns = np.arange(start, min(start + most, laps * n_pool))
    return order[turns % n_pool] if n_pool else order


def draw_structures(
    pool: Pool,
    places: NDArray[np.int64],
    task: Task,
    begin: Callable[[Structure, int], Future[Finished]],
    stop: Stop,
    progress: Progress,
    tell: Callable[[int, Fault], None] = lambda place, fault: None,
) -> Made:
    """The task's structures from these places of the pool, until there are enough.

    begin  finishes a structure, as attempt number k
    tell   is told what is refused, by its place in the pool
    """
    made, twins, order = Made(), set[tuple[str, int]](), iter(enumerate(places.tolist()))
    while len(made.structures) < task.n and (turns := list(islice(order, _READ_AHEAD * (task.n - len(made.structures))))):
        found = pool.read(np.array([place for _, place in turns]), stop)
        under_way = [_begin(found[place], made.attempts + k, begin) for k, (_, place) in enumerate(turns)]
        try:
            for (turn, place), future in zip(turns, under_way, strict=True):
                if len(made.structures) < task.n:
                    fault = _accept(wait_for(future, stop), turn // len(pool), task, made, twins)
                    if fault is not None:
                        tell(place, fault)
                    progress(len(made.structures), task.n)
        finally:
            for future in under_way:
                future.cancel()
    if task.pool_slice is not None and len(places) < task.n:
        made.attempts += task.n - len(places)
        made.rejected["pool_used_up"] = task.n - len(places)
    return made


def _begin(found: Structure | RowRefused, attempt: int, begin: Callable[[Structure, int], Future[Finished]]) -> Future[Finished]:
    """What comes of what was read; of a row that is refused nothing does."""
    if isinstance(found, Structure):
        return begin(found, attempt)
    refused: Future[Finished] = Future()
    refused.set_result(Finished(Fault(found.reason, str(found))))
    return refused


def _accept(finished: Finished, lap: int, task: Task, made: Made, twins: set[tuple[str, int]]) -> Fault | None:
    """Take the structure, or count and return why not; some files hold the same structure twice."""
    made.attempts += 1
    fault = finished.outcome if isinstance(finished.outcome, Fault) else None
    if (finished.twins, lap) in twins:
        fault = Fault("duplicate", "the same structure came before in this request")
    if finished.twins is not None:
        twins.add((finished.twins, lap))
    if fault is not None:
        made.rejected[fault.reason] += 1
    elif isinstance(finished.outcome, Structure):
        made.structures.append(finished.outcome.renamed(f"{task.shard}/{len(made.structures):04d}"))
    return fault
