"""Energies of atoms: wanted by a recipe, given by teachers that have them, checked against the energy, stored and handed on."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.db
import h5py
import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from ase.io import read

from cli.check import InstalledMakers
from distillery.dataset.blocks import read_blocks
from distillery.dataset.layout import ATOMIC_ENERGIES, Arrays, Label, choose_columns, to_arrays
from distillery.dataset.merge import finalise
from distillery.dataset.parts import digest_arrays, read_part
from distillery.dataset.reading import read_dataset
from distillery.dataset.sealed_file import write_atomically
from distillery.dataset.torch_dataset import StructureDataset, collate
from distillery.errors import InvalidRequest
from distillery.export.ase_databases import export_ase_db
from distillery.export.extxyz import export_extxyz
from distillery.export.huggingface import write_side
from distillery.export.zarr_store import export_zarr
from distillery.planning.recipe_checks import check_recipe
from distillery.recipe.growth import find_differences
from distillery.recipe.reading import parse_recipe
from distillery.schema.label import Abilities, FinaliseRequest, PartSelection
from distillery.structures.geometry import find_pairs
from distillery.structures.identity import structure_hash
from distillery.structures.structure import Structure
from labeller.app import create_labeller
from labeller.label_checks import find_atomic_fault
from labeller.settings import LabellerSettings
from labeller.teachers import create_teacher, outline_teacher
from tests.fake_teacher import CUTOFF, FakeTeacher, pair_label
from tests.labelling import NEVER, RECIPE, label, mixed, receipt, water
from tests.serving import serve

PART, OTHER = "full-a-00000", "full-a-00001"
ALL = ["energy", "forces", "stress", "atomic_energies"]


def share_energy(structure: Structure) -> np.ndarray[Any, Any]:
    """Half of each pair's energy to each of its atoms."""
    pairs = find_pairs(structure, CUTOFF)
    return np.bincount(pairs.i, 0.5 * (CUTOFF - pairs.distance) ** 2, len(structure))


def with_shares(structure: Structure, label: Label) -> Label:
    return replace(label, atomic_energies=share_energy(structure))


# teachers


@pytest.mark.parametrize("name", ["7net-0", "chgnet", "gfn2-xtb", "ase:ase.calculators.emt:EMT"])
def test_energies_of_the_atoms_add_up_to_the_energy(name: str) -> None:
    elements = ("Cu",) if "EMT" in name else ("H", "C", "O", "Si")
    structures = [s for s in mixed("p", 3) if name != "gfn2-xtb" or not s.is_periodic]
    if elements == ("Cu",):
        structures = [replace(s, numbers=np.full(len(s), 29, np.uint8), positions=2.6 * s.positions) for s in structures[:2]]
    teacher = create_teacher(LabellerSettings(teacher=name))
    teacher.load(NEVER)
    try:
        assert teacher.abilities.atomic_energies
        assert outline_teacher(name).abilities.atomic_energies
        labels = [own for s in structures for own in teacher.predict(teacher.featurise([s]))]
        together = labels if teacher.budget.most == 1 else teacher.predict(teacher.featurise(structures))
    finally:
        teacher.close()
    for structure, own, other in zip(structures, labels, together, strict=True):
        assert own.atomic_energies is not None
        assert other.atomic_energies is not None
        assert own.atomic_energies.shape == (len(structure),)
        assert find_atomic_fault(own) is None
        assert np.abs(own.atomic_energies - other.atomic_energies).max() < 1e-4
        assert own.atomic_energies.std() > 0 or len(set(structure.numbers.tolist())) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda shares: None, "the teacher gave none"),
        (lambda shares: shares[:-1], "must have the shape (3,), got (2,)"),
        (lambda shares: shares + 0.1, "they add up to"),
        (lambda shares: shares * np.nan, "they add up to nan"),
    ],
)
def test_energies_that_are_no_shares_of_the_energy_are_refused(change: Any, said: str) -> None:
    own = with_shares(water("a/0000"), pair_label(water("a/0000")))
    assert find_atomic_fault(own) is None
    fault = find_atomic_fault(replace(own, atomic_energies=change(own.atomic_energies)))
    assert fault is not None
    assert said in fault.detail


# parts and datasets


