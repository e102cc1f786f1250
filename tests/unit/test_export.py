"""Exports: sides, ASE databases as orb reads them, ASE LMDBs as fairchem reads them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.db import connect
from ase.io import read
from typer.testing import CliRunner

from cli.main import app
from distillery.dataset.export import export_ase_db, export_aselmdb, export_extxyz, find_stressed, read_dataset
from distillery.dataset.layout import Arrays
from distillery.dataset.splits import split_dataset
from distillery.errors import InvalidRequest
from tests.datasets import write_dataset
from tests.labelling import mixed, water

N = 9
PERIODIC = [2, 5, 8]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dataset.h5"


@pytest.fixture(autouse=True)
def arrays(path: Path) -> Arrays:
    """Waters, methanes and silicons, in turn."""
    return write_dataset(path, mixed("t", N))


def test_indices_pick_structures_in_their_order(path: Path) -> None:
    assert [atoms.info["id"] for atoms in read_dataset(path, [4, 0])] == ["t/0004", "t/0000"]
    target = path.with_suffix(".extxyz")
    assert export_extxyz(path, target, mace_keys=True, indices=[4, 0]) == 2
    assert [atoms.info["id"] for atoms in read(target, ":")] == ["t/0004", "t/0000"]


@pytest.mark.parametrize("mace_keys", [False, True])
@pytest.mark.parametrize("smiles", ["F/C=C\\F", "C/N=C\\n1cccc1", 'a "quoted" \\ \\" name'])
def test_origins_are_read_back_from_extxyz_as_they_were(path: Path, smiles: str, mace_keys: bool) -> None:
    """SMILES of double bonds hold backslashes, and \\n is no new line."""
    write_dataset(path, [replace(water("t/0000"), origin={"smiles": smiles})])
    target = path.with_suffix(".extxyz")
    export_extxyz(path, target, mace_keys=mace_keys)
    assert json.loads(read(target).info["origin"]) == {"smiles": smiles}


def test_crystals_and_surfaces_have_a_stress(path: Path) -> None:
    assert find_stressed(path).tolist() == PERIODIC


def test_ase_db_rows_hold_what_orb_asks_of_them(path: Path, arrays: Arrays) -> None:
    """`AseSqliteDataset` gets rows 1, 2, … and takes energy, forces and stress as attributes, in float64."""
    target = path.with_suffix(".db")
    assert export_ase_db(path, target, indices=PERIODIC) == 3
    with connect(target, type="db") as database:
        assert len(database) == 3
        for row_id, i in enumerate(PERIODIC, start=1):
            row = database.get(row_id)
            assert row.energy == arrays["labels/energy"][i]
            assert np.array_equal(row.forces, arrays["labels/forces"][arrays["structures/atomic_numbers_splits"][i] :][:8])
            assert np.array_equal(row.stress, arrays["labels/stress"][i])
            assert np.asarray(row.forces).dtype == np.asarray(row.stress).dtype == np.float64


def test_aselmdb_is_read_by_ase_with_its_labels(path: Path) -> None:
    target = path.with_name("lmdb")
    assert export_aselmdb(path, target) == N
    assert sorted(file.name for file in target.iterdir()) == ["data.aselmdb", "metadata.npz"]
    with connect(target / "data.aselmdb", readonly=True, use_lock_file=False) as database:
        for i, expected in enumerate(read_dataset(path)):
            row = database._get_row(database.ids[i])
            atoms = row.toatoms()
            assert np.array_equal(atoms.positions, expected.positions)
            assert np.array_equal(atoms.pbc, expected.pbc)
            assert atoms.calc.results.keys() == expected.calc.results.keys()
            assert atoms.get_potential_energy() == expected.get_potential_energy()
            assert np.array_equal(atoms.get_forces(), expected.get_forces())
            assert row.data["sid"] == row.structure_id == expected.info["id"]
            assert not {"energy", "forces", "stress"} & row.data.keys()


def test_aselmdb_has_fairchems_metadata(path: Path) -> None:
    target = path.with_name("lmdb")
    export_aselmdb(path, target, indices=[2, 0])
    assert export_aselmdb(path, target, indices=[1, 2, 3]) == 3
    metadata = np.load(target / "metadata.npz")
    assert metadata.files == ["natoms"]
    assert metadata["natoms"].dtype == np.int64
    assert metadata["natoms"].tolist() == [5, 8, 3]


def run(*arguments: str) -> str:
    """The output of `distillery export`; its problem is raised."""
    result = CliRunner().invoke(app, ["export", *arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.mark.parametrize("side", ["train", "val", "test"])
def test_a_side_is_written_and_the_fractions_said(path: Path, side: str) -> None:
    split = split_dataset(path, seed=4, fractions=(0.4, 0.3, 0.3))
    assert all(len(own) for own in split.indices.values())
    output = run(str(path), "--to", "extxyz", "--split", side, "--split-seed", "4", "--fractions", "0.4,0.3,0.3")
    assert split.describe() in output
    written = read(path.with_name(f"dataset-{side}.extxyz"), ":")
    assert [atoms.info["id"] for atoms in written] == [f"t/{i:04d}" for i in split.indices[side]]


def test_all_is_written_unless_a_side_is_named(path: Path) -> None:
    run(str(path), "--to", "ase-db")
    with connect(path.with_suffix(".db")) as database:
        assert len(database) == N


def test_with_stress_leaves_molecules_out(path: Path) -> None:
    run(str(path), "--to", "aselmdb", "--with-stress", "--out", str(path.with_name("periodic")))
    with connect(path.with_name("periodic") / "data.aselmdb", readonly=True, use_lock_file=False) as database:
        assert [row.structure_id for row in database.select()] == [f"t/{i:04d}" for i in PERIODIC]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--split", "training"), "--split must be one of train, val, test, all; got 'training'"),
        (("--split", "val", "--fractions", "1,0,0"), "nothing of .* is left to write"),
        (("--split", "val", "--fractions", "1"), "three numbers"),
    ],
)
def test_mistakes_are_named(path: Path, arguments: tuple[str, ...], text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        run(str(path), "--to", "extxyz", *arguments)
    assert [file.name for file in path.parent.iterdir()] == ["dataset.h5"]
