"""The quickstart: real structures, real teacher, GO; and everything the README says of its result."""

import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.db import connect
from ase.io import read

from distillery.dataset.reading import read_dataset
from distillery.structures.checks import find_chemistry_fault, find_input_fault
from distillery.structures.identity import structure_hash
from distillery.structures.structure import DEFAULT_ELEMENTS, from_ase
from tests.command import ROOT, Finished, distillery

N_STRUCTURES = 480


def test_it_is_go(quickstart: Finished) -> None:
    assert quickstart.returncode == 0, quickstart.output
    report = json.loads((quickstart.dataset.parent / "report.json").read_text())
    assert report["verdict"] == "GO"
    assert report["totals"]["n_structures"] == N_STRUCTURES
    assert f"GO  {N_STRUCTURES} of {N_STRUCTURES} structures" in quickstart.output
    entropy = next(g for g in report["gates"] if g["gate"] == "element_entropy")
    assert not entropy["required"]  # of everybody else than the plan: advisory
    assert 0.9 * entropy["ceiling"] == pytest.approx(entropy["threshold"])
    assert entropy["threshold"] <= entropy["value"] <= entropy["ceiling"]
    physics = next(g for g in report["gates"] if g["gate"] == "teacher_physics")
    assert (physics["required"], physics["value"]) == (True, 0)


def test_every_structure_is_sane_unique_and_hashed_right(quickstart: Finished) -> None:
    with h5py.File(quickstart.dataset) as file:
        hashes = file["provenance/structure_hash"].asstr()[:].tolist()
    assert len(set(hashes)) == N_STRUCTURES
    for atoms, expected in zip(read_dataset(quickstart.dataset), hashes, strict=True):
        info = atoms.info
        structure = from_ase(atoms, id=info["id"], system=info["system"], origin=json.loads(info["origin"]))
        assert find_input_fault(structure, DEFAULT_ELEMENTS) is None
        assert find_chemistry_fault(structure) is None
        assert structure_hash(structure) == expected
        assert np.isfinite(atoms.get_forces()).all()


def test_molecules_have_their_hydrogens(quickstart: Finished) -> None:
    molecules = [a for a in read_dataset(quickstart.dataset) if a.info["system"] == "molecule"]
    assert len(molecules) == 180
    assert all(1 in a.numbers for a in molecules)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:No tensor product accelerator:UserWarning")
def test_labels_are_those_of_the_teachers_own_calculator(quickstart: Finished) -> None:
    from sevenn.calculator import SevenNetCalculator

    calculator = SevenNetCalculator("7net-0", device="cpu")
    for atoms in list(read_dataset(quickstart.dataset))[::120]:
        labelled, atoms.calc = atoms.calc.results, calculator
        assert atoms.get_potential_energy() == pytest.approx(labelled["energy"], abs=1e-3)
        assert np.allclose(atoms.get_forces(), labelled["forces"], atol=1e-3, rtol=1e-4)
        if all(atoms.pbc):
            assert np.allclose(atoms.get_stress(), labelled["stress"], atol=1e-4)
        else:
            assert "stress" not in labelled


def test_the_documents_python_runs(quickstart: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(quickstart.folder)
    pages = [(ROOT / name).read_text() for name in ("README.md", "docs/dataset.md")]
    blocks = [block for page in pages for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)]
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, "a page", "exec"), {})
    assert re.search(r"full-\w+-00000/0000/0 \S+ -\d+\.\d+ eV", capsys.readouterr().out)
    assert len(read(quickstart.folder / "data/quickstart/train.extxyz", ":")) == N_STRUCTURES


def test_extxyz_is_read_back_by_ase_with_its_labels(quickstart: Finished, tmp_path: Path) -> None:
    done = distillery("export", str(quickstart.dataset), "--to", "extxyz", "--out", str(tmp_path / "a.extxyz"), cwd=tmp_path)
    assert done.returncode == 0, done.output
    for ours, back in zip(read_dataset(quickstart.dataset), read(tmp_path / "a.extxyz", ":"), strict=True):
        assert ours.get_chemical_symbols() == back.get_chemical_symbols()
        assert np.allclose(ours.positions, back.positions, atol=1e-7)
        assert np.array_equal(ours.pbc, back.pbc)
        assert back.get_potential_energy() == pytest.approx(ours.get_potential_energy(), abs=1e-6)
        assert np.allclose(back.get_forces(), ours.get_forces(), atol=1e-6)
        if all(ours.pbc):
            assert np.allclose(back.get_stress(), ours.get_stress(), atol=1e-7)


def test_mace_keys(quickstart: Finished, tmp_path: Path) -> None:
    done = distillery("export", str(quickstart.dataset), "--to", "extxyz", "--mace", "--out", str(tmp_path / "m.extxyz"), cwd=tmp_path)
    assert done.returncode == 0, done.output
    for ours, back in zip(read_dataset(quickstart.dataset), read(tmp_path / "m.extxyz", ":"), strict=True):
        assert back.info["REF_energy"] == pytest.approx(ours.get_potential_energy(), abs=1e-6)
        assert np.allclose(back.arrays["REF_forces"], ours.get_forces(), atol=1e-6)
        assert ("REF_stress" in back.info) == all(ours.pbc)
        if all(ours.pbc):
            assert np.allclose(back.info["REF_stress"].reshape(3, 3), ours.get_stress(voigt=False), atol=1e-7)