def make_parts(tmp_path: Path, spoil: Any = with_shares, **records: Any) -> list[dict[str, Any]]:
    teacher = FakeTeacher(spoil=spoil, abilities=Abilities(atomic_energies=True))
    app = create_labeller(teacher, LabellerSettings(data=tmp_path, self_test=False))
    with serve(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        return [receipt(client, part, mixed(part, 5), **records) for part in (PART, OTHER)]


def test_a_part_holds_them_only_if_they_are_wanted(tmp_path: Path) -> None:
    answers = make_parts(tmp_path / "wanted", labels=ALL)
    assert answers[0]["optional_columns"] == [ATOMIC_ENERGIES]
    arrays = read_part(tmp_path / "wanted" / "d" / "parts" / f"{PART}.h5").arrays
    assert np.array_equal(arrays[ATOMIC_ENERGIES], np.concatenate([share_energy(s) for s in mixed(PART, 5)]))
    answers = make_parts(tmp_path / "plain")
    assert "optional_columns" not in answers[0]
    assert "labels" not in answers[0]["record"]
    assert ATOMIC_ENERGIES not in read_part(tmp_path / "plain" / "d" / "parts" / f"{PART}.h5").arrays


def test_a_label_whose_atoms_do_not_add_up_is_left_out_where_they_are_wanted_alone(tmp_path: Path) -> None:
    def spoil(structure: Structure, own: Label) -> Label:
        return replace(own, atomic_energies=share_energy(structure) * (np.nan if structure.id.endswith("1") else 1.0))

    (answer, _) = make_parts(tmp_path / "wanted", spoil, labels=ALL)
    assert [(reject["id"], reject["reason"]) for reject in answer["rejected"]] == [(f"{PART}/0001", "no_atomic_energies")]
    assert make_parts(tmp_path / "plain", spoil)[0]["rejected"] == []


def test_labels_without_a_dataset_have_none(tmp_path: Path) -> None:
    app = create_labeller(FakeTeacher(spoil=with_shares), LabellerSettings(data=tmp_path, self_test=False))
    with serve(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        assert label(client, PART, mixed(PART, 1)).status_code == 200
        request = label(client, PART, mixed(PART, 1)).request
        answer = client.post("/labels", content=request.content, headers=dict(request.headers)).json()
    assert set(answer["labels"][0]) == {"id", "energy", "forces", "stress"}


def test_a_dataset_has_them_in_the_order_of_its_atoms_without_those_left_out(tmp_path: Path) -> None:
    make_parts(tmp_path, labels=ALL)
    parts = (PartSelection(part=OTHER, leave_out=(f"{OTHER}/0002",)), PartSelection(part=PART))
    finalise(tmp_path, FinaliseRequest(dataset="d", recipe="name: d\n", recipe_sha256=RECIPE, seed=7, parts=parts))
    kept = [s for s in (*mixed(OTHER, 5), *mixed(PART, 5)) if s.id != f"{OTHER}/0002"]
    with h5py.File(tmp_path / "d" / "dataset.h5") as file:
        assert np.array_equal(file[ATOMIC_ENERGIES][:], np.concatenate([share_energy(s) for s in kept]))
        assert dict(file[ATOMIC_ENERGIES].attrs)["unit"] == "eV"
        assert '"labels/atomic_energies":"eV"' in file["metadata"].attrs["units"]


# recipes

TEXT = """\
name: shared
seed: 1
teacher: {}
labels: [{}]
sources: {{molecules: {{service: rdkit, system: molecule, count: 5}}}}
"""


def test_labels_of_a_recipe_are_the_same_in_any_order_and_change_nothing_where_they_are_the_usual() -> None:
    plain = parse_recipe(TEXT.format("7net-0", "forces, energy, stress"))
    assert plain.sha256 == parse_recipe(TEXT.format("7net-0", "").replace("labels: []\n", "")).sha256
    more = parse_recipe(TEXT.format("7net-0", "atomic_energies, forces, stress, energy"))
    assert list(more.labels) == ALL
    assert more.sha256 != plain.sha256
    assert list(find_differences(more, plain, {"molecules"})) == [
        "labels is energy, forces, stress, atomic_energies, it was energy, forces, stress"
    ]


def test_what_is_always_there_must_be_named_and_others_are_named_wrong() -> None:
    with pytest.raises(InvalidRequest, match=r"recipe:4: labels: .*name forces and stress too"):
        parse_recipe(TEXT.format("7net-0", "energy"))
    with pytest.raises(InvalidRequest, match="did you mean 'atomic_energies'"):
        parse_recipe(TEXT.format("7net-0", "energy, forces, stress, atomic_energy"))


@pytest.mark.parametrize(("teacher", "n_faults"), [("7net-0", 0), ("gfn2-xtb", 0), ("mattersim-v1-1m", 1)])
def test_a_teacher_without_them_is_refused_at_the_line_that_wants_them(
    teacher: str, n_faults: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeller.teachers.find_spec", lambda package: True)
    text = TEXT.format(teacher, ", ".join(ALL))
    found = asyncio.run(check_recipe(parse_recipe(text), text, InstalledMakers())).faults
    said = f"teacher {teacher} has no atomic_energies; leave them out, or take a teacher that has"
    assert [(fault.line, fault.key, fault.message) for fault in found] == [(4, "labels", said)] * n_faults


# what trainers get


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dataset.h5"


@pytest.fixture(autouse=True)
def arrays(path: Path) -> Arrays:
    structures = mixed("t", 6)
    labels = [with_shares(s, pair_label(s)) for s in structures]
    hashes = [structure_hash(s) for s in structures]
    made = to_arrays(structures, labels, hashes, source="tests", service="fake", shard="tests", wanted=ALL)

    def fill(file: h5py.File) -> None:
        for name, column in choose_columns(made).items():
            file.create_dataset(name, data=made[name], dtype=column.dtype)

    write_atomically(path, fill, replace=True)
    return made


def test_they_are_read_in_blocks_of_any_order_and_as_ase_atoms(path: Path, arrays: Arrays) -> None:
    splits = arrays["structures/atomic_numbers_splits"]
    wanted = [arrays[ATOMIC_ENERGIES][splits[i] : splits[i + 1]] for i in (5, 0, 2)]
    (block,) = read_blocks(path, [5, 0, 2])
    assert block.atomic_energies is not None
    assert np.array_equal(block.atomic_energies, np.concatenate(wanted))
    for atoms, own in zip(read_dataset(path, [5, 0, 2]), wanted, strict=True):
        assert np.array_equal(atoms.get_potential_energies(), own)
        assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy())


@pytest.mark.parametrize(("mace_keys", "name"), [(False, "energies"), (True, "REF_energies")])
def test_extended_xyz_has_a_column_of_them(path: Path, arrays: Arrays, mace_keys: bool, name: str) -> None:
    target = path.with_suffix(".extxyz")
    export_extxyz(path, target, mace_keys=mace_keys)
    frames = read(target, ":")
    found = [frame.arrays[name] if mace_keys else frame.get_potential_energies() for frame in frames]
    assert np.array_equal(np.concatenate(found), arrays[ATOMIC_ENERGIES])
    forces = [frame.arrays["REF_forces"] if mace_keys else frame.get_forces() for frame in frames]
    assert np.array_equal(np.concatenate(forces).astype(np.float32), arrays["labels/forces"])


def test_parquet_and_tensors_have_them(path: Path, arrays: Arrays) -> None:
    write_side(path.parent, "train", path, np.arange(6))
    (file,) = (path.parent / "data").iterdir()
    assert np.array_equal(np.concatenate(pq.read_table(file)["atomic_energies"].to_pylist()), arrays[ATOMIC_ENERGIES])
    dataset = StructureDataset(path)
    assert np.array_equal(collate([dataset[k] for k in range(6)])["atomic_energies"].numpy(), arrays[ATOMIC_ENERGIES])


def test_structures_without_them_in_a_dataset_with_them_have_none(path: Path, arrays: Arrays) -> None:
    """As a merge makes it: nan in the file is no energy to anybody."""
    splits, mixed = arrays["structures/atomic_numbers_splits"], path.with_name("mixed.h5")
    shutil.copy(path, mixed)
    with h5py.File(mixed, "a") as file:
        file[ATOMIC_ENERGIES][splits[1] : splits[2]] = np.nan
    assert ["energies" in atoms.calc.results for atoms in read_dataset(mixed)] == [k != 1 for k in range(6)]
    export_extxyz(mixed, mixed.with_suffix(".extxyz"))
    export_ase_db(mixed, mixed.with_suffix(".db"))
    with ase.db.connect(mixed.with_suffix(".db")) as database:
        rows = [row.data.get("atomic_energies") for row in database.select()]
    frames, wanted = read(mixed.with_suffix(".extxyz"), ":"), arrays[ATOMIC_ENERGIES][splits[2] : splits[3]]
    assert ["energies" in atoms.calc.results for atoms in frames] == [own is not None for own in rows] == [k != 1 for k in range(6)]
    assert np.array_equal(frames[2].get_potential_energies(), wanted)
    assert np.array_equal(rows[2], wanted)
    assert np.array_equal(frames[1].get_forces().astype(np.float32), arrays["labels/forces"][splits[1] : splits[2]])
    write_side(mixed.parent, "train", mixed, np.arange(6))
    (parquet,) = (mixed.parent / "data").iterdir()
    assert [one is not None for one in pq.read_table(parquet)["atomic_energies"].to_pylist()] == [k != 1 for k in range(6)]


def test_a_zarr_store_has_them_beside_its_rows(path: Path, arrays: Arrays) -> None:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed: pip install 'zarr>=3'")
    export_zarr(path, path.with_name("store"))
    store = zarr.open_group(path.with_name("store"), mode="r")
    assert np.array_equal(store["custom/atomic_energies"][:, 0], arrays[ATOMIC_ENERGIES])
    assert store.attrs["fields"]["custom"] == {"dataset_row": "system", "atomic_energies": "atom"}


def test_they_count_in_the_digest(arrays: Arrays) -> None:
    assert digest_arrays(arrays) != digest_arrays({**arrays, ATOMIC_ENERGIES: arrays[ATOMIC_ENERGIES] + 1e-9})
