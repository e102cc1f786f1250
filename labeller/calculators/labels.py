"""A label by an ASE calculator."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from numpy.typing import NDArray

from distillery.dataset.layout import Label
from distillery.structures.structure import Structure, to_ase


def label_structure(calculator: Any, structure: Structure) -> Label:
    """Energy, forces and, where it is periodic and the calculator has one, stress; whatever the calculator raises.

    `atoms.info` has the total charge and, as "spin", the multiplicity. The energy is the one that the forces are derivatives of (ASE's
    free energy), where the calculator tells them apart.
    """
    atoms = to_ase(structure)
    atoms.info |= {"charge": structure.charge, "spin": structure.spin_multiplicity}
    if hasattr(calculator, "reset"):
        calculator.reset()  # so that a label does not depend on what was labelled before
    atoms.calc = calculator
    forces = np.asarray(atoms.get_forces(), np.float32)
    stress = np.array(atoms.get_stress(), np.float64) if structure.is_periodic and gives(calculator, "stress") else None
    return Label(_get_energy(atoms), forces, stress, _get_atomic_energies(calculator))


def _get_atomic_energies(calculator: Any) -> NDArray[np.float64] | None:
    """The energies of the atoms, where they came with the forces: nothing is calculated for them."""
    energies = calculator.results.get("energies") if gives(calculator, "energies") and hasattr(calculator, "results") else None
    return None if energies is None else np.array(energies, np.float64)


def gives(calculator: Any, what: str) -> bool:
    """Whether a calculator says that it has a property."""
    return what in getattr(calculator, "implemented_properties", ())


def _get_energy(atoms: Atoms) -> float:
    try:
        return float(atoms.get_potential_energy(force_consistent=True))
    except PropertyNotImplementedError:
        return float(atoms.get_potential_energy())
