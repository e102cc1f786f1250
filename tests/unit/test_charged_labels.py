"""Charged structures on their way: made by services that are asked for them, labelled by teachers that know of charge, handed on."""

import asyncio
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.db import connect
from ase.io import read
from ase_db_backends.aselmdb import LMDBDatabase
from tblite.ase import TBLite

from cli.check import InstalledMakers
from distillery.dataset.foreign import import_dataset
from distillery.dataset.parts import read_part
from distillery.dataset.reading import read_dataset
from distillery.dataset.torch_dataset import StructureDataset, collate
from distillery.export.ase_databases import export_ase_db, export_aselmdb
from distillery.export.extxyz import export_extxyz
from distillery.export.huggingface import write_side
from distillery.export.mace_hdf5 import write_mace_hdf5
from distillery.export.trainer_folder import describe_sides
from distillery.export.zarr_store import export_zarr
from distillery.generators.generator import check_request, resolve_task
from distillery.generators.inputs import InputSettings
from distillery.generators.plugins import build_generator
from distillery.generators.proposals import Proposal, propose_one
from distillery.generators.service import create_app
from distillery.generators.settings import ServiceSettings
from distillery.planning.recipe_checks import check_recipe, find_charge_faults
from distillery.recipe.reading import parse_recipe
from distillery.schema.generate import GenerateRequest, RequestCheck
from distillery.schema.label import Abilities, TeacherOutline
from distillery.structures.structure import Structure, from_ase
from gateway.formats import open_writer, read_structures
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from labeller.teachers import create_teacher, outline_teacher
from labeller.variants import make_variants
from services.rdkit.generator import MoleculeProposer
from services.structures.generator import StructuresGenerator
from services.structures.survey import survey_files
from tests.datasets import write_dataset
from tests.fake_teacher import FakeTeacher, pair_label
from tests.input_files import write_frames
from tests.labelling import NEVER, receipt, silicon, water
from tests.serving import serve
from tests.unit.test_own_structures import make, refuse

PART = "full-a-00000"
HYDROXIDE, OXYGEN = molecule("OH"), molecule("O2")


def state_of(atoms: Atoms, k: int, charge: int = 0, multiplicity: int = 0) -> Structure:
    return from_ase(atoms, id=f"{PART}/{k:04d}", system="molecule", charge=charge, multiplicity=multiplicity)


IONS = [water(f"{PART}/0000"), state_of(HYDROXIDE, 1, -1), state_of(OXYGEN, 2, 0, 3), state_of(HYDROXIDE, 3, 0, 2)]


# teachers


