"""Charge and spin of structures: what they change, where they travel, and that what has neither is as it was."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from distillery.dataset.layout import OPTIONAL_COLUMNS, open_dataset, read_arrays
from distillery.dataset.merge import finalise
from distillery.dataset.parts import digest_arrays
from distillery.dataset.sealed_file import write_atomically
from distillery.dataset.sections import find_sections, make_structures, read_section
from distillery.errors import InvalidRequest
from distillery.generators.supercell import build_supercell
from distillery.schema.label import FinaliseRequest, PartSelection
from distillery.structures.arrow import SCHEMA, STATE_SCHEMA, ArrowStream, from_arrow, make_batch, to_arrow, to_json
from distillery.structures.checks import Fault, find_fault
from distillery.structures.electrons import read_state
from distillery.structures.identity import structure_hash
from distillery.structures.near_duplicates import Fingerprint, NearDuplicates, make_fingerprint
from distillery.structures.structure import Structure, from_ase, to_ase
from distillery.verify.structure_checks import inspect_part
from distillery.verify.verification import Verification
from gateway.curate import curate
from tests.dataset_folder import RECIPE, write_part_of, write_parts
from tests.labelling import methane, mixed, silicon, water

AMMONIUM = Atoms("NH4", molecule("CH4").positions * 1.02 / 1.0875)
HYDROXIDE = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])
CYANIDE = Atoms("CN", [[0, 0, 0], [0, 0, 1.17]])
NITRATE = Atoms("NO3", [[0, 0, 0], *([1.25 * np.cos(t), 1.25 * np.sin(t), 0] for t in (0, 2.0944, 4.1888))])
HYDRONIUM = Atoms("OH3", molecule("NH3").positions * 0.98 / 1.017)
METHYL = Atoms("CH3", [[0, 0, 0], *([1.08 * np.cos(t), 1.08 * np.sin(t), 0] for t in (0, 2.0944, 4.1888))])
HYDROGEN = Atoms("H", [[0, 0, 0]])


def state_of(atoms: Atoms, charge: int = 0, multiplicity: int = 0) -> Structure:
    return from_ase(atoms, id="a/0000", system="molecule", charge=charge, multiplicity=multiplicity)


# what they mean


def test_the_lowest_spin_is_a_singlet_or_a_doublet_by_the_number_of_electrons() -> None:
    assert state_of(HYDROXIDE).spin_multiplicity == 2
    assert state_of(HYDROXIDE, -1).spin_multiplicity == 1
    assert state_of(molecule("O2"), multiplicity=3).spin_multiplicity == 3
    assert [state_of(molecule("O2"), multiplicity=m).is_plain for m in (0, 1, 3)] == [True, True, False]
    assert not state_of(HYDROXIDE, -1).is_plain


@pytest.mark.parametrize(
    ("info", "state"),
    [
        ({}, (0, 0)),
        ({"charge": -1}, (-1, 0)),
        ({"total_charge": 2.0, "spin": np.int64(3)}, (2, 3)),
        ({"charge": 1, "total_charge": 1, "multiplicity": 2, "spin": 2}, (1, 2)),
        ({"total_charge": 0, "total_spin": 3}, (0, 3)),
        ({"charge": "2-", "multiplicity": "+1"}, (-2, 1)),
        ({"charge": "unknown", "spin": "polarized"}, (0, 0)),
        ({"charge": np.zeros(3), "spin": None}, (0, 0)),
        ({"charge": np.array([1]), "spin": True}, (1, 0)),
        ({"Charge": 1, "Multiplicity": "3", "net_charge": 1}, (1, 3)),
    ],
)
def test_files_name_charge_and_spin_in_several_ways(info: dict[str, Any], state: tuple[int, int]) -> None:
    assert read_state(info) == state


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"charge": 0.5}, "charge 0.5; a whole number"),
        ({"charge": float("nan")}, "a whole number"),
        ({"charge": 1, "total_charge": 0}, "not the same"),
        ({"charge": 101}, "at most 100"),
        ({"spin": -2}, "at least 1"),
        ({"charge": "plus"}, "charge 'plus'; a whole number is wanted, or none"),
        ({"total_charge": "1+-"}, "total_charge"),
        ({"charge": True}, "charge True; a whole number is wanted, or none"),
        ({"spin_multiplicity": np.bool_(False)}, "spin_multiplicity False; a whole number"),
        ({"charge": np.array([0.5])}, "charge 0.5; a whole number"),
    ],
)
def test_a_charge_or_spin_that_is_none_is_refused(info: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_state(info)


def test_ase_atoms_carry_both_where_there_is_something_to_tell() -> None:
    assert "charge" not in to_ase(water("a/0000")).info
    assert to_ase(state_of(AMMONIUM, 1)).info.items() >= {"charge": 1, "spin": 1}.items()
    assert to_ase(state_of(molecule("O2"), multiplicity=3)).info.items() >= {"charge": 0, "spin": 3}.items()


def test_a_supercell_has_the_charge_and_the_unpaired_electrons_of_all_cells() -> None:
    cell = from_ase(bulk("NaCl", "rocksalt", a=5.64), id="", system="crystal", charge=1, multiplicity=2)
    large = build_supercell(cell, np.diag([2, 1, 1]))
    assert (len(large), large.charge, large.multiplicity) == (4, 2, 3)
    assert build_supercell(replace(cell, charge=0, multiplicity=0), np.diag([2, 1, 1])).is_plain


# identity


def test_structure_hashes_of_what_is_neutral_and_of_the_lowest_spin_are_as_they_were() -> None:
    assert structure_hash(water("a/0000")) == "bd0d3c3cc7baf8e68bd0c917dc3e96fe"
    assert structure_hash(silicon("a/0000")) == "8a3cb9f8d59a1343320118c700e6dfde"
    assert structure_hash(state_of(molecule("O2"), multiplicity=1)) == structure_hash(state_of(molecule("O2")))


def test_charge_and_spin_make_another_structure_of_the_same_atoms() -> None:
    states = [(0, 0), (1, 0), (-1, 0), (2, 0), (0, 3), (1, 4), (1, 2)]
    hashes = [structure_hash(state_of(molecule("O2"), *state)) for state in states]
    assert len(set(hashes)) == len(states) - 1
    assert hashes[-1] == hashes[1], "a doublet is the lowest of an odd number of electrons"


def test_a_charged_supercell_has_the_hash_of_its_cell() -> None:
    cell = from_ase(bulk("Si") * (2, 1, 1), id="", system="crystal", charge=1)
    assert structure_hash(build_supercell(cell, np.diag([1, 2, 1]))) == structure_hash(cell)
    assert structure_hash(replace(cell, charge=2)) != structure_hash(cell)


def test_an_ion_is_no_copy_of_its_neutral_twin_with_noise() -> None:
    neutral, ion = state_of(molecule("CH3OH")), state_of(molecule("CH3OH"), 1)
    fingerprint = make_fingerprint(ion)
    assert Fingerprint.from_text(fingerprint.as_text()) == fingerprint
    assert (fingerprint.n_atoms, fingerprint.is_periodic) == (6, False)
    seen = NearDuplicates()
    seen.add(make_fingerprint(neutral))
    assert seen.find(fingerprint) is None
    assert seen.find(make_fingerprint(neutral)) == (0, 0.0)
    assert make_fingerprint(neutral).composition == "H4C1O1"
    pair = [replace(neutral, id="a/0000"), replace(ion, id="a/0001", multiplicity=2), replace(ion, id="a/0002", multiplicity=2)]
    curated = curate(pair, ["C", "H", "O"], None)
    assert [s.id for s in curated.kept] == ["a/0000", "a/0001"]
    assert [reject.reason for reject in curated.rejected] == ["duplicate"]


# checks


@pytest.mark.parametrize(
    ("atoms", "charge", "multiplicity"),
    [(AMMONIUM, 1, 0), (HYDROXIDE, -1, 0), (HYDROXIDE, 0, 2), (CYANIDE, -1, 0), (NITRATE, -1, 0), (HYDRONIUM, 1, 0), (METHYL, 0, 2)],
    ids=lambda value: str(value) if isinstance(value, int) else str(value.symbols),
)
def test_ions_and_radicals_pass_the_checks_once_they_say_what_they_are(atoms: Atoms, charge: int, multiplicity: int) -> None:
    assert find_fault(state_of(atoms, charge, multiplicity), None, None) is None
    untold = find_fault(state_of(atoms), None, None)
    assert untold is not None
    assert untold.reason in {"missing_hydrogen", "bare_carbon"}


def test_a_charge_explains_one_carbon_that_lacks_hydrogens_and_no_more() -> None:
    vinyl = Atoms("C2H3", molecule("C2H4").positions[:5])
    carbons_alone = Atoms("C2H2", molecule("C2H4").positions[[0, 1, 2, 3]])
    assert find_fault(state_of(vinyl, -1), None, None) is None
    assert find_fault(state_of(vinyl, 0, 2), None, None) is None
    for atoms, charge in ((vinyl, 0), (carbons_alone, 0), (molecule("C2H6")[[0, 1]], -1)):
        fault = find_fault(state_of(atoms, charge), None, None)
        assert fault is not None
        assert fault.reason == "bare_carbon"


def test_a_triplet_passes_as_its_singlet_does() -> None:
    for multiplicity in (0, 1, 3):
        assert find_fault(state_of(molecule("O2"), multiplicity=multiplicity), None, None) is None


@pytest.mark.parametrize(
    ("charge", "multiplicity", "fault"),
    [
        (0, 2, Fault("impossible_spin", "a spin multiplicity of 2 with 10 electrons: an odd number is wanted, at most 11")),
        (1, 1, Fault("impossible_spin", "a spin multiplicity of 1 with 9 electrons: an even number is wanted, at most 10")),
        (0, 13, Fault("impossible_spin", "a spin multiplicity of 13 with 10 electrons: an odd number is wanted, at most 11")),
        (11, 0, Fault("impossible_charge", "a charge of +11 with 10 protons")),
        (-101, 0, Fault("impossible_charge", "a charge of -101 with 10 protons")),
    ],
)
def test_what_the_electrons_do_not_allow_is_refused(charge: int, multiplicity: int, fault: Fault) -> None:
    assert find_fault(replace(water("a/0000"), charge=charge, multiplicity=multiplicity), None, None) == fault


# messages


def test_a_stream_of_neutral_structures_is_as_it_was_and_one_with_an_ion_has_two_columns_more() -> None:
    neutral, ion = to_arrow([water("a/0000")]), to_arrow([water("a/0000"), replace(state_of(HYDROXIDE, -1), id="a/0001")])
    assert pa.ipc.open_stream(neutral).schema.names == SCHEMA.names
    assert pa.ipc.open_stream(ion).schema.names == STATE_SCHEMA.names
    assert [(s.charge, s.multiplicity) for s in from_arrow(ion)[0]] == [(0, 0), (-1, 0)]


def test_a_stream_that_is_written_piece_by_piece_may_have_ions_in_any_piece() -> None:
    stream = ArrowStream({})
    body = stream.write([water("a/0000")]) + stream.write([state_of(molecule("O2"), multiplicity=3)]) + stream.end()
    assert [(s.charge, s.multiplicity) for s in from_arrow(body)[0]] == [(0, 0), (0, 3)]


def test_charges_of_another_kind_are_refused() -> None:
    schema = pa.schema([*SCHEMA, pa.field("charge", pa.float64(), nullable=False), STATE_SCHEMA.field("multiplicity")])
    sink = pa.BufferOutputStream()
    batch = make_batch([water("a/0000")], STATE_SCHEMA)
    with pa.ipc.new_stream(sink, schema) as writer:
        columns = [batch.column(name) for name in SCHEMA.names]
        writer.write_batch(pa.RecordBatch.from_arrays([*columns, pa.array([0.5]), batch.column("multiplicity")], schema=schema))
    with pytest.raises(InvalidRequest, match="may have charge: int32, multiplicity: int32 behind them"):
        from_arrow(bytes(sink.getvalue()))


def test_json_names_charge_and_spin_where_there_are_any() -> None:
    rows = to_json([water("a/0000"), state_of(HYDROXIDE, -1), state_of(molecule("O2"), multiplicity=3)])["structures"]
    assert [(row.get("charge"), row.get("multiplicity")) for row in rows] == [(None, None), (-1, None), (None, 3)]


# datasets

ION, TRIPLET = (1, 0), (0, 3)


def charge_some(structure: Structure) -> Structure:
    """Of the second shard of molecules, every third a cation and every third after it a triplet."""
    if not structure.id.startswith("full-molecules-00001"):
        return structure
    charge, multiplicity = ((0, 0), ION, TRIPLET)[int(structure.id[-4:]) % 3]
    return replace(structure, charge=charge, multiplicity=multiplicity)


def merge(folder: Path, change: Any = charge_some) -> Path:
    made_parts = write_parts(folder / "pictured", change=change)
    request = FinaliseRequest(
        dataset="pictured",
        recipe=RECIPE,
        recipe_sha256=made_parts.recipe.sha256,
        seed=3,
        parts=tuple(PartSelection(part=shard.name) for shard in made_parts.make_plan().shards()),
    )
    finalise(folder, request)
    return folder / "pictured" / "dataset.h5"


def test_a_dataset_without_ions_has_no_column_of_theirs(tmp_path: Path) -> None:
    with h5py.File(merge(tmp_path, lambda structure: structure)) as file:
        assert not set(OPTIONAL_COLUMNS) & {*file["structures"], *(f"structures/{name}" for name in file["structures"])}


def test_parts_with_and_without_ions_are_merged_and_read_back_as_they_were(tmp_path: Path) -> None:
    path = merge(tmp_path)
    with open_dataset(path) as file:
        found = {s.id: s for s in make_structures(read_arrays(file))}
        assert dict(file["structures/charges"].attrs)["unit"] == "e"
        sections = find_sections(file)
        assert [section.part.receipt.optional_columns != () for section in sections] == [False, True, False, False, False, False]
        for section in sections:
            own = section.part.receipt
            arrays = read_section(file, section.structures, section.atoms, own.optional_columns)
            assert digest_arrays(arrays) == own.content_sha256
    for structure in found.values():
        wanted = charge_some(replace(structure, charge=0, multiplicity=0))
        assert (structure.charge, structure.multiplicity) == (wanted.charge, wanted.multiplicity)
    assert sum(s.charge for s in found.values()) == 5


def test_what_is_merged_can_be_verified_and_a_charge_that_was_added_is_found(tmp_path: Path) -> None:
    path = merge(tmp_path)
    checks = {check.name: check for check in Verification(path).run()}
    assert [checks[name].passed for name in ("layout", "metadata", "digests", "hashes")] == [True] * 4
    assert checks["layout"].figure.startswith("20 columns")
    with h5py.File(path) as file:
        content = read_arrays(file)
        sections = find_sections(file)
    content["structures/charges"][0] = 1

    def fill(changed: h5py.File) -> None:
        with h5py.File(path) as file:
            for name in file:
                file.copy(name, changed)
        changed["structures/charges"][...] = content["structures/charges"]

    write_atomically(tmp_path / "changed.h5", fill, replace=True)
    verification = Verification(tmp_path / "changed.h5")
    checks = {check.name: check for check in verification.run()}
    assert checks["digests"].faults == (f"{sections[0].name}: structures/charges has values, and its receipt knows of none",)
    assert checks["hashes"].passed is False
    assert inspect_part(path, verification._expect(sections[0], {})) == []


def test_a_shard_that_is_made_again_must_have_the_same_charges(tmp_path: Path) -> None:
    made_parts = write_parts(tmp_path / "a", change=charge_some)
    shard = list(made_parts.make_plan().shards())[1]
    write_part_of(tmp_path / "b", made_parts.recipe, shard)
    hashes = []
    for folder in ("a", "b"):
        with h5py.File(tmp_path / folder / "parts" / f"{shard.name}.h5") as file:
            hashes.append(json.loads(file.attrs["receipt"])["structures_sha256"])
    assert hashes[0] != hashes[1]


def test_ions_do_not_bend_the_energies_of_the_elements() -> None:
    from distillery.dataset.element_energies import fit_energies

    structures = [*mixed("a", 30), *(methane(f"b/{k}") for k in range(3))]
    charges = np.array([1 if k % 3 == 0 else -1 if k % 3 == 1 else 0 for k in range(len(structures))])
    numbers = np.concatenate([s.numbers for s in structures]).astype(np.int64)
    splits = np.concatenate([[0], np.cumsum([len(s) for s in structures])])
    own = {1: -13.0, 6: -49.0, 8: -110.0, 14: -60.0}
    energies = np.array([sum(own[z] for z in s.numbers.tolist()) for s in structures]) + np.where(charges > 0, 8.0, -2.0 * (charges < 0))
    found = fit_energies(energies, numbers, splits, charges)
    assert found["O"] + 2 * found["H"] == pytest.approx(-136.0, abs=1e-6)
    assert found["Si"] == pytest.approx(-60.0, abs=1e-6)
