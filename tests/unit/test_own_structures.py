"""The structures service: every format read back, systems told apart, pools shared out, and every refused row named."""

import gzip
import json
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import ase.db
import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from pymatgen.core import Lattice, Structure

from distillery.dataset.splits import find_parent
from distillery.errors import InvalidRequest, Problem, Unavailable, Unsupported
from distillery.generators.generator import Made, Task, resolve_task
from distillery.generators.inputs import InputSettings
from distillery.schema.generate import GenerateRequest
from distillery.structures.checks import find_fault, find_vacuum
from distillery.structures.structure import from_ase
from services.structures import databases, shelf
from services.structures.conversion import guess_system
from services.structures.generator import StructuresGenerator
from tests.benchmark_files import write_lmdb
from tests.datasets import write_dataset
from tests.input_files import crystals, molecules, pairs_of_molecules, slabs, write_crystal_files, write_frames, write_inputs
from tests.unit.test_benchmarks import graph_of

NEVER = threading.Event()
SLICE = {"seed": 3, "start": 0}


def open_generator(folder: Path) -> StructuresGenerator:
    return StructuresGenerator(InputSettings(inputs=folder))


def resolve(generator: StructuresGenerator, system: str, n: int = 100, **request: Any) -> Task:
    return resolve_task(GenerateRequest(**{"n": n, "seed": 1, "system": system, "pool_slice": SLICE, **request}), generator)


def make(folder: Path, system: str, n: int = 100, **request: Any) -> Made:
    generator = open_generator(folder)
    try:
        return generator.generate(resolve(generator, system, n, **request), NEVER, lambda made, n: None)
    finally:
        generator.close()


def refuse(folder: Path, system: str, **request: Any) -> str:
    with pytest.raises(Problem) as caught:
        resolve(open_generator(folder), system, **request)
    assert isinstance(caught.value, InvalidRequest | Unsupported)
    return caught.value.detail


def by_row(made: Made) -> dict[tuple[str, int], Any]:
    return {(s.origin["file"], s.origin["row"]): s for s in made.structures}


# formats


@pytest.mark.parametrize("name", ["a.extxyz", "a.xyz.gz", "a.xyz.xz", "a.extxyz.bz2", "a.db", "a.json", "a.aselmdb", "a.h5"])
def test_structures_come_back_from_every_format(tmp_path: Path, name: str) -> None:
    frames = crystals(5)
    write_as(tmp_path / name, frames)
    made = make(tmp_path, "crystal")
    found = by_row(made)
    assert len(found) == 5
    for row, atoms in enumerate(frames):
        structure = found[name, row]
        assert structure.symbols == atoms.get_chemical_symbols()
        np.testing.assert_allclose(structure.positions, atoms.positions, atol=1e-7)
        np.testing.assert_allclose(structure.cell, atoms.cell.array, atol=1e-7)


def write_as(path: Path, frames: list[Atoms]) -> None:
    if path.suffix == ".h5":
        write_dataset(path, [from_ase(atoms, id=str(k), system="crystal") for k, atoms in enumerate(frames)])
    elif path.suffix in {".db", ".json", ".aselmdb"}:
        with ase.db.connect(path, use_lock_file=False) as database:
            for atoms in frames:
                database.write(atoms)
    else:
        write(path, frames, format="extxyz")


def test_a_cif_is_read_with_its_symmetry_and_a_poscar_with_its_comment(tmp_path: Path) -> None:
    write_crystal_files(tmp_path)
    found = by_row(make(tmp_path, "crystal"))
    assert sorted(found["carbide.cif", 0].symbols) == ["C"] * 4 + ["Si"] * 4
    assert found["POSCAR_silicon", 0].origin["info"]["comment"]


