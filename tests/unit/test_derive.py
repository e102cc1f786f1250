"""Datasets made of datasets: what is in them, what they say of themselves, that they can be verified and made again to the byte."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import app
from distillery.dataset import blocks
from distillery.dataset.derivation import DERIVATION, read_derivation, read_pieces
from distillery.dataset.element_energies import read_element_energies
from distillery.dataset.foreign import import_dataset
from distillery.dataset.layout import ATOMIC_ENERGIES, COLUMNS, HESSIAN_SPLITS, HESSIANS, Label
from distillery.dataset.reading import read_dataset
from distillery.dataset.selection import Selection, choose_structures
from distillery.dataset.splits import choose_side, read_parents, split_dataset
from distillery.derive.filter import filter_dataset
from distillery.derive.merge import merge_datasets
from distillery.derive.select import select_structures
from distillery.errors import Conflict, InvalidRequest
from distillery.export.trainer_folder import export_for_trainer
from distillery.report.card.readme import write_card
from distillery.structures.structure import Structure
from distillery.verify.file_checks import Check
from distillery.verify.verification import verify_dataset
from tests.command import distillery_here
from tests.dataset_folder import RECIPE, rewrite, with_origin, write_finished
from tests.datasets import write_dataset
from tests.labelling import methane, mixed, moved, silicon, water

OTHER = RECIPE.replace("name: pictured", "name: other").replace("seed: 3", "seed: 4")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets of one teacher, pictured and other; tests leave them as they are."""
    folder = tmp_path_factory.mktemp("data")
    write_finished(folder / "pictured", service_licence="BSD-3-Clause")
    write_finished(folder / "other", OTHER)
    return folder


@pytest.fixture
def one(made: Path) -> Path:
    return made / "pictured" / "dataset.h5"


@pytest.fixture
def two(made: Path) -> Path:
    return made / "other" / "dataset.h5"


def read_ids(path: Path) -> list[str]:
    with h5py.File(path) as file:
        ids: list[str] = file["provenance/id"].asstr()[:].tolist()
        return ids


def find_wrong(path: Path) -> dict[str, Check]:
    return {check.name: check for check in verify_dataset(path) if check.passed is False}


def require_same_rows(path: Path, rows: list[int], derived: Path, first: int = 0) -> None:
    """The structures of these rows, all columns but those of ids and shards, lie in a derived dataset from `first` on."""
    with h5py.File(path) as old, h5py.File(derived) as new:
        for name, column in COLUMNS.items():
            if column.rows == "structure" and name not in {"labels/structure_indices", "provenance/id", "provenance/shard"}:
                assert old[name][:][rows].tolist() == new[name][first : first + len(rows)].tolist(), name
        splits = [file["structures/atomic_numbers_splits"][:] for file in (old, new)]
        for name, column in COLUMNS.items():
            for k, row in enumerate(rows if column.rows == "atom" else []):
                own = (file[name][s[i] : s[i + 1]] for file, s, i in zip((old, new), splits, (row, first + k), strict=True))
                assert np.array_equal(*own), name


# All three.


def add_all(structure: Structure, label: Label) -> Label:
    """An energy for each atom, and a Hessian of molecules."""
    n = len(structure)
    hessian = np.eye(3 * n, dtype=np.float32) if structure.system == "molecule" else None
    return replace(label, atomic_energies=np.full(n, label.energy / n), hessian=hessian)


def test_pieces_list_the_optional_columns_that_they_have(two: Path, tmp_path: Path) -> None:
    """Such as Hessians, which the file has for others."""
    text = RECIPE.replace("name: pictured", "name: full") + "labels: [energy, forces, stress, atomic_energies, hessian]\n"
    full, out = write_finished(tmp_path / "full", text, relabel=add_all), tmp_path / "made.h5"
    merge_datasets([full, two], out)
    assert find_wrong(out) == {}
    with h5py.File(out) as file:
        found = {(piece.shard.split("/")[0], piece.system): piece.optional_columns for piece in read_pieces(file)}
    assert found == {
        ("full", "molecule"): (ATOMIC_ENERGIES, HESSIANS, HESSIAN_SPLITS),
        ("full", "crystal"): (ATOMIC_ENERGIES,),
        ("other", "molecule"): (),
        ("other", "crystal"): (),
    }


