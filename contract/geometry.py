"""Distances and neighbours of a structure, periodic images included."""

from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from contract.structures import Structure


@dataclass(frozen=True, eq=False)
class Pairs:
    """All ordered pairs (i, j) closer than a cutoff.

    i, j      atom indices, shape (n_pairs,)
    distance  Å, shape (n_pairs,)
    vector    from i to the image of j, Å, shape (n_pairs, 3)
    """

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    distance: NDArray[np.float64]
    vector: NDArray[np.float64]


def find_pairs(structure: Structure, cutoff: float) -> Pairs:
    """All pairs within `cutoff` Å, each in both directions."""
    positions, box = structure.positions, structure.cell
    if not structure.is_periodic:
        positions = positions - positions.min(axis=0)
        box = np.diag(np.ptp(positions, axis=0) + 1.0)
    i, j, distance, vector = neighbour_list("ijdD", positions=positions, cell=box, pbc=np.array(structure.pbc), cutoff=cutoff)
    return Pairs(i.astype(np.int64), j.astype(np.int64), distance, vector)


def minimum_distance(structure: Structure, cutoff: float = 3.0) -> float:
    """The smallest distance between two atoms or their images, Å; infinity if none is within `cutoff`."""
    distance = find_pairs(structure, cutoff).distance
    return float(distance.min()) if distance.size else float("inf")


def sum_of_radii(numbers_i: NDArray[np.uint8], numbers_j: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Sum of the covalent radii of Cordero et al., Dalton Trans. 2008, 2832 (ASE's table), Å."""
    radii = np.asarray(covalent_radii, dtype=np.float64)
    total: NDArray[np.float64] = radii[numbers_i] + radii[numbers_j]
    return total


def find_bonds(structure: Structure, factor: float = 1.25) -> Pairs:
    """Pairs closer than `factor` times the sum of their covalent radii, each in both directions."""
    largest = 2 * float(np.max(np.asarray(covalent_radii)[structure.numbers], initial=0.5))
    pairs = find_pairs(structure, factor * largest)
    limit = factor * sum_of_radii(structure.numbers[pairs.i], structure.numbers[pairs.j])
    keep = pairs.distance < limit
    return Pairs(pairs.i[keep], pairs.j[keep], pairs.distance[keep], pairs.vector[keep])
