"""A service that makes cheap clusters and fails on cue."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from fastapi import FastAPI

from distillery.generators.generator import Made, Progress, Task
from distillery.generators.service import ServiceSettings, create_app
from distillery.runtime.stopping import Stop, Stopped
from distillery.schema.base import Message
from distillery.schema.generate import Metadata, NoOptions, SystemCard
from distillery.structures.structure import DEFAULT_ELEMENTS, Structure, System, numbers_of
from tests.rows import place_in_rows, replace_lone_carbon


class FakeGenerator:
    """Atoms in rows on a 3 Å grid. `script(task, k)` is called before request k: it may raise, or return changes.

    elements     those that are used, whatever is asked for
    composition  "random", or "fixed": always the same elements and number of atoms
    made         how many of n are made (None: all)
    twin         every structure is the same
    """

    def __init__(self, name: str = "fake", system: System = "cluster", script: Callable[[Task, int], None] | None = None) -> None:
        self.name, self.system, self.script = name, system, script
        self.use: tuple[str, ...] | None = None
        self.composition = "random"
        self.twin = False
        self.made: int | None = None
        self.seconds = 0.0
        self.n_max = 1000
        self.calls: Counter[str] = Counter()
        self.stopped = 0
        self._lock = threading.Lock()

    @property
    def metadata(self) -> Metadata:
        limits = SystemCard(min_atoms=1, max_atoms=100, default_min_atoms=4, default_max_atoms=20, elements=DEFAULT_ELEMENTS)
        return Metadata(
            service=self.name,
            version="1.0",
            method="fake",
            licence="none",
            systems={self.system: limits},
            n_max=self.n_max,
            minimum_distance=1.4,
        )

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return {self.system: NoOptions}

    def load(self) -> None: ...

    def check(self, task: Task) -> None: ...

    def close(self) -> None: ...

    def generate(self, task: Task, stop: Stop, progress: Progress) -> Made:
        with self._lock:
            call = self.calls[task.shard]
            self.calls[task.shard] += 1
        if self.script is not None:
            self.script(task, call)
        began = time.monotonic()
        while time.monotonic() - began < self.seconds:  # which a test may change meanwhile
            if stop.is_set():
                self.stopped += 1
                raise Stopped
            time.sleep(0.01)
        n = task.n if self.made is None else min(self.made, task.n)
        return Made(
            [self._make(task, i) for i in range(n)], attempts=task.n, rejected=Counter({"unlucky": task.n - n} if n < task.n else {})
        )

    def _make(self, task: Task, i: int) -> Structure:
        rng = np.random.default_rng([0, 0] if self.twin else [task.seed, i])
        n_atoms = 8 if self.composition == "fixed" or self.twin else int(rng.integers(task.min_atoms, task.max_atoms + 1))
        elements = self.use or task.elements
        symbols = [elements[0]] * n_atoms if self.composition == "fixed" else [str(s) for s in rng.choice(elements, n_atoms)]
        points = np.stack(np.unravel_index(np.arange(n_atoms), (5, 5, 5)), axis=1)[:, ::-1]
        numbers = replace_lone_carbon(numbers_of(symbols), points, numbers_of(list(elements)))
        positions = place_in_rows(numbers, points, 3.0, 0.3, rng)
        return Structure(f"{task.shard}/{i:04d}", numbers, positions, system=self.system, origin={"method": "fake", "kind": "atom"})


def build_slow() -> FastAPI:
    """As a process of its own: the service ase, which takes a third of a second for each request."""
    generator = FakeGenerator("ase")
    generator.seconds = 0.3
    return create_app(generator, ServiceSettings())