@pytest.mark.parametrize(("title", "species"), [("heavy ice", "O D\n"), ("O T", "")], ids=["VASP 5", "VASP 4"])
def test_heavy_hydrogen_of_a_poscar_is_hydrogen(tmp_path: Path, title: str, species: str) -> None:
    atoms = "5 5 5\n5.96 5 5\n4.76 5.93 5\n"
    (tmp_path / "POSCAR").write_text(f"{title}\n1.0\n9 0 0\n0 9 0\n0 0 9\n{species}1 2\nCartesian\n{atoms}")
    (structure,) = make(tmp_path, "crystal", min_atoms=3).structures
    assert structure.symbols == ["O", "H", "H"]
    assert structure.origin["info"]["comment"] == title


def test_graphs_of_open_catalyst_are_read(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "a.lmdb", [graph_of(atoms, k) for k, atoms in enumerate(crystals(3))])
    assert {s.origin["sid"] for s in make(tmp_path, "crystal").structures} == {500, 501, 502}


def test_files_of_other_programs_in_a_folder_are_passed_over_and_named_where_they_are_meant(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    write_frames(tmp_path / "all" / "a.extxyz", [molecule("CH4")])
    (tmp_path / "all" / "settings.json").write_text('{"@module": "pymatgen.io.vasp.inputs", "ENCUT": 520}')
    with h5py.File(tmp_path / "all" / "vaspout.h5", "w") as file:
        file["results/energies"] = [1.0]
    assert len(make(tmp_path, "molecule", options={"files": ["all"]}).structures) == 1
    for meant in ("all/settings.json", "all/vaspout.h5"):
        assert "it is no data" in refuse(tmp_path, "molecule", options={"files": [meant]})
    assert "of other programs" in refuse(tmp_path, "molecule", options={"files": ["all/*.json"]})


LABELLED = """2
{comment}
H 0 0 0 0.1 0.2 0.3 0.5
H 0 0 0.74 -0.1 -0.2 -0.3 0.5
"""


def test_labels_that_trainers_know_under_other_names_are_kept_aside_too(tmp_path: Path) -> None:
    columns = "Properties=species:S:1:pos:R:3:REF_forces:R:3:initial_magmoms:R:1"
    labels = 'energy=-1.5 REF_energy=-2.5 REF_stress="1 2 3 4 5 6 7 8 9"'
    comment = f"{columns} {labels} config_energy_weight=0.5 energy_unit=eV"
    (tmp_path / "mace.xyz").write_text(LABELLED.format(comment=comment))
    (structure,) = make(tmp_path, "molecule").structures
    assert structure.origin["own"] == {
        "energy": -1.5,
        "REF_energy": -2.5,
        "REF_stress": [1, 2, 3, 4, 5, 6, 7, 8, 9],
        "REF_forces": [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]],
    }
    assert structure.origin["info"] == {"config_energy_weight": 0.5, "energy_unit": "eV"}


def test_plain_xyz_needs_no_properties(tmp_path: Path) -> None:
    (tmp_path / "water.xyz").write_text("3\nany comment\nO 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477\n\n")
    (structure,) = make(tmp_path, "molecule").structures
    assert structure.symbols == ["O", "H", "H"]
    assert structure.origin["info"] == {"comment": "any comment"}


# what is known of a structure


def test_labels_of_its_own_are_kept_aside_with_file_row_and_digest(tmp_path: Path) -> None:
    atoms = molecule("CH4", info={"name": "methane", "ratio": np.nan})
    atoms.calc = SinglePointCalculator(atoms, energy=-5.5, forces=np.ones((5, 3)))
    write_frames(tmp_path / "a.extxyz", [atoms])
    (structure,) = make(tmp_path, "molecule", options={"licence": "CC0-1.0"}).structures
    assert structure.origin["own"] == {"energy": -5.5, "forces": [[1.0] * 3] * 5}
    assert (structure.origin["file"], structure.origin["row"], structure.origin["licence"]) == ("a.extxyz", 0, "CC0-1.0")
    assert structure.origin["info"]["name"] == "methane"
    assert len(structure.origin["file_sha256"]) == 64
    json.dumps(dict(structure.origin), allow_nan=False)


