"""Is this structure sane? Every check gives a reason and a detail, so that a rejection can be counted and understood."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from distillery.structures.geometry import Pairs, find_bonds, find_pairs, sum_of_radii
from distillery.structures.structure import PERIODIC_SYSTEMS, Structure

SHORTEST_DISTANCE = 0.6
"""No two atoms closer than this, Å, whatever they are (H2 is 0.74)."""
LARGEST_EXTENT = 1000.0
"""No structure or cell is longer than this, Å: nothing that large is asked for, and neighbour lists of it exhaust memory."""
SHORTEST_RATIO = 0.6
"""No two atoms closer than this fraction of the sum of their covalent radii."""
LARGEST_NUMBER_DENSITY = 0.25
"""Atoms/Å³ in a cell (diamond, the densest ordinary solid, has 0.176)."""
LEAST_VACUUM = 15.0
"""Å between a slab and its image along c (the OC20 habit)."""
FARTHEST_NEIGHBOUR = 1.5
"""A carbon without a bond must have a neighbour within this many sums of covalent radii, as in carbides."""
LARGEST_FRAGMENT = 3
"""Atoms of a cluster that needs no hydrogens: isolated atoms, dimers and trimers are asked for as they are."""
LINEAR = 150.0
"""A carbon with two neighbours must have them at more than this angle, degrees."""


@dataclass(frozen=True)
class Fault:
    """Why a structure is refused: a reason to count by and a detail to read."""

    reason: str
    detail: str


def find_input_fault(structure: Structure, elements: Collection[str] | None = None) -> Fault | None:
    """The first reason why no teacher should see this structure, or None.

    Checks, in order: not empty, finite, not too large, known elements, all or no periodicity, a sane cell, density, distances.
    """
    if len(structure) == 0:
        return Fault("empty", "the structure has no atoms")
    if not np.isfinite(structure.positions).all() or not np.isfinite(structure.cell).all():
        return Fault("not_finite", "positions or cell hold NaN or infinity")
    extent = max(float(np.ptp(structure.positions, axis=0).max()), float(np.abs(structure.cell).max()))
    if extent > LARGEST_EXTENT:
        return Fault("too_large", f"it extends over {extent:.0f} Å, at most {LARGEST_EXTENT:.0f}")
    return _find_element_fault(structure, elements) or _find_cell_fault(structure) or _find_distance_fault(structure)


def _find_element_fault(structure: Structure, elements: Collection[str] | None) -> Fault | None:
    present = sorted({int(z) for z in structure.numbers})
    if present[0] < 1 or present[-1] >= len(chemical_symbols):
        return Fault("unknown_element", f"atomic numbers must lie in 1..{len(chemical_symbols) - 1}, got {present}")
    foreign = [chemical_symbols[z] for z in present if elements is not None and chemical_symbols[z] not in elements]
    if foreign:
        return Fault("unknown_element", f"{' '.join(foreign)} not among {' '.join(elements or ())}")
    return None


def _find_cell_fault(structure: Structure) -> Fault | None:
    if structure.is_periodic != all(structure.pbc):
        return Fault("partial_periodicity", f"pbc must be all or none, got {structure.pbc}")
    if structure.is_periodic != (structure.system in PERIODIC_SYSTEMS):
        return Fault("partial_periodicity", f"a {structure.system} with pbc {structure.pbc}")
    if not structure.is_periodic:
        return Fault("bad_cell", "not periodic, yet the cell is not zero") if structure.cell.any() else None
    lengths = np.linalg.norm(structure.cell, axis=1)
    if lengths.min() < 1.0 or structure.volume < 0.05 * float(lengths.prod()):
        return Fault("bad_cell", f"lengths {np.round(lengths, 2)} Å, volume {structure.volume:.3f} Å³: flat or singular")
    density = len(structure) / structure.volume
    if density > LARGEST_NUMBER_DENSITY:
        return Fault("too_dense", f"{density:.3f} atoms/Å³, at most {LARGEST_NUMBER_DENSITY}")
    return None


def _find_distance_fault(structure: Structure) -> Fault | None:
    pairs = find_pairs(structure, 3.0)
    if not pairs.distance.size:
        return None
    ratio = pairs.distance / sum_of_radii(structure.numbers[pairs.i], structure.numbers[pairs.j])
    for worst, bad in (
        (int(pairs.distance.argmin()), pairs.distance.min() < SHORTEST_DISTANCE),
        (int(ratio.argmin()), ratio.min() < SHORTEST_RATIO),
    ):
        if bad:
            a, b = (chemical_symbols[structure.numbers[k[worst]]] for k in (pairs.i, pairs.j))
            return Fault("atoms_too_close", f"{a}-{b} {pairs.distance[worst]:.3f} Å, {ratio[worst]:.2f} of their covalent radii")
    return None


def find_chemistry_fault(structure: Structure) -> Fault | None:
    """Hydrogens that were forgotten, molecules in pieces, slabs without vacuum; None if all is well.

    A carbon with no neighbour far and wide, with one, or with two that are not in line, lacks hydrogens: files with implicit
    hydrogens once gave 4,883 molecules without any. The structure must have passed `find_input_fault`.
    """
    if structure.system == "cluster" and len(structure) <= LARGEST_FRAGMENT:
        return None
    bonds = find_bonds(structure)
    return _find_bare_carbon(structure, bonds) or _find_fragments(structure, bonds) or _find_thin_vacuum(structure)


def _find_bare_carbon(structure: Structure, bonds: Pairs) -> Fault | None:
    carbons = np.flatnonzero(structure.numbers == 6)
    lonely = np.setdiff1d(carbons, bonds.i)
    if lonely.size and (lonely := np.setdiff1d(lonely, find_bonds(structure, FARTHEST_NEIGHBOUR).i)).size:
        return Fault("bare_carbon", f"carbon {lonely[0]} has no neighbour: hydrogens are missing")
    for carbon in carbons:
        vectors = bonds.vector[bonds.i == carbon]
        if len(vectors) == 1:
            return Fault("bare_carbon", f"carbon {carbon} has one neighbour: hydrogens are missing")
        if len(vectors) == 2:
            cosine = float(vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1]))
            angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
            if angle < LINEAR:
                return Fault("bare_carbon", f"carbon {carbon} has two neighbours at {angle:.0f}°: hydrogens are missing")
    return None


def _find_fragments(structure: Structure, bonds: Pairs) -> Fault | None:
    if structure.system != "molecule":
        return None
    seen, front = {0}, [0]
    while front:
        fresh = {int(j) for j in bonds.j[np.isin(bonds.i, front)]} - seen
        seen |= fresh
        front = list(fresh)
    if len(seen) < len(structure):
        return Fault("fragments", f"{len(structure) - len(seen)} of {len(structure)} atoms are not bonded to the first")
    return None


def _find_thin_vacuum(structure: Structure) -> Fault | None:
    if structure.system != "surface":
        return None
    normal = np.cross(structure.cell[0], structure.cell[1])
    height = structure.volume / float(np.linalg.norm(normal))
    depth = np.sort((structure.positions @ (normal / np.linalg.norm(normal))) % height)
    vacuum = float(np.max(np.diff(np.append(depth, depth[0] + height))))
    if vacuum < LEAST_VACUUM - 1e-6:
        return Fault("thin_vacuum", f"{vacuum:.1f} Å of vacuum along c, at least {LEAST_VACUUM}")
    return None


def find_size_fault(structure: Structure, min_atoms: int, max_atoms: int) -> Fault | None:
    """The number of atoms lies outside the range that was asked for, or None."""
    if min_atoms <= len(structure) <= max_atoms:
        return None
    return Fault("size", f"{len(structure)} atoms, wanted {min_atoms}-{max_atoms}")


def find_fault(structure: Structure, elements: Sequence[str], atoms: tuple[int, int] | None) -> Fault | None:
    """Why a structure is not worth a label, whatever the others are, or None."""
    size = find_size_fault(structure, *atoms) if atoms is not None else None
    return size or find_input_fault(structure, elements) or find_chemistry_fault(structure)
