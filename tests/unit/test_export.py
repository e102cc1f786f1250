"""Exports: sides, ASE databases as orb reads them, ASE LMDBs as fairchem reads them."""

import json
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
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
from distillery.runtime.atomic_files import write_text_whole
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


# never over what is not ours


def name_directly(path: Path) -> Path:
    return path


def name_through_a_folder(path: Path) -> Path:
    (path.parent / "sub").mkdir()
    return path.parent / "sub" / ".." / path.name


def name_by_link(path: Path) -> Path:
    link = path.with_name("a-link")
    link.symlink_to(path.name)
    return link


def name_by_link_of_a_link(path: Path) -> Path:
    link = path.with_name("another-link")
    link.symlink_to(name_by_link(path))
    return link


def name_by_hard_link(path: Path) -> Path:
    link = path.with_name("hard-link")
    link.hardlink_to(path)
    return link


def name_in_a_linked_folder(path: Path) -> Path:
    folder = path.parent.parent / f"{path.parent.name}-link"
    folder.symlink_to(path.parent)
    return folder / path.name


OTHER_NAMES = [
    name_directly,
    name_through_a_folder,
    name_by_link,
    name_by_link_of_a_link,
    name_by_hard_link,
    name_in_a_linked_folder,
]


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("to", ["extxyz", "ase-db"])
@pytest.mark.parametrize("name", OTHER_NAMES)
def test_the_dataset_is_never_written_over(path: Path, name: Callable[[Path], Path], to: str, force: tuple[str, ...]) -> None:
    content, out = path.read_bytes(), name(path)
    with pytest.raises(InvalidRequest, match=r"another file than .*dataset\.h5, which is read"):
        run(str(path), "--to", to, "--out", str(out), *force)
    assert path.read_bytes() == content


@pytest.mark.parametrize("own", ["data.aselmdb", "metadata.npz"])
def test_nor_through_a_file_of_an_lmdbs_folder(path: Path, own: str) -> None:
    content, folder = path.read_bytes(), path.with_name("lmdb")
    folder.mkdir()
    (folder / own).hardlink_to(path)
    with pytest.raises(InvalidRequest, match="that file itself"):
        run(str(path), "--to", "aselmdb", "--out", str(folder), "--force")
    assert path.read_bytes() == content


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))


def make_link_to_full(path: Path) -> None:
    path.symlink_to("/dev/full")


def make_circle(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("to", ["extxyz", "ase-db"])
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (make_pipe, "is a pipe"),
        (make_socket, "is a socket"),
        (make_link_to_full, "is a device"),
        (Path.mkdir, "is a folder"),
        (make_circle, "leads nowhere"),
    ],
)
def test_only_a_file_is_written(path: Path, make: Callable[[Path], None], what: str, to: str) -> None:
    out = path.with_name("o")
    make(out)
    before = out.lstat()
    with pytest.raises(InvalidRequest, match=what):
        run(str(path), "--to", to, "--out", str(out), "--force")
    assert (out.lstat().st_mode, out.lstat().st_ino) == (before.st_mode, before.st_ino)
    assert sorted(file.name for file in path.parent.iterdir()) == ["dataset.h5", "o"]


def test_a_device_stays_one(path: Path) -> None:
    with pytest.raises(InvalidRequest, match="is a device"):
        run(str(path), "--to", "extxyz", "--out", "/dev/full", "--force")
    assert Path("/dev/full").is_char_device()


def test_a_link_is_followed_and_stays_one(path: Path) -> None:
    (path.parent / "far").mkdir()
    target, link = path.parent / "far" / "real.extxyz", path.with_name("link.extxyz")
    link.symlink_to(target)
    run(str(path), "--to", "extxyz", "--out", str(link))
    assert link.is_symlink()
    assert len(read(target, ":")) == N
    with pytest.raises(InvalidRequest, match="there already"):
        run(str(path), "--to", "extxyz", "--out", str(link))


@pytest.mark.parametrize(
    ("to", "name"), [("extxyz", "dataset.extxyz"), ("ase-db", "dataset.db"), ("aselmdb", "dataset-aselmdb/data.aselmdb")]
)
@pytest.mark.parametrize("is_named", [True, False])
def test_a_file_that_is_there_is_replaced_only_with_force(path: Path, to: str, name: str, is_named: bool) -> None:
    file = path.parent / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    out = ("--out", str(file.parent if to == "aselmdb" else file)) if is_named else ()
    with pytest.raises(InvalidRequest, match=r"is there already; .*--force"):
        run(str(path), "--to", to, *out)
    assert file.read_text() == "mine"
    run(str(path), "--to", to, *out, "--force")
    assert file.stat().st_size > 1000


@pytest.mark.parametrize("to", ["extxyz", "ase-db", "aselmdb"])
def test_an_export_that_fails_leaves_nothing_and_loses_nothing(path: Path, to: str) -> None:
    target = path.with_name("out")
    if to != "aselmdb":
        target.write_text("mine")
    export = {"extxyz": partial(export_extxyz, mace_keys=True), "ase-db": export_ase_db, "aselmdb": export_aselmdb}[to]
    with pytest.raises(IndexError):
        export(path, target, indices=[0, 10**6])
    left = [file.relative_to(path.parent) for file in path.parent.rglob("*") if file.is_file()]
    assert sorted(map(str, left)) == (["dataset.h5"] if to == "aselmdb" else ["dataset.h5", "out"])
    assert to == "aselmdb" or target.read_text() == "mine"


def test_a_temporary_of_before_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".page.html.tmp").symlink_to(tmp_path / "mine")
    write_text_whole(tmp_path / "page.html", "page")
    assert ((tmp_path / "mine").read_text(), (tmp_path / "page.html").read_text()) == ("mine", "page")


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