def set_metadata(**attributes: str) -> Callable[[h5py.File], None]:
    return lambda file: file["metadata"].attrs.update(attributes)


def test_it_says_by_what_its_inputs_were_made_and_when_the_last_was(one: Path, two: Path, tmp_path: Path) -> None:
    first = rewrite(copy_of(one, tmp_path), set_metadata(teacher_version="v 2", creation_time="2026-03-01", versions='{"ase": "3.26"}'))
    (tmp_path / "other").mkdir()
    other = copy_of(two, tmp_path / "other")
    second = rewrite(other, set_metadata(teacher_version="v 1", creation_time="2025-04-01", versions='{"ase": "3.25", "rdkit": "1"}'))
    merge_datasets([first, second], tmp_path / "made.h5")
    with h5py.File(tmp_path / "made.h5") as file:
        told = dict(file["metadata"].attrs)
    assert (told["teacher_version"], told["creation_time"]) == ("v 1 v 2", "2026-03-01")
    assert json.loads(told["versions"]) == {"ase": "3.25 3.26", "rdkit": "1"}


def make_triplet(structure: Structure) -> Structure:
    """Crystals only, every second of them."""
    return replace(structure, multiplicity=3) if structure.system == "crystal" and int(structure.id[-1]) % 2 else structure


@pytest.mark.parametrize("command", ["merge", "filter", "select"])
def test_charge_and_spin_are_carried_over_and_made_up_for_those_that_have_none(command: str, two: Path, tmp_path: Path) -> None:
    write_finished(tmp_path / "spins", RECIPE.replace("name: pictured", "name: spins"), change=make_triplet)
    spins, out = tmp_path / "spins" / "dataset.h5", tmp_path / "made.h5"
    with h5py.File(spins) as file:
        wanted = dict(zip(file["provenance/id"].asstr()[:].tolist(), file["structures/multiplicities"][:].tolist(), strict=True))
    assert set(wanted.values()) == {0, 3}
    make(command, spins, two, out)
    assert find_wrong(out) == {}
    with h5py.File(out) as file:
        ids, found = file["provenance/id"].asstr()[:].tolist(), file["structures/multiplicities"][:].tolist()
        assert not file["structures/charges"][:].any()
    own = {id.removeprefix("spins/"): n for id, n in zip(ids, found, strict=True) if not id.startswith("other/")}
    assert own == {id: wanted[id] for id in own}
    assert (3 in own.values()) == (command != "filter"), "only molecules are left by the filter"
    assert not any(n for id, n in zip(ids, found, strict=True) if id.startswith("other/"))


def make(command: str, one: Path, two: Path, out: Path) -> None:
    if command == "merge":
        merge_datasets([one, two], out)
    elif command == "filter":
        filter_dataset(one, out, Selection(systems=("molecule",), max_force=2.5))
    else:
        select_structures(one, out, 12)


@pytest.mark.parametrize("command", ["merge", "filter", "select"])
def test_what_is_made_can_be_verified_and_comes_out_again_to_the_byte(command: str, one: Path, two: Path, tmp_path: Path) -> None:
    """Also by the command that it says made it."""
    out = tmp_path / "made.h5"
    make(command, one, two, out)
    checks = {check.name: check for check in verify_dataset(out)}
    assert {name for name, check in checks.items() if check.passed is not True} == {"gates"}
    assert {"bytes", "derivation", "pieces", "digests", "chemistry", "hashes", "fitted energies"} <= checks.keys()
    content = out.read_bytes()
    out.unlink()
    make(command, one, two, out)
    assert out.read_bytes() == content
    told = CliRunner().invoke(app, ["recipe", str(out)]).output.splitlines()[-1]
    again = [word.replace("made.h5", "again.h5") for word in shlex.split(told)[1:]]
    again[-1] = str(tmp_path / again[-1])
    result = CliRunner().invoke(app, [*again, "--data", str(one.parents[1])])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "again.h5").read_bytes() == content


