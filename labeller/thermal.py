"""Thermal displacements: small along stiff bonds, large where nothing holds; from a network of springs, without a teacher."""

import numpy as np
from ase import units
from numpy.typing import NDArray

from distillery.structures.geometry import find_pairs, sum_of_radii
from distillery.structures.structure import Structure

_REACH = 5.0
"""Å: pairs farther apart hold one another by nothing."""
_BOND = 1.25
"""A pair nearer than this times the sum of its covalent radii is bonded."""
_STIFF, _SOFT = 35.0, 0.5
"""eV/Å² of a bond (a C-C bond has some 28, C-H 30, O-H 48), and of neighbours at 3 Å that are not bonded; those decay with r^-6."""
_TETHER = 2.0
"""eV/Å² that holds each atom where it is, some 0.1 Å at 300 K: where torsions turn, straight displacements soon stretch bonds."""


def displace_by_temperature(structure: Structure, temperature: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Displacements drawn from the Boltzmann distribution of a network of springs, Å, shape (n_atoms, 3).

    Springs hold pairs along their distance, as in elastic network models (Hinsen, Proteins 33, 417 (1998): r^-6); temperature in K.
    """
    hessian = _make_hessian(structure)
    stiffness, modes = np.linalg.eigh(hessian)
    widths = np.sqrt(units.kB * temperature / stiffness)
    noise = modes.T @ rng.normal(size=len(stiffness))  # drawn for atoms, not modes, whose signs another LAPACK turns round
    displacements: NDArray[np.float64] = (modes @ (widths * noise)).reshape(-1, 3)
    return displacements


def _make_hessian(structure: Structure) -> NDArray[np.float64]:
    """Second derivatives of the springs' energy, eV/Å², shape (3 n_atoms, 3 n_atoms)."""
    pairs = find_pairs(structure, _REACH)
    n = len(structure)
    bonded = pairs.distance < _BOND * sum_of_radii(structure.numbers[pairs.i], structure.numbers[pairs.j])
    constants = np.where(bonded, _STIFF, _SOFT * (3.0 / pairs.distance) ** 6)
    unit = pairs.vector / pairs.distance[:, None]
    blocks = constants[:, None, None] * unit[:, :, None] * unit[:, None, :]
    hessian = np.zeros((n, n, 3, 3))
    np.add.at(hessian, (pairs.i, pairs.j), -blocks)
    np.add.at(hessian, (pairs.i, pairs.i), blocks)
    square: NDArray[np.float64] = hessian.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)
    return square + _TETHER * np.eye(3 * n)
