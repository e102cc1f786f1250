"""Is this label sound? What a teacher answered is checked before it is believed."""

import numpy as np

from distillery.dataset.layout import Label
from distillery.structures.checks import Fault
from distillery.structures.structure import Structure


def find_label_fault(structure: Structure, label: Label) -> Fault | None:
    """Why a label can't be right, or None: a wrong shape, a number that is not finite, a stress where it has no meaning."""
    n_atoms = len(structure)
    if label.forces.shape != (n_atoms, 3):
        return Fault("wrong_shape", f"forces must have the shape {(n_atoms, 3)}, got {label.forces.shape}")
    if label.stress is not None and label.stress.shape != (6,):
        return Fault("wrong_shape", f"the stress must have the shape (6,), got {label.stress.shape}")
    if label.stress is not None and not structure.is_periodic:
        return Fault("wrong_shape", "a structure that is not periodic has no stress, yet the teacher gave one")
    if not np.isfinite(label.energy):
        return Fault("not_finite_label", f"the energy is {label.energy}")
    if not np.isfinite(label.forces).all() or (label.stress is not None and not np.isfinite(label.stress).all()):
        return Fault("not_finite_label", "forces or stress hold NaN or infinity")
    return None
