"""Symmetry: the space group and primitive cell of a crystal, from spglib."""

from dataclasses import replace

import numpy as np
import spglib
from spglib import error as spglib_errors

from distillery.generators.proposals import Rejected
from distillery.structures.structure import Structure

TOLERANCE = 0.01
"""Å, within which atoms count as symmetric (the library's coordinates have four decimals)."""

spglib_errors.OLD_ERROR_HANDLING = False  # exceptions, as from spglib 3 on; the old way warns at every call


def find_symmetry(structure: Structure) -> Structure:
    """The primitive cell, with `origin["space_group"]`; Rejected if spglib finds no symmetry."""
    fractional = np.linalg.solve(structure.cell.T, structure.positions.T).T
    crystal = (structure.cell.tolist(), fractional.tolist(), structure.numbers.tolist())
    try:
        dataset, primitive = spglib.get_symmetry_dataset(crystal, TOLERANCE), spglib.find_primitive(crystal, TOLERANCE)
    except spglib.SpglibError as error:
        raise Rejected("no_symmetry") from error
    if dataset is None or primitive is None:
        raise Rejected("no_symmetry")
    cell = np.array(primitive[0], dtype=np.float64)
    return replace(
        structure,
        numbers=np.array(primitive[2], dtype=np.uint8),
        positions=np.array(primitive[1]) @ cell,
        cell=cell,
        origin={**structure.origin, "space_group": int(dataset.number)},
    )
