"""Lengths of the wrong unit or scale: atoms that nothing is near, bonds that are all too short. Bohr and Å confused is one or the other."""

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from distillery.structures.geometry import BOND, FARTHEST_NEIGHBOUR, Neighbours, sum_of_radii
from distillery.structures.structure import Structure

SHORTEST_RATIO = 0.7
"""No two atoms closer than this fraction of the sum of their covalent radii (N2 has 0.77, CO 0.79)."""
SHORTEST_RATIO_LOOSE = 0.6
"""The same of structures that are made for the short range."""
_LOOSE_KINDS = frozenset({"atom", "dimer", "trimer"})
"""What a service says in `origin["kind"]` of structures that are meant to come apart or be pressed together."""
_COMPRESSED = 0.79
"""The three shortest bonds of an atom over the sums of covalent radii, on average: real ones lie above (CrO4 0.80, diamond 1.01)."""
_FEW_BONDS = 3
_NOBLE = frozenset({2, 10, 18, 36, 54, 86})


def is_loose(structure: Structure) -> bool:
    """Whether its source means it to have free atoms and short distances: atoms, dimers and trimers along distance curves."""
    return structure.origin.get("kind") in _LOOSE_KINDS


def find_isolated_atom(structure: Structure, neighbours: Neighbours) -> str | None:
    """Which atom has none near it, within 1.5 sums of covalent radii; None if all have. One atom alone, and noble gases, may be so."""
    if len(structure) == 1 and not structure.is_periodic:
        return None
    n_near = np.bincount(neighbours.bonds(FARTHEST_NEIGHBOUR).i, minlength=len(structure))
    alone = [k for k in np.flatnonzero(n_near == 0).tolist() if int(structure.numbers[k]) not in _NOBLE]
    if not alone:
        return None
    symbol = chemical_symbols[structure.numbers[alone[0]]]
    return f"{len(alone)} of {len(structure)} atoms have nothing near them, the first is {symbol} {alone[0]}: lengths in another unit?"


def find_compression(structure: Structure, neighbours: Neighbours) -> str | None:
    """By how much the bonds of most atoms with three or more are too short; None if they are not."""
    bonds = neighbours.bonds(BOND)
    ratio = bonds.distance / sum_of_radii(structure.numbers[bonds.i], structure.numbers[bonds.j])
    order = np.lexsort((ratio, bonds.i))
    ratio, first = ratio[order], np.searchsorted(bonds.i[order], np.arange(len(structure)))
    n_bonds = np.bincount(bonds.i, minlength=len(structure))
    shortest = first[n_bonds >= _FEW_BONDS, None] + np.arange(_FEW_BONDS)
    mean: NDArray[np.float64] = ratio[shortest].mean(axis=1)
    if not mean.size or (mean < _COMPRESSED).mean() <= 0.5:
        return None
    return f"bonds have {float(np.median(mean)):.2f} of the sums of covalent radii: lengths in another unit, or a cell too small?"
