"""7net-0, the real model: it agrees with its own ASE calculator and with known physics."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from ase import Atoms
from ase.optimize import BFGS

from distillery.dataset.folder import part_path
from distillery.dataset.layout import Label
from distillery.dataset.parts import read_part
from distillery.errors import Unavailable
from distillery.runtime.machine import count_workers
from distillery.structures.structure import Structure, to_ase
from labeller.app import create_labeller
from labeller.known_matter import judge_stiffness, list_known_crystals
from labeller.settings import LabellerSettings
from labeller.structure_queue import Labelled
from labeller.teachers import create_teacher
from labeller.teachers.teacher import Teacher
from tests.labelling import NEVER, methane, mixed, moved, one_atom, receipt, silicon, water
from tests.serving import serve

ENERGY_TOLERANCE = 1e-4
FORCE_TOLERANCE = 1e-4
STRESS_TOLERANCE = 1e-5
WATER_BOND, WATER_ANGLE = 0.971, 103.9


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    made = create_teacher(LabellerSettings(teacher="7net-0", device="cpu"))
    made.load(NEVER)
    made.use_threads(1)
    return made


@pytest.fixture(scope="module")
def calculator(teacher: Teacher) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sevenn.calculator import SevenNetCalculator

        return SevenNetCalculator("7net-0", device="cpu")


def samples() -> list[Structure]:
    bent = moved(water("p/0000"), np.random.default_rng(0).normal(0, 0.05, (3, 3)))
    sheared = silicon("p/0001", 1, seed=1)
    sheared = Structure(
        sheared.id, sheared.numbers, sheared.positions, sheared.cell + 0.05 * np.arange(9).reshape(3, 3), (True,) * 3, "crystal"
    )
    return [bent, sheared, methane("p/0002"), one_atom("p/0003")]


def label_all(teacher: Teacher, structures: list[Structure]) -> list[Label]:
    return teacher.predict(teacher.featurise(structures))


def test_a_batch_agrees_with_the_calculator_on_each_structure(teacher: Teacher, calculator: Any) -> None:
    for structure, label in zip(samples(), label_all(teacher, samples()), strict=True):
        atoms = to_ase(structure)
        atoms.calc = calculator
        assert label.energy == pytest.approx(atoms.get_potential_energy(), abs=ENERGY_TOLERANCE)
        assert np.allclose(label.forces, atoms.get_forces(), atol=FORCE_TOLERANCE)
        assert label.forces.shape == (len(structure), 3)
        assert (label.stress is not None) == structure.is_periodic
        if label.stress is not None:
            assert np.allclose(label.stress, atoms.get_stress(), atol=STRESS_TOLERANCE)
            assert np.abs(label.stress).max() > 100 * STRESS_TOLERANCE


def test_labels_are_the_same_alone_and_in_a_batch(teacher: Teacher) -> None:
    together = label_all(teacher, samples())
    for structure, label in zip(samples(), together, strict=True):
        alone = label_all(teacher, [structure])[0]
        assert label.energy == pytest.approx(alone.energy, abs=ENERGY_TOLERANCE)
        assert np.allclose(label.forces, alone.forces, atol=FORCE_TOLERANCE)


def test_rotating_a_molecule_rotates_its_forces(teacher: Teacher) -> None:
    bent = samples()[0]
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    turned = Structure(bent.id, bent.numbers, bent.positions @ turn.T)
    before, after = label_all(teacher, [bent, turned])
    assert after.energy == pytest.approx(before.energy, abs=ENERGY_TOLERANCE)
    assert np.allclose(after.forces, before.forces @ turn.T, atol=FORCE_TOLERANCE)


def test_a_supercell_has_the_same_energy_an_atom_and_the_same_stress(teacher: Teacher) -> None:
    cell, supercell = label_all(teacher, [silicon("p/0000"), silicon("p/0001", 2)])
    assert supercell.energy == pytest.approx(2 * cell.energy, abs=ENERGY_TOLERANCE)
    assert cell.stress is not None
    assert supercell.stress is not None
    assert np.allclose(cell.stress, supercell.stress, atol=STRESS_TOLERANCE)


def test_relaxed_water_has_the_known_geometry(calculator: Any) -> None:
    atoms: Atoms = to_ase(water("p/0000"))
    atoms.calc = calculator
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=30)
    assert atoms.get_distance(0, 1) == pytest.approx(WATER_BOND, abs=0.002)
    assert atoms.get_angle(1, 0, 2) == pytest.approx(WATER_ANGLE, abs=0.3)


def test_the_teacher_names_its_package_weights_and_elements(teacher: Teacher) -> None:
    assert teacher.version.startswith("sevenn==")
    assert len(teacher.weights_sha256) == 64
    assert len(teacher.elements) == 89
    assert {"H", "C", "Si", "Cl"} <= set(teacher.elements)


def test_what_the_model_computes_on_its_way_is_not_kept(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    features = teacher.featurise(samples())
    before = dict(features.tensors)
    teacher.predict(features)
    assert features.tensors.keys() == before.keys()
    monkeypatch.setattr(teacher._model[-1], "forward", lambda data: data["not there"])  # type: ignore[attr-defined]
    with pytest.raises(KeyError, match="not there"):
        teacher.predict(features)
    assert all(features.tensors[key] is value for key, value in before.items())


@pytest.mark.parametrize(
    ("settings", "named"), [({"weights_path": "my.ckpt"}, "WEIGHTS_PATH is my.ckpt; remove it"), ({"compile": True}, "COMPILE is true")]
)
def test_a_setting_that_would_be_ignored_is_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(Unavailable, match=named):
        create_teacher(LabellerSettings(teacher="7net-0", **settings)).load(NEVER)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    settings = LabellerSettings(data=tmp_path_factory.mktemp("data"), device="cpu")
    with serve(create_labeller(create_teacher(settings), settings)) as url, httpx.Client(base_url=url, timeout=120) as client:
        yield client


def test_a_real_part_over_http_holds_the_teachers_labels(client: httpx.Client, teacher: Teacher) -> None:
    structures = mixed("p", 6)
    answer = receipt(client, "p", structures)
    assert answer["n_structures"] == 6
    assert answer["teacher"]["weights_sha256"] == teacher.weights_sha256
    part = read_part(part_path(Path(client.get("/v1/metadata").json()["data"]) / "d", "p"))
    expected = [label_all(teacher, [s])[0].energy for s in structures]
    assert np.allclose(part.arrays["labels/energy"], expected, atol=ENERGY_TOLERANCE)


def test_by_default_every_core_predicts_as_far_as_memory_goes(client: httpx.Client) -> None:
    assert client.get("/v1/metadata").json()["workers"] == count_workers(4 * 2**30)


def test_known_crystals_are_as_stiff_as_was_measured(teacher: Teacher) -> None:
    for known in list_known_crystals():
        (check,) = judge_stiffness(lambda structures: Labelled([*label_all(teacher, [*structures])], 0.0), 1.25, [known])
        assert check.passed, check
