"""Verifying a dataset from its file alone: what is sound passes, whatever was changed is found; making shards again."""

import asyncio
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.recipe import write_recipe
from cli.regenerate import choose_shards, hold_scratch, regenerate
from distillery.dataset.layout import Label
from distillery.dataset.provenance import MERGED_PARTS, MergedPart, Summary, read_merged_parts
from distillery.dataset.sealed_file import SEAL_BYTES, PatientFile, is_sealed
from distillery.errors import Conflict, InvalidRequest, Unavailable, Unsupported
from distillery.generators.generator import Task
from distillery.http.client import EmbeddedServers
from distillery.recipe.reading import parse_recipe
from distillery.runtime.machine import describe_processor
from distillery.structures.structure import Structure
from distillery.verify.comparison import LABEL_TOLERANCE
from distillery.verify.file_checks import Check
from distillery.verify.verification import Verification
from labeller.teachers.teacher import Teacher
from tests.fake_service import FakeGenerator
from tests.fake_teacher import FakeTeacher
from tests.integration.factory import factory, settings_for, wait_for

RECIPE = """\
name: small
seed: 1
teacher: fake
shard_size: 5
sources:
  one: {service: fake, system: cluster, count: 20, atoms: [4, 20]}
  two: {service: other, system: crystal, count: 12, atoms: [4, 20]}
gates:
  teacher_success: {threshold: 0.8}
  duplicates: {threshold: 0.2}
"""
REBALANCED = """\
name: small
seed: 1
teacher: fake
shard_size: 5
elements: [H, C, N, O]
generative_fraction: 0.5
rebalance: [0.25, 0.0]
sources:
  one: {service: fake, system: cluster, count: 20, atoms: [4, 20], generative: true}
  two: {service: other, system: crystal, count: 20, atoms: [4, 20]}
gates:
  element_entropy: {threshold: 1.99}
"""


class PeriodicGenerator(FakeGenerator):
    """The fake's clusters in a box: crystals, so that there are stresses."""

    def _make(self, task: Task, i: int) -> Structure:
        return replace(super()._make(task, i), cell=15.0 * np.eye(3), pbc=(True, True, True))


def fakes() -> dict[str, FakeGenerator]:
    """One makes three of five, so that the next round brings a surplus; two makes all."""
    one, two = FakeGenerator("fake"), PeriodicGenerator("other", "crystal")
    one.made = 3
    return {"fake": one, "other": two}


def teacher(spoil: Callable[[Structure, Label], Label] = lambda s, label: label) -> FakeTeacher:
    """Fails on the structures of 13 atoms."""
    return FakeTeacher(raises_on=lambda s: len(s) == 13, spoil=spoil)