def test_ase_db_is_read_back(quickstart: Finished, tmp_path: Path) -> None:
    done = distillery("export", str(quickstart.dataset), "--to", "ase-db", "--out", str(tmp_path / "a.db"), cwd=tmp_path)
    assert done.returncode == 0, done.output
    ours = {atoms.info["id"]: atoms for atoms in read_dataset(quickstart.dataset)}
    with connect(tmp_path / "a.db") as database:
        rows = list(database.select())
    assert len(rows) == N_STRUCTURES
    for row in rows:
        atoms = ours[row.structure_id]
        assert row.energy == pytest.approx(atoms.get_potential_energy())
        assert np.allclose(row.forces, atoms.get_forces())
        assert row.data["origin"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("export", "nothing.h5", "--to", "extxyz"), "there is no file or dataset 'nothing.h5'"),
        (("export", "nothing.h5", "--to", "xyz"), "--to must be one of mace, "),
        (("run", "nothing.yaml"), "can't read the recipe nothing.yaml"),
        (("services", "rdkitt"), "did you mean 'rdkit'?"),
        (("status", "nothing"), "there is no dataset 'nothing'"),
        (("run", str(ROOT / "recipes/quickstart.yaml"), "--gateway", "http://127.0.0.1:9"), "can't be reached"),
    ],
)
def test_mistakes_end_with_one_clear_message(arguments: tuple[str, ...], text: str, tmp_path: Path) -> None:
    done = distillery(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert text in " ".join(done.output.split())
    assert "Traceback" not in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("export", "DATASET", "--to", "extxyz", "--out", "no/such/x.extxyz"),
            "--out names a file in no/such, and there is no such folder",
        ),
        (("export", "DATASET", "--to", "extxyz", "--out", "."), "--out must be a file, . is a folder"),
        (("export", "DATASET", "--to", "aselmdb", "--out", "file"), "--out must be a folder, file is a file"),
        (("export", "DATASET", "--to", "aselmdb", "--out", "file/x"), "--out names a folder in file, which is a file"),
        (("report", "FOLDER", "--out", "no/p.html"), "--out names a file in no, and there is no such folder"),
    ],
)
def test_a_place_that_can_not_be_written_is_named_before_the_work(
    quickstart: Finished, tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    (tmp_path / "file").write_text("")
    places = {"DATASET": str(quickstart.dataset), "FOLDER": str(quickstart.dataset.parent)}
    done = distillery(*(places.get(one, one) for one in arguments), cwd=tmp_path)
    assert done.returncode == 1
    assert text in " ".join(done.output.split())
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("command", "variable", "value", "text"),
    [
        ("verify x.h5 --regenerate 1 --deployed", "CONCURRENCY", "-7", "concurrency: Input should be greater than or equal to 1"),
        ("verify x.h5 --regenerate 1 --deployed", "SERVICES", "{bad", "services"),
        ("verify x.h5 --regenerate 1 --deployed", "API_KEY", "secret", "api_key: Value error, it has 6 characters, at least 16"),
        (
            "verify x.h5 --regenerate 1 --deployed",
            "API_KEY",
            "a key and then a blank ",
            "api_key: Value error, it begins or ends with a blank",
        ),
    ],
)
def test_wrong_settings_are_named_without_what_may_be_a_key(tmp_path: Path, command: str, variable: str, value: str, text: str) -> None:
    done = distillery(*command.split(), cwd=tmp_path, env={f"DISTILLERY_GATEWAY_{variable}": value})
    assert done.returncode == 1
    assert "DISTILLERY_GATEWAY_" in done.output
    assert text in " ".join(done.output.split())
    assert value not in done.output
    assert "Traceback" not in done.output


def test_status_and_services_show_what_there_is(quickstart: Finished) -> None:
    status = distillery("status", cwd=quickstart.folder)
    assert status.returncode == 0
    assert "quickstart  finished  GO" in status.output
    services = distillery("services", cwd=quickstart.folder)
    assert all(name in services.output for name in ("rdkit", "pymatgen", "ase"))
    assert "conformers" in distillery("services", "rdkit", cwd=quickstart.folder).output


def test_the_finished_dataset_is_left_as_it_is(quickstart: Finished, tmp_path: Path) -> None:
    shutil.copytree(quickstart.folder / "data", tmp_path / "data")
    again = distillery("run", str(ROOT / "recipes/quickstart.yaml"), cwd=tmp_path)
    assert again.returncode == 0, again.output
    for name in ("dataset.h5", "report.json", "report.html"):
        assert (tmp_path / "data/quickstart" / name).read_bytes() == (quickstart.dataset.parent / name).read_bytes()
