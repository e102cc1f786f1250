"""CHGNet as a teacher: its labels are those of its own calculator and keep the laws, and what is not periodic stands free."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from distillery.structures.cells import make_right_handed
from distillery.structures.structure import from_ase, to_ase
from labeller.physics import judge_laws
from labeller.settings import LabellerSettings
from labeller.teachers import create_teacher
from labeller.teachers.teacher import CONSERVATIVE, Teacher
from labeller.variants import make_variants
from tests.labelling import NEVER, one_atom, silicon, water

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from chgnet.model.dynamics import CHGNetCalculator


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    made = create_teacher(LabellerSettings(teacher="chgnet", device="cpu"))
    made.load(NEVER)
    return made


def test_a_batch_has_the_labels_of_chgnets_own_calculator(teacher: Teacher) -> None:
    crystals = [silicon("a", seed=1), silicon("b", 2, seed=2)]
    labels = teacher.predict(teacher.featurise([crystals[0], water("w"), crystals[1]]))
    for label, structure in zip(labels[::2], crystals, strict=True):
        atoms = to_ase(structure)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            atoms.calc = CHGNetCalculator(use_device="cpu")
            assert label.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
            assert np.allclose(label.forces, atoms.get_forces(), atol=1e-4)
            assert label.stress is not None
            assert np.allclose(label.stress, atoms.get_stress(), atol=1e-5)


def test_molecules_and_single_atoms_stand_free_in_a_box_and_have_no_stress(teacher: Teacher) -> None:
    labels = teacher.predict(teacher.featurise([water("w"), one_atom("f")]))
    assert [label.stress for label in labels] == [None, None]
    assert -16 < labels[0].energy < -13
    assert np.isfinite(labels[1].energy)
    assert np.abs(labels[1].forces).max() == 0


def test_the_same_lattice_in_a_left_handed_cell_has_the_same_stress(teacher: Teacher) -> None:
    """By its own calculator it has the other sign."""
    right = replace(silicon("a", seed=1), cell=silicon("a").cell * [[1.0], [1.0], [1.1]])
    left = replace(right, cell=right.cell[[1, 0, 2]])
    labels = teacher.predict(teacher.featurise(make_right_handed([right, left])))
    assert labels[0].stress is not None
    assert labels[1].stress == pytest.approx(labels[0].stress, abs=1e-5)


@pytest.mark.parametrize("crystal", [bulk("Si"), bulk("Fe")], ids=["Si", "Fe"])
def test_crystals_near_their_equilibrium_keep_the_law_of_stress(teacher: Teacher, crystal: Atoms) -> None:
    """Where the first order is small, the third one of a step that is too long looks like a stress that is wrong."""
    structure = from_ase(crystal, id="a", system="crystal")
    (label,) = teacher.predict(teacher.featurise([structure]))
    variants = [variant for variant in make_variants(structure, label, "some") if variant.law == "stress"]
    labels = teacher.predict(teacher.featurise([variant.structure for variant in variants]))
    (check,) = judge_laws(structure, label, variants, labels, CONSERVATIVE)
    assert check.passed, check.detail