def make_dataset(folder: Path, recipe: str, generators: dict[str, FakeGenerator], until: str = "full") -> Path:
    async def run() -> None:
        async with factory(folder, generators, teacher()) as client:
            answer = await client.post("/v1/datasets", content=recipe, params={"until": until})
            assert answer.status_code == 202, answer.text
            await wait_for(client, "finished")

    asyncio.run(run())
    shutil.rmtree(folder / "small" / "parts")
    return folder / "small" / "dataset.h5"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with structures left out and rejected, its parts gone, its report beside it."""
    return make_dataset(tmp_path_factory.mktemp("sound"), RECIPE, fakes())


@pytest.fixture
def dataset(sound: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    shutil.copytree(sound.parent, tmp_path / "small")
    return tmp_path / "small" / "dataset.h5"


def verify(path: Path) -> dict[str, Check]:
    return {check.name: check for check in Verification(path).run()}


def find_failed(path: Path) -> set[str]:
    return {check.name for check in Verification(path).run() if check.passed is False}


def change(path: Path, edit: Callable[[h5py.File], None]) -> None:
    """Edit a dataset and give it a seal that fits, as if it had been written so."""
    with h5py.File(path, "r+") as file:
        edit(file)
    content = path.read_bytes()
    path.unlink()
    with PatientFile(path) as target:
        target.write(memoryview(bytes(SEAL_BYTES) + content[SEAL_BYTES:]))
        target.seal()


def test_a_sound_dataset_passes_without_its_parts(sound: Path) -> None:
    checks = verify(sound)
    assert [name for name, check in checks.items() if not check.passed] == []
    assert "one 20/20, two 12/12" in checks["plan"].figure
    assert "GO at the end of stage full" in checks["gates"].figure
    assert checks["report"].passed
    with h5py.File(sound) as file:
        parts = list(read_merged_parts(file))
    assert sum(len(part.left_out) for part in parts) > 0, "the fixture must leave something out"
    assert sum(len(part.receipt.rejected) for part in parts) > 0, "the teacher must fail on something"


def test_what_is_kept_of_the_parts_opens_with_plain_h5py_and_is_small(sound: Path) -> None:
    with h5py.File(sound) as file:
        row = json.loads(file[MERGED_PARTS].asstr()[0])
        assert row["receipt"]["part"] == "full-one-00000"
        fingerprints = 400 * len(file["labels/energy"])  # what near-duplicates are known by
        assert file[MERGED_PARTS].id.get_storage_size() < 300 * file[MERGED_PARTS].size + fingerprints


def put(name: str, at: Any, value: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file[name][at] = value

    return edit


def add(name: str, at: Any, value: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file[name][at] = file[name][at] + value

    return edit


def note(name: str, key: str, value: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file[name].attrs[key] = value

    return edit


def swap_labels(file: h5py.File) -> None:
    energy = file["labels/energy"]
    energy[0], energy[1] = energy[1], energy[0]


def swap_structures(file: h5py.File) -> None:
    """Two crystals' cells and whom they came from change places."""
    for name in ("structures/cells", "provenance/structure_hash", "provenance/id"):
        a, b = file[name][15], file[name][16]
        file[name][15], file[name][16] = b, a


def collapse(file: h5py.File) -> None:
    file["structures/positions"][1] = file["structures/positions"][0] + 0.1


def retype(file: h5py.File) -> None:
    forces, attributes = file["labels/forces"][:], dict(file["labels/forces"].attrs)
    del file["labels/forces"]
    file.create_dataset("labels/forces", data=forces.astype(np.float64)).attrs.update(attributes)


