"""Bulk crystals of given elements: real compounds, ASE's reference lattices, and prototypes scaled by covalent radii."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers

from distillery.generators.compounds import Compound, draw_compound, find_compounds
from distillery.generators.proposals import Rejected
from distillery.structures.checks import find_chemistry_fault
from distillery.structures.geometry import find_bonds
from distillery.structures.structure import from_ase
from services.ase.prototypes import PROTOTYPES, lattice_of_prototype
from services.ase.radii import GRAPHITE_SOURCE, RADII_SOURCE, REFERENCE_SOURCE, VALENCE, lattice_of, touching_distances

ELEMENTAL = "elemental"
"""Stands among the prototypes for the reference lattices (fcc, bcc, hcp, diamond) of the elements."""
REAL = "real"
"""Stands among the prototypes for the measured crystals of known compounds."""
PROTOTYPE_NAMES: tuple[str, ...] = (REAL, ELEMENTAL, *PROTOTYPES)

LARGEST_SOLID_DENSITY = 0.18
"""Atoms/Å³: diamond, the densest ordinary solid."""
_LONGEST_BOND = 1.15
"""Every site must have a neighbour within this times the sum of covalent radii once the lattice is scaled."""
_ELEMENTAL_SHARE = 0.12
"""Share of the reference lattices among the crystals, where other prototypes may be used too."""
_MOST_BONDS = 8
"""Of a nonmetal, as in cesium chloride."""
_TRIES = 20


@dataclass(frozen=True, eq=False)
class Crystal:
    """A cell, of a prototype the conventional one, and where it comes from; the lattice constant is a, Å."""

    atoms: Atoms
    prototype: str
    lattice_constant: float
    source: str
    is_molecular: bool = False

    @property
    def origin(self) -> dict[str, object]:
        """What goes to a structure's origin."""
        return {
            "prototype": self.prototype,
            "bulk": self.atoms.get_chemical_formula(empirical=True),
            "lattice_constant": round(self.lattice_constant, 4),
            "lattice_source": self.source,
        }


@lru_cache(maxsize=64)
def find_real(elements: tuple[str, ...], molecular: bool) -> tuple[Compound, ...]:
    """The known compounds of these elements alone; molecular ones only where they are asked for, and not those with bare carbons (CO)."""
    found = find_compounds(elements, molecular=molecular)
    return tuple(compound for compound in found if find_chemistry_fault(compound.structure) is None)


def real_crystal(compound: Compound) -> Crystal:
    """A known compound in its measured cell."""
    cell = compound.structure
    atoms = Atoms(cell.numbers, positions=cell.positions, cell=cell.cell, pbc=True)
    return Crystal(atoms, compound.label, float(atoms.cell.lengths()[0]), compound.reference, compound.is_molecular)


def reference_crystal(symbol: str) -> Crystal | None:
    """The element in ASE's reference lattice, or None where that is not fcc, bcc, hcp or diamond."""
    lattice = lattice_of(symbol)
    if lattice is None:
        return None
    atoms = bulk(symbol, cubic=lattice != "hcp")
    return Crystal(
        Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True),
        lattice,
        float(atoms.cell.lengths()[0]),
        REFERENCE_SOURCE,
    )


def decorate(prototype: str, symbols: Sequence[str], bond_scale: float) -> Crystal | None:
    """A prototype with one element for each sublattice, or None if its atoms would be unbonded or nonmetals have over eight bonds.

    The lattice constant is the smallest at which no distance is below `bond_scale` times the sum of covalent radii, or the
    prototype's own bond length, and the density is at most diamond's.
    """
    lattice_constant = _fit_lattice_constant(prototype, symbols, bond_scale)
    if lattice_constant is None:
        return None
    atoms = lattice_of_prototype(prototype).atoms.copy()
    atoms.set_cell(atoms.cell * lattice_constant, scale_atoms=True)
    atoms.numbers = np.array([atomic_numbers[s] for s in symbols])[atoms.get_tags()]
    source = RADII_SOURCE if PROTOTYPES[prototype].bond is None else GRAPHITE_SOURCE
    return None if _is_crammed(atoms) else Crystal(atoms, prototype, lattice_constant, source)


