"""PyXtal's placing of atoms on Wyckoff sites, bit for bit, with the images in all 27 neighbouring cells at once.

PyXtal goes through the images one by one in Python, which is most of the time that a random crystal takes. Sums are
written out here in the order in which BLAS makes them of three numbers, so that the same seed gives the same crystal.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyxtal.tolerance import Tol_matrix
from scipy.spatial.distance import cdist

Floats = NDArray[np.float64]
_IMAGES = np.array(list(product((-1.0, 0.0, 1.0), repeat=3)))
_FLAT = 1e-3
"""Vectors of a site's operation that are shorter count as none."""


@cache
def make_tolerances(factor: float) -> Tol_matrix:
    """PyXtal's shortest distances between elements: `factor` times half the sum of two covalent radii."""
    return Tol_matrix(prototype="atomic", factor=factor)


def project(point: Floats, wp: Any, cell: Floats) -> Floats:
    """The point moved onto the axis, plane or place of a Wyckoff site's first operation: `Wyckoff_position.project`.

    All fractional, shape (3,). PyXtal subtracts each image from what the one before it left of the point; so does this.
    """
    operation = wp.get_euclidean_generator(cell, 0) if wp.euclidean else wp.ops[0]
    rotation, translation = operation.rotation_matrix, operation.translation_vector
    shifts = translation + _IMAGES
    points = np.subtract.accumulate(np.concatenate([[point - np.floor(point)], shifts]))[1:]
    projected = np.zeros_like(points)
    for basis in rotation.T:
        length = np.sqrt(basis.dot(basis))
        if length > _FLAT:
            projected += basis * (_sum_products(points, basis) / length**2)[:, None]
    projected += shifts
    moved = projected - points
    offsets = np.stack([_sum_products(moved, cell[:, k]) for k in range(3)], axis=1)
    nearest = projected[np.sqrt(_sum_products(offsets, offsets)).argmin()]
    wrapped: Floats = nearest - np.floor(nearest)
    return wrapped


def _sum_products(rows: Floats, vector: Floats) -> Floats:
    """Scalar products of rows, shape (n, 3), with a vector or with as many rows, shape (n,)."""
    terms = rows * vector
    summed: Floats = terms[:, 0] + terms[:, 1] + terms[:, 2]
    return summed


@dataclass(frozen=True, eq=False)
class PlacedSite:
    """Atoms of one element on a Wyckoff site `wp`; `coords` fractional, (n, 3)."""

    wp: Any
    specie: str
    coords: Floats


def place_on_site(wp: Any, specie: str, point: Floats, cell: Floats, shortest: float) -> PlacedSite | None:
    """Atoms at a point projected onto a Wyckoff site; None where two of them are nearer than `shortest`, Å."""
    projected, matrices = project(point, wp, cell), _list_matrices(wp)
    images = _apply(matrices, projected)
    images -= np.floor(images)
    if (_find_distances(images[:1], images, cell)[1:] < shortest).any():
        return None
    return PlacedSite(wp, specie, _apply(matrices, projected - np.floor(projected)))


@cache
def _list_matrices(wp: Any) -> Floats:
    return np.array([operation.affine_matrix for operation in wp.ops])


def _apply(matrices: Floats, point: Floats) -> Floats:
    """The images of a point by all operations of a site."""
    images: Floats = np.inner(np.append(point, 1.0), matrices)[..., :-1]
    return images


def is_free(new: PlacedSite, others: Iterable[PlacedSite], cell: Floats, tolerances: Tol_matrix) -> bool:
    """Whether a site keeps its distance from those that are there: `random_crystal.check_wp`.

    As there, the coordinates of the one with more atoms are wrapped into the cell where they lie.
    """
    for other in others:
        few, many = (new, other) if len(new.coords) > len(other.coords) else (other, new)
        many.coords[...] -= np.floor(many.coords)
        distances = _find_distances(few.coords[:1], many.coords, cell)
        if (distances < tolerances.get_tol(new.specie, other.specie)).any():
            return False
    return True


def _find_distances(first: Floats, others: Floats, cell: Floats) -> Floats:
    """From a fractional point, (1, 3), to others, (n, 3), the shortest over all images, Å, (n,): `operations.distance_matrix`."""
    first, others = first - np.floor(first), others - np.floor(others)
    shortest: Floats = cdist(np.dot(first, cell) + np.dot(_IMAGES, cell), np.dot(others, cell)).min(axis=0)
    return shortest
