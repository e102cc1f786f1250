"""Bringing atoms into contact: sliding one group against another, and pushing a crowd apart."""

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from services.ase.radii import Floats

_N_PUSHES = 300
_OVERLAP = 0.02
"""Overlap that is left alone, as a share of the contact distance."""
_PULL = 0.001
_N_PULLS = 80
"""In the first steps atoms are drawn to the centre too, by this share of their distance from it."""


def slide_to_contact(moving: Floats, obstacles: Floats, contact: Floats, direction: Floats) -> float:
    """How far from its place a rigid group stops when it comes from infinity against `direction`.

    moving     the group's positions, Å, shape (n, 3)
    obstacles  positions, Å, shape (m, 3)
    contact    closest distance allowed between each pair, Å, shape (n, m)
    direction  unit vector, shape (3,)

    Returns the shift r along `direction`, Å, at which the first pair touches; -inf if none ever does.
    """
    gap = obstacles[None] - moving[:, None]
    along = gap @ direction
    beside = (gap**2).sum(axis=-1) - along**2
    reach = contact**2 - beside
    stops = np.where(reach > 0, along + np.sqrt(np.maximum(reach, 0)), -np.inf)
    return float(stops.max(initial=-np.inf))


def random_rotation(rng: np.random.Generator) -> Floats:
    """A rotation matrix, uniform over all rotations."""
    matrix: Floats = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    return matrix


def random_direction(rng: np.random.Generator) -> Floats:
    """A unit vector, uniform over the sphere."""
    vector = rng.normal(size=3)
    unit: Floats = vector / np.linalg.norm(vector)
    return unit


def push_apart(positions: Floats, kinds: NDArray[np.int64], contact: Floats) -> Floats:
    """Positions, Å, moved until atoms are apart by 98 % of their contact distance or 300 steps are spent.

    kinds    index of each atom's element, shape (n_atoms,)
    contact  Å, shape (n_elements, n_elements)
    """
    positions, reach = positions.copy(), float(contact.max())
    for step in range(_N_PUSHES):
        pairs = cKDTree(positions).query_pairs(reach, output_type="ndarray")
        i, j = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].T
        gap = positions[j] - positions[i]
        distance, wanted = np.maximum(np.linalg.norm(gap, axis=1), 1e-3), contact[kinds[i], kinds[j]]
        bad = distance < (1 - _OVERLAP) * wanted
        if not bad.any():
            break
        push = 0.5 * ((wanted - distance) / distance)[bad, None] * gap[bad]
        np.add.at(positions, i[bad], -push)
        np.add.at(positions, j[bad], push)
        if step < _N_PULLS:
            positions -= _PULL * (positions - positions.mean(axis=0))
    return positions


def centred(atoms: Atoms) -> Atoms:
    """The atoms with their mean position at the origin."""
    atoms.positions -= atoms.positions.mean(axis=0)
    return atoms
