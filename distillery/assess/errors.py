"""Errors of a student, group by group."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from distillery.assess.frames import Frame
from distillery.assess.student import Prediction
from distillery.schema.assess import Errors


def group_errors(frames: Sequence[Frame], predictions: Sequence[Prediction], name: Callable[[Frame], str]) -> dict[str, Errors]:
    """Errors of each group of frames, by its name, in alphabetical order."""
    pairs = list(zip(frames, predictions, strict=True))
    names = sorted({name(frame) for frame in frames})
    return {own: measure_errors(pair for pair in pairs if name(pair[0]) == own) for own in names}


def measure_errors(pairs: Iterable[tuple[Frame, Prediction]]) -> Errors:
    """Mean absolute errors of the forces' components, over all atoms, and of the energies per atom, over all structures."""
    forces, wanted, energies = [], [], []
    for frame, found in pairs:
        forces.append(np.abs(found.forces - frame.forces).ravel())
        wanted.append(np.abs(frame.forces).ravel())
        energies.append(abs(found.energy - frame.energy) / len(frame.structure))
    return Errors(
        n_structures=len(energies),
        forces=round(1e3 * float(np.concatenate(forces).mean()), 1),
        zero_forces=round(1e3 * float(np.concatenate(wanted).mean()), 1),
        energy=round(1e3 * float(np.mean(energies)), 1),
    )
