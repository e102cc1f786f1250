"""How stiff known matter is: what no other law tells of labels that are all wrong by one factor."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from ase import units
from ase.calculators.emt import EMT
from tblite.ase import TBLite

from distillery.dataset.layout import Label
from distillery.schema.label import Abilities, PhysicsCheck, Reject, TeacherOutline
from distillery.structures.structure import Structure, to_ase
from labeller.known_matter import KnownMatter, choose_known_matter, judge_stiffness, list_known_crystals, list_known_molecules
from labeller.structure_queue import Labelled

FACTOR = 1.5
MOLECULES = list_known_molecules()[:2]
XTB: dict[bytes, float] = {}
"""Energies, eV, by positions: each is computed once."""


_METALS = ["Cu", "Ag", "Au", "Pt", "Pd", "Ni"]


def xtb(structure: Structure) -> float:
    key = structure.positions.tobytes()
    if key not in XTB:
        atoms = to_ase(structure)
        atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
        XTB[key] = atoms.get_potential_energy()
    return XTB[key]


def emt(structure: Structure) -> float:
    atoms = to_ase(structure)
    atoms.calc = EMT()
    return float(atoms.get_potential_energy())


def list_metals() -> list[KnownMatter]:
    """Copper and aluminium, of which that teacher knows one well."""
    return [one for one in list_known_crystals() if one.name in {"crystal Cu", "crystal Al"}]


def judge(energy: Callable[[Structure], float], known: Sequence[KnownMatter] = MOLECULES) -> PhysicsCheck:
    def label_all(structures: Sequence[Structure]) -> Labelled:
        return Labelled([Label(energy(one), 0 * one.positions, None) for one in structures], 0.0)

    (check,) = judge_stiffness(label_all, FACTOR, known)
    return check


def test_an_electronic_structure_and_an_embedded_atom_teacher_have_the_measured_stiffness() -> None:
    for check in (judge(xtb), judge(emt, list_metals()), judge(emt, [*MOLECULES, *list_metals()])):
        assert check.passed
        assert check.value == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("formula", ["H2O", "CH4O", "H3N", "CH4", "N2", "H2"])
def test_every_molecule_is_as_stiff_as_by_electronic_structure(formula: str) -> None:
    (known,) = (one for one in list_known_molecules() if one.name == f"molecule {formula}")
    assert judge(xtb, [known]).value == pytest.approx(1, rel=0.2)


def test_metals_are_as_stiff_and_as_large_as_by_embedded_atoms() -> None:
    assert {one.name: judge(emt, [one]).value for one in list_metals()} == pytest.approx({"crystal Cu": 0.92, "crystal Al": 0.5}, rel=0.02)
    assert {len(one.atoms) for one in list_known_crystals()} == {2}


@pytest.mark.parametrize(
    ("elements", "is_periodic", "names"),
    [
        (["H", "O"], True, [["molecule H2O", "molecule H2"], []]),
        (["H", "O", "Si", "Cu"], True, [["molecule H2O", "molecule H2"], ["crystal Si", "crystal Cu"]]),
        (["N", "Si"], False, [["molecule N2"], []]),
        (["W"], True, [[], ["crystal W"]]),
        (["Mg", "O", "Ca"], True, [[], ["crystal MgO", "crystal CaO", "crystal Mg", "crystal Ca"]]),
        (["Si", *_METALS], True, [[], ["crystal Si", *(f"crystal {metal}" for metal in _METALS[:5])]]),
        (["Fe", "Ar"], True, [[], []]),
    ],
)
def test_what_is_known_has_the_teachers_elements(elements: list[str], is_periodic: bool, names: list[list[str]]) -> None:
    outline = TeacherOutline(elements=tuple(elements), abilities=Abilities(periodic=is_periodic))
    assert [[one.name for one in kind] for kind in choose_known_matter(outline)] == names


def test_what_has_a_label_tells_although_others_have_none() -> None:
    def label_all(structures: Sequence[Structure]) -> Labelled:
        refused = Reject(id="x", reason="teacher_failed", detail="no", stage="label")
        return Labelled([refused if k == 1 else Label(xtb(one), 0 * one.positions, None) for k, one in enumerate(structures)], 0.0)

    (check,) = judge_stiffness(label_all, FACTOR, MOLECULES)
    assert (check.structure, check.passed) == (MOLECULES[1].name, True)
    assert check.detail == f"stiffness: {check.value:.3g} of molecule CH4O, in shares of what was measured"
    assert judge_stiffness(label_all, FACTOR, MOLECULES[:1]) == []


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1 / units.Hartree, "Hartree and eV confused?"),
        (units.Hartree, "Hartree and eV confused?"),
        (1 / units.Rydberg, "Rydberg and eV confused?"),
        (units.mol / units.kcal, "kcal/mol and eV confused"),
        (units.mol / units.kJ, "kJ/mol and eV confused?"),
        (1000.0, "meV and eV confused?"),
        (2.0, "each pair counted twice, or Hartree and Rydberg confused?"),
        (0.5, "each pair counted twice, or Hartree and Rydberg confused?"),
        (-1.0, "the sign confused?"),
        (0.0, "the sign confused?"),
        (5.0, "lengths in another unit?"),
    ],
)
def test_energies_that_are_all_wrong_by_one_factor_are_found(factor: float, words: str) -> None:
    check = judge(lambda structure: factor * xtb(structure))
    assert check.passed is False
    assert words in check.detail


@pytest.mark.parametrize("length", [units.Bohr, 1 / units.Bohr])
def test_lengths_that_are_read_in_another_unit_are_found(length: float) -> None:
    assert judge(xtb, [resize(one, length) for one in MOLECULES]).passed is False


def resize(known: KnownMatter, factor: float) -> KnownMatter:
    """As a teacher sees it that takes its lengths for so many times as long."""
    atoms = known.atoms.copy()
    atoms.positions *= factor
    return replace(known, atoms=atoms)


def test_one_that_is_right_is_enough_and_what_has_no_label_tells_nothing() -> None:
    copper, aluminium = list_metals()
    soft = replace(copper, stiffness=100 * copper.stiffness)
    assert judge(emt, [soft]).passed is False
    assert judge(emt, [soft, aluminium, copper]).structure == copper.name
    assert judge_stiffness(lambda structures: Labelled([], 0.0), FACTOR, []) == []
