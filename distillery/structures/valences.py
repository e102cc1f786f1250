"""Hydrogens that are missing, whatever they belong on: by a SMILES, by electrons, and by bonds that are too few.

Where `origin` has a SMILES, it says how many there are. Elsewhere an odd number of electrons means that one hydrogen, or any odd number of
them, is missing, or that it is a radical or an ion, unless most of its atoms are metals; an even number of missing hydrogens leaves atoms
with fewer neighbours than the lengths of their bonds explain. That goes for clusters of molecules, and for organic crystals: X-rays
hardly see hydrogens.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from numpy.typing import NDArray

from distillery.structures.geometry import BOND, Neighbours, Pairs
from distillery.structures.length_checks import is_loose
from distillery.structures.smiles import count_atoms
from distillery.structures.structure import Structure

_H, _B, _C, _N, _O, _F, _SI, _P, _S, _CL = 1, 5, 6, 7, 8, 9, 14, 15, 16, 17
_ONE_BOND = frozenset({_H, _F})
_DOUBLE = {
    (6, _O): 1.34,
    (_N, _O): 1.34,
    (_P, _O): 1.60,
    (_S, _O): 1.58,
    (_CL, _O): 1.60,
    (_SI, _O): 1.57,
    (_O, _O): 1.34,
    (6, _C): 1.42,
    (6, _S): 1.74,
    (_P, _S): 2.02,
    (_N, _S): 1.66,
    (_S, _S): 1.96,
    (6, _N): 1.40,
    (_N, _N): 1.36,
    (_N, _P): 1.66,
    (_N, _SI): 1.62,
    (6, _P): 1.78,
    (_P, _P): 2.10,
    (6, _SI): 1.78,
    (_SI, _S): 1.98,
    (_SI, _SI): 2.22,
    (_B, _O): 1.28,
    (_B, _N): 1.40,
    (_B, _S): 1.68,
}
"""Å: a bond between these, atomic numbers in order of the pair as it is listed, that is shorter may be more than single."""
_TRIPLE = {(6, _N): 1.24, (_N, _N): 1.20, (_P, _N): 1.60, (6, _P): 1.62}
_LISTED = frozenset({_H, _B, _C, _N, _O, _F, _SI, _P, _S, _CL})
_DOUBLE_SHARE = 0.88
"""Of the sum of covalent radii: to an element that is not listed a bond may be more than single below (Os=O 0.82, Se=O 0.86, Br=O 0.89 less
what heat may have lengthened it by; Se-OH 0.94)."""
_SHAKEN = 0.06
"""Å that heat or a rattle may have lengthened a bond by."""
_LEAST = {_SI: 3, _P: 1, _CL: 1}
"""Neighbours that an atom has at least, whatever its bonds are."""
_PYRAMIDAL = 345.0
"""Degrees that the angles at a carbon with three neighbours add up to at least: planar ones have 360, C60's 348, and 329 one that lost a
hydrogen."""
_ACID_RESTS = {_C: (3, 2), _N: (3, 3), _P: (4, 2), _S: (4, 3), _CL: (4, 4)}
"""Neighbours of such an atom, and how many of them at least are oxygens with no other: then one is charged, as in carboxylates, nitrate,
phosphates, sulfonates and perchlorate."""
_STABLE_RADICALS = (Counter("NO"), Counter("NOO"), Counter({"Cl": 1, "O": 2}))
"""Nitrogen monoxide and dioxide, chlorine dioxide: gases that one can buy."""
_INVENTED = frozenset({"decorated", "symmetric", "shaped", "random", "molecular"})
"""Methods and kinds of crystals and clusters that nobody has seen: what looks like a molecule in them need be none. Of molecular clusters
the source knows that they are whole: silicon monoxide and the like are among them."""
_MOLECULES_ALONE = frozenset({_H, _N, _O, _F, _P, _S, _CL, 35, 53})
"""Elements that make clusters of molecules alone, without carbon too: water, ammonia."""
_NO_METALS = frozenset({1, 2, *range(5, 11), *range(14, 19), *range(32, 37), *range(51, 55), 85, 86})
"""Non-metals and metalloids: H, He, B-Ne, Si-Ar, Ge-Kr, Sb-Xe, At, Rn."""


def find_missing_hydrogen(structure: Structure, neighbours: Neighbours) -> str | None:
    """Which atom of a molecule, of a cluster of molecules or of an organic crystal lacks hydrogens, or None.

    Its charge and a multiplicity above 1 tell that it is an ion or a radical; so may `origin` do, which may have its `smiles`, its
    `charge` (as structures of older datasets have it), and `radical_electrons` where it is no closed shell.
    """
    if structure.system == "crystal":
        is_told = bool(structure.charge) or structure.multiplicity > 1
        return _find_unsaturated(structure, neighbours) if _is_organic(structure) and not is_told else None
    is_of_molecules = structure.system == "cluster" and (_is_organic(structure) or _has_molecules_alone(structure))
    if structure.system != "molecule" and not is_of_molecules:
        return None
    smiles = structure.origin.get("smiles")
    wanted = count_atoms(smiles) if isinstance(smiles, str) and not is_of_molecules else None
    if wanted is not None:
        found = Counter(chemical_symbols[z] for z in structure.numbers.tolist())
        return None if found == wanted else f"its SMILES has other atoms: {_compare(found, wanted)}"
    charge = structure.charge or _read_told(structure, "charge")
    n_unpaired = max(structure.multiplicity - 1, 0) or _read_told(structure, "radical_electrons")
    if _is_stable_radical(structure, neighbours):
        return None
    return _find_open_shell(structure, charge + n_unpaired) or (None if charge or n_unpaired else _find_unsaturated(structure, neighbours))


def _is_organic(structure: Structure) -> bool:
    """Whether it has carbon and no metal, so that its atoms are those of molecules, and is not invented, or meant to be loose."""
    return not _is_invented(structure) and _C in structure.numbers and _NO_METALS.issuperset(structure.numbers.tolist())


def _has_molecules_alone(structure: Structure) -> bool:
    return not _is_invented(structure) and len(structure) > 1 and _MOLECULES_ALONE.issuperset(structure.numbers.tolist())


def _is_invented(structure: Structure) -> bool:
    return is_loose(structure) or not _INVENTED.isdisjoint(_list_methods(structure.origin))


def _list_methods(origin: object) -> Iterator[object]:
    """How it was made, and how it had been made before it was read from a dataset."""
    if isinstance(origin, Mapping):
        yield from (origin.get("method"), origin.get("kind"))
        info = origin.get("info")
        yield from _list_methods(info.get("origin") if isinstance(info, Mapping) else None)


def _read_told(structure: Structure, key: str) -> int:
    value = structure.origin.get(key, 0)
    return value if isinstance(value, int) else 0


def _compare(found: Counter[str], wanted: Counter[str]) -> str:
    different = [symbol for symbol in sorted(found | wanted) if found[symbol] != wanted[symbol]]
    return ", ".join(f"{found[symbol]} {symbol} where it has {wanted[symbol]}" for symbol in different)


def _find_open_shell(structure: Structure, n_told: int) -> str | None:
    """Whether its electrons are odd in number beside those that its source tells of; of a piece of metal they may be, as in Cu13."""
    n_electrons = int(structure.numbers.astype(int).sum()) - n_told
    n_metals = sum(number not in _NO_METALS for number in structure.numbers.tolist())
    is_metal = len(structure) > 1 and 2 * n_metals > len(structure)
    if n_electrons % 2 == 0 or is_metal:
        return None
    return f"{n_electrons} electrons, an odd number: a hydrogen is missing, or it is a radical or an ion that its source does not mention"


def _is_stable_radical(structure: Structure, neighbours: Neighbours) -> bool:
    """Whether it is one that is known to last, with bonds as short as it has: HONO that lost its hydrogen has a longer one."""
    if len(structure) > 3 or Counter(structure.symbols) not in _STABLE_RADICALS:
        return False
    bonds = neighbours.bonds(BOND)
    pairs = zip(structure.numbers[bonds.i].tolist(), structure.numbers[bonds.j].tolist(), bonds.distance.tolist(), strict=True)
    return len(bonds.i) == 2 * (len(structure) - 1) and all(_is_within(_DOUBLE, one, other, distance) for one, other, distance in pairs)


def _find_unsaturated(structure: Structure, neighbours: Neighbours) -> str | None:
    bonds = neighbours.bonds(BOND)
    for atom in np.flatnonzero(np.isin(structure.numbers, (_H, _N, _O, _SI, _P, _S))).tolist():
        own = bonds.i == atom
        others, distances = structure.numbers[bonds.j[own]], bonds.distance[own]
        if len(structure) == 2 and structure.numbers[atom] == _SI and _has_double(_SI, others, distances):
            continue  # silicon monoxide, disilicon; an end of a larger molecule would lack hydrogens
        if structure.numbers[atom] == _H and not own.any():
            continue  # shaken loose: `packing` says whether it is far from all
        if _lacks(int(structure.numbers[atom]), others, distances):
            return f"{chemical_symbols[structure.numbers[atom]]} {atom} has {int(own.sum())} neighbours, too few for their distances"
    return _find_pyramidal_carbon(structure, bonds) or _find_acid_rest(structure, bonds)


def _find_acid_rest(structure: Structure, bonds: Pairs) -> str | None:
    """Rests of acids where fewer atoms could be cations: N, P or S without an oxygen that ends there, O with three neighbours."""
    numbers, n_bonds = structure.numbers, np.bincount(bonds.i, minlength=len(structure))
    is_end = (numbers == _O) & (n_bonds == 1)
    n_ends = np.bincount(bonds.i, is_end[bonds.j], len(structure))
    is_rest = [(numbers == element) & (n_bonds == n) & (n_ends >= least) for element, (n, least) in _ACID_RESTS.items()]
    rests = np.flatnonzero(np.any(is_rest, axis=0))
    n_cations = int(((np.isin(numbers, (_N, _P, _S)) & (n_ends == 0)) | ((numbers == _O) & (n_bonds == 3))).sum())
    if len(rests) <= n_cations:
        return None
    symbol = chemical_symbols[numbers[rests[0]]]
    return f"{symbol} {rests[0]} is the rest of an acid, one of {len(rests)}, and {n_cations} atoms could be cations: hydrogens are missing"


def _find_pyramidal_carbon(structure: Structure, bonds: Pairs) -> str | None:
    """A carbon with three neighbours, all at the distance of single bonds and not in its plane; `carbons` has those with fewer."""
    n_bonds = np.bincount(bonds.i, minlength=len(structure))
    for atom in np.flatnonzero((structure.numbers == _C) & (n_bonds == 3)).tolist():
        own = bonds.i == atom
        angles = _sum_angles(bonds.vector[own] / bonds.distance[own][:, None])
        if angles < _PYRAMIDAL and not _has_double(_C, structure.numbers[bonds.j[own]], bonds.distance[own]):
            return f"C {atom} has three single bonds, at angles that add up to {angles:.0f}°: a hydrogen is missing"
    return None


def _sum_angles(directions: NDArray[np.float64]) -> float:
    """Of the three angles between unit vectors, degrees; directions have the shape (3, 3)."""
    cosines = (directions * np.roll(directions, 1, axis=0)).sum(axis=1)
    return float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).sum())


def _lacks(element: int, others: NDArray[np.uint8], distances: NDArray[np.float64]) -> bool:
    """Whether an atom with these neighbours must have another: each counts as a bond of the highest order that its length allows."""
    n = len(others)
    if element == _H:
        return n == 0
    if element in _LEAST:
        return n < _LEAST[element] or (element == _SI and n == 3 and not _has_double(element, others, distances))
    if element in (_O, _S):
        return n == 0 or (n == 1 and not _has_double(element, others, distances))
    if n == 1:
        return not _is_within(_TRIPLE, element, int(others[0]), float(distances[0]))
    return n == 0 or (n == 2 and not _has_double(element, others, distances))


def _has_double(element: int, others: NDArray[np.uint8], distances: NDArray[np.float64]) -> bool:
    return any(_is_within(_DOUBLE, element, int(other), float(distance)) for other, distance in zip(others, distances, strict=True))


def _is_within(table: dict[tuple[int, int], float], one: int, other: int, distance: float) -> bool:
    longest = max(table.get((one, other), 0.0), table.get((other, one), 0.0))
    if other not in _LISTED:
        longest = _DOUBLE_SHARE * float(covalent_radii[one] + covalent_radii[other])
    return distance - _SHAKEN < longest
