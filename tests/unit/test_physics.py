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
from labeller.variants import Extent, Variant, make_variants
from tests.fake_teacher import pair_label
from tests.labelling import silicon, water

Spoil = Callable[[Label], Label]
WATER = water("w")
SILICON = apply_strain(silicon("s", seed=3), np.array([[0.08, 0.02, -0.06], [0.02, -0.06, 0.1], [-0.06, 0.1, 0.0]]))
"""Every component of its stress is another one."""
WIDE = apply_strain(SILICON, 0.03 * np.eye(3))
"""Silicon as it is has a volume of 160 Å³, and a GPa is 1/160 eV/Å³."""


def judge(structure: Structure, spoil: Spoil = lambda label: label, *, extent: Extent = "all") -> dict[Law, list[PhysicsCheck]]:
    """What the laws say of a pair potential whose labels are changed, of the variants too."""
    label = spoil(pair_label(structure))
    variants = make_variants(structure, label, extent)
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


@pytest.mark.parametrize("extent", get_args(Extent))
@pytest.mark.parametrize("structure", [WATER, SILICON], ids=["water", "silicon"])
def test_a_sound_teacher_keeps_every_law(structure: Structure, extent: Extent) -> None:
    found = judge(structure, extent=extent)
    assert {check.passed for checks in found.values() for check in checks} == {True}
    symmetric = {"rotation", "translation", "permutation"} if extent == "all" else {"symmetry"}
    others = {"forces", "stress"} if structure.is_periodic else {"forces"}
    assert found.keys() == symmetric | others | (set() if extent == "few" else {"repeat", "extensivity"})
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
    160217.66: "MPa and eV/Å³ confused?",
    -1602176.6: "sign, bar and eV/Å³ confused?",
    183.6315: "Hartree/Bohr³ and eV/Å³ confused?",
    1 / 183.6315: "Hartree/Bohr³ and eV/Å³ confused?",
    6.748335: "Bohr³ and Å³ confused?",
    1 / 6.748335: "Bohr³ and Å³ confused?",
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


@pytest.mark.parametrize(("factor", "slope"), [(0.529177 * 1.04, "0.55"), (0.1434, "0.14"), (0.0789, "0.0789"), (-0.1234, "-0.12")])
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
    variant = next(v for v in make_variants(WATER, label, "some" if law == "symmetry" else "all") if v.law == law)
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
    variant = make_variants(structure, label, "all")[-1]
    energy = 2 * label.energy + off * 2 * len(structure) * CONSERVATIVE.energy
    check = judge_one([variant], label, [replace(label, energy=energy)], structure)
    assert (check.law, check.passed) == ("extensivity", passed)
    assert check.value == pytest.approx(abs(off) * CONSERVATIVE.energy, rel=1e-3)
    assert check.detail == f"energy: that of {what} is {energy / label.energy:.3f} times that of one, not 2"
    alike = judge_one([variant], label, [label], structure)
    assert alike.detail == f"energy: that of {what} is 1.000 times that of one, not 2: an energy per atom?"
    assert judge_one([variant], replace(label, energy=0.0), [label], structure).detail.endswith("is inf times that of one, not 2")


@pytest.mark.parametrize(("middle", "ends", "found", "passed"), [(1.0, 1.3, 1.18, True), (1.0, 1.3, 1.25, False), (-1.0, 1.0, 1.0, False)])
def test_labels_that_change_along_a_step_may_be_off_by_as_much_as_that_matters(
    middle: float, ends: float, found: float, passed: bool
) -> None:
    """CHGNet on a crystal of chlorine: its forces change by a sixth within 0.01 Å, where neighbours come into its cutoff. Simpson's rule
    is three hundredths off then, the force in the middle eight. A label that is wrong in the middle alone is not saved by it."""

    def with_force(energy: float, predicted: float) -> Label:
        forces = np.zeros((3, 3), np.float32)
        forces[0, 0] = -100 * predicted
        return Label(energy, forces, None)

    step = np.zeros((3, 3))
    step[0, 0] = 0.01
    pair = [Variant("forces", WATER, step=step)] * 2
    check = judge_one(pair, with_force(0.0, middle), [with_force(found, ends), with_force(-found, ends)])
    assert check.passed is passed
    assert check.value == pytest.approx((2 * ends + 4 * middle) / 6 / found, abs=1e-4)


