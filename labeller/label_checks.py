"""Checks of labels: what a teacher answers is checked before it is used."""

import numpy as np
from ase.units import GPa

from distillery.dataset.layout import Label
from distillery.schema.label import LabelLimits
from distillery.structures.checks import Fault
from distillery.structures.structure import Structure
from labeller.teachers.teacher import PhysicsTolerance

_SUM_SLACK = 1e-4
"""eV/atom that energies of atoms may add up to beside the energy: sums in float32."""
_FORCE_SLACK = 1e-3
"""eV/Å that the forces may add up to however small they are, and eV that their torque may be."""


def require_label(label: object) -> None:
    """TypeError if what a teacher gave is no Label, or one whose fields are no numbers and arrays: a package of others may have made it."""
    if not isinstance(label, Label):
        raise TypeError(f"a teacher must give Labels, it gave {type(label).__name__}")
    if not isinstance(label.energy, (float, int, np.floating)):
        raise TypeError(f"the energy of a Label must be a number, it is {type(label.energy).__name__}")
    for name in ("forces", "stress", "atomic_energies"):
        value = getattr(label, name)
        if not (isinstance(value, np.ndarray) and value.dtype.kind == "f") and (value is not None or name == "forces"):
            raise TypeError(f"{name} of a Label must be an array of floats, it is {type(value).__name__}")


def find_label_fault(structure: Structure, label: Label) -> Fault | None:
    """Why a teacher's answer is not a label, or None: a wrong shape, a number that is not finite, a stress without periodicity."""
    return _find_shape_fault(structure, label) or _find_number_fault(label)


def find_limit_fault(label: Label, limits: LabelLimits) -> Fault | None:
    """Which bound of a recipe a sound label lies beyond, or None; that of the energy takes all structures of a source."""
    force = float(np.linalg.norm(label.forces.astype(np.float64), axis=1).max(initial=0.0))
    if force > limits.force:
        return Fault("large_force", f"the largest force is {force:.1f} eV/Å, at most {limits.force:g}")
    pressure = 0.0 if label.stress is None else -float(label.stress[:3].mean()) / GPa
    if abs(pressure) > limits.pressure:
        return Fault("large_pressure", f"the pressure is {pressure:.1f} GPa, at most {limits.pressure:g} either way")
    return None


def find_atomic_fault(label: Label) -> Fault | None:
    """Why the energies of the atoms, which are wanted, are none: they are missing, or do not add up to the energy."""
    if label.atomic_energies is None:
        return Fault("no_atomic_energies", "the teacher gave none")
    n_atoms = len(label.forces)
    if label.atomic_energies.shape != (n_atoms,):
        return Fault("no_atomic_energies", f"they must have the shape {(n_atoms,)}, got {label.atomic_energies.shape}")
    total = float(label.atomic_energies.sum())
    if not abs(total - label.energy) <= _SUM_SLACK * n_atoms:
        return Fault("no_atomic_energies", f"they add up to {total:.6g} eV, the energy is {label.energy:.6g} eV")
    return None


def find_net_fault(structure: Structure, label: Label, tolerance: PhysicsTolerance) -> Fault | None:
    """A force on the whole, or where nothing is periodic a torque: no energy that only depends on distances and angles has one."""
    forces = label.forces.astype(np.float64)
    norms = np.linalg.norm(forces, axis=1)
    net = float(np.linalg.norm(forces.sum(axis=0)))
    if net > tolerance.net_force * float(norms.sum()) + _FORCE_SLACK:
        return Fault("net_force", f"the forces add up to {net:.3g} eV/Å, of {norms.sum():.3g} in all: forces of another structure?")
    if structure.is_periodic:
        return None
    arms = structure.positions - structure.positions.mean(axis=0)
    torque = float(np.linalg.norm(np.cross(arms, forces).sum(axis=0)))
    most = float((np.linalg.norm(arms, axis=1) * norms).sum())
    if torque > tolerance.net_force * most + _FORCE_SLACK:
        return Fault("torque", f"the forces have a torque of {torque:.3g} eV, of {most:.3g} in all: forces of other atoms?")
    return None


def _find_shape_fault(structure: Structure, label: Label) -> Fault | None:
    n_atoms = len(structure)
    if label.forces.shape != (n_atoms, 3):
        return Fault("wrong_shape", f"forces must have the shape {(n_atoms, 3)}, got {label.forces.shape}")
    if label.stress is not None and label.stress.shape != (6,):
        return Fault("wrong_shape", f"the stress must have the shape (6,), got {label.stress.shape}")
    if label.stress is not None and not structure.is_periodic:
        return Fault("wrong_shape", "a structure that is not periodic has no stress, yet the teacher gave one")
    return None


def _find_number_fault(label: Label) -> Fault | None:
    if not np.isfinite(label.energy):
        return Fault("not_finite_label", f"the energy is {label.energy}")
    if not np.isfinite(label.forces).all() or (label.stress is not None and not np.isfinite(label.stress).all()):
        return Fault("not_finite_label", "forces or stress hold NaN or infinity")
    return None
