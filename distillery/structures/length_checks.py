"""Lengths of the wrong unit or scale: atoms that nothing is near, bonds that are all too short. Bohr and Å confused is one or the other."""

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from distillery.structures.geometry import BOND, FARTHEST_NEIGHBOUR, Neighbours, Pairs, sum_of_radii
from distillery.structures.structure import Structure

SHORTEST_RATIO = 0.7
"""No two atoms closer than this fraction of the sum of their covalent radii (N2 has 0.77, CO 0.79)."""
SHORTEST_RATIO_LOOSE = 0.6
"""The same of structures that are made for the short range."""
ACTINIDES = 89
"""From this atomic number on covalent radii are those of few measured bonds, longer than metals have: they say nothing of short ones."""
_LOOSE_KINDS = frozenset({"atom", "dimer", "trimer"})
"""What a service says in `origin["kind"]` of structures that are meant to come apart or be pressed together."""
_COMPRESSED = 0.79
"""The three shortest bonds of an atom over the sums of covalent radii, on average: real ones lie above (CrO4 0.80, diamond 1.01)."""
_FEW_BONDS = 3
_HALIDES = frozenset({17, 35, 53})
_HYDROGEN_BOND = 2.8
"""Å: hydrogens of cations from halide ions (NH4Cl 2.3, NH4I 2.7)."""
_NOBLE = frozenset({2, 10, 18, 36, 54, 86})
_BOND_SUMS = {
    **{"H": 1.2, "B": 6.8, "C": 4.4, "N": 4.1, "O": 4.2, "F": 1.4, "Si": 7.7, "P": 5.9, "S": 6.6, "Cl": 2.5, "Ge": 3.1, "As": 10.4},
    **{"Se": 3.0, "Br": 5.0, "Te": 7.7, "I": 5.0, "Sb": 4.8},
}
"""What the strengths of an atom's bonds, exp((sum of covalent radii - distance) / 0.37 Å) after Pauling, and Brown and Altermatt (Acta
Cryst. B 41, 244 (1985)), add up to in nine of ten measured crystals and molecules without metals; a cell of 0.42 times the volume has
2-6 times that. Bromine and iodine have those of their fluorides and oxides, as BrF5 and IF7 (single bonds have 1.5)."""
_SUMS_AMONG_METALS = {
    **{"H": 3.4, "B": 8.7, "C": 10.1, "N": 10.1, "O": 7.2, "F": 4.8, "Si": 9.0, "P": 10.1, "S": 6.1, "Cl": 5.8, "Ge": 5.0, "As": 8.6},
    **{"Se": 6.8, "Br": 5.3, "Te": 7.5, "I": 5.0, "Sb": 8.5, "Li": 23.3, "Be": 5.6, "Na": 5.0, "Mg": 12.3, "Al": 8.2, "K": 15.5},
    **{"Ca": 12.3, "Sc": 27.7, "Ti": 30.5, "V": 32.6, "Cr": 27.1, "Mn": 24.0, "Fe": 19.6, "Co": 26.4, "Ni": 13.3, "Cu": 15.6, "Zn": 8.2},
    **{"Ga": 8.6, "Rb": 6.1, "Sr": 20.6, "Y": 36.4, "Zr": 31.1, "Nb": 31.0, "Mo": 29.6, "Tc": 21.0, "Ru": 24.2, "Rh": 18.5, "Pd": 13.3},
    **{"Ag": 12.5, "Cd": 10.5, "In": 8.4, "Sn": 9.6, "Cs": 7.0, "Ba": 27.3, "La": 40.2, "Ce": 46.8, "Hf": 34.4, "Ta": 40.7, "W": 39.0},
    **{"Re": 24.7, "Os": 18.6, "Ir": 20.5, "Pt": 10.7, "Au": 10.8, "Hg": 3.0, "Tl": 2.7, "Pb": 4.0, "Bi": 6.9},
}
"""The same of 618 crystals, slabs and clusters with metals, ions of a salt among them: a fluoride has six cations as near as one bond."""
_CATIONS = frozenset({3, 11, 19, 20, 37, 38, 55, 56})
"""Li, Na, K, Ca, Rb, Sr, Cs, Ba: beside other elements they are ions, much smaller than their covalent radii, and two of them no bond."""
_SOFTNESS = 0.37
"""Å."""
_NONMETALS = frozenset({1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 32, 33, 34, 35, 52, 53})
_LEAST_OF_SUMS = 0.09
"""And how much of them it has at least: Si2 0.12, S2 0.26, others 0.3 and more; with lengths in Bohr 0.08 at most."""
_MOST_OF_SUMS, _MOST_AMONG_METALS = 1.3, 1.9
"""How far beyond these sums a structure may be, the mean of its atoms without metals (1.1 at most in what is sound), the sum of all with
metals (CsCdF3, its lengths 4 % too short, 1.8)."""


def is_loose(structure: Structure) -> bool:
    """Whether its source means it to have free atoms and short distances: atoms, dimers and trimers along distance curves."""
    return structure.origin.get("kind") in _LOOSE_KINDS