@pytest.mark.parametrize(("parents", "n_parents"), [("composition", 1), ("row", 6), ("file", 1)])
def test_copies_of_a_row_are_one_parent(tmp_path: Path, parents: str, n_parents: int) -> None:
    write_frames(tmp_path / "a.extxyz", crystals(6))
    options = {"copies": 2, "parents": parents}
    made = make(tmp_path, "crystal", perturb={"rattle": 0.03}, options=options).structures
    assert len(made) == 12
    names = [find_parent("structures", s.system, s.numbers, s.origin) for s in made]
    assert len(set(names)) == n_parents
    rows = {name: {s.origin["row"] for s, own in zip(made, names, strict=True) if own == name} for name in names}
    assert parents != "row" or all(len(own) == 1 for own in rows.values())


# systems


def test_files_are_sorted_among_the_systems_and_nothing_is_lost(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    made = {system: make(tmp_path, system, 200, options={"sort": True}) for system in ("crystal", "surface", "cluster")}
    counts = {system: len(own.structures) + own.rejected.total() - own.rejected["pool_used_up"] for system, own in made.items()}
    assert counts == {"crystal": 32, "surface": 30, "cluster": len(pairs_of_molecules())}
    whole = make(tmp_path, "molecule", 200, options={"sort": True}).structures
    assert {s.origin["info"]["name"] for s in whole} == {atoms.info["name"] for atoms in molecules()}


def test_what_rows_look_like_is_found_once_however_many_requests_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_frames(tmp_path / "mixed.xyz", [*molecules()[:3], *crystals(2)])
    guessed: list[Any] = []
    monkeypatch.setattr(shelf, "guess_system", lambda structure: guessed.append(structure) or guess_system(structure))
    for system in ("molecule", "crystal", "molecule"):
        make(tmp_path, system, options={"sort": True})
    assert len(guessed) == 5


def test_a_slab_without_a_third_vector_gets_one_with_vacuum(tmp_path: Path) -> None:
    turned = slabs(1)[0]
    turned.set_cell(np.roll(turned.cell.array, 1, axis=0))
    turned.pbc = np.roll(turned.pbc, 1)
    write_frames(tmp_path / "a.extxyz", [slabs(1)[0], turned])
    made = make(tmp_path, "surface", options={"copies": 1})
    assert made.structures
    for slab in made.structures:
        assert all(slab.pbc)
        assert find_vacuum(slab) == pytest.approx(20.0, abs=1e-6)
        assert slab.origin["vacuum"] == 20.0
        np.testing.assert_allclose(slab.cell[:2] @ slab.cell[2], 0, atol=1e-9)
        assert find_fault(slab, None, None) is None


def test_a_wire_is_refused_by_name(tmp_path: Path) -> None:
    wire = bulk("Si", cubic=True)
    wire.pbc = (True, False, False)
    write_frames(tmp_path / "wire.xyz", [wire, *crystals(1)])
    made = make(tmp_path, "crystal")
    assert (len(made.structures), dict(made.rejected)) == (1, {"partial_periodicity": 1, "pool_used_up": 99})
    assert made.named == ["wire.xyz: partial_periodicity: row 0"]


def test_small_crystals_are_repeated_where_that_is_asked_for(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.extxyz", crystals(4))
    assert "size" in refuse(tmp_path, "crystal", min_atoms=20, max_atoms=70)
    made = make(tmp_path, "crystal", min_atoms=20, max_atoms=70, options={"repeat": True})
    assert len(made.structures) == 4
    assert all(20 <= len(s) <= 70 for s in made.structures)


# pools


def test_slices_share_out_the_rows_and_every_copy_comes_once(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.extxyz", crystals(10))
    taken = []
    for start in (0, 8, 16):
        made = make(tmp_path, "crystal", 8, pool_slice={"seed": 3, "start": start}, perturb={"rattle": 0.03}, options={"copies": 2})
        taken += [s.origin["row"] for s in made.structures]
    assert sorted(taken) == sorted(2 * list(range(10)))
    assert sorted(taken[:10]) == list(range(10))
    assert made.rejected == {"pool_used_up": 4}


def test_the_same_structure_in_two_files_is_a_duplicate(tmp_path: Path) -> None:
    for name in ("a.extxyz", "b.extxyz"):
        write_frames(tmp_path / name, crystals(2))
    made = make(tmp_path, "crystal", 4)
    assert (len(made.structures), made.rejected["duplicate"]) == (2, 2)


# refusals


def test_every_row_that_is_refused_is_counted_once_and_named(tmp_path: Path) -> None:
    ion = molecule("NH3", info={"charge": 1})
    close = molecule("CH4")
    close.positions[1] = close.positions[0] + 0.1
    write_frames(tmp_path / "a.extxyz", [*molecules()[:6], molecule("LiF"), ion, close])
    with (tmp_path / "a.extxyz").open("a") as file:
        file.write("4\nProperties=species:S:1:pos:R:3\nH 0 0 ****\nH 0 0 1\nH 0 0 2\nH 0 0 3\n")
    made = make(tmp_path, "molecule", 5)
    more = make(tmp_path, "molecule", 5, pool_slice={"seed": 3, "start": 5})
    counts = made.rejected + more.rejected
    assert len(made.structures) + len(more.structures) == 6
    assert counts == {"charged": 1, "unreadable": 1, "unknown_element": 1, "atoms_too_close": 1, "pool_used_up": 3}
    named = made.named + more.named
    for row, reason in {6: "unknown_element", 7: "charged", 9: "unreadable"}.items():
        assert f"a.extxyz: {reason}: row {row}" in named
    assert any(name.startswith("a.extxyz: atoms_too_close: row 8: C-H 0.1") for name in named)


def test_a_disordered_cif_is_refused_and_the_rest_is_used(tmp_path: Path) -> None:
    write_crystal_files(tmp_path)
    Structure(Lattice.cubic(4.4), [{"Si": 0.5, "C": 0.5}, "Si"], [[0, 0, 0], [0.5, 0.5, 0.5]]).to(filename=str(tmp_path / "mixed.cif"))
    (tmp_path / "broken.cif").write_text("data_x\nloop_\n_atom_site_label\n_atom_site_fract_x\nSi1\n")
    made = make(tmp_path, "crystal")
    assert len(made.structures) == 2
    assert (made.rejected["disordered"], made.rejected["unreadable"]) == (1, 1)
    assert {"mixed.cif: disordered: row 0", "broken.cif: unreadable: row 0"} <= set(made.named)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xyz.gz", gzip.compress(b"1\n\nH 0 0 0\n", mtime=0)[:-9], "a.xyz.gz: it can't be unpacked"),
        ("a.db", b"not a database at all, but long enough to be looked at" * 20, "a.db: it is no database of ASE"),
        ("a.h5", b"no HDF5", "a.h5: it can't be read as HDF5"),
        ("a.aselmdb", b"\0" * 9000, "a.aselmdb: it is no LMDB file"),
        ("a.json", b"null", "a.json: it is no database of ASE"),
        ("a.json", b"[" * 100_000, "a.json: it is no database of ASE"),
        ("a.cif", "data_x".encode("utf-16"), "a.cif: it is UTF-16"),
        ("a.cif", b"nothing", "a.cif: none of its 1 rows is a structure: 1 unreadable (row 0)"),
        ("a.txt", b"text", "a.txt is of no format that is read here: .extxyz, .xyz, .cif"),
    ],
)
def test_a_file_that_can_not_be_used_at_all_is_found_at_the_start(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert said in refuse(tmp_path, "crystal", options={"files": [name]})


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["missing.cif"], "there is no such file or folder in the service's input folder (DISTILLERY_SERVICE_INPUTS"),
        (["*.cif"], "(DISTILLERY_SERVICE_INPUTS; without it that of the recipe) it means no file of a format"),
        (["../outside.cif"], "outside the service's input folder"),
        (["/etc"], "outside the service's input folder"),
    ],
)
def test_what_names_no_file_of_the_folder_is_refused(tmp_path: Path, files: list[str], said: str) -> None:
    assert said in refuse(tmp_path, "crystal", options={"files": files})


