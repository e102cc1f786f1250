"""Supercells of benchmark crystals that are smaller than what was asked for."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from distillery.generators.generator import Task
from distillery.generators.supercell import Matrix, build_supercell, draw_n_atoms, pick_matrix
from distillery.structures.structure import Structure, Vectors


def enlarge(structure: Structure, task: Task, rng: np.random.Generator) -> Structure:
    """A structure as it is, or a small crystal repeated to the size of a task (`expand`)."""
    return structure if len(structure) >= task.min_atoms else expand(structure, task.min_atoms, task.max_atoms, rng)


def expand(structure: Structure, min_atoms: int, max_atoms: int, rng: np.random.Generator) -> Structure:
    """The cell repeated along its own vectors, of min_atoms to max_atoms atoms, near a size drawn log-uniformly and near a cube.

    `origin["supercell"]` has the repetitions. Rejected("no_supercell") if none fits.
    """
    lengths = np.linalg.norm(structure.cell, axis=1)
    wanted = draw_n_atoms(min_atoms, max_atoms, rng)
    candidates = _list_repeats(max_atoms // len(structure))
    sizes = len(structure) * candidates.diagonal(axis1=1, axis2=2).prod(axis=1).astype(np.float64)
    matrix = pick_matrix(candidates, sizes, wanted, (min_atoms, max_atoms), lambda matrices: _unevenness(matrices, lengths))
    larger = build_supercell(structure, matrix)
    return replace(larger, origin={**structure.origin, "supercell": matrix.diagonal().tolist()})


def _unevenness(matrices: Matrix, lengths: Vectors) -> Vectors:
    """Longest edge over shortest, of cells of these edge lengths repeated so often."""
    edges = matrices.diagonal(axis1=1, axis2=2) * lengths
    ratio: Vectors = edges.max(axis=1) / edges.min(axis=1)
    return ratio


@lru_cache(maxsize=64)
def _list_repeats(most: int) -> Matrix:
    """All diagonal (a, b, c) with a * b * c <= most, shape (n, 3, 3)."""
    triples = [(a, b, c) for a in range(1, most + 1) for b in range(1, most // a + 1) for c in range(1, most // (a * b) + 1)]
    counts = np.array(triples, dtype=np.int64).reshape(-1, 3)
    return counts[:, :, None] * np.eye(3, dtype=np.int64)
