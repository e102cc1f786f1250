"""BenchmarkGenerator: seeded samples, without replacement, of benchmark structures that fit a request."""

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from distillery.errors import Unavailable, Unsupported
from distillery.generators.generator import Made, Progress, Task
from distillery.generators.proposals import ATTEMPTS_PER_STRUCTURE
from distillery.generators.settings import ServiceSettings
from distillery.generators.workers import Workers, submit, wait_for
from distillery.runtime.machine import count_workers
from distillery.runtime.stopping import Stop, Stopped
from distillery.runtime.versions import name_versions
from distillery.schema.base import Message
from distillery.schema.generate import Metadata, SystemCard
from distillery.structures.checks import SHORTEST_DISTANCE
from distillery.structures.structure import Structure, System
from services.benchmarks.catalogue import SUBSETS, Subset
from services.benchmarks.contents import RowRefused
from services.benchmarks.finishing import Finished, finish
from services.benchmarks.options import CrystalOptions, SurfaceOptions
from services.benchmarks.settings import BenchmarkSettings
from services.benchmarks.shelf import File, Shelf, open_shelf

ELEMENTS = tuple(chemical_symbols[1:95])
_READ_AHEAD = 2
"""Structures read from the files at a time, for every one that is still missing."""
_log = logging.getLogger("distillery")


@dataclass(frozen=True, eq=False)
class FittingStructures:
    """The structures that fit a task: row `rows[k]` of file `files[which[k]]`."""

    files: Sequence[File]
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
            members = np.sort(chosen[self.which[chosen] == k])
            structures = self.files[k].read(self.rows[members].tolist())
            for place in members.tolist():
                if stop.is_set():
                    raise Stopped
                read[place] = next(structures)
        return read


class BenchmarkGenerator:
    """A `distillery.generators.generator.Generator` of crystals (MatBench) and surfaces (OC20, OC22)."""

    def __init__(self, settings: BenchmarkSettings, workers: int = 1, subsets: Sequence[Subset] = SUBSETS) -> None:
        """`distillery.runtime.machine.count_workers` says how many workers a machine carries."""
        self._settings = settings
        self._workers = Workers("benchmarks", workers, finish.__module__)
        self._subsets = subsets
        self._shelves: dict[str, Shelf] = {}
        self._missing: dict[str, str] = {}
        self._is_closing = threading.Event()

    @property
    def metadata(self) -> Metadata:
        return Metadata(
            service="benchmarks",
            version="1.2",
            method="Seeded samples without replacement of OC20, OC22 and MatBench; `versions` names the subsets at hand.",
            licence="; ".join(f"{subset.name}: {subset.licence}" for subset in self._subsets),
            systems={
                "crystal": _card(1, 1000, CrystalOptions, (50, 500)),
                "surface": _card(1, 1000, SurfaceOptions, (50, 300)),
            },
            n_max=1000,
            minimum_distance=SHORTEST_DISTANCE,
            versions={**name_versions(), **{name: shelf.version for name, shelf in self._shelves.items()}},
        )

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return {"crystal": CrystalOptions, "surface": SurfaceOptions}

    def load(self) -> None:
        """Find and index every subset there is; Unavailable if there is none."""
        shelves: dict[str, Shelf] = {}
        for subset in self._subsets:
            try:
                shelves[subset.name] = open_shelf(subset, self._settings, self._is_closing)
            except Unavailable as problem:
                self._missing[subset.name] = problem.detail
                _log.info("%s", problem.detail)
        if not shelves:
            raise Unavailable("no benchmark is at hand. " + ". ".join(self._missing.values()))
        self._shelves = shelves
        self._workers.load()

    def close(self) -> None:
        """Give up a download or scan that is under way, end the workers."""
        self._is_closing.set()
        self._workers.close()

    def check(self, task: Task) -> None:
        """Unavailable if a subset that is asked for is not at hand, Unsupported if no structure in them fits."""
        if not self._gather(task).n_sound:
            raise Unsupported(
                f"none of the structures in {', '.join(_subsets_of(task))} has {_size_of(task)} atoms of {' '.join(task.elements)} only; "
                "allow more elements or another size, or name other subsets"
            )

    def generate(self, task: Task, stop: Stop, progress: Progress) -> Made:
        """See `Generator`: the task's slice of the pool; without one the pool, until n have passed the checks."""
        return self._workers.run(lambda workers: self._generate(workers, task, stop, progress), task.shard)

    def _generate(self, workers: ProcessPoolExecutor, task: Task, stop: Stop, progress: Progress) -> Made:
        pool, made, twins = self._gather(task), Made(), set[str]()
        places = _choose(task, len(pool))
        order = iter(places.tolist())
        while len(made.structures) < task.n and (chosen := list(islice(order, _READ_AHEAD * (task.n - len(made.structures))))):
            structures = pool.read(np.array(chosen), stop)
            under_way = [_begin(workers, structures.pop(place), task, made.attempts + k) for k, place in enumerate(chosen)]
            try:
                for future in under_way:
                    if len(made.structures) < task.n:
                        _accept(wait_for(future, stop), task, made, twins)
                        progress(len(made.structures), task.n)
            finally:
                for future in under_way:
                    future.cancel()
        if task.pool_slice is not None and len(places) < task.n:
            made.attempts += task.n - len(places)
            made.rejected["pool_used_up"] = task.n - len(places)
        return made

    def _gather(self, task: Task) -> FittingStructures:
        """Every structure that fits by its elements and size; crystals may be smaller, they are repeated."""
        files = [file for name in _subsets_of(task) for file in self._require(name).files]
        fewest = 1 if task.system == "crystal" else task.min_atoms
        rows = [np.flatnonzero(file.contents.find_fitting(task.elements, fewest, task.max_atoms)) for file in files]
        which = np.repeat(np.arange(len(files)), [len(r) for r in rows])
        return FittingStructures(files, which, np.concatenate(rows))

    def _require(self, name: str) -> Shelf:
        if name not in self._shelves:
            at_hand = ", ".join(self._shelves) or "none"
            raise Unavailable(f"{self._missing.get(name, f'{name} is missing')}. Then start the service again; at hand: {at_hand}")
        return self._shelves[name]


