"""Dangling bonds and the atoms that saturate them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray

from distillery.structures.geometry import find_bonds
from distillery.structures.structure import from_ase
from services.ase.radii import COVALENT, VAN_DER_WAALS, Floats

TERMINATORS = ("H", "F", "Cl")
MOST_BONDS = 4
"""Atoms with more bulk neighbours than this are no covalent centres; their cut bonds are left as they are."""
_CLEARANCE = 1.2
"""A terminator keeps this many sums of covalent radii from all atoms but its own."""
_NEIGHBOUR_CLEARANCE = 0.62
"""Terminators keep this many sums of van der Waals radii from one another (H-H 1.49 Å, as on dihydride surfaces)."""


@dataclass(frozen=True, eq=False)
class Stubs:
    """Bonds that were cut: the atom that lost its neighbour, and the vector to where that was, Å, shape (n, 3)."""

    hosts: NDArray[np.int64]
    vectors: Floats

    def __len__(self) -> int:
        return len(self.hosts)


def terminators_for(elements: Sequence[str]) -> list[str]:
    """Those of H, F and Cl that may be used."""
    return [e for e in TERMINATORS if e in elements]


def terminate(atoms: Atoms, stubs: Stubs, element: str, n_most: int, rng: np.random.Generator) -> Atoms:
    """The atoms with up to `n_most` atoms of `element` along cut bonds, at the sum of covalent radii, where there is room."""
    order = rng.permutation(len(stubs))
    hosts, vectors = stubs.hosts[order], stubs.vectors[order]
    z = atomic_numbers[element]
    bonds = COVALENT[z] + COVALENT[atoms.numbers[hosts]]
    spots = atoms.positions[hosts] + bonds[:, None] * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    to_atoms = periodic_distances(spots, atoms.positions, atoms) / (COVALENT[z] + COVALENT[atoms.numbers])
    to_atoms[np.arange(len(hosts)), hosts] = np.inf
    free = to_atoms.min(axis=1, initial=np.inf) > _CLEARANCE
    crowded = periodic_distances(spots, spots, atoms) < _NEIGHBOUR_CLEARANCE * 2 * VAN_DER_WAALS[z]
    chosen: list[int] = []
    for k in np.flatnonzero(free):
        if len(chosen) < n_most and not crowded[k, chosen].any():
            chosen.append(int(k))
    if not chosen:
        return atoms
    grown: Atoms = atoms + Atoms([element] * len(chosen), positions=spots[chosen])
    grown.info["termination"] = {"element": element, "n": len(chosen)}
    return grown


def periodic_distances(a: Floats, b: Floats, atoms: Atoms) -> Floats:
    """Distances between points, Å, shape (len(a), len(b)), in-plane images of `atoms` included where it is periodic."""
    gap = b[None] - a[:, None]
    nearest: Floats = np.linalg.norm(gap, axis=-1)
    for shift in in_plane_shifts(atoms):
        nearest = np.minimum(nearest, np.linalg.norm(gap + shift, axis=-1))
    return nearest


def in_plane_shifts(atoms: Atoms) -> Floats:
    """The eight shortest in-plane lattice steps beside none, Å; empty where the atoms are not periodic."""
    if not atoms.pbc.any():
        return np.zeros((0, 3))
    steps = [(i, j, 0) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    shifts: Floats = np.array(steps) @ atoms.cell.array
    return shifts


def cut_out(big: Atoms, kept: NDArray[np.int64]) -> tuple[Atoms, Stubs]:
    """The kept atoms of a larger piece of crystal, and the covalent bonds that were cut."""
    is_kept = np.zeros(len(big), dtype=bool)
    is_kept[kept] = True
    bonds = find_bonds(from_ase(big, id="", system="surface" if big.pbc.any() else "cluster"))
    n_bonds = np.bincount(bonds.i, minlength=len(big))
    univalent = np.isin(big.numbers, [atomic_numbers[e] for e in TERMINATORS])
    cut = is_kept[bonds.i] & ~is_kept[bonds.j] & (n_bonds[bonds.i] <= MOST_BONDS) & ~univalent[bonds.i]
    within = (np.cumsum(is_kept) - 1).astype(np.int64)
    return big[is_kept], Stubs(within[bonds.i[cut]], bonds.vector[cut])
