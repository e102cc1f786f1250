"""How many heavy atoms each molecule gets, so that with its hydrogens it has the size that was asked for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

ATOMS_PER_HEAVY, SPREAD = 1.8, 0.25
"""Atoms, hydrogens included, for each heavy atom of drug-like molecules (GEOM-Drugs: 44.4 / 24.9), and their standard deviation."""
_LEAST_CHANCE = 1e-3
"""A number of heavy atoms that gives the wanted size more rarely is not drawn at all."""


@dataclass(frozen=True)
class Trained:
    """Mean and standard deviation of the numbers of heavy atoms that a checkpoint was trained on."""

    mean: float
    std: float


GEOM_DRUGS = Trained(24.923464980477522, 5.516291901819105)
"""The set that the published checkpoints were trained on, as upstream's sampler has it."""


@dataclass(frozen=True, eq=False)
class Sizes:
    """Numbers of heavy atoms that may give a wanted size and the chance of each, shape (n_sizes,); empty if none does."""

    n_heavy: NDArray[np.int64]
    chances: NDArray[np.float64]

    def draw(self, n: int, rng: np.random.Generator) -> list[int]:
        """Sizes of n molecules."""
        return [int(size) for size in rng.choice(self.n_heavy, n, p=self.chances)]


def weigh_sizes(n_atoms: tuple[int, int], n_heavy: tuple[int, int], trained: Trained) -> Sizes:
    """Sizes as they were trained, weighed by the chance that they come out with `n_atoms` (least, most) atoms, hydrogens included."""
    sizes = np.arange(n_heavy[0], n_heavy[1] + 1)
    low, high = ((edge - ATOMS_PER_HEAVY * sizes) / (SPREAD * sizes) for edge in (n_atoms[0] - 0.5, n_atoms[1] + 0.5))
    fitting = ndtr(high) - ndtr(low)
    sizes, fitting = sizes[fitting >= _LEAST_CHANCE], fitting[fitting >= _LEAST_CHANCE]
    if not sizes.size:
        return Sizes(sizes, fitting)
    logarithms = np.log(fitting) - ((sizes - trained.mean) / trained.std) ** 2 / 2
    chances = np.exp(logarithms - logarithms.max())
    return Sizes(sizes, chances / chances.sum())
