"""Supercells of benchmark crystals that are smaller than what was asked for."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from ase.build import make_supercell
from numpy.typing import NDArray

from contract.proposals import Rejected
from contract.structures import Structure, from_ase, to_ase


def expand(structure: Structure, min_atoms: int, max_atoms: int, rng: np.random.Generator) -> Structure:
    """The cell repeated along its vectors, of min_atoms to max_atoms atoms, near a size drawn log-uniformly and near a cube.

    `origin["supercell"]` has the repetitions. Rejected("no_supercell") if none fits.
    """
    wanted = np.exp(rng.uniform(np.log(min_atoms), np.log(max_atoms + 1)))
    counts = _list_repeats(max_atoms // len(structure))
    n_atoms = len(structure) * counts.prod(axis=1)
    fits = (n_atoms >= min_atoms) & (n_atoms <= max_atoms)
    if not fits.any():
        raise Rejected("no_supercell")
    edges = counts[fits] * np.linalg.norm(structure.cell, axis=1)
    cost = np.abs(np.log(n_atoms[fits] / wanted)) + np.log(edges.max(axis=1) / edges.min(axis=1))
    repeats = counts[fits][int(cost.argmin())]
    larger = from_ase(make_supercell(to_ase(structure), np.diag(repeats)), id=structure.id, system="crystal")
    return replace(larger, origin={**structure.origin, "supercell": repeats.tolist()})


@lru_cache(maxsize=64)
def _list_repeats(most: int) -> NDArray[np.int64]:
    """All (a, b, c) with a * b * c <= most, shape (n, 3)."""
    triples = [(a, b, c) for a in range(1, most + 1) for b in range(1, most // a + 1) for c in range(1, most // (a * b) + 1)]
    return np.array(triples, dtype=np.int64).reshape(-1, 3)
