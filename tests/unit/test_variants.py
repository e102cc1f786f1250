"""What the laws of physics are tried on: displaced structures whose differences of the energy are its derivative."""

import numpy as np
import pytest
from ase.build import fcc111

from distillery.dataset.layout import Label
from distillery.structures.structure import from_ase
from labeller.variants import Extent, make_variants
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


@pytest.mark.parametrize("extent", ["few", "all"])
def test_atoms_are_moved_to_images_only_along_what_repeats(extent: Extent) -> None:
    slab = from_ase(fcc111("Cu", (2, 2, 3), vacuum=6.0), id="a", system="surface")
    assert slab.pbc == (True, True, False)
    label = Label(-1.0, np.ones((len(slab), 3), np.float32), None)
    moved = next(v for v in make_variants(slab, label, extent) if v.law in {"symmetry", "translation"})
    assert moved.rotation is not None
    assert moved.order is not None
    shifts = (moved.structure.positions @ moved.rotation.T)[np.argsort(moved.order)] - slab.positions
    images = np.linalg.solve(slab.cell.T, (shifts - shifts[0]).T).T
    assert np.allclose(images, np.rint(images))
    assert set(np.rint(images[:, :2]).ravel()) - {0}
    assert not np.rint(images[:, 2]).any()
