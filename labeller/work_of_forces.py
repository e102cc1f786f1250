"""The work of forces and stress between two labels of a path: the energy changes by just as much. It costs no label more."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import Label
from distillery.structures.checks import Fault
from distillery.structures.strain import list_work_factors
from distillery.structures.structure import Structure, Vectors
from labeller.teachers.teacher import PhysicsTolerance

_STIFFENING = 4.0
"""1/Å: of what forces and stress change by, the share that the mean of both ends may be off, by how far the atoms move. Bonds stiffen by
some 5 per Å (Morse potentials), a twelfth of which matters along one; 7net-0, EMT, GFN2-xTB and CHGNet needed at most 2.2."""
_FARTHEST = 0.4
"""Å: over longer ways the mean of both ends tells nothing."""
_STEEPEST = 50.0
"""eV/Å, the largest force that recipes allow by default: nearer together repulsion stiffens by more (r^-12 at 1 Å by 13 per Å)."""
_BOND = 2.5
"""Å that a strain makes longer."""
_ROUGH = 5e-3
"""eV/atom that count for nothing: heat changes the energy by some 30 meV/atom."""
_ENERGY_DIGITS = 4e-7
"""Relative rounding of an energy summed in float32."""


@dataclass(frozen=True, eq=False)
class Point:
    """A structure on its way, and its label."""

    structure: Structure
    label: Label


def find_work_fault(before: Point, after: Point, tolerance: PhysicsTolerance) -> Fault | None:
    """Why two labels of the same atoms, a short way apart, can't both be right, or None where they can, or where nothing can be said.

    The way is straight in cell and fractions; the work on it is taken by the trapezoidal rule.
    """
    way = _follow(before.structure, after.structure)
    has_stress = before.label.stress is not None and after.label.stress is not None
    steepest = max(float(np.abs(point.label.forces).max(initial=0.0)) for point in (before, after))
    if way.farthest > _FARTHEST or steepest > _STEEPEST or (way.stretch.any() and not has_stress):
        return None
    begun, ended = _find_powers(before, way), _find_powers(after, way)
    work, found = float((begun + ended).sum()) / 2, after.label.energy - before.label.energy
    slack = _STIFFENING * way.farthest * float(np.abs(ended - begun).sum()) / 2
    slack += tolerance.slope * float((np.abs(begun) + np.abs(ended)).sum()) / 2
    slack += (_ROUGH + tolerance.energy) * len(after.structure) + _ENERGY_DIGITS * abs(after.label.energy)
    if abs(work - found) <= slack:
        return None
    return Fault("work", f"the energy changes by {found:.3g} eV, where forces and stress say {work:.3g} eV, give or take {slack:.2g}")


@dataclass(frozen=True, eq=False)
class _Way:
    """How a structure changes.

    fractions  of the atoms, or Å where nothing is periodic, shape (n_atoms, 3)
    stretch    of the cell, Å, shape (3, 3)
    farthest   how far an atom moves, and a bond is strained, Å
    """

    fractions: Vectors
    stretch: Vectors
    farthest: float


def _follow(before: Structure, after: Structure) -> _Way:
    if not before.is_periodic:
        steps = after.positions - before.positions
        return _Way(steps, np.zeros((3, 3)), float(np.linalg.norm(steps, axis=1).max()))
    fractions = np.linalg.solve(after.cell.T, after.positions.T).T - np.linalg.solve(before.cell.T, before.positions.T).T
    stretch = after.cell - before.cell
    strain = np.abs(np.linalg.solve(before.cell, stretch)).max()
    return _Way(fractions, stretch, float(np.linalg.norm(fractions @ before.cell, axis=1).max() + _BOND * strain))


def _find_powers(point: Point, way: _Way) -> NDArray[np.float64]:
    """What the energy changes by along the whole way at the rate it has here: of each atom and component of the strain, eV, shape (n,)."""
    structure, label = point.structure, point.label
    steps = way.fractions @ structure.cell if structure.is_periodic else way.fractions
    powers: NDArray[np.float64] = -(label.forces * steps).sum(axis=1)
    if not way.stretch.any() or label.stress is None:
        return powers
    strain = np.linalg.solve(structure.cell, way.stretch).astype(np.float64)
    by_strain = np.multiply(structure.volume * label.stress, list_work_factors(strain))
    return np.concatenate([powers, by_strain])
