"""Carbons that lack hydrogens: what a file with implicit hydrogens makes of molecules.

Where the graph is known (`origin["smiles"]`) the hydrogens are counted. Elsewhere the neighbours tell: a carbon with none far and wide,
with one, or with two that are not in line, unless it is one that is so by nature: carbon monoxide, isocyanides, cyanide, dicarbon,
strained alkynes, carbides. Radicals and carbenes on their own are refused, unless their charge or spin says that they are what they are.
"""

from collections import Counter
from itertools import islice

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from distillery.structures.geometry import BOND, FARTHEST_NEIGHBOUR, Neighbours
from distillery.structures.smiles import count_atoms
from distillery.structures.structure import Structure

LINEAR = 150.0
"""A carbon with two neighbours must have them at more than this angle, degrees."""
_STRAINED = 110.0
"""An alkyne in a ring has an angle of at least this, degrees (benzyne: 127, cyclooctyne: 158)."""
_TRIPLE = 1.27
"""Å; C≡C has 1.20, benzyne's 1.26, C=C 1.34."""
_MULTIPLE = {6: 1.32, 7: 1.27, 8: 1.30, 15: 1.62, 16: 1.62}
"""Longest bond of an end of this kind to another element, Å: C≡O has 1.13, C≡N 1.16, C₂ 1.24, CP 1.56, CS 1.54; methanol's C-O 1.43."""
_CARBIDE = 3
"""A carbon among metals alone has so many of them within FARTHEST_NEIGHBOUR."""


def _numbers_of(symbols: str) -> frozenset[int]:
    return frozenset(atomic_numbers[symbol] for symbol in symbols.split())


_NONMETALS = _numbers_of("H He C N O F Ne P S Cl Ar Se Br Kr I Xe")
_METALLOIDS = _numbers_of("B Si Ge As Sb Te At")


def find_bare_carbon(structure: Structure, neighbours: Neighbours) -> str | None:
    """What is wrong with the first carbon that lacks hydrogens, or None.

    Of a molecule each charge and each unpaired electron that it tells of explains one such carbon: cyanide, vinyl.
    """
    suspects = _Suspects(structure, neighbours)
    n_told = abs(structure.charge) + max(structure.multiplicity - 1, 0) if structure.system == "molecule" else 0
    faults = filter(None, map(suspects.explain, np.flatnonzero(structure.numbers == 6).tolist()))
    found = next(islice(faults, n_told, None), None)
    return None if found is None or _has_all_hydrogens(structure) else found


def _has_all_hydrogens(structure: Structure) -> bool:
    """True if a SMILES tells the very atoms that are there."""
    smiles = structure.origin.get("smiles") if structure.system == "molecule" else None
    if not isinstance(smiles, str):
        return False
    return count_atoms(smiles) == Counter(chemical_symbols[z] for z in structure.numbers.tolist())


class _Suspects:
    """The neighbours of every carbon, and what may be concluded of them."""

    def __init__(self, structure: Structure, neighbours: Neighbours) -> None:
        self._numbers, self._around = structure.numbers, neighbours
        self._bonds = neighbours.bonds(BOND)
        self._is_molecule = structure.system == "molecule"
        self._n_bonds = np.bincount(self._bonds.i, minlength=len(structure))

    def explain(self, carbon: int) -> str | None:
        """What is wrong with a carbon, or None."""
        n_bonds = int(self._n_bonds[carbon])
        if n_bonds == 0:
            return None if self._count_near(carbon) else f"carbon {carbon} has no neighbour: hydrogens are missing"
        if n_bonds == 1:
            return None if self._is_end(carbon) else f"carbon {carbon} has one neighbour: hydrogens are missing"
        if n_bonds == 2 and (angle := self._angle_at(carbon)) < LINEAR and not self._is_bent(carbon, angle):
            return f"carbon {carbon} has two neighbours at {angle:.0f}°: hydrogens are missing"
        return None

    def _neighbours(self, atom: int) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self._bonds.j[self._bonds.i == atom]
        return found

    def _is_metallic(self, atom: int) -> bool:
        return int(self._numbers[atom]) not in _NONMETALS

    def _angle_at(self, carbon: int) -> float:
        """Degrees."""
        a, b = self._bonds.vector[self._bonds.i == carbon]
        cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    def _count_near(self, carbon: int) -> int:
        return int((self._around.bonds(FARTHEST_NEIGHBOUR).i == carbon).sum())

    def _is_end(self, carbon: int) -> bool:
        """A carbon with one neighbour that is so by nature."""
        (other,) = self._neighbours(carbon).tolist()
        return self._is_multiple(carbon, other) or self._is_carbide(carbon)

    def _is_multiple(self, carbon: int, other: int) -> bool:
        """Carbon monoxide and sulfide; isocyanides; not as molecules, where they are radicals, cyanide, dicarbon and CP."""
        element = int(self._numbers[other])
        if self._distance(carbon, other) >= _MULTIPLE.get(element, 0.0):
            return False
        beyond = [int(atom) for atom in self._neighbours(other) if atom != carbon]
        if element == 7:
            return bool(beyond) or not self._is_molecule
        if self._is_molecule:
            return element in (8, 16) and not beyond
        return all(map(self._is_metallic, beyond))

    def _distance(self, atom: int, other: int) -> float:
        return float(self._bonds.distance[(self._bonds.i == atom) & (self._bonds.j == other)].min())

    def _is_bent(self, carbon: int, angle: float) -> bool:
        """A carbon with two neighbours not in line that is so by nature."""
        one, other = self._neighbours(carbon).tolist()
        return (
            (angle >= _STRAINED and any(map(self._is_alkyne, (carbon, carbon), (one, other))))
            or self._is_tilted(carbon, one, other)
            or self._is_tilted(carbon, other, one)
            or self._is_carbide(carbon)
        )

    def _is_alkyne(self, carbon: int, other: int) -> bool:
        return self._numbers[other] == 6 and self._n_bonds[other] == 2 and self._distance(carbon, other) < _TRIPLE

    def _is_tilted(self, carbon: int, near: int, host: int) -> bool:
        """CO, CN and the like on a surface, not upright."""
        return not self._is_molecule and self._is_metallic(host) and self._is_multiple(carbon, near)

    def _is_carbide(self, carbon: int) -> bool:
        is_metal = all(int(self._numbers[atom]) not in _NONMETALS | _METALLOIDS for atom in self._neighbours(carbon))
        return not self._is_molecule and is_metal and self._count_near(carbon) >= _CARBIDE
