"""`distillery grow`: rounds of a student's dynamics, labelled by the dataset's teacher, on the side of the split that they came from."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.build import bulk

from distillery.dataset.splits import read_parents, split_dataset
from distillery.verify.verification import verify_dataset
from tests.command import Finished, distillery
from tests.input_files import write_frames

EMT = "ase:ase.calculators.emt:EMT"
STUDENT = "ase.calculators.morse:MorsePotential(epsilon=0.35, r0=2.75, rho0=4.0, rcut1=4.5, rcut2=5.5)"
GROW = ("grow", "metals", "--student", STUDENT, "--n", "9", "--rounds", "2", "--steps", "40", "--out", "grown.h5")


def write_metals(path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = []
    for k in range(24):
        atoms = bulk(("Cu", "Ag", "Au")[k % 3], cubic=True) * (2, 1, 1)
        atoms.set_cell(atoms.cell * (1 + rng.normal(scale=0.02)), scale_atoms=True)
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        frames.append(atoms)
    write_frames(path, frames)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Crystals of three metals, labelled by EMT and grown by a pair potential."""
    folder = tmp_path_factory.mktemp("grown")
    write_metals(folder / "metals.extxyz")
    made = distillery("label", "metals.extxyz", "--teacher", EMT, "--out", "metals", cwd=folder)
    assert made.returncode == 0, made.output
    return distillery(*GROW, cwd=folder)


def read_column(path: Path, name: str) -> list[str]:
    with h5py.File(path) as file:
        found: list[str] = file[f"provenance/{name}"].asstr()[:].tolist()
        return found


def test_the_frames_of_each_round_are_a_source_of_the_new_dataset(grown: Finished) -> None:
    assert grown.returncode in {0, 3}, grown.output
    path = grown.folder / "grown.h5"
    sources = read_column(path, "source")
    assert set(sources) == {"crystals", "round1_crystals", "round2_crystals"}
    assert sources.count("crystals") == 24
    assert 0 < sources.count("round1_crystals") <= 9
    assert [check for check in verify_dataset(path) if check.passed is False] == []


def test_each_frame_has_the_parent_of_the_structure_that_it_began_with_and_so_its_side(grown: Finished) -> None:
    path, old = grown.folder / "grown.h5", grown.folder / "data" / "metals" / "dataset.h5"
    parents_of = dict(zip(read_column(old, "id"), read_parents(old), strict=True))
    train = {parents_of[read_column(old, "id")[row]] for row in split_dataset(old).indices["train"]}
    frames = 0
    for parent, source, origin in zip(read_parents(path), read_column(path, "source"), read_column(path, "origin"), strict=True):
        if source == "round1_crystals":
            frames += 1
            assert parent == parents_of[json.loads(origin)["info"]["started_from"]]
            assert parent in train
    assert frames


def test_the_students_error_is_told_round_by_round(grown: Finished) -> None:
    found = json.loads((grown.folder / "grown.rounds" / "rounds.json").read_text())["rounds"]
    assert [one["round"] for one in found] == [1, 2]
    assert found[0]["n_structures"] == 24
    assert found[1]["n_structures"] == 24 + read_column(grown.folder / "grown.h5", "source").count("round1_crystals")
    for one in found:
        assert one["n_sound"] + sum(one["faults"].values()) == one["n_trajectories"] == 4
        assert one["n_labelled"] == sum(own["n_frames"] for own in one["sources"].values()) > 0
        assert one["n_candidates"] >= one["n_new"] >= 0
        assert one["sources"]["crystals"]["forces"] > 1.0
        assert one["random_forces"] > 1.0
    last = [line for line in grown.output.splitlines() if line.startswith("│ 2 ")][-1]
    assert f"│ {found[1]['random_forces']:.0f} " in last


def test_the_same_command_makes_nothing_twice(grown: Finished) -> None:
    content = (grown.folder / "grown.h5").read_bytes()
    before = {path: path.stat().st_mtime_ns for path in (grown.folder / "grown.rounds").rglob("*.h5")}
    refused = distillery(*GROW, cwd=grown.folder)
    assert refused.returncode == 1
    assert "replace it with --force" in refused.output
    again = distillery(*GROW, "--force", cwd=grown.folder)
    assert again.returncode == grown.returncode, again.output
    assert (grown.folder / "grown.h5").read_bytes() == content
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "waiting for teacher" not in again.output


def test_rounds_of_another_request_are_not_mixed_in(grown: Finished) -> None:
    other = distillery(*GROW, "--force", "--temperature", "900", cwd=grown.folder)
    assert other.returncode == 1
    assert "grown.rounds holds rounds of another request (temperature)" in other.output


@pytest.mark.parametrize(
    ("student", "said"),
    [
        ("nowhere", "ase:module:factory"),
        ("nowhere:Nothing", "can't be imported"),
        ("os:system", "makes no calculator of ASE"),
    ],
)
def test_a_student_that_can_not_be_is_refused_by_name(grown: Finished, student: str, said: str) -> None:
    done = distillery("grow", "metals", "--student", student, "--n", "2", "--out", f"{len(student)}.h5", cwd=grown.folder)
    assert done.returncode == 1
    assert said in done.output
