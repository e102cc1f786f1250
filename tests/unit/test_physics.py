"""What the laws of physics say of labels that are right, a little off, and wrong in one way each."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from distillery.dataset.layout import Label
from distillery.schema.label import Law, PhysicsCheck, Reject
from distillery.structures.strain import apply_strain
from distillery.structures.structure import Structure
from labeller.physics import judge_laws
from labeller.teachers.teacher import CONSERVATIVE
from labeller.variants import Variant, make_variants
from tests.fake_teacher import pair_label
from tests.labelling import silicon, water

Spoil = Callable[[Label], Label]
WATER = water("w")
SILICON = apply_strain(silicon("s", seed=3), np.array([[0.08, 0.02, -0.06], [0.02, -0.06, 0.1], [-0.06, 0.1, 0.0]]))
"""Every component of its stress is another one."""


def judge(structure: Structure, spoil: Spoil = lambda label: label, *, is_thorough: bool = True) -> dict[Law, list[PhysicsCheck]]:
    """What the laws say of a pair potential whose labels are changed, of the variants too."""
    label = spoil(pair_label(structure))
    variants = make_variants(structure, label, is_thorough=is_thorough)
    found: dict[Law, list[PhysicsCheck]] = {}
    for check in judge_laws(structure, label, variants, [spoil(pair_label(v.structure)) for v in variants], CONSERVATIVE):
        found.setdefault(check.law, []).append(check)
    return found


def judge_one(variants: Sequence[Variant], label: Label, outcomes: Sequence[Label | Reject], of: Structure = WATER) -> PhysicsCheck:
    (check,) = judge_laws(of, label, variants, outcomes, CONSERVATIVE)
    return check


def scale_forces(factor: float) -> Spoil:
    return lambda label: replace(label, forces=(factor * label.forces.astype(np.float64)).astype(np.float32))


def scale_stress(factor: float) -> Spoil:
    return lambda label: label if label.stress is None else replace(label, stress=factor * label.stress)


def reorder_stress(order: list[int]) -> Spoil:
    return lambda label: label if label.stress is None else replace(label, stress=label.stress[order])


@pytest.mark.parametrize("is_thorough", [True, False])
@pytest.mark.parametrize("structure", [WATER, SILICON], ids=["water", "silicon"])
def test_a_sound_teacher_keeps_every_law(structure: Structure, is_thorough: bool) -> None:
    found = judge(structure, is_thorough=is_thorough)
    assert {check.passed for checks in found.values() for check in checks} == {True}
    symmetric = {"rotation", "translation", "permutation"} if is_thorough else {"symmetry"}
    assert found.keys() == {"repeat", "forces", "extensivity", *symmetric, *(["stress"] if structure.is_periodic else [])}
    assert {law: len(checks) for law, checks in found.items()} == dict.fromkeys(found, 1)
    for check in (*found["forces"], *found.get("stress", ())):
        assert check.value == pytest.approx(1, abs=0.01)
        assert check.wanted == f"slope 1 within {CONSERVATIVE.slope:g}, cosine >= {CONSERVATIVE.cosine:g}"
    assert {check.structure for checks in found.values() for check in checks} == {structure.id}


UNITS = {
    0.529177: "Bohr and Å confused?",
    1.889726: "Bohr and Å confused?",
    23.0605: "kcal/mol and eV confused?",
    1 / 23.0605: "kcal/mol and eV confused?",
    96.4853: "kJ/mol and eV confused?",
    1 / 96.4853: "kJ/mol and eV confused?",
    27.21139: "Hartree and eV confused?",
    1 / 27.21139: "Hartree and eV confused?",
    51.42207: "Hartree/Bohr and eV/Å confused?",
    1 / 51.42207: "Hartree/Bohr and eV/Å confused?",
    160.21766: "GPa and eV/Å³ confused?",
    1 / 160.21766: "GPa and eV/Å³ confused?",
    -160.21766: "sign, GPa and eV/Å³ confused?",
    -1 / 160.21766: "sign, GPa and eV/Å³ confused?",
    1602.1766: "kbar and eV/Å³ confused?",
    1602176.6: "bar and eV/Å³ confused?",
    -1602.1766: "sign, kbar and eV/Å³ confused?",
}


@pytest.mark.parametrize("factor", UNITS)
def test_labels_in_another_unit_are_told_by_it(factor: float) -> None:
    (forces,), (stress,) = judge(SILICON, scale_forces(factor))["forces"], judge(SILICON, scale_stress(factor))["stress"]
    for check in (forces, stress):
        assert check.passed is False
        assert check.value == pytest.approx(factor, rel=0.01)
        assert check.detail.startswith(f"{check.law}: sign or unit, slope ")
        assert check.detail.endswith(f"against differences of the energy: {UNITS[factor]}")


def test_the_other_sign_and_energies_per_atom_are_told() -> None:
    (flipped,) = judge(WATER, scale_forces(-1.0))["forces"]
    assert flipped.detail == "forces: sign or unit, slope -1.00, cosine -1.000 against differences of the energy: the sign?"
    per_atom = judge(WATER, lambda label: replace(label, energy=label.energy / 3))
    assert per_atom["forces"][0].detail.endswith("energies per atom and of all confused?")
    assert per_atom["forces"][0].passed is False


@pytest.mark.parametrize(("factor", "slope"), [(0.529177 * 1.04, "0.55"), (0.1234, "0.12"), (0.0789, "0.0789"), (-0.1234, "-0.12")])
def test_a_slope_that_is_no_unit_is_told_as_it_is(factor: float, slope: float) -> None:
    (check,) = judge(SILICON, scale_forces(factor))["forces"]
    sign = "-1.000" if factor < 0 else "1.000"
    assert check.detail == f"forces: slope {slope}, cosine {sign} against differences of the energy"
    assert check.passed is False


@pytest.mark.parametrize(("off", "passed"), [(0.9, True), (1.1, False)])
def test_a_slope_is_judged_by_its_tolerance_on_both_sides(off: float, passed: bool) -> None:
    """One direction in which the energy changes by 1 eV, and so nothing is lost in noise."""
    for way in (1, -1):
        forces = np.zeros((3, 3), np.float32)
        forces[0, 0] = -100 * (1 + way * off * CONSERVATIVE.slope)
        step = np.zeros((3, 3))
        step[0, 0] = 0.01
        pair = [Variant("forces", WATER, step=step), Variant("forces", WATER, step=step)]
        check = judge_one(pair, Label(0.0, forces, None), [Label(1.0, forces, None), Label(-1.0, forces, None)])
        assert check.value == pytest.approx(1 + way * off * CONSERVATIVE.slope, abs=1e-4)
        assert check.passed is passed


def test_forces_of_other_atoms_are_told_though_their_slope_may_be_right() -> None:
    check = judge(WATER, lambda label: replace(label, forces=label.forces[[1, 2, 0]]))["forces"][0]
    assert check.passed is False
    assert "they do not belong to the energy: of other atoms, of another structure, or either is noise; slope" in check.detail


def test_a_cosine_is_judged_though_the_slope_is_right() -> None:
    """Of two directions one is right by the whole, the other off by what the cosine allows, or not."""
    for tilt, passed in ((0.9, True), (1.1, False)):
        largest = np.sqrt(1 / CONSERVATIVE.cosine**2 - 1)
        forces = np.zeros((3, 3), np.float32)
        forces[0] = [-100.0, -100.0 * tilt * largest, 0.0]
        steps = [np.zeros((3, 3)), np.zeros((3, 3))]
        steps[0][0, 0] = steps[1][0, 1] = 0.01
        variants = [Variant("forces", WATER, step=step) for step in steps for _ in "+-"]
        energies = [1.0, -1.0, 0.0, 0.0]
        check = judge_one(variants, Label(0.0, forces, None), [Label(e, forces, None) for e in energies])
        assert check.value == pytest.approx(1.0)
        assert check.passed is passed


def test_zero_forces_and_an_energy_that_does_not_change_are_told() -> None:
    (zero,) = judge(WATER, scale_forces(0.0))["forces"]
    assert (zero.passed, zero.detail) == (False, "forces: all zero, yet the energy changes")
    (constant,) = judge(WATER, lambda label: replace(label, energy=-5.0))["forces"]
    assert (constant.passed, constant.value) == (False, None)
    assert constant.detail == "forces: the energy does not change, whatever moves"


@pytest.mark.parametrize(
    ("energy", "curvature", "change", "passed"),
    [
        (0.0, 1.0, 0.049, True),
        (0.0, 1.0, 0.051, False),
        (0.0, -1.0, 0.049, True),
        (-1000.0, 0.0, 3.9e-4, True),
        (1000.0, 0.0, 4.1e-4, False),
    ],
)
def test_near_a_minimum_a_change_within_rounding_and_third_order_is_no_fault(
    energy: float, curvature: float, change: float, passed: bool
) -> None:
    """A twentieth of the second order, and 4e-7 of the energy."""
    forces, step = np.zeros((3, 3), np.float32), np.full((3, 3), 0.01)
    variants = [Variant("forces", WATER, step=step)] * 2
    outcomes = [Label(energy + curvature + sign * change, forces, None) for sign in (1, -1)]
    assert judge_one(variants, Label(energy, forces, None), outcomes).passed is passed


@pytest.mark.parametrize(("off", "passed"), [(0.99, True), (1.01, False), (-1.01, False)])
@pytest.mark.parametrize("law", ["repeat", "symmetry", "rotation", "translation", "permutation"])
def test_the_same_structure_written_otherwise_has_the_same_label(law: Law, off: float, passed: bool) -> None:
    """Within a tolerance of the energy an atom, and of the forces by 1 eV/Å and the largest of them."""
    label = pair_label(WATER)
    variant = next(v for v in make_variants(WATER, label, is_thorough=law != "symmetry") if v.law == law)
    same = pair_label(variant.structure)
    energy = judge_one([variant], label, [replace(same, energy=same.energy + off * 3 * CONSERVATIVE.energy)])
    assert energy.passed is passed
    assert energy.value == pytest.approx(abs(off) * CONSERVATIVE.energy, rel=1e-3)
    assert energy.wanted == f"<= {CONSERVATIVE.energy:g} eV/atom"
    off_forces = same.forces.copy()
    off_forces[1, 2] += off * CONSERVATIVE.forces * (1 + np.abs(same.forces).max())
    forces = judge_one([variant], label, [replace(same, forces=off_forces)])
    assert forces.passed is passed
    where = {"repeat": "labelled again in another batch", "symmetry": "turned, shifted and renumbered"}.get(law, law)
    assert forces.detail.startswith(f"{where}: energy differs by ")


@pytest.mark.parametrize(("off", "passed"), [(0.99, True), (1.01, False), (-1.01, False)])
@pytest.mark.parametrize(("structure", "what"), [(WATER, "two copies 60 Å apart"), (SILICON, "a doubled cell")], ids=["water", "silicon"])
def test_twice_the_structure_has_twice_the_energy(structure: Structure, what: str, off: float, passed: bool) -> None:
    label = pair_label(structure)
    variant = make_variants(structure, label, is_thorough=True)[-1]
    energy = 2 * label.energy + off * 2 * len(structure) * CONSERVATIVE.energy
    check = judge_one([variant], label, [replace(label, energy=energy)], structure)
    assert (check.law, check.passed) == ("extensivity", passed)
    assert check.value == pytest.approx(abs(off) * CONSERVATIVE.energy, rel=1e-3)
    assert check.detail == f"energy: that of {what} is {energy / label.energy:.3f} times that of one, not 2"
    alike = judge_one([variant], label, [label], structure)
    assert alike.detail == f"energy: that of {what} is 1.000 times that of one, not 2: an energy per atom?"
    assert judge_one([variant], replace(label, energy=0.0), [label], structure).detail.endswith("is inf times that of one, not 2")


def test_stresses_in_another_order_are_told_by_it() -> None:
    (check,) = judge(SILICON, reorder_stress([1, 0, 2, 5, 4, 3]))["stress"]
    assert check.passed is False
    assert check.detail == "stress: the order of the components, yy xx zz xy xz yz in place of xx yy zz yz xz xy"
    few = judge(SILICON, reorder_stress([5, 4, 3, 2, 1, 0]), is_thorough=False)
    assert few["stress"][0].passed is False
    assert "order" not in few["stress"][0].detail


def test_a_structure_that_has_no_label_once_changed_is_a_fault_unless_memory_was_short() -> None:
    label = pair_label(WATER)
    variants = make_variants(WATER, label, is_thorough=True)
    for reason, passed in (("teacher_failed", False), ("out_of_memory", None)):
        reject = Reject(id="x", reason=reason, detail="why", stage="label")
        checks = list(judge_laws(WATER, label, variants, [reject] * len(variants), CONSERVATIVE))
        assert [check.law for check in checks] == [variant.law for variant in variants]
        assert {(check.passed, check.value, check.wanted, check.structure) for check in checks} == {(passed, None, "a label", "w")}
        assert checks[0].detail == f"repeat: no label ({reason}: why)"


def test_every_law_has_been_tried_here() -> None:
    tried = {law for structure in (WATER, SILICON) for is_thorough in (True, False) for law in judge(structure, is_thorough=is_thorough)}
    assert tried == set(get_args(Law))
