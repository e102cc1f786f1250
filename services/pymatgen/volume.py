"""Volume: how large a crystal of given elements and topology is, from the bond-valence sum rule."""

from dataclasses import replace
from functools import cache

import numpy as np
from ase.data import covalent_radii, vdw_radii
from numpy.typing import NDArray
from pymatgen.core.bond_valence import BV_PARAMS
from pymatgen.core.periodic_table import Element
from scipy.optimize import brentq

from distillery.generators.proposals import Rejected
from distillery.structures.geometry import find_pairs, sum_of_radii
from distillery.structures.structure import Structure, Vectors

SOFTNESS = 0.37
"""Å; b of exp((R0 - d) / b), Brown & Altermatt, Acta Cryst. B 41, 244 (1985)."""
WEAKEST_BOND = 0.04
"""Share of an atom's valence below which a contact is no bond (Brown, The Chemical Bond in Inorganic Chemistry, 2002)."""
SMALLEST_ATOM = 5.67
"""Å³ an atom has at least: diamond's, the densest ordinary solid."""
DENSEST_VALENCES, DENSEST_SHARES = (1.5, 4.0), (0.65, 0.275)
"""Volume over that of the van der Waals spheres a non-metal has at least, by mean valence: 0.275 is diamond's, 0.65 that of
ice VII at 2 GPa. Atoms that make one or two bonds can't share them among the twelve neighbours of a dense packing: without this
limit bcc oxygen came out at 300 GPa."""
LOOSEST_PACKING = float(np.sqrt(18) / np.pi)
"""Volume over that of the van der Waals spheres at which close-packed spheres still touch; looser is a gas."""
SHORTEST_CONTACT = 0.75
"""Shortest distance over the sum of covalent radii (N2 has 0.77, C≡C 0.79)."""
SHORTEST_BOND = 0.7
"""Å (H2, the shortest bond there is, has 0.74)."""
_REACH = 8.0
_SCALES = 0.2, 3.0
"""Of lengths, relative to the volume of the spheres; bonds that must be longer still belong to atoms in one place."""
_ASSUMED_VDW_RADIUS = 2.1
"""Å, where Bondi's and Alvarez's tables have a gap."""


@cache
def known_elements() -> tuple[str, ...]:
    """The elements that have bond-valence parameters and a valence, by atomic number."""
    return tuple(sorted((str(e.symbol) for e in BV_PARAMS if valence(e.symbol)), key=lambda s: Element(s).Z))


@cache
def valence(symbol: str) -> int:
    """Octet valence of hydrogen and groups 14-17, else the smallest positive common oxidation state; 0 if there is none."""
    if symbol == "H":
        return 1
    if is_nonmetal(symbol):
        return 18 - int(Element(symbol).group)
    return min((int(state) for state in Element(symbol).common_oxidation_states if state > 0), default=0)


@cache
def is_nonmetal(symbol: str) -> bool:
    """Hydrogen, the halogens, and of groups 14-16 what is no metal (Sn, Pb, Bi, Po are)."""
    element = Element(symbol)
    return symbol == "H" or (14 <= element.group <= 17 and not element.is_post_transition_metal)


@cache
def bond_length(a: str, b: str) -> float:
    """Length of a bond of valence 1, Å: O'Keeffe & Brese, J. Am. Chem. Soc. 113, 3226 (1991), as in pymatgen."""
    (r1, c1), (r2, c2) = ((BV_PARAMS[Element(s)]["r"], BV_PARAMS[Element(s)]["c"]) for s in (a, b))
    return float(r1 + r2 - r1 * r2 * (np.sqrt(c1) - np.sqrt(c2)) ** 2 / (c1 * r1 + c2 * r2))


def volume_of_spheres(numbers: NDArray[np.integer]) -> float:
    """Sum of the atoms' van der Waals spheres, Å³ (Bondi's and Alvarez's radii, ASE's table)."""
    radii = np.nan_to_num(np.asarray(vdw_radii, dtype=np.float64)[numbers], nan=_ASSUMED_VDW_RADIUS)
    return float((4 / 3 * np.pi * radii**3).sum())


def resize(structure: Structure, volume: float) -> Structure:
    """The same crystal, scaled in all directions to `volume` Å³."""
    scale = (volume / structure.volume) ** (1 / 3)
    return replace(structure, cell=structure.cell * scale, positions=structure.positions * scale)


def estimate_volume(structure: Structure) -> float:
    """Å³ at which the valences of all bonds of the crystal add up to those of its atoms.

    A bond's valence is exp((R0 - d) / 0.37 Å), so that more neighbours mean longer bonds: 1.5 Å in diamond, 2.0 Å in
    close packing. Median 1.1 of the measured volume over the AFLOW library. Never less than `smallest_volume`; Rejected if
    two atoms are in one place.
    """
    loose = resize(structure, volume_of_spheres(structure.numbers))
    contacts = _contacts(loose)
    if _valence_excess(_SCALES[1], *contacts) > 0:
        raise Rejected("crowded")
    scale = brentq(_valence_excess, *_SCALES, args=contacts, xtol=1e-6)
    return max(float(scale) ** 3 * loose.volume, smallest_volume(structure))


def smallest_volume(structure: Structure) -> float:
    """Å³ the crystal has at least: diamond's per atom, more for non-metals of low valence."""
    smallest = SMALLEST_ATOM * len(structure)
    symbols = structure.symbols
    if not all(is_nonmetal(s) for s in symbols):
        return smallest
    share = np.interp(np.mean([valence(s) for s in symbols]), DENSEST_VALENCES, DENSEST_SHARES)
    return max(smallest, float(share) * volume_of_spheres(structure.numbers))


def _contacts(structure: Structure) -> tuple[Vectors, Vectors, Vectors, float]:
    """Distances, their bond lengths at valence 1, the valences below which they don't count, and the sum of valences."""
    pairs = find_pairs(structure, _REACH)
    symbols = structure.symbols
    lengths = np.array([bond_length(symbols[i], symbols[j]) for i, j in zip(pairs.i, pairs.j, strict=True)])
    valences = np.array([valence(s) for s in symbols], dtype=np.float64)
    return pairs.distance, lengths, WEAKEST_BOND * np.minimum(valences[pairs.i], valences[pairs.j]), float(valences.sum())


def _valence_excess(scale: float, distance: Vectors, length: Vectors, weakest: Vectors, wanted: float) -> float:
    bonds = np.exp((length - scale * distance) / SOFTNESS)
    return float(bonds[bonds > weakest].sum()) - wanted


def settle(structure: Structure, scale: float) -> Structure:
    """The crystal at `scale` times its estimated volume; Rejected if that leaves it crowded or falling apart."""
    settled = resize(structure, scale * estimate_volume(structure))
    if settled.volume > scale * LOOSEST_PACKING * volume_of_spheres(structure.numbers):
        raise Rejected("sparse")
    pairs = find_pairs(settled, max(SHORTEST_BOND, 2 * float(np.asarray(covalent_radii)[settled.numbers].max())))
    ratio = pairs.distance / sum_of_radii(settled.numbers[pairs.i], settled.numbers[pairs.j])
    if ratio.size and (ratio.min() < SHORTEST_CONTACT or pairs.distance.min() < SHORTEST_BOND):
        raise Rejected("crowded")
    return settled