@pytest.mark.parametrize("law", ["forces", "stress"])
def test_of_a_smooth_teacher_the_slope_is_one_to_a_thousandth(law: Law) -> None:
    for extent in get_args(Extent):
        (check,) = judge(SILICON, extent=extent)[law]
        assert check.value == pytest.approx(1, abs=1e-3)


def test_stresses_in_another_order_are_told_by_it() -> None:
    (check,) = judge(SILICON, reorder_stress([1, 0, 2, 5, 4, 3]))["stress"]
    assert check.passed is False
    assert check.detail == "stress: the order of the components, yy xx zz xy xz yz in place of xx yy zz yz xz xy"
    few = judge(SILICON, reorder_stress([5, 4, 3, 2, 1, 0]), extent="some")
    assert few["stress"][0].passed is False
    assert "order" not in few["stress"][0].detail


def test_a_structure_that_has_no_label_once_changed_is_a_fault_unless_memory_was_short() -> None:
    label = pair_label(WATER)
    variants = make_variants(WATER, label, "all")
    for reason, passed in (("teacher_failed", False), ("out_of_memory", None)):
        reject = Reject(id="x", reason=reason, detail="why", stage="label")
        checks = list(judge_laws(WATER, label, variants, [reject] * len(variants), CONSERVATIVE))
        assert [check.law for check in checks] == [variant.law for variant in variants]
        assert {(check.passed, check.value, check.wanted, check.structure) for check in checks} == {(passed, None, "a label", "w")}
        assert checks[0].detail == f"repeat: no label ({reason}: why)"


def test_a_step_that_has_a_label_at_one_end_alone_says_nothing() -> None:
    """Its other end is not taken for the end of another step."""
    label = pair_label(SILICON)
    variants = make_variants(SILICON, label, "all")
    missing = {next(k for k, v in enumerate(variants) if v.law == law) for law in ("forces", "stress")}
    reject = Reject(id="x", reason="out_of_memory", detail="why", stage="label")
    outcomes = [reject if k in missing else pair_label(v.structure) for k, v in enumerate(variants)]
    checks = [check for check in judge_laws(SILICON, label, variants, outcomes, CONSERVATIVE) if check.law in {"forces", "stress"}]
    assert [check.passed for check in checks] == [None, None, True, True]
    assert [check.value for check in checks[2:]] == [pytest.approx(1, abs=0.01)] * 2
    only_one = [v for v in variants if v.law == "forces"][:2]
    (unlabelled,) = judge_laws(SILICON, label, only_one, [reject, label], CONSERVATIVE)
    assert unlabelled.passed is None


def test_a_stress_that_is_turned_otherwise_than_the_structure_is_told() -> None:
    """As LAMMPS gives it: by a frame of its own, in which the first vector of the cell lies along x."""

    def by_its_cell(structure: Structure) -> Label:
        label = pair_label(structure)
        assert label.stress is not None
        frame, lower = np.linalg.qr(structure.cell.T)
        frame = frame * np.sign(np.diag(lower))
        stress = frame.T @ label.stress[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]] @ frame
        return replace(label, stress=stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])

    upright = replace(SILICON, cell=np.diag(np.diag(SILICON.cell)))
    label, variants = by_its_cell(upright), make_variants(upright, pair_label(upright), "all")
    checks = judge_laws(upright, label, variants, [by_its_cell(v.structure) for v in variants], CONSERVATIVE)
    broken = [check.detail for check in checks if not check.passed]
    assert len(broken) == 1
    assert broken[0].startswith("rotation: energy differs by ")
    assert "stress by 0." in broken[0]


