"""What the laws of physics are tried on: displaced structures whose differences of the energy are its derivative."""

import numpy as np
import pytest

from distillery.dataset.layout import Label
from labeller.variants import make_variants
from tests.labelling import methane


def test_along_forces_that_one_bond_bears_no_atom_moves_far() -> None:
    """The root mean square would move it by 0.022 Å, far enough for a stiff bond's third order to look like a wrong force."""
    structure = methane("a")
    forces = np.zeros((5, 3), np.float32)
    forces[0, 0], forces[1, 0] = 9.0, -9.0
    along, opposite = [v for v in make_variants(structure, Label(-1.0, forces, None), "some") if v.law == "forces"][:2]
    assert along.step is not None
    assert np.linalg.norm(along.step, axis=1).max() == pytest.approx(0.01)
    assert np.allclose(along.structure.positions - structure.positions, along.step)
    assert np.allclose(opposite.structure.positions - structure.positions, -along.step)
