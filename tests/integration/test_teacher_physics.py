"""Teachers that answer, finitely and wrongly: none of them may come out GO, and the verdict names what is wrong."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from distillery.dataset.layout import Label
from distillery.dataset.parts import read_part
from distillery.structures.structure import Structure
from distillery.verify.verification import Verification
from labeller.teachers.teacher import CONSERVATIVE
from tests.fake_teacher import FakeTeacher, Features, pair_label
from tests.integration.factory import RECIPE, factory, make, two_fakes

Spoil = Callable[[Sequence[Structure], list[Label], np.random.Generator], list[Label]]
ANOTHER_ORDER = [0, 1, 2, 5, 3, 4]


@dataclass
class WrongTeacher(FakeTeacher):
    """The scripted teacher, whose labels of a batch are changed all at once."""

    wrong: Spoil = lambda structures, labels, rng: labels

    def predict(self, features: Features) -> list[Label]:
        seed = int(abs(1e6 * sum(float(s.positions.sum()) for s in features))) % 2**32
        return self.wrong(features, super().predict(features), np.random.default_rng(seed))


def each(change: Callable[[Label], Label]) -> Spoil:
    return lambda structures, labels, rng: [change(label) for label in labels]


def with_stress(change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Spoil:
    return each(lambda label: label if label.stress is None else replace(label, stress=change(label.stress)))


def shifted(structures: Sequence[Structure], labels: list[Label], rng: np.random.Generator) -> list[Label]:
    """The energy of the structure that comes next in the batch."""
    return [replace(label, energy=labels[(k + 1) % len(labels)].energy) for k, label in enumerate(labels)]


def shuffled(structures: Sequence[Structure], labels: list[Label], rng: np.random.Generator) -> list[Label]:
    return [replace(label, forces=rng.permutation(label.forces)) for label in labels]


def random_energies(structures: Sequence[Structure], labels: list[Label], rng: np.random.Generator) -> list[Label]:
    return [replace(label, energy=float(rng.normal(scale=100.0))) for label in labels]


def energies_per_atom(structures: Sequence[Structure], labels: list[Label], rng: np.random.Generator) -> list[Label]:
    return [replace(label, energy=label.energy / len(structure)) for structure, label in zip(structures, labels, strict=True)]


def some_replaced(structures: Sequence[Structure], labels: list[Label], rng: np.random.Generator) -> list[Label]:
    """One label in fifty has the forces of other atoms and an energy of its own."""
    return [
        replace(label, energy=label.energy + 40, forces=rng.permutation(label.forces)) if rng.random() < 0.02 else label for label in labels
    ]


def only(where: Callable[[Structure], bool], spoil: Spoil) -> Spoil:
    """Wrong for some structures alone."""

    def wrong(structures: Sequence[Structure], labels: list[Label], rng: np.random.Generator) -> list[Label]:
        spoiled = spoil(structures, labels, rng)
        return [bad if where(s) else good for s, good, bad in zip(structures, labels, spoiled, strict=True)]

    return wrong


def turning(structures: Sequence[Structure], labels: list[Label], rng: np.random.Generator) -> list[Label]:
    """Forces with a torque, but no net force."""
    turns = [0.1 * np.cross(_arms(s), [0, 0, 1]) for s in structures]
    return [replace(label, forces=label.forces + turn.astype(np.float32)) for turn, label in zip(turns, labels, strict=True)]


def _arms(structure: Structure) -> np.ndarray[Any, Any]:
    return structure.positions - structure.positions.mean(axis=0)


def along_z(structures: Sequence[Structure], labels: list[Label], rng: np.random.Generator) -> list[Label]:
    """An energy that depends on how the structure is turned."""
    lifts = [0.05 * float((_arms(s)[:, 2] ** 2).sum()) for s in structures]
    return [replace(label, energy=label.energy + lift) for lift, label in zip(lifts, labels, strict=True)]


def growing(structures: Sequence[Structure], labels: list[Label], rng: np.random.Generator) -> list[Label]:
    """An energy that grows faster than the number of atoms."""
    return [replace(label, energy=label.energy + 0.01 * len(s) ** 2) for s, label in zip(structures, labels, strict=True)]


def by_batch(structures: Sequence[Structure], labels: list[Label], rng: np.random.Generator) -> list[Label]:
    """Energies that depend on who else is in the batch."""
    return [replace(label, energy=label.energy + 0.02 * sum(map(len, structures))) for label in labels]


def of_another_frame(structures: Sequence[Structure], labels: list[Label], rng: np.random.Generator) -> list[Label]:
    """Forces of the same atoms, 0.1 Å elsewhere."""
    steps = [np.random.default_rng(len(s)).normal(scale=0.1, size=s.positions.shape) for s in structures]
    moved = [replace(s, positions=s.positions + step) for s, step in zip(structures, steps, strict=True)]
    return [replace(label, forces=pair_label(s).forces) for s, label in zip(moved, labels, strict=True)]


def flipped(structures: Sequence[Structure], labels: list[Label], rng: np.random.Generator) -> list[Label]:
    return [replace(label, forces=-label.forces) for label in labels]


def without_c(structures: Sequence[Structure], labels: list[Label], rng: np.random.Generator) -> list[Label]:
    """Nothing is there beyond the cell along its third vector."""
    return [label if label.stress is None else _label_in_tall_cell(s) for s, label in zip(structures, labels, strict=True)]


def _label_in_tall_cell(structure: Structure) -> Label:
    tall = replace(structure, cell=structure.cell * np.array([[1], [1], [20]]))
    label = pair_label(tall)
    assert label.stress is not None
    return replace(label, stress=label.stress * tall.volume / structure.volume)


def virial(structures: Sequence[Structure], labels: list[Label], rng: np.random.Generator) -> list[Label]:
    return [
        label if label.stress is None else replace(label, stress=s.volume * label.stress)
        for s, label in zip(structures, labels, strict=True)
    ]


def stress_per_atom(structures: Sequence[Structure], labels: list[Label], rng: np.random.Generator) -> list[Label]:
    return [
        label if label.stress is None else replace(label, stress=label.stress / len(s)) for s, label in zip(structures, labels, strict=True)
    ]


WRONG: dict[str, tuple[Spoil, str]] = {
    "forces that turn the whole": (turning, "turn the whole structure"),
    "forces of another frame": (of_another_frame, "forces"),
    "an energy that depends on the orientation": (along_z, "turned"),
    "an energy that is not extensive": (growing, "energy: that of two copies 60 Å apart is"),
    "an energy that depends on the batch": (by_batch, "in another batch"),
    "wrong only with periodicity": (only(lambda s: s.is_periodic, flipped), "sign or unit, slope -1.00"),
    "wrong only without periodicity": (only(lambda s: not s.is_periodic, flipped), "sign or unit, slope -1.00"),
    "wrong only above 15 atoms": (only(lambda s: len(s) > 15, flipped), "sign or unit, slope -1.00"),
    "wrong only above 8 atoms": (only(lambda s: len(s) > 8, flipped), "sign or unit, slope -1.00"),
    "not periodic along c": (without_c, "atoms by vectors of the lattice too: energy differs"),
    "stress as virial": (virial, "virial and stress confused"),
    "stress per atom": (stress_per_atom, "stress per atom and of all confused"),
    "stress in bar": (with_stress(lambda stress: 1602176.6 * stress), "bar and eV/Å³ confused"),
    "forces zero": (each(lambda label: replace(label, forces=0 * label.forces)), "all zero, yet the energy changes"),
    "forces constant": (each(lambda label: replace(label, forces=0 * label.forces + np.float32(0.1))), "move the whole structure"),
    "forces with the other sign": (each(lambda label: replace(label, forces=-label.forces)), "sign or unit, slope -1.00"),
    "forces shuffled": (shuffled, "forces"),
    "forces in eV/Bohr": (each(lambda label: replace(label, forces=np.float32(0.529177) * label.forces)), "sign or unit, slope 0.53"),
    "stress in another order": (with_stress(lambda stress: stress[ANOTHER_ORDER]), "order of the components, xx yy zz xy yz xz"),
    "stress with the other sign": (with_stress(lambda stress: -stress), "stress: sign or unit, slope -1.00"),
    "stress in GPa": (with_stress(lambda stress: 160.21766 * stress), "stress: sign or unit, slope 160"),
    "energies in kcal/mol": (each(lambda label: replace(label, energy=23.0605 * label.energy)), "kcal/mol and eV"),
    "energies per atom": (energies_per_atom, "an energy per atom?"),
    "energies constant": (each(lambda label: replace(label, energy=-5.0)), "the energy does not change"),
    "energies random": (random_energies, "labelled again in another batch"),
    "energies of another structure": (shifted, "labelled again in another batch"),
}


def judge(folder: Path, teacher: FakeTeacher, recipe: str = RECIPE) -> dict[str, Any]:
    async def run() -> None:
        async with factory(folder, two_fakes(), teacher) as client:
            await make(client, recipe)

    asyncio.run(run())
    report: dict[str, Any] = json.loads((folder / "small" / "report.json").read_text())
    return report


def physics(report: dict[str, Any]) -> str:
    return " | ".join(gate["detail"] for gate in report["gates"] if gate["gate"] == "teacher_physics" and not gate["passed"])


def test_a_sound_teacher_is_go(tmp_path: Path) -> None:
    report = judge(tmp_path, WrongTeacher())
    assert (report["verdict"], physics(report)) == ("GO", "")
    assert report["teacher"]["self_test"]["tried"]["stress"] == 2
    assert report["teacher"]["self_test"]["broken"] == []


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_teacher_is_no_go_and_its_fault_named(tmp_path: Path, name: str) -> None:
    wrong, words = WRONG[name]
    report = judge(tmp_path, WrongTeacher(wrong=wrong))
    assert report["verdict"] == "NO-GO"
    assert words in physics(report)


def test_labels_that_belong_together_and_are_of_no_matter_are_no_go(tmp_path: Path) -> None:
    """As where energies, forces and stresses are all in Hartree."""
    report = judge(tmp_path, WrongTeacher(tolerance=CONSERVATIVE))
    assert report["verdict"] == "NO-GO"
    assert "in shares of what was measured" in physics(report)


def test_a_teacher_that_is_wrong_now_and_then_is_no_go(tmp_path: Path) -> None:
    recipe = RECIPE.replace("count: 20", "count: 150")
    report = judge(tmp_path, WrongTeacher(wrong=some_replaced), recipe)
    assert report["verdict"] == "NO-GO"
    assert "turn the whole structure" in physics(report)


def test_a_label_beyond_the_limits_is_set_aside_with_its_label_and_made_up_for(tmp_path: Path) -> None:
    """One structure in a hundred blows up; the dataset is whole without it."""

    def blow_up(structure: Structure, label: Label) -> Label:
        return replace(label, forces=1e4 * label.forces, energy=label.energy * 1e4) if structure.id.endswith("00001/0003") else label

    report = judge(tmp_path, FakeTeacher(spoil=blow_up))
    assert report["verdict"] == "GO"
    assert report["sources"]["one"]["rejected"]["label: large_force"] == 1
    assert report["sources"]["one"]["kept"] == 20
    (largest,) = [gate["value"] for gate in report["gates"] if gate["gate"] == "largest_force"]
    assert largest < 50
    quarantined = read_part(tmp_path / "small" / "parts" / "full-one-00001.h5")
    (refused,) = quarantined.refused_labels.values()
    assert np.abs(refused["forces"]).max() > 50


def test_an_energy_far_off_the_others_is_left_out_and_made_up_for(tmp_path: Path) -> None:
    def lift(structure: Structure, label: Label) -> Label:
        return replace(label, energy=label.energy + 40.0 * len(structure)) if structure.id.endswith("00002/0001") else label

    recipe = RECIPE.replace("count: 20", "count: 120")
    report = judge(tmp_path, FakeTeacher(spoil=lift), recipe)
    assert report["verdict"] == "GO"
    assert report["sources"]["one"]["rejected"]["dataset: energy_outlier"] == 1
    assert report["sources"]["one"]["kept"] == 120
    with h5py.File(tmp_path / "small" / "dataset.h5") as file:
        assert "full-one-00002/0001" not in file["provenance/id"].asstr()[:]
    assert all(check.passed for check in Verification(tmp_path / "small" / "dataset.h5").run())