def _begin(workers: ProcessPoolExecutor, found: Structure | RowRefused, task: Task, attempt: int) -> Future[Finished]:
    """What comes of what was read; of a row that is refused nothing does."""
    if isinstance(found, Structure):
        return submit(workers, finish, found, task, attempt)
    refused: Future[Finished] = Future()
    refused.set_result(Finished(found.reason))
    return refused


def _choose(task: Task, n_pool: int) -> NDArray[np.int64]:
    """The places in the pool to try, in order; at most as many structures as the pool_slice has, so that none is another task's."""
    seed, start, most = (task.seed, 0, ATTEMPTS_PER_STRUCTURE * task.n)
    if task.pool_slice is not None:
        seed, start, most = task.pool_slice.seed, task.pool_slice.start, task.n
    return np.random.default_rng(seed).permutation(n_pool)[start : start + most]


def _card(least: int, most: int, options: type[Message], default: tuple[int, int]) -> SystemCard:
    return SystemCard(
        min_atoms=least,
        max_atoms=most,
        default_min_atoms=default[0],
        default_max_atoms=default[1],
        elements=ELEMENTS,
        options_schema=options.model_json_schema(),
    )


def _subsets_of(task: Task) -> tuple[str, ...]:
    assert isinstance(task.options, CrystalOptions | SurfaceOptions)
    return task.options.subsets


def _size_of(task: Task) -> str:
    return f"at most {task.max_atoms}" if task.system == "crystal" else f"{task.min_atoms}-{task.max_atoms}"


def _accept(finished: Finished, task: Task, made: Made, twins: set[str]) -> None:
    """Take the structure or count why not; some benchmarks hold the same structure twice."""
    made.attempts += 1
    if finished.twins in twins:
        made.rejected["duplicate"] += 1
        return
    if finished.twins is not None:
        twins.add(finished.twins)
    if isinstance(finished.outcome, str):
        made.rejected[finished.outcome] += 1
    else:
        made.structures.append(finished.outcome.renamed(f"{task.shard}/{len(made.structures):04d}"))


_MEMORY_PER_WORKER = 256 * 2**20
"""Bytes; a worker needs far less, the rest is for what is read of the files meanwhile."""


def build() -> BenchmarkGenerator:
    """The service's generator, set up from the environment."""
    return BenchmarkGenerator(BenchmarkSettings(), ServiceSettings().workers or count_workers(_MEMORY_PER_WORKER))
