"""Exports: sides, ASE databases as orb reads them, ASE LMDBs as fairchem reads them."""

import errno
import json
import os
import socket
import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
import pytest
from ase.db import connect
from ase.db.row import AtomsRow
from ase.io import read
from typer.testing import CliRunner

from cli.main import app
from distillery.dataset.blocks import read_blocks
from distillery.dataset.layout import Arrays
from distillery.dataset.reading import make_atoms, read_dataset
from distillery.dataset.selection import Selection, choose_structures
from distillery.dataset.splits import split_dataset
from distillery.errors import InvalidRequest, Unavailable
from distillery.export import ase_databases, mace_hdf5
from distillery.export.ase_databases import export_ase_db, export_aselmdb, make_row
from distillery.export.extxyz import Keys, export_extxyz
from distillery.export.mace_hdf5 import write_mace_hdf5
from distillery.runtime import workers
from distillery.runtime.atomic_files import write_text_whole, write_whole
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
    assert choose_structures(path, Selection(with_stress=True)).indices.tolist() == PERIODIC


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


@pytest.mark.parametrize("committed", [1, 2, 1000])
def test_aselmdb_is_read_by_ase_with_its_labels(path: Path, monkeypatch: pytest.MonkeyPatch, committed: int) -> None:
    """However many structures a transaction holds."""
    monkeypatch.setattr(ase_databases, "_COMMITTED", committed)
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


def make_link_to_open_pipe(path: Path) -> None:
    """As /dev/stdout is one where a command is followed by another."""
    path.symlink_to(f"/proc/self/fd/{os.pipe()[1]}")


@pytest.mark.parametrize("to", ["extxyz", "ase-db"])
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (make_pipe, "is a pipe"),
        (make_socket, "is a socket"),
        (make_link_to_full, "is a device"),
        (make_link_to_open_pipe, "is a pipe"),
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
    with h5py.File(path, "r+") as file:
        file["structures/atomic_numbers"][-1] = 300
        file["provenance/origin"][N - 1] = "no JSON"
    with pytest.raises((IndexError, ValueError)):
        export(path, target)
    left = [file.relative_to(path.parent) for file in path.parent.rglob("*") if file.is_file()]
    assert sorted(map(str, left)) == (["dataset.h5"] if to == "aselmdb" else ["dataset.h5", "out"])
    assert to == "aselmdb" or target.read_text() == "mine"


def test_several_may_write_the_same_file_at_once(tmp_path: Path) -> None:
    path, texts = tmp_path / "folder" / "state.json", [f"{k}" * 100_000 for k in range(4)]
    path.parent.mkdir()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(25):
            list(pool.map(lambda text: write_text_whole(path, text), texts))
            assert path.read_text() in texts
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]


@pytest.mark.parametrize("to", ["extxyz", "mace"])
def test_nothing_of_a_damaged_dataset_is_exported(path: Path, to: str) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match=r"dataset\.h5 is damaged \(its bytes differ from its seal.*nothing of it is exported"):
        run(str(path), "--to", to)
    assert [file.name for file in path.parent.iterdir()] == ["dataset.h5"]


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


@pytest.mark.parametrize("mace_keys", [False, True])
def test_extxyz_holds_structures_and_labels_as_they_are(path: Path, mace_keys: bool) -> None:
    """MACE's keys are no calculator's results; its stress is nine numbers, a matrix in rows."""
    target = path.with_suffix(".extxyz")
    assert export_extxyz(path, target, mace_keys=mace_keys) == N
    for i, (found, wanted) in enumerate(zip(read(target, ":"), read_dataset(path), strict=True)):
        assert np.allclose(found.positions, wanted.positions)
        assert (found.pbc == wanted.pbc).all()
        assert {key: found.info[key] for key in ("id", "source", "system")} == {key: wanted.info[key] for key in ("id", "source", "system")}
        own = found.calc.results if found.calc else {}
        assert set(own) == (set() if mace_keys else {"energy", "forces", *(["stress"] if i in PERIODIC else [])})
        energy, forces = (found.info["REF_energy"], found.arrays["REF_forces"]) if mace_keys else (own["energy"], own["forces"])
        assert energy == pytest.approx(wanted.get_potential_energy())
        assert np.allclose(forces, wanted.get_forces(), atol=1e-7)
        assert ("REF_stress" in found.info) == (mace_keys and i in PERIODIC)