def label_ions(tmp_path: Path, abilities: Abilities) -> dict[str, Any]:
    app = create_labeller(FakeTeacher(abilities=abilities), LabellerSettings(data=tmp_path, self_test=False))
    with serve(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        return receipt(client, PART, IONS)


def test_a_teacher_that_knows_of_neither_refuses_charges_and_spins_by_name(tmp_path: Path) -> None:
    rejected = label_ions(tmp_path, Abilities())["rejected"]
    assert [(reject["id"][-1], reject["reason"], reject["detail"]) for reject in rejected] == [
        ("1", "beyond_teacher", "the teacher knows of no charge, this has -1"),
        ("2", "beyond_teacher", "the teacher knows of no spin, this has a multiplicity of 3, above the 1 of the lowest"),
    ]
    part = read_part(tmp_path / "d" / "parts" / f"{PART}.h5")
    assert [(s.charge, s.multiplicity) for s in part.quarantined] == [(-1, 0), (0, 3)]


def test_a_teacher_that_knows_of_both_labels_them_and_the_part_holds_both(tmp_path: Path) -> None:
    answer = label_ions(tmp_path, Abilities(charge=True, spin=True))
    assert (answer["n_structures"], answer["optional_columns"]) == (4, ["structures/charges", "structures/multiplicities"])
    arrays = read_part(tmp_path / "d" / "parts" / f"{PART}.h5").arrays
    assert arrays["structures/charges"].tolist() == [0, -1, 0, 0]
    assert arrays["structures/multiplicities"].tolist() == [0, 0, 3, 2]


def test_a_receipt_of_neutral_structures_says_nothing_of_columns(tmp_path: Path) -> None:
    app = create_labeller(FakeTeacher(), LabellerSettings(data=tmp_path, self_test=False))
    with serve(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        assert "optional_columns" not in receipt(client, PART, IONS[:1])


def label_by(name: str, structures: list[Structure]) -> list[Any]:
    teacher = create_teacher(LabellerSettings(teacher=name))
    teacher.load(NEVER)
    try:
        assert teacher.abilities == outline_teacher(name).abilities
        return [teacher.predict([structure])[0] for structure in structures]
    finally:
        teacher.close()


def test_gfn2_xtb_gets_the_charge() -> None:
    radical, anion, cation = label_by("gfn2-xtb", [state_of(HYDROXIDE, 0), state_of(HYDROXIDE, 0, -1), state_of(HYDROXIDE, 0, 1)])
    for label, charge in ((radical, 0), (anion, -1), (cation, 1)):
        atoms = Atoms("OH", HYDROXIDE.positions)
        atoms.calc = TBLite(method="GFN2-xTB", charge=charge, verbosity=0)
        assert label.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        assert np.abs(label.forces - atoms.get_forces()).max() < 1e-4
    assert anion.energy < radical.energy - 5 < cation.energy - 20


def test_xtb_gets_the_multiplicity_and_with_spin_polarisation_oxygen_is_a_triplet() -> None:
    singlet, triplet = (label.energy for label in label_by("gfn2-xtb", [state_of(OXYGEN, 0), state_of(OXYGEN, 0, 0, 3)]))
    assert singlet != pytest.approx(triplet, abs=0.01)
    singlet, triplet = (label.energy for label in label_by("spgfn2-xtb", [state_of(OXYGEN, 0), state_of(OXYGEN, 0, 0, 3)]))
    assert triplet < singlet - 0.5


@pytest.mark.parametrize(
    ("name", "knows"),
    [
        ("7net-0", False),
        ("gfn2-xtb", True),
        ("spgfn2-xtb", True),
        ("ase:tests.calculators:Scripted", True),
    ],
)
def test_what_a_teacher_knows_of_charge_is_known_before_it_is_loaded(name: str, knows: bool) -> None:
    assert outline_teacher(name).abilities.charge is knows


@pytest.mark.parametrize(
    ("name", "knows"),
    [("orb-v3-conservative-omol", True), ("orb-v3-direct-20-omat", False), ("uma-s-1p2:omol", True), ("uma-s-1p2:omat", False)],
)
def test_models_of_molecules_with_charges_say_so(name: str, knows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labeller.teachers.find_spec", lambda package: True)
    abilities = outline_teacher(name).abilities
    assert (abilities.charge, abilities.spin) == (knows, knows)


def test_a_calculator_that_does_not_say_so_knows_of_no_charge() -> None:
    teacher = create_teacher(LabellerSettings(teacher="ase:ase.calculators.emt:EMT"))
    teacher.load(NEVER)
    try:
        assert (teacher.abilities.charge, teacher.abilities.spin) == (False, False)
    finally:
        teacher.close()


def test_copies_of_ions_that_repel_each_other_say_nothing_of_extensivity() -> None:
    radical = from_ase(HYDROXIDE, id="a", system="cluster")  # GFN2-xTB has two of them 0.02 eV below twice one, at any distance
    laws = [[variant.law for variant in make_variants(s, pair_label(s), "some")] for s in (*IONS, radical)]
    assert ["extensivity" in own for own in laws] == [True, False, False, False, False]
    assert all(variant.structure.charge == -1 for variant in make_variants(IONS[1], pair_label(IONS[1]), "all") if variant.law != "state")


# recipes

RECIPE = """\
name: ions
seed: 1
elements: [H, C, N, O]
teacher: {teacher}
sources:
  molecules:
    service: {service}
    system: molecule
    count: 10
    options: {options}
"""


def check(teacher: str, options: str, service: str = "rdkit") -> list[tuple[int, str, str]]:
    text = RECIPE.format(teacher=teacher, options=options, service=service)
    found = asyncio.run(check_recipe(parse_recipe(text), text, InstalledMakers()))
    return [(fault.line, fault.key, fault.message) for fault in found.faults]


@pytest.mark.parametrize(
    ("service", "options"), [("rdkit", "{charges: true}"), ("rdkit", "{charges: [-1, 0]}"), ("moldiff", "{allow_charged: true}")]
)
def test_a_recipe_for_ions_and_a_teacher_that_knows_of_no_charge_is_refused_at_its_line(service: str, options: str) -> None:
    said = "ask for ions, and teacher 7net-0 knows of no charge; leave `charges` out (`distillery label`, relabel: --neutral)"
    assert check("7net-0", options, service) == [(10, "sources.molecules.options", said)]
    assert check("gfn2-xtb", options, service) == []


def test_a_fallback_does_not_mend_that_the_teacher_knows_of_no_charge() -> None:
    text = RECIPE.format(teacher="fake", options="{charges: true}", service="rdkit").replace("count: 10", "count: 4\n    fallback: others")
    text += "  others: {service: rdkit, system: molecule, count: 4}\n"
    recipe = parse_recipe(text)
    check = RequestCheck(faults=(), may_be_charged=True)
    for outline, n_faults in ((TeacherOutline(), 1), (TeacherOutline(abilities=Abilities(charge=True)), 0), (None, 0)):
        found = find_charge_faults(recipe, "molecules", check, outline)
        assert [at for at, _ in found] == [("sources", "molecules", "options")] * n_faults
    assert find_charge_faults(recipe, "others", RequestCheck(faults=()), TeacherOutline()) == []


@pytest.mark.parametrize("options", ["{}", "{charges: false}", "{charges: [0]}", "{smiles: ['C[CH2]'], radicals: true}"])
def test_zwitterions_and_radicals_need_no_teacher_of_charge(options: str) -> None:
    assert check("7net-0", options) == []


def test_a_service_says_whether_a_request_may_be_charged() -> None:
    generator = build_generator("rdkit")
    assert check_request(GenerateRequest(n=1, seed=1, options={"charges": [1]}), generator).may_be_charged
    assert not check_request(GenerateRequest(n=1, seed=1, options={"charges": [1], "conformers": 0}), generator).may_be_charged
    with serve(create_app(generator, ServiceSettings())) as url, httpx.Client(base_url=url) as client:
        asked = [client.post("/check", json={"n": 1, "seed": 1, "options": options}).json() for options in ({}, {"charges": True})]
    assert asked == [{"faults": []}, {"faults": [], "may_be_charged": True}]


# services


def propose(n: int, options: dict[str, Any]) -> list[Structure | str]:
    proposer = MoleculeProposer()
    task = resolve_task(GenerateRequest(n=n, seed=5, min_atoms=5, max_atoms=30, options=options), proposer)
    outcomes = [propose_one(proposer, task, attempt) for attempt in range(n)]
    return [outcome.structures[0] if isinstance(outcome, Proposal) else outcome for outcome in outcomes]


@pytest.mark.parametrize(("asked", "found"), [(True, {-1, 0, 1}), ([-1, 1], {-1, 0, 1}), ([1], {0, 1}), ([0], {0}), (False, {0})])
def test_molecules_have_the_charges_that_are_asked_for(asked: Any, found: set[int]) -> None:
    made = [one for one in propose(40, {"charges": asked}) if isinstance(one, Structure)]
    assert {s.charge for s in made} == found
    assert [s.origin.get("charge", 0) for s in made] == [s.charge for s in made]


def test_given_radicals_are_taken_where_they_are_asked_for_with_all_their_spins_of_one_direction() -> None:
    smiles = ["C[CH2]", "CC[NH3+]", "[CH2]C[CH2]"]
    assert set(propose(3, {"smiles": smiles})) == {"radical", "charged"}
    made = propose(3, {"smiles": smiles, "radicals": True, "charges": [1]})
    states = {s.origin["given"]: (s.charge, s.multiplicity) for s in made if isinstance(s, Structure)}
    assert states == {"C[CH2]": (0, 2), "CC[NH3+]": (1, 0), "[CH2]C[CH2]": (0, 3)}


def write_own(folder: Path) -> None:
    triplet, ion = molecule("O2", info={"spin": 3}), molecule("NH3", info={"total_charge": 1, "multiplicity": 2})
    singlet, nonsense = molecule("H2O", info={"charge": 0, "spin": 1}), molecule("CH4", info={"charge": 0.5})
    write_frames(folder / "own.extxyz", [triplet, ion, singlet, nonsense])


def test_rows_with_charge_or_spin_are_taken_where_they_are_asked_for_and_else_refused_by_name(tmp_path: Path) -> None:
    write_own(tmp_path)
    made = make(tmp_path, "molecule")
    assert [s.origin["row"] for s in made.structures] == [2]
    assert {"own.extxyz: charged: row 0-1", "own.extxyz: unreadable: row 3"} <= set(made.named)
    made = make(tmp_path, "molecule", options={"charges": True})
    assert {s.origin["row"]: (s.charge, s.multiplicity) for s in made.structures} == {0: (0, 3), 1: (1, 2), 2: (0, 0)}


def test_files_of_ions_alone_hold_nothing_for_a_teacher_of_neutral_structures(tmp_path: Path) -> None:
    write_frames(tmp_path / "ion.xyz", [molecule("NH3", info={"charge": 1, "spin": 2})])
    assert "Refused: ion.xyz: charged: row 0" in refuse(tmp_path, "molecule")
    assert survey_files(("ion.xyz",), tmp_path, charges=True).has_charges


def test_charges_are_read_from_datasets_and_databases(tmp_path: Path) -> None:
    write_dataset(tmp_path / "own.h5", IONS)
    export_ase_db(tmp_path / "own.h5", tmp_path / "own.db")
    export_aselmdb(tmp_path / "own.h5", tmp_path / "own")
    wanted = {0: (0, 0), 1: (-1, 0), 2: (0, 3), 3: (0, 2)}
    for name in ("own.h5", "own.db", "own/data.aselmdb"):
        generator = StructuresGenerator(InputSettings(inputs=tmp_path))
        options = {"files": [name], "charges": True}
        try:
            request = GenerateRequest(n=4, seed=1, system="molecule", options=options)
            made = generator.generate(resolve_task(request, generator), NEVER, lambda made, n: None)
        finally:
            generator.close()
        assert {s.origin["row"]: (s.charge, s.multiplicity) for s in made.structures} == wanted, name


# the gateway's formats


@pytest.mark.parametrize("format", ["arrow", "json", "extxyz"])
def test_clients_send_and_get_charges_in_every_format(format: Any) -> None:
    writer = open_writer(format, {"service": "x"})
    body = writer.write(IONS) + writer.end({"requested": 4})
    media = {"arrow": "application/vnd.apache.arrow.stream", "json": "application/json", "extxyz": "chemical/x-extxyz"}[format]
    if format == "json":
        body = json.dumps({"structures": json.loads(body)["structures"]}).encode()
    found = read_structures(body, media)
    assert [(s.charge, s.spin_multiplicity) for s in found] == [(s.charge, s.spin_multiplicity) for s in IONS]
    assert (b"charge" in body) is True


# what trainers get


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three ions and radicals, and a crystal, which is neutral."""
    write_dataset(tmp_path / "dataset.h5", [*IONS, silicon(f"{PART}/0004")])
    return tmp_path / "dataset.h5"


CHARGES, SPINS = [0, -1, 0, 0, 0], [1, 1, 3, 2, 1]


def test_ase_atoms_of_a_dataset_with_charges_all_say_theirs(path: Path) -> None:
    found = list(read_dataset(path))
    assert [atoms.info["charge"] for atoms in found] == CHARGES
    assert [atoms.info["spin"] for atoms in found] == SPINS
    assert [atoms.info["spin"] for atoms in read_dataset(path, [2, 0])] == [3, 1]
    write_dataset(path, [water("a/0000")])
    assert "charge" not in next(iter(read_dataset(path))).info


@pytest.mark.parametrize(("mace_keys", "names"), [(False, ("charge", "spin")), (True, ("total_charge", "total_spin"))])
def test_extended_xyz_has_them_by_the_names_that_its_readers_look_for(path: Path, mace_keys: bool, names: tuple[str, str]) -> None:
    target = path.with_suffix(".extxyz")
    export_extxyz(path, target, mace_keys=mace_keys)
    frames = read(target, ":")
    assert [[frame.info[name] for frame in frames] for name in names] == [CHARGES, SPINS]
    write_dataset(path, [water("a/0000")])
    export_extxyz(path, target, mace_keys=mace_keys)
    assert not set(names) & set(read(target).info)


def test_databases_have_them_in_data_where_fairchem_looks(path: Path) -> None:
    export_ase_db(path, path.with_suffix(".db"))
    export_aselmdb(path, path.with_name("lmdb"))
    with connect(path.with_suffix(".db"), type="db") as sqlite, LMDBDatabase(path.with_name("lmdb") / "data.aselmdb") as lmdb:
        for database in (sqlite, lmdb):
            rows = list(database.select())
            assert [(row.data["charge"], row.data["spin"]) for row in rows] == list(zip(CHARGES, SPINS, strict=True))


def test_other_formats_have_columns_of_them(path: Path) -> None:
    rows, folder = np.arange(5), path.parent
    write_side(folder, "train", path, rows)
    (file,) = (folder / "data").iterdir()
    table = pq.read_table(file)
    assert (table["charge"].to_pylist(), table["spin"].to_pylist()) == (CHARGES, SPINS)
    write_mace_hdf5(folder / "mace", path, rows)
    with h5py.File(folder / "mace" / "0_mace.h5") as mace:
        group = mace["config_batch_0/config_2"]
        assert (group["properties/total_charge"][()], group["properties/total_spin"][()]) == (0.0, 3.0)
        assert group["property_weights/total_spin"][()] == 1.0
    assert describe_sides(path, {"train": rows, "val": rows, "test": rows})["has_charges"]


def test_a_zarr_store_has_them_and_one_of_neutral_structures_does_not_name_them(path: Path) -> None:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed: pip install 'zarr>=3'")
    export_zarr(path, path.with_name("ions"))
    store = zarr.open_group(path.with_name("ions"), mode="r")
    assert store["core/charge"][:].ravel().tolist() == CHARGES
    assert store["core/spin"][:].ravel().tolist() == SPINS
    assert store.attrs["fields"]["core"]["spin"] == "system"
    write_dataset(path, [water("a/0000")])
    export_zarr(path, path.with_name("neutral"))
    store = zarr.open_group(path.with_name("neutral"), mode="r")
    assert set(store.attrs["fields"]["core"]) == set(store["core"])


def test_tensors_have_them_where_the_file_does(path: Path) -> None:
    dataset = StructureDataset(path)
    batch = collate([dataset[k] for k in range(5)])
    assert torch.equal(batch["charge"], torch.tensor(CHARGES, dtype=torch.int32))
    assert batch["multiplicity"].tolist() == [0, 0, 3, 2, 0]
    write_dataset(path.with_name("other.h5"), [water("a/0000")])
    assert "charge" not in StructureDataset(path.with_name("other.h5"))[0]


def test_a_file_of_another_program_keeps_them(path: Path) -> None:
    with h5py.File(path) as file, h5py.File(path.with_name("merged.h5"), "w") as merged:
        for group in ("structures", "labels"):
            file.copy(group, merged)
    import_dataset(path.with_name("merged.h5"), path.with_name("imported.h5"))
    assert [atoms.info["charge"] for atoms in read_dataset(path.with_name("imported.h5"))] == CHARGES
    with h5py.File(path.with_name("imported.h5")) as file, h5py.File(path) as own:
        assert file["provenance/structure_hash"].asstr()[:].tolist() == own["provenance/structure_hash"].asstr()[:].tolist()


def test_a_frame_whose_charge_makes_no_sense_is_named(tmp_path: Path) -> None:
    from distillery.errors import InvalidRequest

    text = io.StringIO()
    text.write('3\nProperties=species:S:1:pos:R:3 charge=0.5 pbc="F F F"\nO 0 0 0\nH 0 0 1\nH 0 1 0\n')
    with pytest.raises(InvalidRequest, match=r"charge 0\.5; a whole number"):
        read_structures(text.getvalue().encode(), "chemical/x-extxyz")


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("Properties=species:S:1:pos:R:3:x:R:999999999", "has 1000000003 columns, and the first atom's line 4"),
        ('Lattice="9 0 0 0 9 0 0 0 9" pbc="yes no maybe"', "pbc must be T or F"),
        ("units=bohr", "it says units=bohr"),
    ],
)
def test_a_frame_whose_comment_makes_no_sense_is_named(comment: str, said: str) -> None:
    from distillery.errors import InvalidRequest

    with pytest.raises(InvalidRequest, match=f"frame 1: ValueError: .*{said}"):
        read_structures(f"1\n\nH 0 0 0\n2\n{comment}\nH 0 0 0\nH 0 0 1\n".encode(), "chemical/x-extxyz")


def test_replacing_what_a_structure_is_made_of_keeps_its_state() -> None:
    assert replace(IONS[1], positions=IONS[1].positions + 1).charge == -1
