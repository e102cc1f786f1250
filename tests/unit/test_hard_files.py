"""Files that would take all memory or time, or end the process: each is refused in words, soon, and by what it claims."""

import gzip
import json
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.build import molecule
from ase.db import connect

from distillery.dataset.foreign import import_dataset
from distillery.dataset.layout import find_hollow, open_dataset
from distillery.dataset.parts import read_part
from distillery.dataset.reading import read_dataset
from distillery.errors import CorruptPart, Internal, InvalidRequest
from distillery.generators.files import contents
from distillery.recipe.reading import read_recipe
from distillery.recipe.target import read_target
from distillery.runtime.small_files import read_small
from distillery.structures.checks import find_plain_fault
from distillery.structures.geometry import find_pairs
from distillery.structures.structure import Structure
from distillery.verify.verification import Verification
from services.structures.options import FileOptions
from services.structures.shelf import open_files
from tests.datasets import write_dataset
from tests.labelling import water

_POSCAR_HEAD = "C\n1.0\n5 0 0\n0 5 0\n0 0 5\nC\n2000000000\nDirect configuration=     1\n0 0 0\n"
_LAMMPS = (
    "x\n\n2000000000 atoms\n1 atom types\n\n0 5 xlo xhi\n0 5 ylo yhi\n0 5 zlo zhi\n\nMasses\n\n1 12.011\n\nAtoms # atomic\n\n1 1 0 0 0\n"
)


