"""Atoms in rows on a grid, cheap and sound: no carbon is alone, and none has a bond."""

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from distillery.structures.structure import Vectors

Numbers = NDArray[np.uint8]
_NEAR = 1.4
"""Sums of covalent radii between a carbon and its neighbours in the row: no bond, yet not without a neighbour."""


def place_in_rows(numbers: Numbers, points: NDArray[np.int64], spacing: float, jitter: float, rng: np.random.Generator) -> Vectors:
    """Positions near `spacing` times the grid points, Å, shape (n_atoms, 3); x of the points must run fastest, from 0.

    Gaps in a row are up to two `jitter` shorter than the spacing, beside a carbon as short as it needs.
    """
    is_first = points[:, 0] == 0
    row = np.cumsum(is_first) - 1
    gaps = spacing - rng.uniform(0, 2 * jitter, len(numbers))
    is_near = (numbers == 6) | (np.roll(numbers, 1) == 6)
    gaps[is_near] = _NEAR * (covalent_radii[numbers] + covalent_radii[np.roll(numbers, 1)])[is_near]
    gaps[is_first] = 0.0
    along = np.cumsum(gaps)
    positions = spacing * points.astype(np.float64)
    positions[:, 0] = along - along[is_first][row]
    positions[:, 1:] += rng.uniform(-jitter, jitter, (row[-1] + 1, 2))[row]
    return positions


def replace_lone_carbon(numbers: Numbers, points: NDArray[np.int64], elements: Numbers) -> Numbers:
    """The atoms with another element, if there is one, for a carbon that has a row to itself."""
    others = elements[elements != 6]
    if points[-1, 0] == 0 and numbers[-1] == 6 and others.size:
        numbers[-1] = others[0]
    return numbers