@pytest.mark.parametrize("mace_keys", [False, True])
def test_numbers_are_read_back_from_extxyz_to_the_bit(path: Path, arrays: Arrays, mace_keys: bool) -> None:
    target = path.with_suffix(".extxyz")
    export_extxyz(path, target, mace_keys=mace_keys)
    found = read(target, ":")
    assert np.array_equal(np.concatenate([atoms.positions for atoms in found]), arrays["structures/positions"])
    assert np.array_equal([atoms.cell.array for atoms in found], arrays["structures/cells"])
    energies = [atoms.info["REF_energy"] if mace_keys else atoms.get_potential_energy() for atoms in found]
    assert np.array_equal(energies, arrays["labels/energy"])
    forces = np.concatenate([atoms.arrays["REF_forces"] if mace_keys else atoms.get_forces() for atoms in found])
    assert np.array_equal(forces.astype(np.float32), arrays["labels/forces"])
    stresses = [found[i].info["REF_stress"].ravel()[[0, 4, 8, 5, 2, 1]] if mace_keys else found[i].get_stress() for i in PERIODIC]
    assert np.array_equal(stresses, arrays["labels/stress"][PERIODIC])


def test_extxyz_names_the_source_as_trainers_weight_and_part_by_it(path: Path) -> None:
    target = path.with_suffix(".extxyz")
    export_extxyz(path, target)
    assert {(atoms.info["config_type"], atoms.info["head"]) for atoms in read(target, ":")} == {("tests", "tests")}


def test_a_stress_without_a_meaning_is_nan_where_a_reader_wants_the_same_keys_everywhere(path: Path) -> None:
    target = path.with_suffix(".extxyz")
    export_extxyz(path, target, keys=Keys(missing_stress="nan"))
    found = [np.isnan(atoms.calc.results["stress"]).all() for atoms in read(target, ":")]
    assert found == [i not in PERIODIC for i in range(N)]


def test_no_stress_is_written_if_none_is_wanted(path: Path) -> None:
    target = path.with_suffix(".extxyz")
    export_extxyz(path, target, keys=Keys(stress=False))
    assert [set(atoms.calc.results) for atoms in read(target, ":")] == [{"energy", "forces"}] * N