def draw_out(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def write_unwritten_columns(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name, shape in (("atomic_numbers", (10**9,)), ("positions", (10**9, 3)), ("pbc", (1, 3)), ("cells", (1, 3, 3))):
            file.create_dataset(f"structures/{name}", shape=shape, dtype="u1", chunks=tuple(min(n, 2**20) for n in shape), fillvalue=1)
        file["structures/atomic_numbers_splits"] = [0, 10**9]


def write_endless_view(path: Path) -> None:
    with connect(path, use_lock_file=False) as database:
        database.write(molecule("H2O"))
    with closing(sqlite3.connect(path)) as connection, connection:
        columns = [row[1] for row in connection.execute("pragma table_info(systems)")]
        connection.execute("alter table systems rename to own")
        endless = "with recursive n(i) as (select 1 union all select i + 1 from n)"
        connection.execute(f"create view systems as {endless} select {', '.join(columns).replace('id', 'i as id', 1)} from n, own")


def write_large_value(path: Path) -> None:
    with connect(path, use_lock_file=False) as database:
        database.write(molecule("H2O"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update systems set data = zeroblob(60000000)")


def pack(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(gzip.compress(content, 1))


def write(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("a.json", draw_out, "more than 1000 bytes"),
        ("a.extxyz", draw_out, "on end before byte [0-9]* are 0"),
        ("a.h5", write_unwritten_columns, "structures/atomic_numbers claims 1000000000 bytes, and 0 are stored"),
        ("a.db", write_endless_view, "systems is view, a table is wanted"),
        ("a.db", write_large_value, "string or blob too big"),
        ("a.xyz.gz", pack(b"\n" * 200_000), "more than 100000 blank lines on end"),
        ("a.xyz.gz", pack(b"0\n\n" * 5000), "none of its first 1000 rows is a structure"),
        ("a.xyz", write("1\n\nC 0 0 0\n" * 4000), "more than 3000 rows"),
        ("XDATCAR", write(_POSCAR_HEAD), "2000000000 atoms by its lines 6 and 7"),
        ("a.lmp", write(_LAMMPS), "claims 2000000000 atoms in 16 lines"),
    ],
)
def test_what_a_file_claims_takes_neither_memory_nor_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[Path], object], says: str
) -> None:
    monkeypatch.setattr("services.structures.databases._LARGEST_JSON", 1000)
    for limit, value in {"_BLOCK": 100, "_MOST_USELESS": 1000, "_MOST_ROWS": 3000}.items():
        monkeypatch.setattr(contents, limit, value)
    make(tmp_path / name)
    with pytest.raises(InvalidRequest, match=says):
        open_files(FileOptions.model_validate({"files": [name]}), tmp_path)


def test_a_row_that_claims_too_many_atoms_is_refused_and_the_rest_read(tmp_path: Path) -> None:
    arrays = write_dataset(tmp_path / "d.h5", [water("a"), water("b")])
    with h5py.File(tmp_path / "e.h5", "w") as file:
        for name, values in arrays.items():
            if name.startswith("structures/"):
                file[name] = np.append(values, [200_000]) if name.endswith("splits") else values
        for name in ("structures/pbc", "structures/cells"):
            del file[name]
            file[name] = np.concatenate([arrays[name], arrays[name][:1]])
    (found,) = open_files(FileOptions.model_validate({"files": ["e.h5"]}), tmp_path)
    assert found.contents.refused.tolist() == ["", "", "unreadable"]


def test_columns_of_a_dataset_that_were_never_written_are_named(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.h5", [water("a")])
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        assert find_hollow(file, file) is None
        del file["labels/forces"]
        file.create_dataset("labels/forces", shape=(10**9, 3), dtype="f4", chunks=(1000, 3))
        assert "labels/forces claims 12000000000 bytes" in str(find_hollow(file, ["labels/forces"]))
        file.create_dataset("wide", data=np.zeros(3), chunks=(3,), maxshape=(None,)).resize((2 * 10**8,))
        assert "wide claims" in str(find_hollow(file, ["wide"]))


def spoil_text(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"x" + content[1:].replace(b"t/0000", b"t/\xff\xff\xff\xff"))


def test_damage_that_only_reading_meets_is_told_of_the_file(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.h5", [water("t/0000")])
    spoil_text(tmp_path / "d.h5")
    open_dataset(tmp_path / "d.h5").close()
    with pytest.raises(InvalidRequest, match=r"d\.h5 can't be read as HDF5: .*can't decode byte 0xff"):
        list(read_dataset(tmp_path / "d.h5"))


def test_a_damaged_object_is_a_finding_and_no_bug(tmp_path: Path) -> None:
    path, told = tmp_path / "d.h5", set[str]()
    write_dataset(path, [water("t/0000")])
    content = path.read_bytes()
    for place in re.finditer(b"OHDR", content):
        at = place.start() + 20
        path.write_bytes(b"x" + content[1:at] + b"\xff" * 8 + content[at + 8 :])
        assert not all(check.passed for check in Verification(path).run())
        for read in (lambda: list(read_dataset(path)), lambda: import_dataset(path, tmp_path / "new.h5", overwrite=True)):
            try:
                read()
            except InvalidRequest as problem:
                told.add(problem.detail[:40])
    assert f"{path} can't be read as HDF5"[:40] in told


CELL = 5 * np.eye(3)


@pytest.mark.parametrize(
    ("positions", "cell", "pbc"),
    [
        ([0, 0, 0], 1e300 * CELL, (True, True, True)),
        ([0, 0, 0], 1e-4 * CELL, (True, True, True)),
        ([0, 0, 0], 0 * CELL, (False, True, True)),
        ([0, 0, 0], np.diag([1e-8, 5, 5]), (True, True, True)),
        ([0, 0, 0], [[5, 0, 0], [5e7, 5, 0], [0, 0, 5]], (True, True, True)),
        ([1e300, 0, 0], 0 * CELL, (False, False, False)),
        ([np.nan, 0, 0], CELL, (True, True, True)),
    ],
)
def test_cells_and_places_that_end_the_search_for_neighbours_are_refused(
    positions: list[float], cell: object, pbc: tuple[bool, ...]
) -> None:
    places = np.array([[0.0, 0.0, 0.0], positions])
    structure = Structure("a", np.array([1, 1], np.uint8), places, np.array(cell, dtype=float), pbc)
    with pytest.raises(ValueError, match=r"its positions reach|its cell reach|spans nothing|images of its cell"):
        find_pairs(structure, 5.0)


def test_a_place_without_digits_left_is_not_wrapped_into_the_cell() -> None:
    places = np.array([[0.0, 0.0, 0.0], [1e18, 2.0, 2.0]])
    fault = find_plain_fault(Structure("a", np.array([6, 6], np.uint8), places, CELL, (True, True, True), "crystal"))
    assert fault is not None
    assert fault.reason == "too_large"


@pytest.mark.parametrize("make", [draw_out, os.mkfifo, Path.mkdir])
def test_small_files_are_neither_waited_for_nor_read_without_end(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "state.json")
    with pytest.raises(OSError, match=r"state\.json"):
        read_small(tmp_path / "state.json")
    with pytest.raises(Internal, match=r"state\.json can't be read"):
        read_target(tmp_path)
    (tmp_path / "sound.json").write_text(json.dumps({"a": 1}))
    assert json.loads(read_small(tmp_path / "sound.json")) == {"a": 1}


def test_a_recipe_without_end_is_read_as_far_as_a_recipe_goes() -> None:
    with pytest.raises(InvalidRequest, match="it has 4000001 characters, at most 4000000"):
        read_recipe(Path("/dev/zero"))


def test_a_part_that_was_drawn_out_is_told_before_it_fills_memory(tmp_path: Path) -> None:
    draw_out(tmp_path / "p.h5")
    with pytest.raises(CorruptPart, match="does not start with a seal"):
        read_part(tmp_path / "p.h5")
