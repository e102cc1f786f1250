"""Supercells: crystals repeated until they have as many atoms as were asked for."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from ase.build import make_supercell
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray

from distillery.generators.proposals import Rejected
from distillery.structures.structure import Structure, Vectors, from_ase, to_ase

Matrix = NDArray[np.int64]
"""Row i has the new vector i in the old ones: new cell = matrix @ old cell."""

_STRETCHES = np.linspace(0.8, 1.25, 19)
"""Edges of the cube aimed at, relative to the wanted one, so that some rounding to whole cells fits the size range."""
_N_SHAKEN = 1000
"""Roundings with random errors of one cell, for narrow size ranges."""


def expand_to(structure: Structure, min_atoms: int, max_atoms: int, rng: np.random.Generator) -> Structure:
    """A near-cubic supercell of min_atoms to max_atoms atoms, not necessarily diagonal, its size drawn log-uniformly.

    `origin["supercell"]` has the matrix. Rejected("no_supercell") if none fits.
    """
    wanted = draw_n_atoms(min_atoms, max_atoms, rng)
    candidates = _propose_matrices(structure.cell, max(1.0, wanted / len(structure)), rng)
    sizes = len(structure) * np.rint(np.linalg.det(candidates))
    matrix = pick_matrix(candidates, sizes, wanted, (min_atoms, max_atoms), lambda matrices: elongation(matrices @ structure.cell))
    matrix = _reduce(matrix, structure.cell)
    larger = build_supercell(structure, matrix)
    return replace(larger, origin={**structure.origin, "supercell": matrix.tolist()})


def draw_n_atoms(min_atoms: int, max_atoms: int, rng: np.random.Generator) -> float:
    """A size drawn log-uniformly."""
    return float(np.exp(rng.uniform(np.log(min_atoms), np.log(max_atoms + 1))))


def pick_matrix(
    candidates: Matrix, sizes: Vectors, wanted: float, size_range: tuple[int, int], distortion: Callable[[Matrix], Vectors]
) -> Matrix:
    """The candidate, of those with a size in the range, that is nearest to the wanted one and to a cube; Rejected if there is none.

    candidates  shape (n, 3, 3)
    sizes       atoms of each, shape (n,)
    distortion  of matrices (m, 3, 3), 1 for a cube, shape (m,)
    """
    fits = (size_range[0] <= sizes) & (sizes <= size_range[1])
    if not fits.any():
        raise Rejected("no_supercell")
    cost = np.abs(np.log(sizes[fits] / wanted)) + np.log(distortion(candidates[fits]))
    best: Matrix = candidates[fits][int(cost.argmin())]
    return best


def build_supercell(structure: Structure, matrix: Matrix) -> Structure:
    """The crystal in the cell `matrix @ structure.cell`, with the same id and origin, charge and unpaired electrons of all cells."""
    atoms = make_supercell(to_ase(structure), matrix)
    n_cells = len(atoms) // len(structure)
    return from_ase(
        atoms,
        id=structure.id,
        system="crystal",
        origin=structure.origin,
        charge=n_cells * structure.charge,
        multiplicity=n_cells * (structure.multiplicity - 1) + 1 if structure.multiplicity else 0,
    )


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
