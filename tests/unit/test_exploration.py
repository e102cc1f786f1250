"""Where a student goes by itself: dynamics that stop where no physics goes on, and which frames are worth a label."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.io import read, write

from distillery.dataset.blocks import count_structures
from distillery.dataset.reading import read_dataset
from distillery.dataset.splits import read_parents, split_dataset
from distillery.derive.exploration import Course, Explored, Start, choose_frames, draw_starts, explore, measure_held
from distillery.derive.novelty import choose_new, read_known
from distillery.derive.select import measure_nearest
from distillery.errors import InvalidRequest
from distillery.structures.structure import Structure, from_ase
from tests.dataset_folder import with_origin, write_finished
from tests.datasets import write_dataset
from tests.labelling import methane, moved, silicon, water

COURSE = Course(temperature=300.0, steps=12, every=4)


class Wrong(Calculator):
    """Springs to where atoms are not: forces that grow with the step, and whatever else goes wrong."""

    implemented_properties = ("energy", "forces")

    def __init__(self, how: str, after: int = 5) -> None:
        super().__init__()
        self.how, self.after, self.n_calls = how, after, 0

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        assert atoms is not None
        super().calculate(atoms, properties, system_changes)
        self.n_calls += 1
        forces = np.zeros((len(atoms), 3))
        if self.n_calls > self.after:
            if self.how == "raises":
                raise RuntimeError("never seen such atoms")
            forces[:] = np.nan if self.how == "nan" else 0.0
            forces[0] = 300.0 if self.how == "pushes" else forces[0]
        self.results = {"energy": 0.0, "forces": forces}


def start(name: str = "Cu", k: int = 0) -> Start:
    structure = from_ase(bulk(name, cubic=True) * (2, 1, 1), id=f"t/{k:04d}", system="crystal")
    return Start(structure, "metals", f"periodic {name}1")


def test_sound_dynamics_keep_frames_with_the_students_labels_and_where_they_are_from() -> None:
    found = explore(EMT(), [start(), start("Ag", 1)], COURSE, seed=3)
    assert (found.n_whole, found.faults, found.last) == (2, {}, [])
    assert [frame.info["step"] for frame in found.frames] == [4, 8, 12, 4, 8, 12]
    assert [frame.info["started_from"] for frame in found.frames] == ["t/0000"] * 3 + ["t/0001"] * 3
    assert found.frames[3].info["parent"] == "periodic Ag1"
    assert found.frames[3].info["system"] == "crystal"
    for frame in found.frames:
        energy, forces = frame.get_potential_energy(), frame.get_forces()
        frame.calc = EMT()
        assert energy == pytest.approx(frame.get_potential_energy())
        assert forces == pytest.approx(frame.get_forces())
    assert np.abs(found.frames[2].positions - found.frames[0].positions).max() > 0.005


def test_frames_of_an_ion_are_ions_also_in_the_file_that_the_teacher_gets(tmp_path: Path) -> None:
    ion = from_ase(bulk("Cu", cubic=True), id="t/0000", system="crystal", charge=1, multiplicity=2)
    found = explore(EMT(), [Start(ion, "metals", "periodic Cu1"), start()], COURSE, seed=3)
    write(tmp_path / "frames.extxyz", found.frames, format="extxyz")
    states = [(atoms.info.get("charge"), atoms.info.get("spin")) for atoms in read(tmp_path / "frames.extxyz", ":")]
    assert states == [(1, 2)] * 3 + [(None, None)] * 3


def test_the_seed_decides() -> None:
    one, same, other = (explore(EMT(), [start()], COURSE, seed=seed).frames[-1].positions for seed in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("how", "fault"), [("raises", "student_failed"), ("nan", "not_finite"), ("pushes", "too_hot")])
def test_what_goes_wrong_ends_a_trajectory_and_its_last_sound_frame_is_kept(how: str, fault: str) -> None:
    """And the others go on."""
    found = explore(Wrong(how), [start(), start()], Course(300.0, 12, 4), seed=3)
    assert found.faults[fault] == 2
    assert found.n_whole == 0
    first = [frame.info["step"] for frame in found.frames if frame.info["started_from"] == "t/0000"]
    assert 4 <= max(first) < 12
    assert all(np.isfinite(frame.positions).all() and np.isfinite(frame.get_forces()).all() for frame in found.frames)
    assert found.last
    assert found.frames[found.last[0]].info["step"] == max(found.frames[k].info["step"] for k in range(found.last[0] + 1))


def test_a_student_that_can_not_begin_gives_no_frame() -> None:
    found = explore(Wrong("raises", after=0), [start()], COURSE, seed=3)
    assert (found.frames, found.last, dict(found.faults)) == ([], [], {"student_failed": 1})


# Where it begins.

SEVERAL = """\
name: several
seed: 3
teacher: fake
elements: [H, C, O, Si]
sources:
  molecules: {service: structures, system: molecule, count: 40}
  crystals: {service: structures, system: crystal, count: 4}
