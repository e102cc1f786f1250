"""Seeded samples of structures, drawn while parts go by."""

import heapq
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import Arrays, make_structure
from distillery.structures.identity import derive_seed
from distillery.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class SampledStructure:
    """A structure of a sample, with its labels.

    key            its place in the order of drawing, in [0, 1)
    energy         eV
    largest_force  eV/Å
    forces         eV/Å, shape (n_atoms, 3)
    """

    key: float
    structure: Structure
    source: str
    energy: float
    largest_force: float
    forces: NDArray[np.float32] | None = None


@dataclass
class Sample:
    """The `size` structures with the smallest keys of all that were offered; memory does not grow beyond that."""

    size: int
    drawn: list[SampledStructure] = field(default_factory=list)

    def offer(self, arrays: Arrays, keys: NDArray[np.float64]) -> None:
        """Take those of a part that belong into the sample."""
        limit = self.drawn[-1].key if len(self.drawn) == self.size else 1.0
        fresh = np.flatnonzero(keys < limit)
        fresh = fresh[np.argsort(keys[fresh])][: self.size]
        self.drawn = merge_samples((self.drawn, [read_sampled(arrays, int(i), float(keys[i])) for i in fresh]), self.size)


def merge_samples(samples: Iterable[list[SampledStructure]], size: int) -> list[SampledStructure]:
    """The smallest keys of several samples, each in order of its keys."""
    return list(heapq.merge(*samples, key=operator.attrgetter("key")))[:size]


def draw_keys(seed: int, part: str, n: int) -> NDArray[np.float64]:
    """A key for every structure of a part: a function of seed, part and place alone, so that order does not matter."""
    return np.random.default_rng(derive_seed(seed, part, 0)).random(n)


def read_sampled(arrays: Arrays, i: int, key: float = 0.0) -> SampledStructure:
    """Structure i of a part and its labels."""
    rows = slice(*arrays["structures/atomic_numbers_splits"][i : i + 2])
    forces = arrays["labels/forces"][rows].copy()
    largest_force = float(np.linalg.norm(forces.astype(np.float64), axis=1).max())
    return SampledStructure(
        key, make_structure(arrays, i), str(arrays["provenance/source"][i]), float(arrays["labels/energy"][i]), largest_force, forces
    )
