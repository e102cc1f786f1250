"""`distillery relabel`: a dataset labelled by another teacher, split as before, and how far the two are apart."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from distillery.dataset.reading import read_dataset
from distillery.dataset.splits import read_parents
from distillery.verify.verification import verify_dataset
from tests.command import ROOT, Finished, distillery
from tests.dataset_folder import RECIPE, with_origin, write_finished

TEACHER = "ase:tests.calculators:Scripted(weight=1.0)"
ELSEWHERE = {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def relabelled(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A dataset of 60 molecules and 30 crystals by one teacher, then by another one."""
    folder = tmp_path_factory.mktemp("relabelled")
    write_finished(folder / "data" / "pictured", change=with_origin({"space_group": 227}))
    return distillery("relabel", "pictured", "--teacher", TEACHER, "--out", "anew", cwd=folder, env=ELSEWHERE)


def test_all_structures_have_the_other_teachers_labels(relabelled: Finished) -> None:
    """In parts with a verdict, as `distillery label` makes them."""
    folder = relabelled.folder / "data" / "anew"
    assert relabelled.returncode in {0, 3}, relabelled.output
    assert "90 of 90 structures" in relabelled.output
    before = {atoms.info["id"]: atoms for atoms in read_dataset(relabelled.folder / "data" / "pictured" / "dataset.h5")}
    for atoms in read_dataset(folder / "dataset.h5"):
        old = before.pop(json.loads(atoms.info["origin"])["info"]["id"])
        assert np.array_equal(atoms.numbers, old.numbers)
        assert atoms.positions == pytest.approx(old.positions, abs=1e-9)
        assert atoms.get_potential_energy() != old.get_potential_energy()
    assert before == {}
    failed = {check.name for check in verify_dataset(folder / "dataset.h5") if check.passed is False}
    assert failed <= {"gates"}


def test_it_is_split_as_the_dataset_of_before(relabelled: Finished) -> None:
    data = relabelled.folder / "data"
    old = data / "pictured" / "dataset.h5"
    with h5py.File(old) as file:
        parents = dict(zip(file["provenance/id"].asstr()[:], read_parents(old), strict=True))
    with h5py.File(data / "anew" / "dataset.h5") as file:
        ids = [json.loads(origin)["info"]["id"] for origin in file["provenance/origin"].asstr()]
    assert "periodic Si1, space group 227" in parents.values()
    assert read_parents(data / "anew" / "dataset.h5") == [parents[id] for id in ids]


def test_report_page_and_terminal_say_how_far_the_teachers_are_apart(relabelled: Finished) -> None:
    folder = relabelled.folder / "data" / "anew"
    found = json.loads((folder / "report.json").read_text())["disagreement"]
    assert {name: own["n_structures"] for name, own in found["sources"].items()} == {"molecules": 60, "crystals": 30}
    assert found == json.loads((folder / "disagreement.json").read_text())
    assert (found["before"], found["after"]) == ("fake", TEACHER)
    page = (folder / "report.html").read_text()
    assert 'id="parity"' in page
    assert 'id="chart-parity-energies"' in page
    assert f"│ molecules │ 60         │ {found['sources']['molecules']['energy']:.1f}" in relabelled.output


def test_the_dataset_that_is_read_is_not_written_over(relabelled: Finished) -> None:
    done = distillery("relabel", "pictured", "--teacher", TEACHER, "--out", "pictured", cwd=relabelled.folder, env=ELSEWHERE)
    assert done.returncode == 1
    assert "--out must be another name" in done.output


def test_a_dry_run_prints_the_recipe_alone(relabelled: Finished, tmp_path: Path) -> None:
    write_finished(tmp_path / "data" / "pictured", RECIPE)
    done = distillery("relabel", "pictured", "--teacher", TEACHER, "--out", "anew", "--dry-run", cwd=tmp_path, env=ELSEWHERE)
    assert done.returncode == 0, done.output
    assert "parents: kept" in done.output
    assert not (tmp_path / "data" / "anew").exists()