def edit_receipt(**record: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        row = json.loads(file[MERGED_PARTS].asstr()[0])
        row["receipt"]["record"] |= record
        text = json.dumps(row, separators=(",", ":"))
        file[MERGED_PARTS][0] = text.encode()

    return edit


def forget_left_out(file: h5py.File) -> None:
    for k, text in enumerate(file[MERGED_PARTS].asstr()[:]):
        file[MERGED_PARTS][k] = json.dumps(json.loads(text) | {"left_out": []}).encode()


def make_old(file: h5py.File) -> None:
    """The same dataset as layout 1.1 had it."""
    summary, noted = Summary(), file["metadata"].attrs
    for k, text in enumerate(file[MERGED_PARTS].asstr()[:]):
        row = json.loads(text)
        del row["receipt"]["isolated_atoms"], row["receipt"]["record"]["elements"]
        file[MERGED_PARTS][k] = json.dumps(row, separators=(",", ":")).encode()
        part = MergedPart.model_validate(row)
        summary.add(part.receipt, [one.id for one in part.left_out])
    noted["parts_sha256"], noted["layout_version"] = summary.parts_sha256, "1.1"
    del noted["fitted_energies"], noted["isolated_atom_energies"]


def remember(file: h5py.File) -> None:
    checkpoints = json.loads(file["metadata"].attrs["checkpoints"])
    checkpoints[-1] |= {"verdict": "NO-GO", "reasons": ["completeness (all)"]}
    file["metadata"].attrs["checkpoints"] = json.dumps(checkpoints)


@pytest.mark.parametrize(
    ("edit", "found_by"),
    [
        (add("labels/energy", 3, 1e-9), {"digests"}),
        (note("metadata", "structures_sha256", "no digest"), {"metadata", "report"}),
        (add("labels/forces", (7, 1), 1e-3), {"digests"}),
        (add("labels/stress", (15, 0), 1e-12), {"digests"}),
        (swap_labels, {"digests"}),
        (swap_structures, {"digests", "hashes", "metadata", "receipts"}),
        (add("structures/positions", (5, 0), 0.05), {"digests", "hashes"}),
        (collapse, {"chemistry", "hashes", "digests"}),
        (put("structures/atomic_numbers", 2, 92), {"chemistry", "hashes", "digests"}),
        (put("structures/atomic_numbers", 2, -1), {"chemistry", "hashes", "digests", "receipts"}),
        (put("structures/positions", (5, 0), np.nan), {"finite", "chemistry", "digests", "hashes"}),
        (put("structures/positions", (5, 0), 1e200), {"chemistry", "digests", "hashes"}),
        (put("labels/forces", (5, 0), np.inf), {"finite", "digests"}),
        (put("labels/stress_mask", 0, True), {"stresses"}),
        (put("labels/stress_mask", 15, False), {"stresses"}),
        (put("labels/stress", (0, 0), 0.1), {"stresses", "digests"}),
        (put("provenance/id", 1, "full-one-00000/0000"), {"ids", "receipts"}),
        (put("provenance/structure_hash", 1, "0" * 32), {"hashes", "receipts"}),
        (put("provenance/source", 1, "two"), {"provenance"}),
        (put("provenance/origin", 1, "nonsense"), {"digests", "chemistry"}),
        (put("structures/atomic_numbers_splits", 3, 1), {"splits"}),
        (put("labels/forces_splits", 3, 1), {"splits"}),
        (put("labels/structure_indices", 3, 4), {"splits"}),
        (note("labels/stress", "unit", "GPa"), {"layout"}),
        (note("labels/stress", "meaning", "another sign"), {"layout"}),
        (retype, {"layout"}),
        (lambda file: file.create_dataset("labels/dipole", data=[1.0]), {"layout"}),
        (lambda file: file.__delitem__("provenance/origin"), {"layout"}),
        (lambda file: file.__delitem__(MERGED_PARTS), {"layout"}),
        (lambda file: file.__delitem__("metadata"), {"layout"}),
        (note("metadata", "seed", 2), {"metadata"}),
        (note("metadata", "fitted_energies", '{"H": 1.0}'), {"fitted energies"}),
        (lambda file: file["metadata"].attrs.__delitem__("fitted_energies"), {"metadata"}),
        (note("metadata", "isolated_atom_energies", '{"H": 1.0}'), {"metadata"}),
        (note("metadata", "layout_version", "9.9"), {"metadata"}),
        (note("metadata", "num_structures", 33), {"metadata"}),
        (note("metadata", "weights_sha256", "e" * 64), {"metadata"}),
        (note("metadata", "units", "{}"), {"metadata"}),
        (note("metadata", "versions", "{}"), {"metadata"}),
        (note("metadata", "recipe", RECIPE.replace("count: 20", "count: 21")), {"recipe"}),
        (note("metadata", "recipe", "nonsense: ["), {"recipe"}),
        (remember, {"gates"}),
        (edit_receipt(seed=5), {"plan", "metadata"}),
        (edit_receipt(start=3), {"plan", "metadata"}),
        (edit_receipt(requested=4), {"plan", "metadata"}),
        (edit_receipt(recipe_sha256="a" * 64), {"recipe"}),
        (edit_receipt(generated="many"), {"parts"}),
        (edit_receipt(service="other"), {"plan", "provenance", "metadata"}),
        (forget_left_out, {"parts"}),
    ],
)
def test_every_change_is_found(dataset: Path, edit: Callable[[h5py.File], None], found_by: set[str]) -> None:
    change(dataset, edit)
    failed = find_failed(dataset)
    assert found_by <= failed, failed
    assert "bytes" not in failed, "the seal fits: it must be found by its content"


def test_a_flipped_byte_anywhere_is_found(dataset: Path) -> None:
    whole, rng = dataset.read_bytes(), np.random.default_rng(0)
    for at in [*rng.integers(0, len(whole), 12).tolist(), *rng.integers(SEAL_BYTES, 8000, 8).tolist()]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << (at % 8)
        dataset.write_bytes(damaged)
        failed = find_failed(dataset)
        assert "bytes" in failed
        assert (failed == {"bytes", "rest"}) == is_sealed(dataset), "HDF5 may hang on a damaged file: it must not be asked to read one"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_found(dataset: Path, share: float) -> None:
    os.truncate(dataset, int(share * dataset.stat().st_size))
    assert find_failed(dataset) == ({"bytes", "rest"} if share else {"bytes", "layout"})


def test_a_file_that_is_not_there_is_an_error_and_no_finding(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="No such file"):
        verify(tmp_path / "dataset.h5")


def test_a_dataset_that_misses_its_gates_is_a_finding(tmp_path: Path) -> None:
    generators = fakes()
    generators["other"].composition = "fixed"
    checks = verify(make_dataset(tmp_path, RECIPE, generators))
    failed = {name: check for name, check in checks.items() if check.passed is False}
    assert set(failed) == {"gates"}
    assert any("distinct_compositions (two)" in fault for fault in failed["gates"].faults)


def test_a_dataset_of_the_layout_before_passes(dataset: Path) -> None:
    change(dataset, make_old)
    assert find_failed(dataset) <= {"report"}, "the file has another size"


def test_a_changed_report_is_found_and_a_missing_one_is_no_finding(dataset: Path) -> None:
    report = json.loads(dataset.with_name("report.json").read_text())
    report["sources"]["one"]["kept"] = 19
    dataset.with_name("report.json").write_text(json.dumps(report))
    found = verify(dataset)["report"]
    assert not found.passed
    assert found.faults == ("sources.one.kept is 19, recomputed 20",)
    dataset.with_name("report.json").unlink()
    assert verify(dataset)["report"].passed is None
    assert find_failed(dataset) == set()


def test_a_dataset_whose_shares_were_changed_on_the_way_passes(tmp_path: Path) -> None:
    """What was counted at the shares given up is surplus now: those judgements are remembered, all else is recomputed."""
    generators = fakes()
    generators["fake"].use, generators["fake"].made = ("H",), None
    generators["other"].use = ("H", "C", "N", "O")
    path = make_dataset(tmp_path, REBALANCED, generators)
    with h5py.File(path) as file:
        attempts = [row["attempt"] for row in json.loads(file["metadata"].attrs["checkpoints"])]
    assert max(attempts) > 0, "the fixture must change its shares"
    assert find_failed(path) <= {"gates"}
    change(path, note("metadata", "checkpoints", "[]"))
    assert "plan" in find_failed(path)


@pytest.mark.parametrize(("until", "n"), [("pilot", 8), ("test", 16), ("full", 32)])
def test_a_dataset_in_stages_passes_wherever_it_ends(tmp_path: Path, until: str, n: int) -> None:
    staged = RECIPE + "  element_entropy: {required: false}\nstages: {pilot: {per_source: 4}, test: {total: 16}}\n"
    checks = verify(make_dataset(tmp_path, staged, fakes(), until))
    assert [name for name, check in checks.items() if not check.passed] == []
    assert f"GO at the end of stage {until}" in checks["gates"].figure
    assert checks["splits"].figure.startswith(f"{n} structures")


def test_many_structures_are_inspected_by_several_processes(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distillery.runtime.workers.STRUCTURES_A_WORKER", 10)
    change(dataset, add("structures/positions", (5, 0), 0.05))
    assert find_failed(dataset) == {"hashes", "digests", "report"}


@dataclass
class Again:
    """What is different the second time."""

    spoil: Callable[[Structure, Label], Label] = lambda s, label: label
    version: str = "1.0"
    shift: float = 0.0
    made: int | None = 3


class ChangedGenerator(FakeGenerator):
    def __init__(self, again: Again) -> None:
        super().__init__("fake")
        self.again = again

    @property
    def metadata(self) -> Any:
        return super().metadata.model_copy(update={"version": self.again.version})

    def _make(self, task: Task, i: int) -> Structure:
        structure = super()._make(task, i)
        return replace(structure, positions=structure.positions + self.again.shift)


def make_again(
    sound: Path, scratch: Path, again: Again, changed: Teacher | None = None, away: str = "", labeller_data: Path | None = None
) -> dict[str, Check]:
    verified = Verification(sound)
    assert all(check.passed for check in verified.run())
    assert verified.plan is not None
    shards = choose_shards(verified.plan, 99, seed=0)

    async def run() -> dict[str, Check]:
        apps: dict[str, Any] = {}
        fake = ChangedGenerator(again)
        fake.made = again.made
        generators = {"fake": fake, "other": fakes()["other"]}
        async with factory(scratch, generators, changed or teacher(again.spoil), apps, labeller_data):
            servers = EmbeddedServers(apps, {away: Unavailable(f"{away} can't be reached")} if away else {})
            return {check.name: check async for check in regenerate(verified, shards, settings_for(scratch), servers)}

    try:
        return asyncio.run(run())
    finally:
        assert not [path for path in scratch.iterdir() if path.name.startswith("verify-")], "the scratch dataset must be gone"


def test_shards_made_again_are_the_same_bit_by_bit(sound: Path, tmp_path: Path) -> None:
    checks = make_again(sound, tmp_path, Again())
    assert all(check.passed for check in checks.values())
    assert "3 structures bit by bit" in checks["full-one-00000"].figure
    assert "at most 0 eV/atom, 0 eV/Å" in checks["full-one-00000"].figure
    text = " ".join(check.figure for check in checks.values())
    assert "surplus left out as before" in text
    assert "rejected for teacher_failed as before" in text


@pytest.mark.parametrize(
    ("again", "says"),
    [
        (Again(spoil=lambda s, label: replace(label, energy=label.energy + 1.1 * LABEL_TOLERANCE.energy * len(s))), "energy of full-"),
        (Again(spoil=lambda s, label: replace(label, forces=label.forces + np.float32(1.1 * LABEL_TOLERANCE.forces))), "forces of full-"),
        (Again(shift=1e-9), "structures/positions differs by at most 1.0e-09 Å"),
        (Again(shift=-0.0, made=2), "generated: 2, the receipt says 3"),
    ],
)
def test_what_comes_out_otherwise_the_second_time_is_found(sound: Path, tmp_path: Path, again: Again, says: str) -> None:
    checks = make_again(sound, tmp_path, again)
    assert checks["full-one-00000"].passed is False
    assert any(says in fault for fault in checks["full-one-00000"].faults), checks["full-one-00000"]


def test_labels_within_the_tolerance_pass(sound: Path, tmp_path: Path) -> None:
    again = Again(spoil=lambda s, label: replace(label, forces=label.forces + np.float32(0.5 * LABEL_TOLERANCE.forces)))
    assert all(check.passed for check in make_again(sound, tmp_path, again).values())


def test_another_version_is_named_with_what_to_do(sound: Path, tmp_path: Path) -> None:
    checks = make_again(sound, tmp_path, Again(version="1.1"))
    assert checks["versions"].passed is None
    assert "service fake is 1.1 here, 1.0 made the file" in checks["versions"].faults
    assert "distillery recipe" in checks["versions"].figure


def test_other_structures_of_another_kind_of_processor_are_a_note(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distillery.runtime.versions.describe_processor", lambda: "x86_64 of tomorrow")
    check = make_again(sound, tmp_path, Again(shift=1e-9))["full-one-00000"]
    assert (check.passed, check.faults) == (None, ("structures/positions differs by at most 1.0e-09 Å",))
    assert f"made on another kind of processor ({describe_processor()} made the file, x86_64 of tomorrow is here)" in check.figure


def test_labels_that_differ_are_a_finding_on_any_processor(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distillery.runtime.versions.describe_processor", lambda: "x86_64 of tomorrow")
    again = Again(spoil=lambda s, label: replace(label, forces=label.forces + np.float32(1.1 * LABEL_TOLERANCE.forces)))
    assert make_again(sound, tmp_path, again)["full-one-00000"].passed is False


def test_another_teacher_than_the_recipes_is_refused_before_anything_is_made(sound: Path, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="the recipe wants the teacher fake, the labeller has another"):
        make_again(sound, tmp_path, Again(), FakeTeacher(name="another"))


def test_a_service_that_is_not_there_is_named_with_its_shards(sound: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"other can't be reached; without other full-two-00000, .* can't be made again"):
        make_again(sound, tmp_path, Again(), away="other")


def test_a_labeller_that_writes_elsewhere_is_found_out(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(Conflict, match="it must write to the same data folder"):
        make_again(sound, tmp_path / "here", Again(), labeller_data=tmp_path / "elsewhere")


def test_a_scratch_dataset_removes_what_a_killed_process_left_and_nothing_else(tmp_path: Path) -> None:
    left, named_by_a_user = tmp_path / f"verify-{'0a' * 16}", tmp_path / "verify-quickstart"
    for folder in (left, named_by_a_user):
        (folder / "parts").mkdir(parents=True)
    with hold_scratch(tmp_path) as scratch:
        seen = {path.name for path in tmp_path.iterdir() if ".owner" not in path.name}  # which is written again and again
        assert seen == {".lock", scratch.name, named_by_a_user.name}
        with pytest.raises(Conflict, match="another process is at work"), hold_scratch(tmp_path):
            pass
        (scratch / "parts").mkdir()
    assert not scratch.exists()


def test_a_scratch_dataset_needs_the_data_folder(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"no scratch folder can be made in .*it must be the labeller's data folder"):
        hold_scratch(tmp_path / "nothing").__enter__()


def test_the_choice_of_shards_is_a_function_of_the_seed(sound: Path) -> None:
    verified = Verification(sound)
    assert all(check.passed for check in verified.run())
    assert verified.plan is not None
    plan = verified.plan
    assert choose_shards(plan, 3, 1) == choose_shards(plan, 3, 1)
    assert len({tuple(choose_shards(plan, 3, seed)) for seed in range(10)}) > 1
    assert Counter(shard.name for shard in choose_shards(plan, 99, 0)) == Counter(shard.name for shard in plan.shards())


def test_the_recipe_of_a_dataset_is_a_valid_recipe_with_versions(sound: Path) -> None:
    text = write_recipe(sound)
    assert parse_recipe(text).sha256 == parse_recipe(RECIPE).sha256
    assert text.endswith(RECIPE)
    for line in ("#:   service fake: 1.0", "#:   teacher: fake==1", f"#:   teacher model: fake, weights {'f' * 64}", "32 structures"):
        assert line in text
    assert len(text) < 10_000


def test_a_recipe_that_was_printed_before_gets_one_header(dataset: Path) -> None:
    once = write_recipe(dataset)
    with h5py.File(dataset, "r+") as file:
        file["metadata"].attrs["recipe"] = once
    assert write_recipe(dataset).count("made_with") == 1


def test_a_recipe_that_is_not_the_datasets_is_refused(dataset: Path) -> None:
    with h5py.File(dataset, "r+") as file:
        file["metadata"].attrs["recipe"] = RECIPE.replace("seed: 1", "seed: 2")
    with pytest.raises(InvalidRequest, match="sha256"):
        write_recipe(dataset)


def test_the_exit_code_says_what_was_found(sound: Path, dataset: Path) -> None:
    runner = CliRunner()
    well = runner.invoke(app, ["verify", str(sound)])
    assert well.exit_code == 0, well.output
    assert "✓ gates" in well.output
    change(dataset, add("labels/energy", 0, 1.0))
    found = runner.invoke(app, ["verify", str(dataset), "--json"])
    assert found.exit_code == 3
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert next(row["name"] for row in rows if row["passed"] is False) == "digests"
    assert runner.invoke(app, ["recipe", str(sound)]).stdout == write_recipe(sound)