def find_isolated_atom(structure: Structure, neighbours: Neighbours) -> str | None:
    """Which atom has none near it, within 1.5 sums of covalent radii; None if all have. One atom alone, and noble gases, may be so."""
    if len(structure) == 1 and not structure.is_periodic:
        return None
    n_near = np.bincount(neighbours.bonds(FARTHEST_NEIGHBOUR).i, minlength=len(structure))
    alone = [k for k in np.flatnonzero(n_near == 0).tolist() if int(structure.numbers[k]) not in _NOBLE]
    alone = [k for k in alone if not _is_halide(structure, neighbours, k)]
    if not alone:
        return None
    symbol = chemical_symbols[structure.numbers[alone[0]]]
    return f"{len(alone)} of {len(structure)} atoms have nothing near them, the first is {symbol} {alone[0]}: lengths in another unit?"


def _is_halide(structure: Structure, neighbours: Neighbours, atom: int) -> bool:
    """Whether it is an ion as in ammonium chloride: Cl, Br or I with three hydrogens or more as near as hydrogen bonds."""
    if int(structure.numbers[atom]) not in _HALIDES:
        return False
    pairs = neighbours.within(_HYDROGEN_BOND)
    return int((structure.numbers[pairs.j[pairs.i == atom]] == 1).sum()) >= _FEW_BONDS


def find_compression(structure: Structure, neighbours: Neighbours) -> str | None:
    """By how much the bonds are too short, of most atoms with three or more, or added up over all; None if they are not."""
    return _find_short_bonds(structure, neighbours) or _find_strong_bonds(structure, neighbours)


def _find_short_bonds(structure: Structure, neighbours: Neighbours) -> str | None:
    bonds = neighbours.bonds(BOND)
    is_bond = _find_real_bonds(structure, bonds)
    i, ratio = bonds.i[is_bond], (bonds.distance / sum_of_radii(structure.numbers[bonds.i], structure.numbers[bonds.j]))[is_bond]
    order = np.lexsort((ratio, i))
    ratio, first = ratio[order], np.searchsorted(i[order], np.arange(len(structure)))
    n_bonds = np.bincount(i, minlength=len(structure))
    has_few = (n_bonds < _FEW_BONDS) | (structure.numbers >= ACTINIDES)
    shortest = first[~has_few, None] + np.arange(_FEW_BONDS)
    mean: NDArray[np.float64] = ratio[shortest].mean(axis=1)
    if not mean.size or (mean < _COMPRESSED).mean() <= 0.5:
        return None
    return f"bonds have {float(np.median(mean)):.2f} of the sums of covalent radii: lengths in another unit, or a cell too small?"


def _find_real_bonds(structure: Structure, pairs: Pairs) -> NDArray[np.bool_]:
    """Which pairs are no two cations side by side, shape (n_pairs,); where there are only such metals, all."""
    is_cation = np.isin(structure.numbers, tuple(_CATIONS))
    return ~(is_cation[pairs.i] & is_cation[pairs.j]) | bool(is_cation.all())


def _find_strong_bonds(structure: Structure, neighbours: Neighbours) -> str | None:
    share, most = _compare_bond_sums(structure, neighbours), _MOST_OF_SUMS if _has_no_metals(structure) else _MOST_AMONG_METALS
    if share is None or share <= most:
        return None
    return f"bonds are {share:.1f} times as strong as in real matter of these elements: lengths in another unit, or a cell too small?"


def find_stretching(structure: Structure, neighbours: Neighbours) -> str | None:
    """By how much the bonds of non-metals are too weak; None if they are not. With lengths in Bohr the atoms of N2 are still near."""
    if not _has_no_metals(structure) or (len(structure) == 1 and not structure.is_periodic):
        return None
    share = _compare_bond_sums(structure, neighbours)
    if share is None or share >= _LEAST_OF_SUMS:
        return None
    return f"bonds have {share:.2f} of the strength that they have in real matter of these elements: lengths in another unit?"


def _has_no_metals(structure: Structure) -> bool:
    return set(structure.numbers.tolist()) <= _NONMETALS


def _compare_bond_sums(structure: Structure, neighbours: Neighbours) -> float | None:
    """The strengths of all bonds over those of the same elements in real matter; None where an element's are not known.

    Without metals the mean of the atoms' shares. With metals all are added up first: the few bonds of an anion would count as much as the
    many of its cations.
    """
    has_no_metals = _has_no_metals(structure)
    sums = _BOND_SUMS if has_no_metals else _SUMS_AMONG_METALS
    usual = np.array([sums.get(symbol, np.nan) for symbol in structure.symbols])
    if not np.isfinite(usual).all():
        return None
    pairs = neighbours.bonds(FARTHEST_NEIGHBOUR)
    strength = np.exp((sum_of_radii(structure.numbers[pairs.i], structure.numbers[pairs.j]) - pairs.distance) / _SOFTNESS)
    found = np.bincount(pairs.i, strength * _find_real_bonds(structure, pairs), len(structure))
    return float((found / usual).mean() if has_no_metals else found.sum() / usual.sum())