COLUMNS = "Properties=species:S:1:pos:R:3"
BOX = 'Lattice="8 0 0 0 8 0 0 0 8"'


@pytest.mark.parametrize(
    ("comment", "lines", "reason"),
    [
        (f"{COLUMNS}:x:R:999999999", "H 0 0 0\nH 0 0 0.74\n", "unreadable"),  # a thousand million columns
        ("Properties=species:S:1", "H\nH\n", "unreadable"),
        (f"{BOX} Properties=species:S:1:scaled_positions:R:3", "H 0 0 0\nH 0 0 0.1\n", "unreadable"),
        (f'{BOX} pbc="yes no maybe" {COLUMNS}', "H 0 0 0\nH 0 0 0.74\n", "unreadable"),
        (f"{BOX.lower()} {COLUMNS}", "H 0 0 0\nH 0 0 0.74\n", "unreadable"),
        (f'name="no end {BOX} {COLUMNS}', "H 0 0 0\nH 0 0 0.74\n", "unreadable"),
        (f"charge=5 {COLUMNS}", "H 0 0 0\nH 0 0 0.74\n", "impossible_charge"),
        (f"charge=plus {COLUMNS}", "H 0 0 0\nH 0 0 0.74\n", "unreadable"),
        (f"units=Bohr {COLUMNS}", "H 0 0 0\nH 0 0 1.4\n", "wrong_unit"),
        ("positions{atomic_unit} Step: 0", "H 0 0 0\nH 0 0 1.4\n", "wrong_unit"),
        ("# CELL(abcABC): 9 9 9 90 90 90 cell{angstrom}", "H 0 0 0\nH 0 0 0.74\n", "wrong_unit"),
        (f"charge=T {COLUMNS}", "H 0 0 0\nH 0 0 0.74\n", "unreadable"),
        (COLUMNS, "H1 0 0 0\nH 0 0 0.74\n", "unreadable"),
        (COLUMNS, "H nan 0 0\nH 0 0 0.74\n", "not_finite"),
        (COLUMNS, "H 1e300 0 0\nH 0 0 0.74\n", "too_large"),
        (f'pbc="T T T" {COLUMNS}', "H 0 0 0\nH 0 0 0.74\n", "bad_cell"),
        (f'Lattice="0 0 0 0 0 0 0 0 9" pbc="T T F" {COLUMNS}', "H 0 0 0\nH 0 0 0.74\n", "bad_cell"),
    ],
)
def test_a_frame_that_makes_no_sense_is_refused_and_the_rest_is_used(tmp_path: Path, comment: str, lines: str, reason: str) -> None:
    write_frames(tmp_path / "a.extxyz", [molecule("CH4")])
    with (tmp_path / "a.extxyz").open("a") as file:
        file.write(f"2\n{comment}\n{lines}")
    made = make(tmp_path, "molecule", 2, options={"sort": True})
    assert (len(made.structures), made.rejected[reason]) == (1, 1)
    assert made.named == [f"a.extxyz: {reason}: row 1"]


