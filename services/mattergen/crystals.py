"""Crystals from what the sampler gave, each by itself: what is no crystal is refused with a reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.checks import find_input_fault
from contract.proposals import Rejected
from contract.structures import Structure, Vectors

LARGEST_VOLUME_PER_ATOM = 150.0
"""Å³; solid caesium, the sparsest element, has 115."""
LENGTHS = (1.5, 60.0)
"""Å; of the cell's vectors."""
ANGLES = (20.0, 160.0)
"""Degrees; between the cell's vectors."""
_LARGEST_NUMBER = 118


@dataclass(frozen=True, eq=False)
class Sample:
    """One cell as sampled: atomic numbers (n_atoms,), fractional positions (n_atoms, 3), cell (3, 3) in Å."""

    numbers: NDArray[np.int64]
    fractional: Vectors
    cell: Vectors


def as_crystal(sample: Sample, origin: Mapping[str, Any]) -> Structure:
    """The sample as a structure, atoms wrapped into the cell; Rejected with the reason if it is none."""
    if not (np.isfinite(sample.cell).all() and np.isfinite(sample.fractional).all()):
        raise Rejected("not_finite")
    if sample.numbers.min() < 1 or sample.numbers.max() > _LARGEST_NUMBER:
        raise Rejected("unknown_element")
    _check_cell(sample.cell, len(sample.numbers))
    cell = sample.cell if np.linalg.det(sample.cell) > 0 else -sample.cell
    fractional = sample.fractional % 1.0
    crystal = Structure("", sample.numbers.astype(np.uint8), fractional @ cell, cell, (True, True, True), "crystal", dict(origin))
    fault = find_input_fault(crystal)
    if fault is not None:
        raise Rejected(fault.reason)
    return crystal


def _check_cell(cell: Vectors, n_atoms: int) -> None:
    lengths = np.linalg.norm(cell, axis=1)
    if lengths.min() < LENGTHS[0] or lengths.max() > LENGTHS[1]:
        raise Rejected("cell_lengths")
    cosines = [cell[i] @ cell[j] / (lengths[i] * lengths[j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    if angles.min() < ANGLES[0] or angles.max() > ANGLES[1]:
        raise Rejected("cell_angles")
    if abs(np.linalg.det(cell)) > LARGEST_VOLUME_PER_ATOM * n_atoms:
        raise Rejected("too_sparse")
