"""A palette: the fragments that may be used for a task, and how often each element is asked for."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from services.rdkit.fragments import Fragment, load_fragments

_METHYL = 3
"""Atoms that a methyl adds: every open bond beyond the first is expected to cost at least that."""


@dataclass(frozen=True, eq=False)
class FragmentPool:
    """The fragments that bring one element, and how many atoms each adds when it is joined, shape (n_fragments,)."""

    fragments: tuple[Fragment, ...]
    added: NDArray[np.int64]

    @classmethod
    def of(cls, fragments: Iterable[Fragment]) -> "FragmentPool":
        """A pool of these fragments; a bond costs the two hydrogens that it replaces."""
        held = tuple(fragments)
        return cls(held, np.array([f.n_atoms - 2 + _METHYL * max(0, f.n_open - 1) for f in held], dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Palette:
    """One pool an element, and the relative chance that the next fragment comes from it, shape (n_pools,)."""

    pools: tuple[FragmentPool, ...]
    weights: NDArray[np.float64]

    def draw(self, low: int, high: int, rng: np.random.Generator) -> Fragment | None:
        """An element by weight, then any of its fragments that add low..high atoms; None if no fragment does."""
        fitting = [np.flatnonzero((pool.added >= low) & (pool.added <= high)) for pool in self.pools]
        chance = np.cumsum(self.weights * [indices.size > 0 for indices in fitting])
        if not chance.size or chance[-1] <= 0:
            return None
        which = int(np.searchsorted(chance, rng.random() * chance[-1], side="right"))
        indices = fitting[which]
        return self.pools[which].fragments[int(indices[rng.integers(indices.size)])]

    @cached_property
    def seeds(self) -> "Palette":
        """The fragments without open bonds: what a molecule can start from."""
        return Palette(tuple(FragmentPool.of(f for f in pool.fragments if f.n_open == 0) for pool in self.pools), self.weights)

    @cached_property
    def rings(self) -> "Palette":
        """The seeds that have a ring."""
        return Palette(tuple(FragmentPool.of(f for f in pool.fragments if f.is_ring) for pool in self.seeds.pools), self.weights)


@cache
def make_palette(elements: frozenset[str], weights: tuple[tuple[str, float], ...]) -> Palette:
    """The fragments made of `elements` only, in one pool an element of `weights`; carbon's holds the hydrocarbons.

    An element of weight 0 is left out altogether; of carbon only the hydrocarbons can be.
    """
    unwanted = {element for element, weight in weights if weight == 0} - {"C"}
    allowed = [fragment for fragment in load_fragments() if fragment.elements <= elements - unwanted]
    pools = [FragmentPool.of(f for f in allowed if _brings(f, element)) for element, _ in weights]
    return Palette(tuple(pools), np.array([weight for _, weight in weights]))


def _brings(fragment: Fragment, element: str) -> bool:
    return fragment.elements <= {"H", "C"} if element == "C" else element in fragment.elements