def _is_crammed(atoms: Atoms) -> bool:
    bonds = find_bonds(from_ase(atoms, id="", system="crystal"))
    n_bonds = np.bincount(bonds.i, minlength=len(atoms))
    nonmetals = np.isin(atoms.numbers, [atomic_numbers[e] for e in VALENCE])
    return bool((n_bonds[nonmetals] > _MOST_BONDS).any())


def _fit_lattice_constant(prototype: str, symbols: Sequence[str], bond_scale: float) -> float | None:
    lattice, bond = lattice_of_prototype(prototype), PROTOTYPES[prototype].bond
    contact = touching_distances(np.array([atomic_numbers[s] for s in symbols])) if bond is None else np.full_like(lattice.shortest, bond)
    by_bonds = float(np.max(bond_scale * contact / lattice.shortest))
    by_density = float((len(lattice.atoms) / lattice.atoms.cell.volume / LARGEST_SOLID_DENSITY) ** (1 / 3))
    lattice_constant = max(by_bonds, by_density)
    closest = np.min(lattice_constant * lattice.shortest / contact, axis=1)
    return lattice_constant if np.all(closest <= max(_LONGEST_BOND, 1.001 * bond_scale)) else None


def draw_crystal(
    elements: tuple[str, ...],
    prototypes: Sequence[str],
    bond_scale: tuple[float, float],
    real_share: float,
    rng: np.random.Generator,
    *,
    molecular: bool = False,
) -> Crystal:
    """A random crystal of some of the elements; Rejected if none was found: 20 prototypes with 20 decorations each are tried.

    real_share  share of real compounds, where there are any and both they and prototypes may be used
    molecular   molecular crystals may be among them
    """
    compounds = find_real(elements, molecular) if REAL in prototypes else ()
    possible = [p for p in prototypes if p != REAL and len(_pool(elements, p)) >= _n_sublattices(p)]
    if compounds and (not possible or rng.random() < real_share):
        return real_crystal(draw_compound(compounds, rng))
    if not possible:
        raise Rejected("no_crystal")
    for _ in range(_TRIES):
        prototype = _draw_prototype(possible, rng)
        for _ in range(_TRIES):
            crystal = _draw_decorated(elements, prototype, float(rng.uniform(*bond_scale)), rng)
            if crystal is not None:
                return crystal
    raise Rejected("no_crystal")


def _draw_prototype(prototypes: Sequence[str], rng: np.random.Generator) -> str:
    others = [p for p in prototypes if p != ELEMENTAL]
    if ELEMENTAL in prototypes and (not others or rng.random() < _ELEMENTAL_SHARE):
        return ELEMENTAL
    return others[int(rng.integers(len(others)))]


def _draw_decorated(elements: Sequence[str], prototype: str, bond_scale: float, rng: np.random.Generator) -> Crystal | None:
    symbols = [str(s) for s in rng.choice(_pool(elements, prototype), _n_sublattices(prototype), replace=False)]
    return reference_crystal(symbols[0]) if prototype == ELEMENTAL else decorate(prototype, symbols, bond_scale)


def _pool(elements: Sequence[str], prototype: str) -> list[str]:
    if prototype == ELEMENTAL:
        return [e for e in elements if lattice_of(e)]
    allowed = PROTOTYPES[prototype].elements
    return [e for e in elements if allowed is None or e in allowed]


def _n_sublattices(prototype: str) -> int:
    return 1 if prototype == ELEMENTAL else lattice_of_prototype(prototype).n_sublattices


@lru_cache(maxsize=1024)
def can_make(elements: tuple[str, ...], prototype: str, bond_scale: float, *, molecular: bool = False) -> bool:
    """True if some choice of the elements gives this prototype."""
    if prototype == REAL:
        return bool(find_real(elements, molecular))
    pool = _pool(elements, prototype)
    if prototype == ELEMENTAL:
        return bool(pool)
    decorations = permutations(pool, _n_sublattices(prototype))
    return any(decorate(prototype, symbols, bond_scale) is not None for symbols in decorations)
