"""A periodic structure has endless descriptions: any cell of its lattice, any image of its atoms. Some are no use, and are restated."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from distillery.structures.structure import Structure, Vectors

LARGEST_EXTENT = 1000.0
"""No structure or cell is longer than this, Å: nothing that large is asked for, and neighbour lists of it exhaust memory."""
_FARTHEST_WRAPPED = 1e8
"""Å; of a place farther out too few digits are left to tell where in the cell it is."""
_SHORTEST_VECTOR = 1.0
"""Å."""
_LEAST_VOLUME = 0.05
"""Of a cell, as a share of the product of its lengths; of a reduced one it is 0.7 at least, unless it is singular."""


def is_flat(cell: Vectors) -> bool:
    """True of a cell with a vector too short to hold an atom, or with next to no volume for its lengths, shape (3, 3)."""
    lengths = np.linalg.norm(cell, axis=1)
    return bool(lengths.min() < _SHORTEST_VECTOR or abs(np.linalg.det(cell)) < _LEAST_VOLUME * float(lengths.prod()))


def find_extent(structure: Structure) -> float:
    """The largest extent of atoms and cell along x, y or z, Å."""
    return max(float(np.ptp(structure.positions, axis=0).max()), float(np.abs(structure.cell).max()))


def restate(structure: Structure) -> Structure:
    """The same structure wrapped into its reduced cell, if its description is skewed flat or its atoms lie cells apart; else as it is.

    Of a surface a and b are reduced in their plane, and c keeps its height over it.
    """
    is_sound = len(structure) and np.isfinite(structure.positions).all() and np.isfinite(structure.cell).all()
    if not (is_sound and all(structure.pbc)):
        return structure
    is_skewed = is_flat(structure.cell) or float(np.abs(structure.cell).max()) > LARGEST_EXTENT
    if not is_skewed and find_extent(structure) <= LARGEST_EXTENT:
        return structure
    if np.abs(structure.positions).max() > _FARTHEST_WRAPPED:
        return structure
    cell = _reduce(structure) if is_skewed else structure.cell
    if cell is None:
        return structure
    fractional = np.linalg.solve(cell.T, structure.positions.T).T
    return replace(structure, cell=cell, positions=(fractional - np.floor(fractional)) @ cell)


def make_right_handed(structures: Sequence[Structure]) -> list[Structure]:
    """The same lattices, atoms and directions, with a and b exchanged where a, b and c are left-handed; all others as they are."""
    is_left = np.linalg.det(np.array([structure.cell for structure in structures]).reshape(-1, 3, 3)) < 0
    return [_exchange(structure) if left else structure for structure, left in zip(structures, is_left.tolist(), strict=True)]


def _exchange(structure: Structure) -> Structure:
    a, b, c = structure.pbc
    return replace(structure, cell=structure.cell[[1, 0, 2]], pbc=(b, a, c))


def _reduce(structure: Structure) -> Vectors | None:
    """The cell of shortest vectors; None where there is none, as of a singular one."""
    from ase.geometry.minkowski_reduction import minkowski_reduce  # seldom needed

    if np.linalg.matrix_rank(structure.cell) < 3:
        return None
    is_surface = structure.system == "surface"
    try:
        cell = np.array(minkowski_reduce(structure.cell, pbc=(True, True, not is_surface))[0], dtype=np.float64)
    except (RuntimeError, ValueError, np.linalg.LinAlgError):
        return None
    if is_surface:
        shift, *_ = np.linalg.lstsq(cell[:2].T, cell[2], rcond=None)
        cell[2] -= np.rint(shift) @ cell[:2]
    return cell if np.isfinite(cell).all() else None