def test_symbols_of_a_plain_frame_may_be_large_or_small(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("2\nc\nNA 0 0 0\ncl 0 0 2.36\n")
    assert make(tmp_path, "molecule", elements=["Na", "Cl"]).structures[0].symbols == ["Na", "Cl"]


def test_a_cif_with_ends_of_lines_of_old_macs_is_read(tmp_path: Path) -> None:
    text = "data_x\n" + OCCUPIED.replace("S\n", "1\n")
    (tmp_path / "a.cif").write_bytes(text.replace("\n", "\r").encode())
    assert len(make(tmp_path, "crystal").structures) == 1


@pytest.mark.parametrize("before", ['config_type=""', 'stress="1 2 3 4 5 6"', 'virial="1 2"', "energy=nan"])
def test_a_frame_is_kept_whose_labels_alone_make_no_sense(tmp_path: Path, before: str) -> None:
    (tmp_path / "a.xyz").write_text(f"2\n{before} {BOX} {COLUMNS}\nSi 0 0 0\nSi 1.36 1.36 1.36\n", encoding="utf-8-sig")
    (structure,) = make(tmp_path, "crystal").structures
    assert (structure.symbols, structure.pbc, structure.volume) == (["Si", "Si"], (True, True, True), pytest.approx(512))


CELL = "".join(f"_cell_length_{axis} 4.2\n_cell_angle_{angle} 90\n" for axis, angle in (("a", "alpha"), ("b", "beta"), ("c", "gamma")))
SITES = "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
ROCK_SALT = f"{CELL}{SITES}Na 0 0 0\nF .5 .5 .5\n"
OCCUPIED = f"{CELL}{SITES}_atom_site_occupancy\nSi 0 0 0 S\nSi .323 .323 .323 1\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROCK_SALT.replace("Na 0 0 0", "Na 0 0 0 7"), "rows of its table _atom_site_… have more or fewer than 4 values"),
        (ROCK_SALT.replace("Na 0 0 0", "Na ? ? ?"), "a coordinate in _atom_site_fract_x is no number: '?'"),
        (ROCK_SALT.replace("4.2", "nan"), "lengths and angles of a cell are numbers"),
        (ROCK_SALT.replace("90", "130"), "no three vectors have the angles"),
        (f"loop_\n_symmetry_equiv_pos_as_xyz\nx,y\n{ROCK_SALT}", "'x,y' is no operation"),
        (f"_symmetry_Int_Tables_number 231\n{ROCK_SALT}", "lies in 1..230; got 231"),
        (f"{SITES}Na 0 0 0\nF .5 .5 .5\n", "not all six of _cell_length_a"),
        (ROCK_SALT.replace("_cell_length_b 4.2\n", ""), "not all six of _cell_length_a"),
        (ROCK_SALT.replace("gamma 90", "gamma 190"), "between 0 and 180 degrees"),
        (ROCK_SALT.replace("length_b 4.2", "length_b -4.2"), "more than 0 Å"),
        (f"_space_group_name_Hall '-F 4 2 9'\n{ROCK_SALT}", "no space group is Hall's -F 4 2 9"),
        (f"_space_group_name_H-M_alt 'F m -3 q'\n{ROCK_SALT}", "no space group is F m -3 q"),
        (f"_space_group_name_H-M_alt 'F m -3 m'\n_space_group_IT_number 221\n{ROCK_SALT}", "no space group is F m -3 m, number 221"),
        (f"_symmetry_space_group_name_H-M 'R -3 m :H'\n{ROCK_SALT}", "its cell has not the symmetry of its space group (R -3 m :H)"),
        (OCCUPIED.replace("S\n", "0.99\n"), "disordered: 1 of its sites"),
        (OCCUPIED.replace("S\n", "?\n"), "disordered: 1 of its sites"),
        (f"{CELL}{SITES}Na 0 0 0\nLi 0 0 0\nF .5 .5 .5\n", "disordered: Na and Li lie in one place"),
        (f"{CELL}{SITES}Dum1 0 0 0\nF .5 .5 .5\n", "site 'Dum1' is of no element"),
        (f"{CELL}{SITES}T1 0 0 0\nO .5 .5 .5\n", "site 'T1' is of no element"),
        (f"{CELL}{SITES}CA1 0 0 0\nF .5 .5 .5\n", "site 'CA1' may be Ca or C; say which by _atom_site_type_symbol"),
        (f"_chemical_formula_sum 'K F'\n{ROCK_SALT}", "its sites have Na, its formula K F has none"),
        (f"_chemical_formula_sum 'Na F2 Mg'\n{ROCK_SALT}", "its formula Na F2 Mg has Mg, its sites have none"),
        (f"_chemical_formula_sum 'H4 Na F'\n{ROCK_SALT}", "missing_hydrogen: its formula H4 Na F has H4, its sites have 0"),
        (f"_chemical_formula_sum 'H4 Na F'\n{ROCK_SALT}H1 .25 .25 .25\n", "has H4, its sites have 1"),
    ],
)
def test_a_cif_that_makes_no_sense_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, said: str) -> None:
    (tmp_path / "a.cif").write_text(f"data_x\n{text}")
    told = refuse(tmp_path, "crystal", options={"files": ["a.cif"]})
    assert "none of its 1 rows" in told
    assert said in told
    assert said in caplog.text


