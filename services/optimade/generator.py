"""The proposer of the optimade service: one entry of the pool after the other, repeated to the wanted size."""

import threading
from collections.abc import Mapping
from functools import cached_property, lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from distillery.errors import Unavailable, Unsupported
from distillery.generators.generator import Task
from distillery.generators.proposals import PoolExhausted, Proposal, ProposalGenerator, Rejected
from distillery.generators.settings import ServiceSettings
from distillery.generators.supercell import expand_to
from distillery.runtime.machine import count_workers
from distillery.runtime.versions import name_versions
from distillery.schema.base import Message
from distillery.schema.generate import Metadata, SystemCard
from distillery.structures.checks import SHORTEST_DISTANCE
from distillery.structures.identity import structure_hash
from distillery.structures.structure import Structure, System
from services.optimade.pool import Pool, ensure_pool, find_fitting, find_path, read_pool
from services.optimade.settings import OptimadeSettings


class CrystalOptions(Message):
    """There are none: what is asked of the provider belongs to the service's settings, as the pool is the same for all requests."""


class OptimadeProposer:
    """Proposes the crystals of a pool that is on disk; seeded order, each at most once in a request or slice."""

    def __init__(self, settings: OptimadeSettings) -> None:
        self._settings = settings

    @cached_property
    def pool(self) -> Pool:
        """Unavailable if it was not fetched yet."""
        if self._settings.url is None or not find_path(self._settings).is_file():
            raise Unavailable("the crystals of the OPTIMADE provider were not fetched yet; the service does so when it starts")
        return read_pool(find_path(self._settings))

    @property
    def metadata(self) -> Metadata:
        card = SystemCard(
            min_atoms=1,
            max_atoms=1000,
            default_min_atoms=50,
            default_max_atoms=500,
            elements=self._settings.elements,
            options_schema=CrystalOptions.model_json_schema(),
        )
        is_read = "pool" in self.__dict__
        return Metadata(
            service="optimade",
            version="1.1",
            method=f"Seeded samples without replacement of the crystals of an OPTIMADE provider: {self._settings.url or 'none is set'}",
            licence=self.pool.licence if is_read else self._settings.licence or "the provider's",
            systems={"crystal": card},
            n_max=1000,
            minimum_distance=SHORTEST_DISTANCE,
            versions={**name_versions("ase"), **({"pool": self.pool.version} if is_read else {})},
        )

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return {"crystal": CrystalOptions}

    def check(self, task: Task) -> None:
        """Unsupported if no crystal of the pool fits."""
        if not self._gather(task):
            raise Unsupported(
                f"none of the {len(self.pool.structures)} crystals has a supercell of {task.min_atoms}-{task.max_atoms} atoms of "
                f"{' '.join(task.elements)} only; allow more elements or another size"
            )

    def propose(self, task: Task, rng: np.random.Generator) -> Proposal:
        """The crystal whose turn it is; PoolExhausted at the end of the task's slice, Rejected("pool_used_up") at that of the pool."""
        fitting = self._gather(task)
        seed, place = task.seed, task.attempt
        if task.pool_slice is not None:
            if task.attempt >= task.n:
                raise PoolExhausted
            seed, place = task.pool_slice.seed, task.pool_slice.start + task.attempt
        if place >= len(fitting):
            raise Rejected("pool_used_up")
        crystal = fitting[int(_shuffle(seed, len(fitting))[place])]
        return Proposal((expand_to(crystal, task.min_atoms, task.max_atoms, rng),), key=structure_hash(crystal))

    def _gather(self, task: Task) -> tuple[Structure, ...]:
        return _find_fitting(self.pool, frozenset(task.elements), task.min_atoms, task.max_atoms)


@lru_cache(maxsize=16)
def _find_fitting(pool: Pool, elements: frozenset[str], min_atoms: int, max_atoms: int) -> tuple[Structure, ...]:
    return find_fitting(pool.structures, elements, min_atoms, max_atoms)


@lru_cache(maxsize=16)
def _shuffle(seed: int, n: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(n)


class OptimadeGenerator(ProposalGenerator):
    """Fetches the pool before its workers start."""

    def __init__(self, settings: OptimadeSettings, workers: int) -> None:
        super().__init__(partial(OptimadeProposer, settings), workers, module=__name__)
        self._settings = settings
        self._is_closing = threading.Event()

    def load(self) -> None:
        """Fetch or read the pool, start the workers; Unavailable says what is missing."""
        ensure_pool(self._settings, self._is_closing)
        assert isinstance(self.proposer, OptimadeProposer)
        _ = self.proposer.pool
        super().load()

    def close(self) -> None:
        """Give up a download that is under way, end the workers."""
        self._is_closing.set()
        super().close()


_MEMORY_PER_WORKER = 256 * 2**20
"""Bytes; a worker holds the pool, about 1 KB an atom of it."""


def build() -> OptimadeGenerator:
    """The service's generator, set up from the environment."""
    return OptimadeGenerator(OptimadeSettings(), ServiceSettings().workers or count_workers(_MEMORY_PER_WORKER))