"""


def write_several(folder: Path) -> Path:
    """Structures of twenty parents, some of them on each side."""
    return write_finished(folder / "several", SEVERAL, change=lambda s: with_origin({"kept_parent": f"family {int(s.id[-4:]) % 20}"})(s))


def test_it_begins_on_the_training_side_with_each_source_in_turn(tmp_path: Path) -> None:
    path = write_several(tmp_path)
    starts = draw_starts(path, 9, seed=1)
    parents = read_parents(path)
    train = {parents[row] for row in split_dataset(path).indices["train"]}
    assert len(train) < len(set(parents)), "the test needs a parent on another side"
    assert {one.parent for one in starts} <= train
    sources = [one.source for one in starts]
    assert sources[: len(set(sources))] == sorted(set(sources))
    ids = [one.structure.id for one in starts]
    assert ids == [one.structure.id for one in draw_starts(path, 9, seed=1)]
    assert ids != [one.structure.id for one in draw_starts(path, 9, seed=2)]


def test_a_dataset_without_a_training_side_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path / "d.h5", [water(f"t/{i:04d}") for i in range(3)])
    assert len(draw_starts(tmp_path / "d.h5", 7, seed=0)) == 7
    monkeypatch.setattr("distillery.dataset.splits.choose_side", lambda parent, **how: "test")
    with pytest.raises(InvalidRequest, match="no structure on its training side"):
        draw_starts(tmp_path / "d.h5", 7, seed=0)


# What is new.


def write_waters(path: Path) -> Path:
    rng = np.random.default_rng(0)
    write_dataset(path, [moved(s, rng.normal(0, 0.02, s.positions.shape)) for s in (water(f"t/{i:04d}") for i in range(30))])
    return path


def stretched(id: str) -> Structure:
    return moved(water(id), [[0.0, 0.0, 0.6], [0, 0, 0], [0, 0, 0]])


def test_what_the_dataset_does_not_know_is_new_and_comes_first(tmp_path: Path) -> None:
    known = read_known(write_waters(tmp_path / "d.h5"))
    rng = np.random.default_rng(1)
    usual = [moved(water(f"u/{k}"), rng.normal(0, 0.02, (3, 3))) for k in range(6)]
    chosen, is_new = choose_new(known, [*usual, stretched("n/0"), methane("n/1"), stretched("n/2")], 2)
    assert is_new[6:] == [True, True, True]
    assert sum(is_new[:6]) <= 1
    assert 7 in chosen
    assert set(chosen) & {6, 8}
    assert len(choose_new(known, usual, 50)[0]) == 6


def test_the_nearest_environment_is_found(tmp_path: Path) -> None:
    some, known = np.random.default_rng(0).normal(size=(2, 20, 5)).astype(np.float32)
    wanted = np.linalg.norm(some[:, None] - known, axis=2).min(axis=1)
    assert measure_nearest(some, known) == pytest.approx(wanted, abs=1e-4)


def test_chosen_are_last_ones_new_ones_and_some_at_random(tmp_path: Path) -> None:
    path = write_waters(tmp_path / "d.h5")
    rng = np.random.default_rng(2)
    structures = [moved(water(f"u/{k}"), rng.normal(0, 0.02, (3, 3))) for k in range(20)]
    structures[4] = structures[9] = stretched("n")
    frames = []
    for k, structure in enumerate(structures):
        atoms = Atoms(numbers=structure.numbers, positions=structure.positions, info={"system": "molecule", "k": k})
        frames.append(atoms)
    explored = Explored(frames, [3], Counter({"too_hot": 1}), 4)
    chosen, n_new = choose_frames(path, explored, 6, seed=0)
    places = [frame.info["k"] for frame in chosen]
    assert places == sorted(set(places))
    assert len(places) == 6
    assert 3 in places
    assert {4, 9} & set(places)
    assert [frame.info["why"] for frame in chosen].count("random") == 2
    assert frames[3].info["why"] == "last"
    assert "new" in {frames[k].info.get("why") for k in (4, 9)}
    assert n_new >= 2
    assert len(choose_frames(path, explored, 100, seed=0)[0]) == 20


# The sides that are held back.


def test_the_error_on_the_held_sides_is_that_of_their_forces_alone(tmp_path: Path) -> None:
    """A student that says zero is off by the mean size of the forces; one that labels nothing has no error."""
    path = write_several(tmp_path)
    sides = split_dataset(path).indices
    held = np.sort(np.concatenate([sides["val"], sides["test"]]))
    forces = np.concatenate([atoms.get_forces().ravel() for atoms in read_dataset(path, held)])
    assert 0 < len(held) < count_structures(path)
    assert measure_held(Wrong("zero"), path) == pytest.approx(1000 * np.abs(forces).mean(), rel=1e-3)
    assert measure_held(Wrong("raises", after=0), path) is None


def test_silicon_is_unlike_water(tmp_path: Path) -> None:
    known = read_known(write_waters(tmp_path / "d.h5"))
    assert choose_new(known, [silicon("s")], 1) == ([0], [True])