def test_a_frame_that_ends_in_the_middle_of_a_number_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.xyz", [molecule("CH4"), molecule("CH3OH")], format="extxyz")
    text = (tmp_path / "a.xyz").read_text().rstrip()
    (tmp_path / "a.xyz").write_text(text[:-3])
    made = make(tmp_path, "molecule", 2)
    assert (len(made.structures), made.named) == (1, ["a.xyz: unreadable: row 1"])
    for whole in (text, "3\nby hand\nO 0 0 0.1173\nH 0 0.7572 -0.4692\nH 0 -0.7572 -0.469"):
        (tmp_path / "a.xyz").write_text(whole)
        assert not make(tmp_path, "molecule", 2).named


@pytest.mark.parametrize("comment", ["c", COLUMNS])
def test_numbers_may_have_exponents_as_fortran_writes_them(tmp_path: Path, comment: str) -> None:
    (tmp_path / "a.xyz").write_text(f"2\n{comment}\nD 0 0 0.0D0\nH 0 0 0.074D+01\n")
    (structure,) = make(tmp_path, "molecule").structures
    assert structure.positions[1, 2] == pytest.approx(0.74)


@pytest.mark.parametrize("share", ["1", "1.000(4)", "0.9999", "."])
def test_a_site_that_is_whole_but_for_rounding_is_one(tmp_path: Path, share: str) -> None:
    (tmp_path / "a.cif").write_text("data_x\n" + OCCUPIED.replace("S\n", f"{share}\n"))
    (structure,) = make(tmp_path, "crystal").structures
    assert structure.symbols == ["Si", "Si"]


