"""Is this structure sane? Every check gives a reason and a detail, so that a rejection can be counted and understood."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from distillery.structures.carbons import find_bare_carbon
from distillery.structures.cells import LARGEST_EXTENT, find_extent, is_flat, restate
from distillery.structures.electrons import find_electron_fault
from distillery.structures.elements import PERIODIC_SYSTEMS
from distillery.structures.elements import SHORTEST_DISTANCE as SHORTEST_DISTANCE
from distillery.structures.geometry import BOND, CONTACT, Neighbours, Pairs, sum_of_radii
from distillery.structures.length_checks import (
    ACTINIDES,
    SHORTEST_RATIO,
    SHORTEST_RATIO_LOOSE,
    find_compression,
    find_isolated_atom,
    find_stretching,
    is_loose,
)
from distillery.structures.structure import Structure
from distillery.structures.valences import find_missing_hydrogen

LARGEST_NUMBER_DENSITY = 0.25
"""Atoms/Å³ in a cell (diamond, the densest ordinary solid, has 0.176)."""
LEAST_VACUUM = 15.0
"""Å between a slab and its image along c (the OC20 habit)."""
FARTHEST_PIECE = 8.0
"""Å between a piece of a cluster or slab and the next: what is bound has 5.3 at most (caesium), molecules on slabs and in clusters 4.5."""
LARGEST_FRAGMENT = 3
"""Atoms of a cluster that needs no hydrogens where its source means it to be loose: isolated atoms, dimers and trimers."""


@dataclass(frozen=True)
class Fault:
    """Why a structure is refused: a reason to count by and a detail to read."""

    reason: str
    detail: str


def find_input_fault(structure: Structure, elements: Collection[str] | None = None, neighbours: Neighbours | None = None) -> Fault | None:
    """The first reason why no teacher should see this structure, as `restate` puts it, or None: `find_plain_fault`, then distances.

    `neighbours` are those of the restated structure, where others want them too.
    """
    if fault := find_plain_fault(structure, elements):
        return fault
    structure = restate(structure)
    return _find_distance_fault(structure, neighbours or Neighbours(structure))


def find_plain_fault(structure: Structure, elements: Collection[str] | None = None) -> Fault | None:
    """What can be seen without distances, in this order: not empty, finite, not too large, known elements, a charge and spin that its
    electrons allow, all or no periodicity, a sane cell, density."""
    if len(structure) == 0:
        return Fault("empty", "the structure has no atoms")
    if not np.isfinite(structure.positions).all() or not np.isfinite(structure.cell).all():
        return Fault("not_finite", "positions or cell hold NaN or infinity")
    structure = restate(structure)
    if (extent := find_extent(structure)) > LARGEST_EXTENT:
        return Fault("too_large", f"it extends over {extent:.0f} Å, at most {LARGEST_EXTENT:.0f}")
    return _find_element_fault(structure, elements) or _find_state_fault(structure) or _find_cell_fault(structure)


def _find_element_fault(structure: Structure, elements: Collection[str] | None) -> Fault | None:
    present = sorted({int(z) for z in structure.numbers})
    if present[0] < 1 or present[-1] >= len(chemical_symbols):
        return Fault("unknown_element", f"atomic numbers must lie in 1..{len(chemical_symbols) - 1}, got {present}")
    foreign = [chemical_symbols[z] for z in present if elements is not None and chemical_symbols[z] not in elements]
    if foreign:
        return Fault("unknown_element", f"{' '.join(foreign)} not among {' '.join(elements or ())}")
    return None


def _find_state_fault(structure: Structure) -> Fault | None:
    said = None if structure.is_plain else find_electron_fault(structure)
    return None if said is None else Fault("impossible_spin" if structure.multiplicity else "impossible_charge", said)


def _find_cell_fault(structure: Structure) -> Fault | None:
    if structure.is_periodic != all(structure.pbc):
        return Fault("partial_periodicity", f"pbc must be all or none, got {structure.pbc}")
    if structure.is_periodic != (structure.system in PERIODIC_SYSTEMS):
        return Fault("partial_periodicity", f"a {structure.system} with pbc {structure.pbc}")
    if not structure.is_periodic:
        return Fault("bad_cell", "not periodic, yet the cell is not zero") if structure.cell.any() else None
    if is_flat(structure.cell):
        lengths = np.linalg.norm(structure.cell, axis=1)
        return Fault("bad_cell", f"lengths {np.round(lengths, 2)} Å, volume {structure.volume:.3f} Å³: flat or singular")
    density = len(structure) / structure.volume
    if density > LARGEST_NUMBER_DENSITY:
        return Fault("too_dense", f"{density:.3f} atoms/Å³, at most {LARGEST_NUMBER_DENSITY}")
    return None


def _find_distance_fault(structure: Structure, neighbours: Neighbours) -> Fault | None:
    pairs = neighbours.within(CONTACT)
    if not pairs.distance.size:
        return None
    ratio = pairs.distance / sum_of_radii(structure.numbers[pairs.i], structure.numbers[pairs.j])
    is_lenient = is_loose(structure) | (np.minimum(structure.numbers[pairs.i], structure.numbers[pairs.j]) >= ACTINIDES)
    over = ratio / np.where(is_lenient, SHORTEST_RATIO_LOOSE, SHORTEST_RATIO)
    for worst, bad in (
        (int(pairs.distance.argmin()), pairs.distance.min() < SHORTEST_DISTANCE),
        (int(over.argmin()), over.min() < 1),
    ):
        if bad:
            a, b = (chemical_symbols[structure.numbers[k[worst]]] for k in (pairs.i, pairs.j))
            return Fault("atoms_too_close", f"{a}-{b} {pairs.distance[worst]:.3f} Å, {ratio[worst]:.2f} of their covalent radii")
    return None


def find_chemistry_fault(structure: Structure, neighbours: Neighbours | None = None) -> Fault | None:
    """Hydrogens that were forgotten, lengths of another unit, molecules in pieces, slabs without vacuum; None if all is well.

    Files with implicit hydrogens once gave 4,883 molecules without any (`carbons`). The structure must have passed `find_input_fault`.
    """
    if is_loose(structure) and structure.system == "cluster" and len(structure) <= LARGEST_FRAGMENT:
        return None
    structure = restate(structure)
    neighbours = neighbours or Neighbours(structure)
    if bare := find_bare_carbon(structure, neighbours):
        return Fault("bare_carbon", bare)
    if pieces := _find_fragments(structure, neighbours):
        return pieces
    if not is_loose(structure) and (fault := _find_scale_fault(structure, neighbours)):
        return fault
    if missing := find_missing_hydrogen(structure, neighbours):
        return Fault("missing_hydrogen", missing)
    return _find_thin_vacuum(structure)


def _find_scale_fault(structure: Structure, neighbours: Neighbours) -> Fault | None:
    if isolated := find_isolated_atom(structure, neighbours):
        return Fault("isolated_atom", isolated)
    if stretched := find_stretching(structure, neighbours):
        return Fault("stretched", stretched)
    if compressed := find_compression(structure, neighbours):
        return Fault("compressed", compressed)
    return _find_far_pieces(structure, neighbours)


def _find_fragments(structure: Structure, neighbours: Neighbours) -> Fault | None:
    if structure.system == "molecule" and (n_detached := count_detached(structure, neighbours)):
        return Fault("fragments", f"{n_detached} of {len(structure)} atoms are not bonded to the first")
    return None


def _find_far_pieces(structure: Structure, neighbours: Neighbours) -> Fault | None:
    """A cluster torn apart, an adsorbate that left its surface. Contacts are known already and join most of what is in one piece."""
    if structure.system not in {"cluster", "surface"}:
        return None
    for reach in (CONTACT, FARTHEST_PIECE):
        n_far = _count_unreached(len(structure), neighbours.within(reach))
        if not n_far:
            return None
    return Fault("fragments", f"{n_far} of {len(structure)} atoms are more than {FARTHEST_PIECE} Å away from the piece of the first")


def count_detached(structure: Structure, neighbours: Neighbours) -> int:
    """Atoms that no chain of bonds joins to the first."""
    return _count_unreached(len(structure), neighbours.bonds(BOND))


def _count_unreached(n_atoms: int, pairs: Pairs) -> int:
    """Atoms that no chain of these pairs joins to the first."""
    seen, front = {0}, [0]
    while front:
        fresh = {int(j) for j in pairs.j[np.isin(pairs.i, front)]} - seen
        seen |= fresh
        front = list(fresh)
    return n_atoms - len(seen)


def _find_thin_vacuum(structure: Structure) -> Fault | None:
    if structure.system == "surface" and (vacuum := find_vacuum(structure)) < LEAST_VACUUM - 1e-6:
        return Fault("thin_vacuum", f"{vacuum:.1f} Å of vacuum along c, at least {LEAST_VACUUM}")
    return None


def find_vacuum(structure: Structure) -> float:
    """The widest gap without atoms along the normal of a and b, the images along c counted, Å."""
    normal = np.cross(structure.cell[0], structure.cell[1])
    height = structure.volume / float(np.linalg.norm(normal))
    depth = np.sort((structure.positions @ (normal / np.linalg.norm(normal))) % height)
    return float(np.max(np.diff(np.append(depth, depth[0] + height))))


def find_size_fault(structure: Structure, min_atoms: int, max_atoms: int) -> Fault | None:
    """The number of atoms lies outside the range that was asked for, or None."""
    if min_atoms <= len(structure) <= max_atoms:
        return None
    return Fault("size", f"{len(structure)} atoms, wanted {min_atoms}-{max_atoms}")


def find_fault(
    structure: Structure, elements: Collection[str] | None, atoms: tuple[int, int] | None, neighbours: Neighbours | None = None
) -> Fault | None:
    """Why a structure is not worth a label, whatever the others are, or None; neighbours are found once for all checks.

    `neighbours` are those of the restated structure, where others want them too.
    """
    if atoms is not None and (size := find_size_fault(structure, *atoms)):
        return size
    neighbours = neighbours or Neighbours(restate(structure))
    return find_input_fault(structure, elements, neighbours) or find_chemistry_fault(structure, neighbours)
