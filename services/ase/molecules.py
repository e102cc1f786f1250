"""The molecules of ASE's G2 collection that can stand alone, and the fragments that stick to surfaces."""

from functools import cache

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.collections import g2

from distillery.structures.checks import find_chemistry_fault
from distillery.structures.structure import from_ase

ON_TOP = "CO"
"""Its carbon has one neighbour: it stands upright on an atom, carbon down."""
_FRAGMENTS = ("OH", "NH", "NH2", "SH", "CH3", "SiH3", "PH2", "CH3O", "CH3S", "CH3CH2O", ON_TOP)
"""Open-shell species that chemisorb."""
_BINDING = frozenset({ON_TOP, "CS"})
"""Closed-shell, yet with a free carbon."""
_LARGEST_ADSORBATE = 9


@cache
def molecule_names() -> tuple[str, ...]:
    """Closed-shell molecules (and O2), by their names in ASE's G2 collection; CO and CS bind, and are none of these."""
    return tuple(sorted(name for name in g2.names if name not in _BINDING and _stands_alone(name)))


@cache
def adsorbate_names() -> tuple[str, ...]:
    """Molecules and fragments of at most nine atoms that can be put on a surface; single atoms go by their symbol."""
    small = (name for name in molecule_names() if len(geometry_of(name)) <= _LARGEST_ADSORBATE)
    return tuple(sorted({*small, *_FRAGMENTS}))


@cache
def geometry_of(name: str) -> Atoms:
    """The molecule with its centre of mass at the origin; a single atom where `name` is a chemical symbol. Not to be changed."""
    atoms = Atoms(name) if name not in g2.names else molecule(name)
    atoms.info = {}
    atoms.positions -= atoms.get_center_of_mass()
    return atoms


@cache
def symbols_of(name: str) -> frozenset[str]:
    """The elements of a molecule."""
    return frozenset(geometry_of(name).get_chemical_symbols())


def share_of(symbol: str, name: str) -> float:
    """The share of the molecule's atoms that are of this element."""
    symbols: list[str] = geometry_of(name).get_chemical_symbols()
    return symbols.count(symbol) / len(symbols)


def _stands_alone(name: str) -> bool:
    atoms = molecule(name)
    if len(atoms) < 2 or (np.any(atoms.get_initial_magnetic_moments()) and name != "O2") or "_s" in name:
        return False
    return find_chemistry_fault(from_ase(atoms, id=name, system="molecule")) is None