@pytest.mark.parametrize(
    "group",
    [
        "",
        "_symmetry_space_group_name_H-M ?\n_symmetry_Int_Tables_number ?\n",
        "_symmetry_space_group_name_H-M 'F m -3 m :1'\n",
        "_space_group_name_H-M_alt ''\n",
        "_space_group_name_Hall '-F 4 2 3'\n",
    ],
)
def test_a_cif_that_lists_symmetry_and_does_not_name_it_as_ase_knows_it_is_read(tmp_path: Path, group: str) -> None:
    symmetry = f"{group}loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,-y,-z\n"
    (tmp_path / "a.CIF").write_text(f"data_x\n{CELL}{symmetry}{SITES}Si .125 .125 .125\n", encoding="utf-8-sig")
    (structure,) = make(tmp_path, "crystal").structures
    assert structure.symbols == ["Si", "Si"]


def test_the_charge_of_a_row_of_a_database_is_not_that_of_its_atoms(tmp_path: Path) -> None:
    with ase.db.connect(tmp_path / "a.db", use_lock_file=False) as database:
        database.write(molecule("OH"), charge=-1)
    (structure,) = make(tmp_path, "molecule", options={"charges": True}).structures
    assert structure.charge == -1


def test_ids_in_the_data_of_a_row_are_kept(tmp_path: Path) -> None:
    """Where fairchem has them."""
    with ase.db.connect(tmp_path / "a.db", use_lock_file=False) as database:
        database.write(molecule("H2O"), group="wet", data={"sid": "omol/0007", "fid": 3, "fmax": 0.1, "text": "x" * 5000, "list": [1, 2]})
    (structure,) = make(tmp_path, "molecule").structures
    assert structure.origin["info"] == {"id": 1, "group": "wet", "sid": "omol/0007", "fid": 3}


