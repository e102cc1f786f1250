"""BenchmarkGenerator: seeded samples, without replacement, of benchmark structures that fit a request."""

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor

import numpy as np
from ase.data import chemical_symbols

from distillery.errors import Unavailable, Unsupported
from distillery.generators.files.finishing import Finished, finish_structure
from distillery.generators.files.pool import Pool, choose_places, draw_structures, gather_pool
from distillery.generators.generator import Made, Progress, Task
from distillery.generators.settings import ServiceSettings
from distillery.generators.workers import Workers, submit
from distillery.runtime.machine import count_workers
from distillery.runtime.stopping import Stop
from distillery.runtime.versions import name_versions
from distillery.schema.base import Message
from distillery.schema.generate import Metadata, SystemCard
from distillery.structures.checks import SHORTEST_DISTANCE
from distillery.structures.structure import Structure, System
from services.benchmarks.catalogue import SUBSETS, Subset
from services.benchmarks.options import CrystalOptions, SurfaceOptions
from services.benchmarks.settings import BenchmarkSettings
from services.benchmarks.shelf import Shelf, open_shelf
from services.benchmarks.supercell import enlarge

ELEMENTS = tuple(chemical_symbols[1:95])
_log = logging.getLogger("distillery")


class BenchmarkGenerator:
    """A `distillery.generators.generator.Generator` of crystals (MatBench) and surfaces (OC20, OC22)."""

    def __init__(self, settings: BenchmarkSettings, workers: int = 1, subsets: Sequence[Subset] = SUBSETS) -> None:
        """`distillery.runtime.machine.count_workers` says how many workers a machine carries."""
        self._settings = settings
        self._workers = Workers("benchmarks", workers, __name__)
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
        pool = self._gather(task)

        def begin(structure: Structure, attempt: int) -> Future[Finished]:
            return submit(workers, finish_structure, structure, task, attempt, enlarge)

        return draw_structures(pool, choose_places(task, len(pool)), task, begin, stop, progress)

    def _gather(self, task: Task) -> Pool:
        """Every structure that fits by its elements and size; crystals may be smaller, they are repeated."""
        files = [file for name in _subsets_of(task) for file in self._require(name).files]
        fewest = 1 if task.system == "crystal" else task.min_atoms
        rows = [np.flatnonzero(file.contents.find_fitting(task.elements, fewest, task.max_atoms)) for file in files]
        return gather_pool(files, rows)

    def _require(self, name: str) -> Shelf:
        if name not in self._shelves:
            at_hand = ", ".join(self._shelves) or "none"
            raise Unavailable(f"{self._missing.get(name, f'{name} is missing')}. Then start the service again; at hand: {at_hand}")
        return self._shelves[name]


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


_MEMORY_PER_WORKER = 256 * 2**20
"""Bytes; a worker needs far less, the rest is for what is read of the files meanwhile."""


def build() -> BenchmarkGenerator:
    """The service's generator, set up from the environment."""
    return BenchmarkGenerator(BenchmarkSettings(), ServiceSettings().workers or count_workers(_MEMORY_PER_WORKER))