def test_the_commands_of_a_chain_make_it_again_from_its_first_datasets(one: Path, two: Path, tmp_path: Path) -> None:
    """Also where a dataset has the name of one that it is made of."""
    (folder := tmp_path / "other").mkdir()
    filter_dataset(one, folder / "made.h5", Selection(systems=("molecule",)))
    merge_datasets([folder / "made.h5", two], folder / "both.h5")
    select_structures(folder / "both.h5", tmp_path / "made.h5", 12)
    write_card(tmp_path / "made.h5")
    assert "`distillery recipe` of the file prints the commands of all steps" in (tmp_path / "README.md").read_text()
    told = CliRunner().invoke(app, ["recipe", str(tmp_path / "made.h5")]).output.splitlines()
    commands = [shlex.split(line) for line in told if not line.startswith("#: ")]
    assert [words[1] for words in commands if words[0] == "distillery"] == ["filter", "merge", "select"]
    (again := tmp_path / "again").mkdir()
    for program, *words in commands:
        if program == "mkdir":
            (again / words[-1]).mkdir()
        else:
            done = distillery_here(*words, "--data", str(one.parents[1]), cwd=again)
            assert done.returncode == 0, done.output
    assert (again / "made.h5").read_bytes() == (tmp_path / "made.h5").read_bytes()


@pytest.mark.parametrize("command", ["merge", "filter", "select"])
def test_it_can_be_read_split_handed_over_and_has_a_card(command: str, one: Path, two: Path, tmp_path: Path) -> None:
    out = tmp_path / "made.h5"
    make(command, one, two, out)
    n = len(list(read_dataset(out)))
    assert sum(map(len, split_dataset(out).indices.values())) == n
    assert read_element_energies(out).fitted.keys() >= {"H", "C", "O"}
    if command == "merge":  # three parents: one a side, by a seed that does it
        thirds = (1 / 3, 1 / 3, 1 / 3)
        seed = next(
            seed for seed in range(100) if all(len(own) for own in split_dataset(out, seed=seed, fractions=thirds).indices.values())
        )
        assert sum(export_for_trainer(out, tmp_path / "handed", "mace", seed=seed, fractions=thirds).n_structures.values()) == n
    write_card(out)
    card = (tmp_path / "README.md").read_text()
    assert f"distillery {command} pictured" in card
    assert "| structures of molecules: service rdkit | BSD-3-Clause |" in card
    assert "labelled by the teacher fake" in card


@pytest.mark.parametrize("command", ["merge", "filter", "select"])
def test_files_of_the_user_are_not_written_over(command: str, one: Path, two: Path, tmp_path: Path) -> None:
    """Never those that are read, others only when told so."""
    there, arguments = tmp_path / "there.h5", {"merge": [str(two)], "filter": ["--source", "crystals"], "select": ["--n", "3"]}[command]
    there.write_text("mine")
    words = [command, str(one), *arguments, "--out", str(there)]
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, InvalidRequest)
    assert "replace it with --force" in str(refused.exception)
    assert there.read_text() == "mine"
    assert CliRunner().invoke(app, [*words, "--force"]).exit_code == 0
    assert find_wrong(there) == {}
    content = one.read_bytes()
    own = CliRunner().invoke(app, [*words[:-1], str(one), "--force"])
    assert "which is read for it" in str(own.exception)
    assert one.read_bytes() == content


