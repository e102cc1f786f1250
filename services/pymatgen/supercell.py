"""Supercells: near-cubic ones of a wanted size, not necessarily diagonal."""

from dataclasses import replace

import numpy as np
from ase.build import make_supercell
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray

from contract.proposals import Rejected
from contract.structures import Structure, Vectors, from_ase, to_ase

Matrix = NDArray[np.int64]

_STRETCHES = np.linspace(0.8, 1.25, 19)
"""Edges of the cube aimed at, relative to the wanted one, so that some rounding to whole cells fits the size range."""
_N_SHAKEN = 1000
"""Roundings with random errors of one cell, for narrow size ranges."""


def expand(structure: Structure, min_atoms: int, max_atoms: int, rng: np.random.Generator) -> Structure:
    """A near-cubic supercell of min_atoms to max_atoms atoms, its size drawn log-uniformly; Rejected if there is none.

    Row i of `origin["supercell"]` is the new vector i in the old ones: new cell = matrix @ old cell.
    """
    n_atoms = np.exp(rng.uniform(np.log(min_atoms), np.log(max_atoms + 1)))
    candidates = _propose_matrices(structure.cell, max(1.0, n_atoms / len(structure)), rng)
    sizes = len(structure) * np.rint(np.linalg.det(candidates))
    fits = (min_atoms <= sizes) & (sizes <= max_atoms)
    if not fits.any():
        raise Rejected("no_supercell")
    candidates, sizes = candidates[fits], sizes[fits]
    cost = np.abs(np.log(sizes / n_atoms)) + np.log(elongation(candidates @ structure.cell))
    matrix = _reduce(candidates[int(cost.argmin())], structure.cell)
    larger = from_ase(make_supercell(to_ase(structure), matrix), id=structure.id, system="crystal")
    return replace(larger, origin={**structure.origin, "supercell": matrix.tolist()})


def elongation(cell: Vectors) -> Vectors:
    """Longest vector over smallest height, 1 for a cube; cells of shape (..., 3, 3)."""
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=-2)
    ratio: Vectors = np.linalg.norm(cell, axis=-1).max(-1) / heights.min(-1)
    return ratio


def _propose_matrices(cell: Vectors, n_cells: float, rng: np.random.Generator) -> Matrix:
    """Blocks of cells and cubes rounded to whole cells, shaken ones too; determinants positive, shape (n_matrices, 3, 3)."""
    edges = _STRETCHES[:, None, None] * (n_cells * abs(np.linalg.det(cell))) ** (1 / 3)
    cubes = np.rint(edges * np.linalg.inv(cell))
    shortest = _shortest_vectors(cell)
    counts = np.maximum(1, np.rint(edges / np.linalg.norm(shortest @ cell, axis=1)[:, None]))
    shaken = cubes[rng.integers(len(cubes), size=_N_SHAKEN)] + rng.integers(-1, 2, (_N_SHAKEN, 3, 3))
    matrices = np.concatenate([shortest[None], counts * shortest, cubes, shaken]).astype(np.int64)
    sign = np.sign(np.rint(np.linalg.det(matrices))).astype(np.int64)
    positive: Matrix = (sign[:, None, None] * matrices)[sign != 0]
    return positive


def _reduce(matrix: Matrix, cell: Vectors) -> Matrix:
    """The same supercell with the shortest vectors, right-handed."""
    shorter: Matrix = _shortest_vectors(matrix @ cell) @ matrix
    return shorter if np.linalg.det(shorter @ cell) > 0 else -shorter


def _shortest_vectors(cell: Vectors) -> Matrix:
    """The lattice's shortest vectors in those of `cell`: Nguyen & Stehlé's Minkowski reduction, from ASE."""
    return np.array(minkowski_reduce(cell)[1], dtype=np.int64)
