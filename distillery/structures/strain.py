"""Strains of periodic structures: drawn, kept to a slab's plane, applied."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from distillery.structures.structure import Structure, Vectors

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""ASE's order of six components: xx yy zz yz xz xy."""


def draw_strain(structure: Structure, largest: float, rng: np.random.Generator) -> Vectors:
    """A random symmetric strain, shape (3, 3), with components up to `largest`; of a slab in its plane only."""
    raw = rng.uniform(-largest, largest, (3, 3))
    return keep_in_plane(structure, np.triu(raw) + np.triu(raw, 1).T)


def keep_in_plane(structure: Structure, strain: Vectors) -> Vectors:
    """The strain as it is, of a slab its part in the slab's plane."""
    if structure.system != "surface":
        return strain
    normal = np.cross(structure.cell[0], structure.cell[1])
    normal /= np.linalg.norm(normal)
    in_plane = np.eye(3) - np.outer(normal, normal)
    flat: Vectors = in_plane @ strain @ in_plane
    return flat


def apply_strain(structure: Structure, strain: Vectors) -> Structure:
    """The structure with its cell strained; the atoms follow."""
    deformation = np.eye(3) + strain
    return replace(structure, cell=structure.cell @ deformation, positions=structure.positions @ deformation)


def list_work_factors(strain: Vectors) -> NDArray[np.float64]:
    """What the components of a stress, in the order of `VOIGT`, are multiplied with for its work by unit volume, shape (6,)."""
    return np.array([strain[i, j] if i == j else strain[i, j] + strain[j, i] for i, j in VOIGT])


def list_components(strain: Vectors) -> list[float]:
    """The six components of a symmetric strain, in the order of `VOIGT`."""
    return [float(strain[i, j]) for i, j in VOIGT]