def write_database(path: Path, frames: list[Atoms]) -> None:
    with ase.db.connect(path, use_lock_file=False) as database:
        for atoms in frames:
            database.write(atoms)


def test_a_bad_row_of_a_database_is_refused_and_the_rest_is_used(tmp_path: Path) -> None:
    for name in ("a.db", "a.json"):
        write_database(tmp_path / name, molecules()[:4])
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("UPDATE systems SET numbers = ? WHERE id = 2", (bytes(7),))
        database.commit()
    content = json.loads((tmp_path / "a.json").read_text())
    content["2"]["numbers"] = {"__ndarray__": 1}
    content["ids"].append(99)
    (tmp_path / "a.json").write_text(json.dumps(content))
    for name in ("a.db", "a.json"):
        made = make(tmp_path, "molecule", 4, options={"files": [name]})
        assert (len(made.structures), made.named) == (3, [f"{name}: unreadable: row 1"])


def test_a_database_in_json_is_read_once_however_many_rows_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_database(tmp_path / "a.json", molecules()[:6])
    n_read: list[Path] = []
    read = databases.read_bytes
    monkeypatch.setattr(databases, "read_bytes", lambda path, most: n_read.append(path) or read(path, most))
    assert len(make(tmp_path, "molecule", 6).structures) == 6
    assert n_read.count(tmp_path / "a.json") in {1, 2}


def test_a_file_may_be_named_like_a_pattern(tmp_path: Path) -> None:
    write_frames(tmp_path / "Si[110]*.xyz", crystals(1))
    assert len(make(tmp_path, "crystal", options={"files": ["Si[110]*.xyz"]}).structures) == 1


def test_pipes_in_a_folder_are_no_files_and_circles_of_links_are_named(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.xyz", crystals(1))
    os.mkfifo(tmp_path / "pipe.xyz")
    assert len(make(tmp_path, "crystal").structures) == 1
    (tmp_path / "b.xyz").symlink_to("b.xyz")
    assert "b.xyz: [Errno 40] Too many levels" in refuse(tmp_path, "crystal")


def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    write_frames(Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xe9.xyz")), crystals(1))
    assert "its name is not UTF-8" in refuse(tmp_path, "crystal")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (inside := tmp_path / "inside").mkdir()
    write_frames(tmp_path / "secret.extxyz", crystals(1))
    (inside / "link.extxyz").symlink_to(tmp_path / "secret.extxyz")
    assert "it means no file" in refuse(inside, "crystal")


def test_no_row_of_the_system_says_what_was_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.extxyz", [bulk("Cu", cubic=True)])
    assert "Refused: a.extxyz: unknown_element: row 0" in refuse(tmp_path, "crystal")


def test_a_file_that_changes_between_requests_is_refused_where_its_digest_is_known(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.extxyz", crystals(2))
    said = refuse(tmp_path, "crystal", options={"sha256": "0" * 64})
    digest = said.split("their digest is ")[1].split(",")[0]
    assert len(make(tmp_path, "crystal", options={"sha256": digest}).structures) == 2
    write_frames(tmp_path / "a.extxyz", crystals(2, seed=1))
    assert "are others than" in refuse(tmp_path, "crystal", options={"sha256": digest})


def test_without_a_folder_it_says_which_setting_is_wanted() -> None:
    with pytest.raises(Unsupported, match="DISTILLERY_SERVICE_INPUTS"):
        resolve(StructuresGenerator(InputSettings(inputs=None)), "crystal")


def test_a_file_that_is_lost_while_it_runs_is_unavailable(tmp_path: Path) -> None:
    from services.structures.options import FileOptions
    from services.structures.shelf import open_files

    write_frames(tmp_path / "a.extxyz", crystals(2))
    (file,) = open_files(FileOptions(), tmp_path)
    write_frames(tmp_path / "a.extxyz", crystals(3))
    with pytest.raises(Unavailable, match="has changed since it was scanned"):
        next(file.read([0]))