def test_the_stress_for_mace_is_the_matrix_of_the_voigt_components(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["labels/stress"][PERIODIC[0]] = [1, 2, 3, 4, 5, 6]
    target = path.with_suffix(".extxyz")
    export_extxyz(path, target, mace_keys=True, indices=PERIODIC[:1])
    assert read(target).info["REF_stress"].tolist() == [1, 6, 5, 6, 2, 4, 5, 4, 3]


def open_rows(target: Path, to: str) -> Any:
    """The database that was exported, to be read."""
    if to == "ase-db":
        return connect(target, type="db", use_lock_file=False)
    return connect(target / "data.aselmdb", readonly=True, use_lock_file=False)


@pytest.mark.parametrize("to", ["ase-db", "aselmdb"])
def test_rows_of_databases_say_where_a_structure_is_from(path: Path, to: str) -> None:
    write_dataset(path, [replace(water("t/0000"), origin={"smiles": "O"})])
    target = path.with_name("out.db" if to == "ase-db" else "out")
    {"ase-db": export_ase_db, "aselmdb": export_aselmdb}[to](path, target)
    with open_rows(target, to) as database:
        (row,) = database.select()
        assert {key: row[key] for key in ("structure_id", "source", "system")} == {
            "structure_id": "t/0000",
            "source": "tests",
            "system": "molecule",
        }
        assert row.data["origin"] == {"smiles": "O"}


@pytest.mark.parametrize("to", ["ase-db", "aselmdb"])
def test_an_export_in_place_of_another_holds_its_own_rows_alone_and_leaves_nothing_beside(path: Path, to: str) -> None:
    export = {"ase-db": export_ase_db, "aselmdb": export_aselmdb}[to]
    target = path.with_name("out")
    export(path, target)
    export(path, target, indices=[0])
    with open_rows(target, to) as database:
        assert len(list(database.select())) == 1
    names = {str(file.relative_to(path.parent)) for file in path.parent.rglob("*") if file.is_file() and not file.name.endswith("lock")}
    assert names == {"dataset.h5", *(["out"] if to == "ase-db" else ["out/data.aselmdb", "out/metadata.npz"])}


def test_an_lmdb_export_that_is_killed_leaves_what_was_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = path.with_name("out")
    export_aselmdb(path, target)

    def stop(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", stop)
    with pytest.raises(KeyboardInterrupt):
        export_aselmdb(path, target, indices=[0])
    assert np.load(target / "metadata.npz")["natoms"].size == N
    assert sorted(file.name for file in path.parent.iterdir()) == ["dataset.h5", "out"]


def test_lmdbs_are_as_many_as_the_shard_size_asks_for_and_natoms_follows_them(path: Path) -> None:
    target = path.with_name("out")
    run(str(path), "--to", "aselmdb", "--shard-size", "4", "--out", str(target))
    names = sorted(file.name for file in target.glob("*.aselmdb"))
    assert names == ["data.0000.aselmdb", "data.0001.aselmdb", "data.0002.aselmdb"]
    found: list[Any] = []
    for name in names:
        with connect(target / name, readonly=True, use_lock_file=False) as database:
            found += list(database.select())
    assert [row.structure_id for row in found] == [f"t/{i:04d}" for i in range(N)]
    assert np.load(target / "metadata.npz")["natoms"].tolist() == [row.natoms for row in found]


def test_a_folder_that_holds_anything_else_is_not_replaced(path: Path) -> None:
    target = path.with_name("out")
    export_aselmdb(path, target)
    (target / "thesis.tex").write_text("mine")
    with pytest.raises(InvalidRequest, match=r"out holds thesis\.tex, which this export does not write"):
        export_aselmdb(path, target)
    assert (target / "thesis.tex").read_text() == "mine"


def test_a_file_in_the_place_of_an_lmdb_folder_is_refused(path: Path) -> None:
    (path.parent / "out").write_text("mine")
    with pytest.raises(InvalidRequest, match=r"--out must be a folder, .*out is a file"):
        export_aselmdb(path, path.parent / "out")
    assert (path.parent / "out").read_text() == "mine"


def test_links_that_lead_to_each_other_are_no_folder(path: Path) -> None:
    make_circle(path.parent / "out")
    with pytest.raises(InvalidRequest, match=r"--out must be a folder, .*out leads nowhere"):
        export_aselmdb(path, path.parent / "out")


def test_an_lmdb_folder_is_made_with_those_above_it(path: Path) -> None:
    assert export_aselmdb(path, path.parent / "a" / "b") == N


def test_a_full_disk_is_said_and_nothing_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_lmdb(*places: object, lock: bool, **options: object) -> None:
        assert not lock  # a lock file is mapped, and kills the process where the disk is full
        raise lmdb.DiskError("mdb_txn_commit: No space left on device")

    def refuse_sqlite(*row: object, **options: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(lmdb, "open", refuse_lmdb)
    monkeypatch.setattr("ase.db.sqlite.SQLite3Database._write", refuse_sqlite)
    with pytest.raises(Unavailable, match=r"can't be written: .*No space left"):
        export_aselmdb(path, path.with_name("a"))
    with pytest.raises(Unavailable, match="can't be written: database or disk is full"):
        run(str(path), "--to", "ase-db", "--out", str(path.with_name("a.db")))
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.xyz'"), write_whole(path.with_name("a.xyz")):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [file.name for file in path.parent.iterdir()] == ["dataset.h5"]


def test_what_is_missing_for_lmdbs_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ase_db_backends.aselmdb", None)
    with pytest.raises(Unavailable, match=r"pip install 'distillery\[training\]'"):
        export_aselmdb(path, path.parent / "out")


@pytest.mark.parametrize("export", [partial(export_extxyz, mace_keys=True), export_ase_db, export_aselmdb])
def test_the_library_replaces_unless_told_not_to(path: Path, export: Callable[..., int]) -> None:
    target = path.with_name("out")
    assert [export(path, target), export(path, target)] == [N, N]
    with pytest.raises(InvalidRequest, match="there already"):
        export(path, target, overwrite=False)


def test_rows_of_databases_are_those_that_ase_makes_of_atoms(path: Path, arrays: Arrays) -> None:
    block = next(read_blocks(path))
    for k in range(N):
        ours, theirs = vars(make_row(block, k)), vars(AtomsRow(make_atoms(block, k)))
        assert [name for name in ours if name not in {"ctime", "user"}] == list(theirs)  # their order is that of JSON in LMDBs
        for name in theirs.keys() - {"unique_id"}:
            assert np.asarray(ours[name]).dtype == np.asarray(theirs[name]).dtype
            assert np.array_equal(np.asarray(ours[name]), np.asarray(theirs[name])), name


def read_hdf5(folder: Path) -> dict[str, bytes]:
    """All datasets of a folder's files, by file and path."""
    found: dict[str, bytes] = {}
    for place in sorted(folder.iterdir()):
        with h5py.File(place) as file:
            file.visititems(lambda name, item, place=place: found.update({f"{place.name}/{name}": _as_bytes(item)}))
    return found


def _as_bytes(item: h5py.Group | h5py.Dataset) -> bytes:
    return repr(item[()].tolist() if hasattr(item[()], "tolist") else item[()]).encode() if isinstance(item, h5py.Dataset) else b""


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Workers as on so many cores, also for few structures."""

    def use(n_cores: int) -> None:
        monkeypatch.setattr(workers, "count_cores", lambda: n_cores)

    monkeypatch.setattr(workers, "STRUCTURES_A_WORKER", 1)
    monkeypatch.setattr(ase_databases, "STRUCTURES_A_WORKER", 1)
    monkeypatch.setattr(mace_hdf5, "STRUCTURES_A_WORKER", 1)
    return use


def test_two_cores_write_what_one_does(path: Path, arrays: Arrays, tmp_path: Path, two_cores: Callable[[int], None]) -> None:
    found = []
    for n_cores in (1, 2):
        two_cores(n_cores)
        export_extxyz(path, tmp_path / f"{n_cores}.extxyz")
        export_aselmdb(path, tmp_path / f"{n_cores}", shard_size=4)
        rows = [
            row.toatoms()
            for place in sorted((tmp_path / f"{n_cores}").glob("*.aselmdb"))
            for row in connect(place, type="aselmdb").select()
        ]
        sizes = np.load(tmp_path / f"{n_cores}" / "metadata.npz")["natoms"].tolist()
        found.append(
            (
                (tmp_path / f"{n_cores}.extxyz").read_bytes(),
                [len(atoms) for atoms in rows],
                [atoms.get_potential_energy() for atoms in rows],
                sizes,
            )
        )
    assert found[0] == found[1]
    assert len(found[0][1]) == N


def test_mace_files_of_two_cores_are_those_of_one(
    path: Path, tmp_path: Path, two_cores: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(path, mixed("t", 150))
    monkeypatch.setattr(mace_hdf5, "_FILE", 64)
    found = []
    for n_cores in (1, 2):
        two_cores(n_cores)
        folder = tmp_path / str(n_cores)
        folder.mkdir()
        write_mace_hdf5(folder / "train", path, np.arange(150))
        found.append(read_hdf5(folder / "train"))
    assert found[0] == found[1]
    assert {name.partition("/")[0] for name in found[0]} == {"0_train.h5", "1_train.h5", "2_train.h5"}