def test_a_damaged_dataset_is_not_used(one: Path, two: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.h5"
    content = bytearray(one.read_bytes())
    content[-1] ^= 1
    broken.write_bytes(content)
    for attempt in (
        lambda: merge_datasets([two, broken], tmp_path / "out.h5"),
        lambda: filter_dataset(broken, tmp_path / "out.h5", Selection(systems=("molecule",))),
        lambda: select_structures(broken, tmp_path / "out.h5", 3),
    ):
        with pytest.raises(InvalidRequest, match=r"broken\.h5 is damaged"):
            attempt()
    assert list(tmp_path.iterdir()) == [broken]


def test_columns_that_would_be_lost_are_named(one: Path, tmp_path: Path) -> None:
    def add(file: h5py.File) -> None:
        file["labels/dipoles"] = np.zeros((90, 3))

    copy = copy_of(one, tmp_path)
    with pytest.raises(InvalidRequest, match="can't be carried over: labels/dipoles"):
        filter_dataset(rewrite(copy, add), tmp_path / "out.h5", Selection(systems=("molecule",)))


def test_small_blocks_give_the_same_structures(one: Path, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("large.h5", "small.h5"):
        make("filter", one, two, tmp_path / name)
        monkeypatch.setattr(blocks, "_BLOCK_STRUCTURES", 7)
    rows = choose_structures(one, Selection(systems=("molecule",), max_force=2.5)).indices.tolist()
    for name in ("large.h5", "small.h5"):
        require_same_rows(one, rows, tmp_path / name)
    assert find_wrong(tmp_path / "small.h5") == {}


# Filter.


def test_a_filter_keeps_what_is_asked_for_as_it_was(one: Path, tmp_path: Path) -> None:
    out = tmp_path / "molecules.h5"
    result = CliRunner().invoke(app, ["filter", str(one), "--source", "molecules", "--max-force", "2.5", "--out", str(out)])
    rows = choose_structures(one, Selection(sources=("molecules",), max_force=2.5)).indices.tolist()
    assert 0 < len(rows) < 60
    assert f"{len(rows)} structures written" in result.output
    assert f"left out: 30 of another source, {60 - len(rows)} with a force beyond 2.5 eV/Å" in result.output
    require_same_rows(one, rows, out)
    assert read_ids(out) == [read_ids(one)[row] for row in rows]
    assert read_parents(out) == [read_parents(one)[row] for row in rows]
    with h5py.File(out) as file:
        derivation = read_derivation(file)
    assert derivation is not None
    assert (derivation.inputs[0].name, derivation.inputs[0].n_structures, derivation.inputs[0].n_taken) == ("pictured", 90, len(rows))
    assert derivation.inputs[0].recipe == RECIPE
    assert derivation.left_out == {"of another source": 30, "with a force beyond 2.5 eV/Å": 60 - len(rows)}


def test_outliers_are_those_far_from_the_fit_by_elements(one: Path, tmp_path: Path) -> None:
    """Residuals by the fitted energies of the file; a condition gives the same."""
    fitted = read_element_energies(one).fitted
    residuals = np.array(
        [
            (atoms.get_potential_energy() - sum(fitted[symbol] for symbol in atoms.get_chemical_symbols())) / len(atoms)
            for atoms in read_dataset(one)
        ]
    )
    limit = float(np.median(np.abs(residuals)))
    kept = np.flatnonzero(np.abs(residuals) <= limit).tolist()
    filter_dataset(one, tmp_path / "near.h5", Selection(max_residual=limit))
    assert read_ids(tmp_path / "near.h5") == [read_ids(one)[row] for row in kept]
    filter_dataset(one, tmp_path / "said.h5", Selection(where=f"-{limit!r} <= residual and residual <= {limit!r}"))
    assert read_ids(tmp_path / "said.h5") == read_ids(tmp_path / "near.h5")


def test_a_single_atom_is_no_outlier(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.h5", [*mixed("t", 3), next(iter(mixed("t", 1)))])
    assert len(choose_structures(tmp_path / "d.h5", Selection(max_residual=1e6)).indices) == 4


def test_a_filter_that_asks_nothing_or_leaves_nothing_is_refused(one: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="needs to know what to keep"):
        filter_dataset(one, tmp_path / "out.h5", Selection())
    with pytest.raises(InvalidRequest, match="no structure is left"):
        filter_dataset(one, tmp_path / "out.h5", Selection(min_atoms=1000))
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_of_another_program_can_be_filtered(tmp_path: Path) -> None:
    write_dataset(tmp_path / "theirs.h5", mixed("t", 9))
    import_dataset(tmp_path / "theirs.h5", tmp_path / "imported.h5")
    filter_dataset(tmp_path / "imported.h5", tmp_path / "crystals.h5", Selection(systems=("crystal",)))
    assert read_ids(tmp_path / "crystals.h5") == ["theirs/000002", "theirs/000005", "theirs/000008"]
    assert find_wrong(tmp_path / "crystals.h5") == {}


# Merge.


def test_a_merge_has_all_structures_and_says_where_each_is_from(one: Path, two: Path, tmp_path: Path) -> None:
    done = merge_datasets([one, two], tmp_path / "both.h5")
    assert (done.n_structures, done.n_taken, done.n_twice) == (180, (90, 90), 0)
    require_same_rows(one, list(range(90)), tmp_path / "both.h5")
    require_same_rows(two, list(range(90)), tmp_path / "both.h5", first=90)
    ids = [f"pictured/{id}" for id in read_ids(one)] + [f"other/{id}" for id in read_ids(two)]
    assert read_ids(tmp_path / "both.h5") == ids
    assert read_parents(tmp_path / "both.h5") == read_parents(one) + read_parents(two)


def test_a_structure_that_several_have_is_there_once(one: Path, two: Path, tmp_path: Path) -> None:
    filter_dataset(one, tmp_path / "molecules.h5", Selection(sources=("molecules",)))
    filter_dataset(one, tmp_path / "crystals.h5", Selection(sources=("crystals",)))
    words = [str(tmp_path / "molecules.h5"), str(one), str(tmp_path / "crystals.h5"), "--out", str(tmp_path / "all.h5")]
    result = CliRunner().invoke(app, ["merge", *words])
    assert "90 structures written" in result.output
    assert "left out: 90 structures that were there already" in result.output
    ids = read_ids(tmp_path / "all.h5")
    assert ids == [f"molecules/{id}" for id in read_ids(one)[:60]] + [f"pictured/{id}" for id in read_ids(one)[60:]]
    assert find_wrong(tmp_path / "all.h5") == {}


def test_a_derived_dataset_tells_how_its_inputs_came_about(one: Path, two: Path, tmp_path: Path) -> None:
    filter_dataset(one, tmp_path / "molecules.h5", Selection(sources=("molecules",)))
    merge_datasets([tmp_path / "molecules.h5", two], tmp_path / "both.h5")
    with h5py.File(tmp_path / "both.h5") as file:
        derivation = read_derivation(file)
        licences = {piece.shard.partition("/")[0]: piece.licence for piece in read_pieces(file)}
    assert derivation is not None
    assert derivation.inputs[0].derivation is not None
    assert derivation.inputs[0].derivation.arguments == ("--source", "molecules")
    assert derivation.inputs[0].derivation.inputs[0].recipe == RECIPE
    assert licences == {"molecules": "BSD-3-Clause", "other": ""}


def test_datasets_of_one_name_are_told_apart(one: Path, two: Path, tmp_path: Path) -> None:
    for path, folder in ((one, "a"), (two, "b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.h5").write_bytes(path.read_bytes())
    merge_datasets([tmp_path / "a" / "same.h5", tmp_path / "b" / "same.h5"], tmp_path / "both.h5")
    assert {id.partition("/")[0] for id in read_ids(tmp_path / "both.h5")} == {"same", "same-2"}
    assert find_wrong(tmp_path / "both.h5") == {}


def copy_of(path: Path, folder: Path) -> Path:
    copy = folder / "copy.h5"
    copy.write_bytes(path.read_bytes())
    return copy


def set_teacher(name: str, weights: str) -> Callable[[h5py.File], None]:
    return lambda file: file["metadata"].attrs.update({"teacher_model": name, "weights_sha256": weights})


@pytest.mark.parametrize(("name", "weights"), [("wiser", "f" * 64), ("fake", "e" * 64)])
def test_datasets_of_other_teachers_are_refused_by_name(one: Path, tmp_path: Path, name: str, weights: str) -> None:
    other = rewrite(write_finished(tmp_path / "other", OTHER), set_teacher(name, weights))
    with pytest.raises(Conflict) as raised:
        merge_datasets([one, other], tmp_path / "both.h5")
    assert f"was labelled by fake (weights {'f' * 12}), {other} by {name} (weights {weights[:12]})" in str(raised.value)
    assert "`distillery relabel" in str(raised.value)


def test_labels_nobody_signed_are_refused(one: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.h5", mixed("t", 3))
    with pytest.raises(InvalidRequest, match=r"d\.h5 does not say who labelled it"):
        merge_datasets([one, tmp_path / "d.h5"], tmp_path / "both.h5")


def test_other_labels_of_one_structure_are_refused_by_name(one: Path, tmp_path: Path) -> None:
    """Within the grid of the structure hash they are told instead."""

    def shift(by: float) -> Callable[[h5py.File], None]:
        def change(file: h5py.File) -> None:
            file["labels/energy"][7] += by

        return change

    n_atoms = len(list(read_dataset(one))[7])
    near = merge_datasets([one, rewrite(copy_of(one, tmp_path), shift(0.005 * n_atoms))], tmp_path / "near.h5")
    assert near.n_twice == 90
    assert near.farthest == pytest.approx(0.005)
    with pytest.raises(Conflict) as raised:
        merge_datasets([one, rewrite(copy_of(one, tmp_path), shift(-0.02 * n_atoms))], tmp_path / "far.h5")
    assert str(raised.value).count(read_ids(one)[7]) == 2
    assert "differ by 0.020 eV/atom" in str(raised.value)


def test_one_dataset_is_not_merged_with_itself_or_alone(one: Path, tmp_path: Path) -> None:
    copy = copy_of(one, tmp_path)
    with pytest.raises(InvalidRequest, match="are the same dataset"):
        merge_datasets([one, copy], tmp_path / "both.h5")
    with pytest.raises(InvalidRequest, match="at least two datasets, got 1"):
        merge_datasets([one], tmp_path / "both.h5")


# What must be on one side of a split.

GROUPED, BARE = "periodic Si1, space group 227", "periodic Si1"
SEED = next(seed for seed in range(100) if choose_side(GROUPED, seed=seed) != choose_side(BARE, seed=seed))


def make_families(folder: Path) -> list[Path]:
    """Crystals that one dataset groups by composition and space group, and another one, of the user's files, by composition."""
    own = OTHER.replace("service: pymatgen", "service: structures")
    return [
        write_finished(folder / "pictured", change=with_origin({"space_group": 227})),
        write_finished(folder / "other", own, change=with_origin({})),
    ]


def test_groups_that_are_of_the_same_matter_are_on_one_side(tmp_path: Path) -> None:
    one, two = make_families(tmp_path)
    assert set(read_parents(one)[60:]) == {GROUPED}
    assert set(read_parents(two)[60:]) == {BARE}
    done = merge_datasets([one, two], tmp_path / "both.h5")
    assert done.n_joined == 1
    parents = read_parents(tmp_path / "both.h5")
    assert len({parent for parent in parents if "Si" in parent}) == 1
    sides = split_dataset(tmp_path / "both.h5", seed=SEED).indices
    assert [len({*range(60, 90), *range(150, 180)} & set(rows.tolist())) for rows in sides.values()].count(0) == 2


def test_they_stay_together_in_what_is_made_of_the_merge(tmp_path: Path) -> None:
    merge_datasets(make_families(tmp_path), tmp_path / "both.h5")
    filter_dataset(tmp_path / "both.h5", tmp_path / "crystals.h5", Selection(systems=("crystal",)))
    select_structures(tmp_path / "both.h5", tmp_path / "some.h5", 170)
    third = write_finished(tmp_path / "third", RECIPE.replace("pictured", "third").replace("seed: 3", "seed: 5"))
    merge_datasets([tmp_path / "crystals.h5", third], tmp_path / "three.h5")
    for name in ("crystals.h5", "some.h5", "three.h5"):
        assert len({parent for parent in read_parents(tmp_path / name) if "Si" in parent}) == 1
        assert find_wrong(tmp_path / name) == {}


def test_groups_that_share_a_structure_are_on_one_side(tmp_path: Path) -> None:
    """The same molecules, which one dataset groups by file and the other by composition: all of them are one family."""
    text = RECIPE.replace("name: pictured", "name: filed").replace("service: rdkit", "service: structures")
    one = write_finished(tmp_path / "pictured", change=with_origin({}))
    filed = write_finished(tmp_path / "filed", text, change=with_origin({"parent": "all.xyz"}))
    done = merge_datasets([one, filed], tmp_path / "both.h5")
    assert done.n_twice == 90
    assert len(set(read_parents(tmp_path / "both.h5")[:60])) == 1


def test_parents_of_one_dataset_are_not_joined_among_themselves(one: Path, two: Path, tmp_path: Path) -> None:
    done = merge_datasets([one, two], tmp_path / "both.h5")
    assert done.n_joined == 0
    assert len(set(read_parents(tmp_path / "both.h5"))) == len(set(read_parents(one)))


# Select.


def write_redundant(path: Path) -> list[int]:
    """Forty waters that are nearly the same, and at these rows what is unlike them."""
    rng = np.random.default_rng(0)
    structures = [moved(s, rng.normal(0, 0.01, s.positions.shape)) for s in (water(f"t/{i:04d}") for i in range(40))]
    odd = {5: methane("t/0005"), 11: silicon("t/0011"), 23: moved(water("t/0023"), [[0.0, 0.0, 0.5], [0, 0, 0], [0, 0, 0]])}
    for row, structure in odd.items():
        structures[row] = structure
    write_dataset(path, structures)
    return list(odd)


def test_what_is_unlike_the_rest_is_selected_first(tmp_path: Path) -> None:
    odd = write_redundant(tmp_path / "d.h5")
    done = select_structures(tmp_path / "d.h5", tmp_path / "four.h5", 4)
    assert {f"t/{row:04d}" for row in odd} < set(read_ids(tmp_path / "four.h5"))
    assert read_ids(tmp_path / "four.h5") == sorted(read_ids(tmp_path / "four.h5"))
    assert done.farthest is not None
    assert done.farthest < 0.2
    more = select_structures(tmp_path / "d.h5", tmp_path / "ten.h5", 10)
    assert set(read_ids(tmp_path / "four.h5")) < set(read_ids(tmp_path / "ten.h5"))
    assert more.farthest is not None
    assert more.farthest <= done.farthest


def test_elements_count_where_environments_do_not_know_them(tmp_path: Path) -> None:
    """Silicon as germanium, in the same places, is unlike silicon."""
    twins = [silicon(f"t/{i:04d}", seed=i) for i in range(6)]
    twins[4] = type(twins[4])(
        "t/0004", np.full(len(twins[4]), 32, np.uint8), twins[3].positions, twins[3].cell, twins[3].pbc, "crystal", twins[3].origin
    )
    write_dataset(tmp_path / "d.h5", twins)
    select_structures(tmp_path / "d.h5", tmp_path / "two.h5", 2)
    assert "t/0004" in read_ids(tmp_path / "two.h5")


def test_all_are_selected_if_so_many_are_wanted_copies_too(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.h5", [water(f"t/{i:04d}") for i in range(5)])
    done = select_structures(tmp_path / "d.h5", tmp_path / "all.h5", 5)
    assert len(set(read_ids(tmp_path / "all.h5"))) == 5
    assert done.farthest == pytest.approx(0.0, abs=1e-2)


def test_at_random_the_seed_decides(one: Path, tmp_path: Path) -> None:
    found = []
    for k, seed in enumerate((1, 1, 2)):
        select_structures(one, tmp_path / f"{k}.h5", 20, by="random", seed=seed)
        found.append(read_ids(tmp_path / f"{k}.h5"))
    assert found[0] == found[1] != found[2]
    assert len(found[0]) == 20
    assert find_wrong(tmp_path / "0.h5") == {}


@pytest.mark.parametrize(
    ("n", "by", "text"), [(91, "diversity", "between 1 and the 90"), (0, "random", "got 0"), (3, "taste", "got 'taste'")]
)
def test_what_can_not_be_selected_is_refused(one: Path, tmp_path: Path, n: int, by: str, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        select_structures(one, tmp_path / "out.h5", n, by=by)


# Verification.


def change_label(file: h5py.File) -> None:
    file["labels/energy"][3] += 1.0


def change_id(file: h5py.File) -> None:
    file["provenance/id"][3] = "elsewhere/0003"


def change_source(file: h5py.File) -> None:
    file["provenance/source"][3] = "crystals"


def change_count(file: h5py.File) -> None:
    said = json.loads(file["metadata"].attrs[DERIVATION])
    said["inputs"][0]["n_taken"] += 1
    file["metadata"].attrs[DERIVATION] = json.dumps(said)


def forget_what_was_left_out(file: h5py.File) -> None:
    said = json.loads(file["metadata"].attrs[DERIVATION])
    said["left_out"] = {}
    file["metadata"].attrs[DERIVATION] = json.dumps(said)


def change_teacher(file: h5py.File) -> None:
    file["metadata"].attrs["teacher_model"] = "wiser"


def spoil_derivation(file: h5py.File) -> None:
    file["metadata"].attrs[DERIVATION] = "{}"


def cut_pieces(file: h5py.File) -> None:
    rows = file["provenance/pieces"][:-1]
    del file["provenance/pieces"]
    file["provenance/pieces"] = rows


def forget_fit(file: h5py.File) -> None:
    del file["metadata"].attrs["fitted_energies"]


@pytest.mark.parametrize(
    ("change", "check", "text"),
    [
        (change_label, "digests", "differ from their digest"),
        (change_id, "ids", "the id 'elsewhere/0003'"),
        (change_source, "provenance", "source 'crystals', not 'molecules'"),
        (change_count, "derivation", "structures were taken, there are"),
        (forget_what_was_left_out, "derivation", "0 left out"),
        (change_teacher, "metadata", "teacher_model is wiser"),
        (spoil_derivation, "derivation", "can't be read"),
        (cut_pieces, "pieces", "the pieces hold"),
        (forget_fit, "metadata", "fitted_energies is missing"),
    ],
)
def test_what_was_changed_is_found(one: Path, tmp_path: Path, change: Callable[[h5py.File], None], check: str, text: str) -> None:
    filter_dataset(one, tmp_path / "made.h5", Selection(sources=("molecules",)))
    wrong = find_wrong(rewrite(tmp_path / "made.h5", change))
    assert "bytes" in wrong
    assert text in " ".join(wrong[check].faults)


def test_making_it_again_is_by_its_command_not_by_shards(one: Path, tmp_path: Path) -> None:
    filter_dataset(one, tmp_path / "made.h5", Selection(sources=("molecules",)))
    result = CliRunner().invoke(app, ["verify", str(tmp_path / "made.h5"), "--regenerate", "1"])
    assert isinstance(result.exception, InvalidRequest)
    assert "`distillery recipe" in str(result.exception)
