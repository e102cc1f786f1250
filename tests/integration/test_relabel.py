"""`distillery relabel`: a dataset labelled by another teacher, split as before, and how far the two are apart."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from tblite.ase import TBLite

from distillery.dataset.reading import read_dataset
from distillery.dataset.splits import read_parents
from distillery.structures.structure import from_ase
from distillery.verify.verification import verify_dataset
from tests.command import ROOT, Finished, distillery
from tests.dataset_folder import RECIPE, with_origin, write_finished
from tests.datasets import write_dataset

TEACHER = "ase:tests.calculators:Scripted(weight=1.0)"
ELSEWHERE = {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def relabelled(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A dataset of 60 molecules and 30 crystals by one teacher, then by another one."""
    folder = tmp_path_factory.mktemp("relabelled")
    write_finished(folder / "data" / "pictured", change=with_origin({"space_group": 227}), service_licence="BSD-3-Clause")
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


def test_the_card_lists_the_licences_of_before(relabelled: Finished) -> None:
    card = (relabelled.folder / "data" / "anew" / "README.md").read_text()
    for source in ("molecules", "crystals"):
        assert f"| structures of {source}: what they are from | BSD-3-Clause |" in card


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


CHARGES = {"water": 0, "hydroxide": -1, "hydronium": 1, "methane": 0, "ammonium": 1, "formate": -1}


def write_ions(folder: Path) -> None:
    """A dataset of neutral molecules and ions, labelled by a teacher that may have known of charge or not."""
    rng = np.random.default_rng(3)
    shapes = {
        "water": molecule("H2O"),
        "hydroxide": molecule("OH"),
        "hydronium": Atoms("OH3", [(0, 0, 0.1), (0.93, 0, -0.2), (-0.47, 0.81, -0.2), (-0.47, -0.81, -0.2)]),
        "methane": molecule("CH4"),
        "ammonium": Atoms("NH4", 1.02 / 3**0.5 * np.array([(0, 0, 0), (1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)])),
        "formate": Atoms("CO2H", [(0, 0, 0), (1.1, 0.6, 0), (-1.1, 0.6, 0), (0, -1.12, 0)]),
    }
    for atoms in shapes.values():
        atoms.rattle(0.02, rng=rng)
    structures = [from_ase(atoms, id=f"ions/{name}", system="molecule", charge=CHARGES[name]) for name, atoms in shapes.items()]
    (folder / "data" / "ions").mkdir(parents=True)
    write_dataset(folder / "data" / "ions" / "dataset.h5", structures)


def relabel_ions(folder: Path, teacher: str, *flags: str) -> tuple[Finished, dict[str, Atoms]]:
    """What the command said, and the structures of the new dataset by their names in the old one."""
    done = distillery("relabel", "ions", "--teacher", teacher, "--out", "anew", *flags, cwd=folder, env=ELSEWHERE)
    assert done.returncode in {0, 3}, done.output
    found = read_dataset(folder / "data" / "anew" / "dataset.h5")
    return done, {json.loads(atoms.info["origin"])["info"]["id"].removeprefix("ions/"): atoms for atoms in found}


def test_a_teacher_that_knows_of_no_charge_refuses_ions_and_those_that_are_left_out_are_named(tmp_path: Path) -> None:
    write_ions(tmp_path)
    refused = distillery("relabel", "ions", "--teacher", TEACHER, "--out", "anew", cwd=tmp_path, env=ELSEWHERE)
    assert refused.returncode == 1
    said = f"source molecules: ask for ions, and teacher {TEACHER} knows of no charge"
    assert said in " ".join(refused.output.split())
    assert "relabel: --neutral" in " ".join(refused.output.split())
    assert not (tmp_path / "data" / "anew").exists()
    done, found = relabel_ions(tmp_path, TEACHER, "--neutral")
    assert set(found) == {"water", "methane"}
    assert "left out: 4 of 6 rows: 4 charged\n  dataset.h5: charged: row 1-2, 4-5" in done.output
    assert not any("charge" in atoms.info for atoms in found.values())


def test_ions_are_labelled_with_their_charge_by_another_teacher_that_knows_of_it(tmp_path: Path) -> None:
    write_ions(tmp_path)
    done, found = relabel_ions(tmp_path, "gfn2-xtb")
    assert {name: atoms.info["charge"] for name, atoms in found.items()} == CHARGES
    for name, atoms in found.items():
        alone = Atoms(atoms.numbers, atoms.positions)
        alone.calc = TBLite(method="GFN2-xTB", charge=CHARGES[name], multiplicity=1, verbosity=0)
        assert atoms.get_potential_energy() == pytest.approx(alone.get_potential_energy(), abs=1e-4), name
        assert atoms.get_forces() == pytest.approx(alone.get_forces(), abs=1e-4), name
    assert "6 of 6 structures" in done.output