def test_a_direction_without_periodicity_is_told_by_images_of_atoms() -> None:
    """Along c alone: the cell that is doubled, along a, has twice the energy all the same."""

    def without_c(structure: Structure) -> Label:
        tall = replace(structure, cell=structure.cell * np.array([[1], [1], [20]]))
        label = pair_label(tall)
        assert label.stress is not None
        return replace(label, stress=label.stress * tall.volume / structure.volume)

    cases: list[tuple[Extent, Law]] = [("all", "translation"), ("some", "symmetry"), ("few", "symmetry")]
    for extent, law in cases:
        label, variants = without_c(SILICON), make_variants(SILICON, without_c(SILICON), extent)
        checks = judge_laws(SILICON, label, variants, [without_c(v.structure) for v in variants], CONSERVATIVE)
        broken = {check.law: check.detail for check in checks if not check.passed}
        assert broken.keys() == {law}
        assert "atoms by vectors of the lattice too: energy differs by" in broken[law]


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1 / 8, "stress per atom and of all confused?"),
        (WIDE.volume, "virial and stress confused?"),
        (-WIDE.volume, "sign, virial and stress confused?"),
    ],
)
def test_a_stress_of_another_size_is_told(factor: float, words: str) -> None:
    (check,) = judge(WIDE, scale_stress(factor))["stress"]
    assert check.passed is False
    assert check.detail.endswith(f"against differences of the energy: {words}")


def test_a_charge_or_spin_that_changes_no_label_was_not_read() -> None:
    states = [replace(WATER, charge=1), replace(WATER, charge=-1), replace(WATER, multiplicity=3)]
    for structure, state in zip(states, ("charge +1", "charge -1", "multiplicity 3"), strict=True):
        label, variants = pair_label(structure), make_variants(structure, pair_label(structure), "few")
        (variant,) = [v for v in variants if v.law == "state"]
        assert variant.structure.is_plain
        unread = judge_one([variant], label, [label], structure)
        assert (unread.law, unread.passed) == ("state", False)
        assert unread.detail.startswith(f"{state}: the label is that of neutral atoms with the lowest spin")
        assert judge_one([variant], label, [replace(label, energy=label.energy + 0.01)], structure).passed
        assert judge_one([variant], label, [replace(label, forces=1.01 * label.forces)], structure).passed
        failed = Reject(id="x", reason="teacher_failed", detail="why", stage="label")
        assert judge_one([variant], label, [failed], structure).passed is None
    plain = replace(WATER, multiplicity=1)
    assert "state" not in {v.law for v in make_variants(plain, pair_label(plain), "all")}


def test_every_law_has_been_tried_here() -> None:
    ion = replace(WATER, charge=1)
    tried = {law for structure in (WATER, SILICON, ion) for extent in get_args(Extent) for law in judge(structure, extent=extent)}
    assert tried == set(get_args(Law)) - {"stiffness"}  # tests/unit/test_known_matter.py


@pytest.mark.parametrize("structure", [WATER, WIDE], ids=["water", "silicon"])
def test_an_atom_without_any_force_however_it_is_moved_is_told(structure: Structure) -> None:
    """Frozen, or of an element that the teacher leaves out: the energy does not tell, where it leaves it out too."""

    def leave_out(label: Label) -> Label:
        return replace(label, forces=label.forces * (np.arange(len(label.forces)) != 1)[:, None].astype(np.float32))

    still = structure.symbols[1]
    label = leave_out(pair_label(structure))
    variants = [v for v in make_variants(structure, label, "some") if v.law == "forces"]
    seen = [replace(pair_label(v.structure), energy=0.0) for v in variants]
    steps = [v.step for v in variants if v.step is not None]
    ways = [1 if k % 2 == 0 else -1 for k in range(len(variants))]
    energies = [-way * float((label.forces * step).sum()) for way, step in zip(ways, steps, strict=True)]
    outcomes = [replace(leave_out(one), forces=label.forces, energy=energy) for one, energy in zip(seen, energies, strict=True)]
    check = judge_one(variants, replace(label, energy=0.0), outcomes, structure)
    assert check.passed is False
    assert check.detail == f"forces: none at all on 1 of {len(structure)} atoms ({still}), however they are moved: frozen, or left out?"
    outcomes[0].forces[1] = 1e-3
    assert judge_one(variants, replace(label, energy=0.0), outcomes, structure).passed
