"""Cells that a model made: whether they are those of a crystal at all."""

import numpy as np

from distillery.generators.proposals import Rejected
from distillery.structures.structure import Vectors

LARGEST_VOLUME_PER_ATOM = 150.0
"""Å³; solid caesium, the sparsest element, has 115."""
LENGTHS = (1.5, 60.0)
"""Å; of the cell's vectors."""
ANGLES = (20.0, 160.0)
"""Degrees; between the cell's vectors."""


def check_cell(cell: Vectors, n_atoms: int) -> None:
    """Rejected as `cell_lengths`, `cell_angles` or `too_sparse` (atoms on their own) for a finite cell (3, 3) in Å of n atoms."""
    lengths = np.linalg.norm(cell, axis=1)
    if lengths.min() < LENGTHS[0] or lengths.max() > LENGTHS[1]:
        raise Rejected("cell_lengths")
    cosines = [cell[i] @ cell[j] / (lengths[i] * lengths[j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    if angles.min() < ANGLES[0] or angles.max() > ANGLES[1]:
        raise Rejected("cell_angles")
    if abs(np.linalg.det(cell)) > LARGEST_VOLUME_PER_ATOM * n_atoms:
        raise Rejected("too_sparse")
