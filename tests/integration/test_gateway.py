"""A recipe goes in, a dataset and a verdict come out; what goes wrong on the way is said and made good."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import traceback
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np
import pytest

from cli.story import say_how_many
from distillery.dataset.folder import part_path
from distillery.dataset.layout import Label
from distillery.dataset.parts import read_part
from distillery.dataset.reading import read_dataset
from distillery.errors import Busy, Internal, Unavailable, Unsupported
from distillery.export.ase_databases import export_ase_db, export_aselmdb
from distillery.export.extxyz import export_extxyz
from distillery.generators.generator import Task
from distillery.http.client import EmbeddedServers
from distillery.planning.made_parts import MadeParts
from distillery.recipe.target import Target, read_target
from distillery.schema.dataset import Status
from distillery.structures.structure import Structure
from distillery.verify.verification import Verification
from gateway.app import create_gateway
from gateway.curate import Curated, curate
from gateway.live.views import Watch
from gateway.local_network import find_own_network
from gateway.settings import GatewaySettings
from tests.fake_service import FakeGenerator
from tests.fake_teacher import FakeTeacher
from tests.integration.factory import RECIPE, factory, identity, leftovers, make, settings_for, two_fakes, until, wait_for


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


async def make_in(data: Path, generators: dict[str, FakeGenerator] | None = None, recipe: str = RECIPE, **changes: Any) -> dict[str, Any]:
    async with factory(data, generators or two_fakes(), **changes) as client:
        return await make(client, recipe)


def report(data: Path, name: str = "small") -> dict[str, Any]:
    return json.loads((data / name / "report.json").read_text())


def test_a_recipe_becomes_a_dataset_and_a_verdict(tmp_path: Path) -> None:
    status = run(make_in(tmp_path))
    assert status["state"] == "finished"
    ids = [id for id, _ in identity(tmp_path)]
    assert len(ids) == len(set(ids)) == 32
    assert [id.split("/")[0] for id in ids] == sorted(id.split("/")[0] for id in ids)
    assert report(tmp_path)["verdict"] == status["verdict"]
    assert not leftovers(tmp_path)


def test_the_file_has_the_agreed_layout(tmp_path: Path) -> None:
    run(make_in(tmp_path))
    with h5py.File(tmp_path / "small" / "dataset.h5") as file:
        n, n_atoms = 32, file["structures/atomic_numbers"].shape[0]
        splits = file["structures/atomic_numbers_splits"][:]
        expected = {
            "structures/atomic_numbers": ("int64", (n_atoms,)),
            "structures/atomic_numbers_splits": ("int64", (n + 1,)),
            "structures/positions": ("float64", (n_atoms, 3)),
            "structures/cells": ("float64", (n, 3, 3)),
            "structures/pbc": ("bool", (n, 3)),
            "labels/energy": ("float64", (n,)),
            "labels/forces": ("float32", (n_atoms, 3)),
            "labels/forces_splits": ("int64", (n + 1,)),
            "labels/stress": ("float64", (n, 6)),
            "labels/stress_mask": ("bool", (n,)),
            "labels/structure_indices": ("int64", (n,)),
        }
        assert {name: (str(file[name].dtype), file[name].shape) for name in expected} == expected
        assert splits[0] == 0
        assert splits[-1] == n_atoms
        assert np.array_equal(splits, file["labels/forces_splits"][:])
        assert not file["labels/stress_mask"][:].any()
        assert file["metadata"].attrs["num_structures"] == n
        assert file["metadata"].attrs["teacher_model"] == "fake"


def test_the_same_recipe_again_changes_nothing(tmp_path: Path) -> None:
    run(make_in(tmp_path))
    before = {path: path.read_bytes() for path in (tmp_path / "small").rglob("*.h5")}
    generators = two_fakes()
    run(make_in(tmp_path, generators))
    assert {path: path.read_bytes() for path in (tmp_path / "small").rglob("*.h5")} == before
    assert not any(generator.calls for generator in generators.values())


def test_another_recipe_of_the_same_name_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            await make(client)
            answer = await client.post("/v1/datasets", content=RECIPE.replace("seed: 1", "seed: 2"))
            assert answer.status_code == 409
            assert answer.json()["kind"] == "conflict"

    run(main())


def test_a_bad_recipe_is_refused_with_line_and_key(tmp_path: Path) -> None:
    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            answer = await client.post("/v1/datasets", content=RECIPE.replace("count: 20", "cuont: 20"))
            assert answer.status_code == 400
            assert {"line": 6, "key": "sources.one.cuont", "message": "unknown key 'cuont'; did you mean 'count'?"} in answer.json()[
                "faults"
            ]
            assert (await client.get("/v1/datasets")).json() == []

    run(main())


def test_what_can_pass_is_tried_again(tmp_path: Path) -> None:
    def fail_once(task: Task, call: int) -> None:
        if call == 0:
            raise {0: Busy("full", retry_after=None), 1: Internal("oops"), 2: Unavailable("away")}[task.seed % 3]

    generators = {"fake": FakeGenerator("fake", script=fail_once), "other": FakeGenerator("other")}
    assert run(make_in(tmp_path, generators))["state"] == "finished"
    assert set(generators["fake"].calls.values()) == {2}


def test_what_cannot_pass_fails_with_a_clear_status_and_can_be_resumed(tmp_path: Path) -> None:
    def refuse(task: Task, call: int) -> None:
        raise Unavailable("the weights are gone")

    generators = two_fakes()
    generators["other"].script = refuse

    async def main() -> None:
        async with factory(tmp_path, generators) as client:
            status = await make(client)
            assert status["state"] == "failed"
            assert "the weights are gone" in status["problem"]["detail"]
            assert status["problem"]["kind"] == "unavailable"
            generators["other"].script = None
            await client.post("/v1/datasets/small/resume")
            assert (await wait_for(client, "finished"))["verdict"]

    run(main())
    assert len(identity(tmp_path)) == 32


def test_rejected_structures_are_topped_up(tmp_path: Path) -> None:
    generators = two_fakes()
    generators["fake"].made = 3
    run(make_in(tmp_path, generators))
    found = report(tmp_path)
    assert found["sources"]["one"]["kept"] == 20
    assert found["sources"]["one"]["requested"] > 20
    assert found["sources"]["one"]["rejected"]["generation: unlucky"] > 0
    assert found["rounds"] > 1


def test_a_spent_budget_falls_back_and_says_so(tmp_path: Path) -> None:
    def nothing(task: Task, call: int) -> None:
        raise Unsupported("not today")

    generators = two_fakes()
    generators["fake"].script = nothing
    run(make_in(tmp_path, generators, RECIPE.replace("count: 20", "count: 20, fallback: two")))
    found = report(tmp_path)["sources"]["one"]
    assert found["made_by"] == {"other": 20}
    assert "not today" in found["fallback_notes"][0]


def test_a_source_that_is_not_there_at_the_start_falls_back(tmp_path: Path) -> None:
    recipe = RECIPE.replace("service: fake, system: cluster, count: 20", "service: nowhere, system: cluster, count: 20, fallback: two")
    run(make_in(tmp_path, recipe=recipe))
    found = report(tmp_path)["sources"]["one"]
    assert found["made_by"] == {"other": 20}
    assert found["fallback_notes"]


def test_an_outage_on_the_way_stops_the_run_and_does_not_change_the_result(tmp_path: Path) -> None:
    recipe = RECIPE.replace("count: 20", "count: 20, fallback: two")
    generators = two_fakes()

    def go_away(task: Task, call: int) -> None:
        if task.shard.endswith("2"):
            raise Unavailable("gone for a while")

    async def main() -> None:
        async with factory(tmp_path / "outage", generators) as client:
            generators["fake"].script = go_away
            assert (await make(client, recipe))["state"] == "failed"
            generators["fake"].script = None
            await client.post("/v1/datasets/small/resume")
            await wait_for(client, "finished")

    run(main())
    run(make_in(tmp_path / "undisturbed", recipe=recipe))
    assert identity(tmp_path / "outage") == identity(tmp_path / "undisturbed")


def test_gateway_and_labeller_with_different_folders_are_an_error(tmp_path: Path) -> None:
    async def main() -> dict[str, Any]:
        async with factory(tmp_path / "gateway", two_fakes(), labeller_data=tmp_path / "labeller") as client:
            return await make(client)

    status = run(main())
    assert status["state"] == "failed"
    assert "the same data folder" in status["problem"]["detail"]


def test_a_renamed_folder_is_refused_and_hides_no_other(tmp_path: Path) -> None:
    run(make_in(tmp_path))
    (tmp_path / "small").rename(tmp_path / "moved")

    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            await make(client)
            refused = await client.post("/v1/datasets/moved/resume")
            assert refused.status_code == 409
            (tmp_path / "moved" / "state.json").write_text("")
            rows = {row["name"]: row for row in (await client.get("/v1/datasets")).json()}
            assert rows["moved"]["problem"]["kind"] == "internal"
            assert rows["small"]["state"] == "finished"
        async with factory(tmp_path, two_fakes(), resume=True) as client:
            assert (await client.get("/v1/datasets/small")).json()["state"] == "finished"

    run(main())


@pytest.mark.parametrize("content", ["[" * 100_000, "\\udcff\\udcfe", "null"], ids=["deep", "no text", "nothing"])
def test_a_state_that_was_damaged_is_named_and_hides_no_other(tmp_path: Path, content: str) -> None:
    run(make_in(tmp_path))
    shutil.copytree(tmp_path / "small", tmp_path / "other")
    (tmp_path / "small" / "state.json").write_bytes(content.encode("utf-8", "surrogateescape"))

    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            refused = await client.get("/v1/datasets/small")
            assert str(tmp_path / "small" / "state.json") in refused.json()["detail"]
            rows = {row["name"]: row for row in (await client.get("/v1/datasets")).json()}
            assert rows["small"]["problem"]["kind"] == "internal"
            assert rows["other"]["state"] == "finished"

    run(main())


def test_what_nobody_expected_of_one_dataset_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it keep the gateway from going on with those behind it."""
    run(make_in(tmp_path))
    shutil.copytree(tmp_path / "small", tmp_path / "damaged")
    (tmp_path / "small" / "report.json").unlink()

    def read_badly(folder: Path) -> Target:
        if folder.name == "damaged":
            raise PermissionError(13, "Permission denied", str(folder))
        return read_target(folder)

    monkeypatch.setattr("gateway.stored_dataset.read_target", read_badly)

    async def main() -> None:
        async with factory(tmp_path, two_fakes(), resume=True) as client:
            await wait_for(client, "finished")
            rows = {row["name"]: row for row in (await client.get("/v1/datasets")).json()}
            assert str(tmp_path / "damaged") in rows["damaged"]["problem"]["detail"]
            assert (await client.get("/metrics")).status_code == 200

    run(main())


@pytest.mark.parametrize("path", ["", "/plan", "/pause"])
def test_a_recipe_that_was_damaged_is_named(tmp_path: Path, path: str) -> None:
    run(make_in(tmp_path))
    (tmp_path / "small" / "recipe.yaml").write_bytes(b"\xff\xfe")

    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            refused = await client.request("POST" if path == "/pause" else "GET", f"/v1/datasets/small{path}")
            assert (refused.status_code, str(tmp_path / "small" / "recipe.yaml") in refused.json()["detail"]) == (400, True)
            again = await client.post("/v1/datasets", content=RECIPE)
            assert (again.status_code, str(tmp_path / "small" / "recipe.yaml") in again.json()["detail"]) == (400, True)

    run(main())


def test_a_part_that_leads_nowhere_is_named_where_structures_are_looked_at(tmp_path: Path) -> None:
    run(make_in(tmp_path))
    part = next((tmp_path / "small" / "parts").glob("*.h5"))
    part.unlink()
    part.symlink_to(tmp_path / "gone.h5")

    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            refused = await client.get("/v1/datasets/small/structures?n=50")
            assert (refused.status_code, str(part) in refused.json()["detail"]) == (503, True)

    run(main())


@pytest.mark.parametrize("name", ["README.md", "dataset.h5", "parts/full-one-00000.h5"])
def test_a_dataset_is_not_begun_in_a_folder_that_holds_something_else(tmp_path: Path, name: str) -> None:
    own = tmp_path / "small" / name
    own.parent.mkdir(parents=True)
    own.write_text("mine")

    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            refused = await client.post("/v1/datasets", content=RECIPE)
            assert refused.status_code == 409
            assert f"it holds {name.partition('/')[0]} and no recipe.yaml" in refused.json()["detail"]
            own.unlink()
            await make(client)

    run(main())


def test_what_lies_among_the_parts_and_is_none_stays_and_hinders_nothing(tmp_path: Path) -> None:
    run(make_in(tmp_path))
    for name in ("notes.h5", "full-one-00000 (copy).h5", "my-own-data.h5"):
        (tmp_path / "small" / "parts" / name).write_text("mine")
    part_path(tmp_path / "small", "full-one-00002").unlink()
    assert run(make_in(tmp_path))["state"] == "finished"
    assert (tmp_path / "small" / "parts" / "notes.h5").read_text() == "mine"


def test_an_old_report_does_not_vouch_for_a_dataset_that_lost_a_part(tmp_path: Path) -> None:
    run(make_in(tmp_path))
    part_path(tmp_path / "small", "full-one-00002").unlink()

    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            status = (await client.get("/v1/datasets/small")).json()
            assert (status["state"], status["verdict"]) == ("stopped", None)

    run(main())


def test_a_recipe_that_was_refused_leaves_its_name_to_the_mended_one_and_a_begun_one_does_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            status = await make(client, RECIPE.replace("service: other", "service: othr"))
            assert (status["state"], status["problem"]["kind"]) == ("failed", "not_found")
            assert (await make(client))["state"] == "finished"
            other = await client.post("/v1/datasets", content=RECIPE.replace("seed: 1", "seed: 2"))
            assert other.status_code == 409
            assert "seed is 2, it was 1" in other.json()["detail"]

    run(main())


def test_the_same_recipe_again_ends_a_pause_and_other_gates_are_refused_meanwhile(tmp_path: Path) -> None:
    generators = two_fakes()
    for generator in generators.values():
        generator.seconds = 0.2

    async def main() -> None:
        async with factory(tmp_path, generators) as client:
            await client.post("/v1/datasets", content=RECIPE)
            await client.post("/v1/datasets/small/pause")
            other = await client.post("/v1/datasets", content=RECIPE + "gates: {duplicates: {required: false}}\n")
            assert other.status_code == 409
            assert (await client.post("/v1/datasets", content=RECIPE)).json()["state"] == "running"
            await wait_for(client, "finished")

    run(main())


def test_a_resume_during_a_cancel_is_not_lost(tmp_path: Path) -> None:
    generators = two_fakes()
    generators["fake"].seconds = 0.5

    async def main() -> None:
        async with factory(tmp_path, generators) as client:
            await client.post("/v1/datasets", content=RECIPE)
            await until(lambda: generators["fake"].calls)
            await asyncio.gather(client.post("/v1/datasets/small/cancel"), client.post("/v1/datasets/small/resume"))
            await wait_for(client, "finished")

    run(main())


@pytest.mark.parametrize("service", ["evil.example:80%23", "labeller", "a" * 64, "UPPER"])
def test_only_services_can_be_asked_for_by_name(tmp_path: Path, service: str) -> None:
    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            assert (await client.get(f"/v1/services/{service}")).status_code == 400
            assert (await client.get("/v1/services/fake")).json()["service"] == "fake"

    run(main())


def test_duplicates_are_left_out_and_counted(tmp_path: Path) -> None:
    generators = two_fakes()
    generators["fake"].twin = True
    status = run(make_in(tmp_path, generators))
    found = report(tmp_path)
    assert status["verdict"] == "NO-GO"
    assert found["sources"]["one"]["kept"] == 1
    told = Status.model_validate(status)
    assert told.sources["one"].counted == 1
    assert told.sources["one"].refused == {"duplicate": sum(found["sources"]["one"]["rejected"].values())}
    assert (say_how_many(told), Watch().view(told).percent) == ("13/32", 40)
    assert {"duplicates (all)", "completeness (all)"} <= set(found["reasons"])
    hashes = Counter(hash for _, hash in identity(tmp_path))
    assert max(hashes.values()) == 1


def test_a_set_without_hydrogens_is_no_go(tmp_path: Path) -> None:
    generators = two_fakes()
    for generator in generators.values():
        generator.use = ("C", "N", "O", "F", "Si", "P", "S", "Cl")
    run(make_in(tmp_path, generators))
    assert "element_coverage (all)" in report(tmp_path)["reasons"]


def test_one_composition_is_no_go(tmp_path: Path) -> None:
    generators = two_fakes()
    generators["other"].composition = "fixed"
    run(make_in(tmp_path, generators))
    assert {"distinct_compositions (two)", "distinct_sizes (two)"} <= set(report(tmp_path)["reasons"])


def test_a_broken_teacher_is_no_go(tmp_path: Path) -> None:
    def spoil(structure: Structure, label: Label) -> Label:
        return replace(label, energy=float("nan")) if len(structure) > 12 else label

    run(make_in(tmp_path, teacher=FakeTeacher(spoil=spoil)))
    found = report(tmp_path)
    assert "teacher_success (all)" in found["reasons"]
    assert found["sources"]["one"]["rejected"]["label: not_finite_label"] > 0


def test_a_dataset_without_a_single_structure_is_no_go_and_can_be_handled_like_any(tmp_path: Path) -> None:
    """As of a wholly broken teacher: verify, the page and exports take the empty file."""

    def spoil(structure: Structure, label: Label) -> Label:
        return replace(label, energy=float("nan"))

    status = run(make_in(tmp_path, teacher=FakeTeacher(spoil=spoil), page=True))
    dataset = tmp_path / "small" / "dataset.h5"
    assert (status["state"], status["verdict"], identity(tmp_path)) == ("finished", "NO-GO", [])
    assert status["has_page"]
    assert {check.name for check in Verification(dataset).run() if not check.passed} == {"gates"}
    assert list(read_dataset(dataset)) == []
    for n, export in enumerate((export_ase_db, export_aselmdb, partial(export_extxyz, mace_keys=True))):
        assert export(dataset, tmp_path / f"exported {n}") == 0


def test_services_that_make_nothing_are_no_go(tmp_path: Path) -> None:
    generators = two_fakes()
    for generator in generators.values():
        generator.made = 0
    status = run(make_in(tmp_path, generators))
    assert (status["state"], status["verdict"], identity(tmp_path)) == ("finished", "NO-GO", [])


def test_pause_and_resume(tmp_path: Path) -> None:
    """What is in work when it is paused is finished; nothing else is begun."""
    go_on, generators = threading.Event(), two_fakes()
    for generator in generators.values():
        generator.script = lambda task, call: go_on.wait(60)

    def count_calls() -> int:
        return sum(generator.calls.total() for generator in generators.values())

    async def main() -> None:
        async with factory(tmp_path, generators) as client:
            await client.post("/v1/datasets", content=RECIPE)
            await until(lambda: all(generator.calls for generator in generators.values()))
            assert (await client.post("/v1/datasets/small/pause")).json()["state"] == "paused"
            go_on.set()
            async with asyncio.timeout(60):
                in_work, done = 1, 0
                while in_work or done < count_calls():
                    await asyncio.sleep(0.01)
                    sources = (await client.get("/v1/datasets/small")).json()["sources"].values()
                    in_work = sum(sum(row["in_work"].values()) for row in sources)
                    done = sum(row["shards_done"] for row in sources)
            assert done == count_calls() < 7
            assert (await client.post("/v1/datasets/small/resume")).json()["state"] == "running"
            await wait_for(client, "finished")

    run(main())


def test_a_cancel_is_not_kept_waiting_by_what_is_told_of_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_read = threading.Event()

    async def main() -> None:
        generators = two_fakes()
        generators["fake"].seconds = 60
        async with factory(tmp_path, generators) as client:
            await client.post("/v1/datasets", content=RECIPE)
            await until(lambda: generators["fake"].calls)
            make_plan = MadeParts.make_plan
            monkeypatch.setattr(MadeParts, "make_plan", lambda *given: is_read.wait(30) and make_plan(*given))
            async with asyncio.timeout(10):
                assert "Cancelled" in (await client.post("/live/datasets/small/cancel")).text
            assert not is_read.is_set()
            is_read.set()
            await wait_for(client, "cancelled")

    run(main())


def test_cancel_abandons_the_work_and_resume_takes_it_up(tmp_path: Path) -> None:
    generators = two_fakes()
    generators["fake"].seconds = 5.0

    async def main() -> None:
        async with factory(tmp_path, generators) as client:
            await client.post("/v1/datasets", content=RECIPE)
            await until(lambda: generators["fake"].calls)
            assert (await client.post("/v1/datasets/small/cancel")).json()["state"] == "cancelled"
            assert generators["fake"].stopped > 0
            generators["fake"].seconds = 0.0
            await client.post("/v1/datasets/small/resume")
            await wait_for(client, "finished")

    run(main())
    assert len(identity(tmp_path)) == 32


def test_a_restarted_gateway_takes_up_what_was_running(tmp_path: Path) -> None:
    async def main() -> None:
        generators = two_fakes()
        generators["fake"].seconds = 0.3
        async with factory(tmp_path, generators) as client:
            await client.post("/v1/datasets", content=RECIPE)
            await until(lambda: generators["fake"].calls)
        async with factory(tmp_path, two_fakes(), resume=True) as client:
            await wait_for(client, "finished")

    run(main())
    undisturbed = tmp_path / "undisturbed"
    run(make_in(undisturbed))
    assert identity(tmp_path) == identity(undisturbed)


def test_events_tell_what_happened(tmp_path: Path) -> None:
    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            await make(client)
            text = (await client.get("/v1/datasets/small/events")).text
            kinds = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
            assert kinds[:2] == ["state", "round"]
            assert kinds.count("shard") == 7
            assert kinds[-2:] == ["finalising", "finished"]
            later = (await client.get("/v1/datasets/small/events", headers={"Last-Event-ID": "3"})).text
            assert later.startswith("id: 4\n")

    run(main())


def test_files_are_served_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")

    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            await make(client)
            files = {row["path"] for row in (await client.get("/v1/datasets/small/files")).json()}
            assert {"dataset.h5", "report.json", "recipe.yaml", "parts/full-one-00000.h5"} <= files
            body = (await client.get("/v1/datasets/small/files/dataset.h5")).content
            assert body == (tmp_path / "small" / "dataset.h5").read_bytes()
            for path in ("../secret.txt", "%2e%2e/secret.txt", "state.json", ".lock", "parts"):
                assert (await client.get(f"/v1/datasets/small/files/{path}")).status_code == 404

    run(main())


def test_a_corrupt_part_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    run(make_in(tmp_path))
    path = part_path(tmp_path / "small", "full-one-00002")
    body = bytearray(path.read_bytes())
    at = body.index(read_part(path).arrays["structures/positions"].tobytes())
    body[at + 40] ^= 1
    path.write_bytes(bytes(body))
    before = identity(tmp_path)
    status = run(make_in(tmp_path))
    assert status["state"] == "failed"
    assert status["problem"]["kind"] == "corrupt_part"
    assert str(path) in status["problem"]["detail"]
    path.unlink()
    assert run(make_in(tmp_path))["state"] == "finished"
    assert identity(tmp_path) == before


def test_a_part_of_another_recipe_is_not_reused(tmp_path: Path) -> None:
    run(make_in(tmp_path / "a"))
    run(make_in(tmp_path / "b", recipe=RECIPE.replace("seed: 1", "seed: 2")))
    stranger = part_path(tmp_path / "b" / "small", "full-one-00001")
    part_path(tmp_path / "a" / "small", "full-one-00001").write_bytes(stranger.read_bytes())
    status = run(make_in(tmp_path / "a"))
    assert status["state"] == "failed"
    assert "another recipe" in status["problem"]["detail"]


def test_a_recipe_for_another_teacher_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    generators = two_fakes()
    status = run(make_in(tmp_path, generators, RECIPE.replace("teacher: fake", "teacher: orb-v2")))
    assert "DISTILLERY_LABELLER_TEACHER=orb-v2" in status["problem"]["detail"]
    assert not any(generator.calls for generator in generators.values())


def test_a_refused_recipe_leaves_no_folder_and_is_told_of_until_it_is_mended(tmp_path: Path) -> None:
    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            refused = await make(client, RECIPE.replace("teacher: fake", "teacher: orb-v2"))
            assert refused["state"] == "failed"
            assert not list(tmp_path.glob("small*"))
            assert (await client.get("/v1/datasets")).json() == []
            assert "event: failed" in (await client.get("/v1/datasets/small/events")).text
            assert (await client.post("/v1/datasets/small/resume")).status_code == 404
            assert (await make(client))["state"] == "finished"

    run(main())


def test_a_dataset_that_was_there_before_stays_whatever_a_labeller_of_today_says(tmp_path: Path) -> None:
    recipe = RECIPE.replace("teacher: fake", "teacher: orb-v2")
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "recipe.yaml").write_text(recipe)
    run(make_in(tmp_path, recipe=recipe))
    assert (tmp_path / "small" / "recipe.yaml").read_text() == recipe


def test_elements_a_service_does_not_know_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    recipe = RECIPE.replace("seed: 1", "seed: 1\nelements: [H, C, Fe]")
    status = run(make_in(tmp_path, recipe=recipe))
    assert "Fe" in status["problem"]["detail"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("shard_size: 5", "shard_size: 15"), "source one: fake makes at most 10 structures in one request, got n = 15; set shard_size"),
        (("count: 12, atoms: [4, 20]", "count: 12, atoms: [4, 200]"), "source two: other's cluster has 1-100 atoms, asked for 4-200"),
    ],
)
def test_requests_beyond_what_a_service_says_are_refused_before_anything_is_made(
    tmp_path: Path, change: tuple[str, str], named: str
) -> None:
    generators = two_fakes()
    generators["fake"].n_max = 10
    status = run(make_in(tmp_path, generators, RECIPE.replace(*change)))
    assert status["problem"]["kind"] == "unsupported"
    assert named in status["problem"]["detail"]
    assert not any(generator.calls for generator in generators.values())


@pytest.mark.parametrize(
    "sources",
    [
        "{one: {service: fake, system: cluster, count: 8}, two: {service: other, system: cluster, count: 40, fallback: one}}",
        "{one: {service: fake, system: cluster, count: 10, fallback: two}, two: {service: other, system: cluster, count: 40}}",
    ],
    ids=["in the place of another", "in a later round"],
)
def test_the_largest_request_that_may_come_is_checked_before_anything_is_made(tmp_path: Path, sources: str) -> None:
    generators = two_fakes()
    generators["fake"].n_max, generators["fake"].made = 10, 3
    status = run(make_in(tmp_path, generators, f"name: small\nseed: 1\nteacher: fake\nshard_size: 20\nsources: {sources}\n"))
    assert status["problem"]["kind"] == "unsupported"
    assert "source one: fake makes at most 10 structures in one request, got n = 20" in status["problem"]["detail"]
    assert not any(generator.calls for generator in generators.values())


def test_a_source_that_owes_nothing_needs_no_service(tmp_path: Path) -> None:
    recipe = RECIPE.replace("seed: 1", "seed: 1\ngenerative_fraction: 0").replace("count: 20", "count: 20, generative: true")
    status = run(make_in(tmp_path, {"other": FakeGenerator("other")}, recipe))
    assert status["state"] == "finished"
    assert status["sources"]["two"]["kept"] == 32


def test_an_error_that_is_no_problem_is_named_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, plan: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gateway.run.write_checkpoints", fail)
    status = run(make_in(tmp_path, recipe=RECIPE + "stages: {full: {wave: 8}}\n"))
    assert status["problem"]["kind"] == "unavailable"
    assert status["problem"]["detail"] == f"{tmp_path / 'small'}: No space left on device; free some space there, then resume"


@pytest.mark.parametrize("path", ["", "/events", "/files", "/files/dataset.h5"])
def test_unknown_datasets_are_not_found(tmp_path: Path, path: str) -> None:
    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            answer = await client.get(f"/v1/datasets/nothing{path}")
            assert answer.status_code == 404
            assert answer.json()["kind"] == "not_found"

    run(main())


def test_the_api_key_guards_all_but_health(tmp_path: Path) -> None:
    async def main() -> None:
        async with factory(tmp_path, two_fakes(), api_key="sixteen letters!") as client:
            refused = await client.get("/v1/datasets")
            assert refused.status_code == 401
            assert refused.json()["kind"] == "unauthorized"
            assert refused.headers["distillery-service"].startswith("gateway/")
            assert (await client.get("/v1/datasets", headers={"Authorization": "Bearer sixteen letters?"})).status_code == 401
            assert (await client.get("/v1/datasets", headers={"Authorization": "Bearer sixteen letters!"})).json() == []
            assert (await client.get("/v1/datasets", headers={"Authorization": "bearer  sixteen letters!"})).status_code == 200
            assert (await client.get("/v1/datasets", headers={"Authorization": "Basic sixteen letters!"})).status_code == 401
            assert (await client.get("/v1/health/live")).status_code == 200
            assert (await client.get("/metrics")).status_code == 401
        async with factory(tmp_path, two_fakes(), api_key="sixteen letters!", open_metrics=True) as client:
            assert (await client.get("/metrics")).status_code == 200
            assert (await client.get("/v1/datasets")).status_code == 401

    run(main())


@pytest.mark.parametrize("key", ["geheim", "geheim-geheim-gehé", "geheim-geheim-geheim\n"])
def test_a_key_that_is_refused_is_not_printed(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("DISTILLERY_GATEWAY_API_KEY", key)
    with pytest.raises(ValueError, match="api_key") as refused:
        GatewaySettings()
    assert "geheim" not in "".join(traceback.format_exception(refused.value))


def test_an_address_beyond_loopback_without_a_usable_key_prints_none_either(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "serve", "gateway"],
        env={**os.environ, "DISTILLERY_GATEWAY_API_KEY": "geheim", "DISTILLERY_GATEWAY_PUBLISHED": "0.0.0.0"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "at least 16" in done.stderr
    assert "geheim" not in done.stdout + done.stderr


BRIDGE = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n" + "".join(
    f"{interface}\t{destination}\t{gateway}\t0003\t0\t0\t0\t{mask}\t0\t0\t0\n"
    for interface, destination, gateway, mask in (
        ("eth1", "00000000", "010012AC", "00000000"),
        ("eth1", "000012AC", "00000000", "0000FFFF"),
        ("eth0", "0000000A", "00000000", "00FFFFFF"),
    )
)
"""A container in a Swarm: 172.18.0.0/16 with the default route, and the ingress network 10.0.0.0/24."""


@pytest.mark.parametrize(
    ("peer", "is_published", "status"),
    [
        ("127.0.0.1", False, 200),
        ("::1", False, 200),
        ("172.18.0.1", False, 403),
        ("172.18.0.1", True, 200),
        ("::ffff:172.18.0.7", True, 200),
        ("10.0.0.2", True, 403),
        ("203.0.113.9", True, 403),
        ("2001:db8::1", True, 403),
    ],
)
def test_without_a_key_only_this_machine_and_its_containers_network_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peer: str, is_published: bool, status: int
) -> None:
    routes = tmp_path / "route"
    routes.write_text(BRIDGE)
    monkeypatch.setattr("gateway.app.find_own_network", lambda: find_own_network(routes))
    app = create_gateway(settings_for(tmp_path, **({"published": "127.0.0.1"} if is_published else {})), EmbeddedServers({}))

    async def main() -> int:
        transport = httpx.ASGITransport(app, client=(peer, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return (await client.get("/v1/datasets")).status_code

    assert run(main()) == status


OWN = {"Host": "127.0.0.1:8000"}


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", OWN, 202),
        ("POST", OWN | {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}, 202),
        ("POST", {"Host": "[::1]:8000"}, 202),
        ("POST", {"Host": "gateway:8000"}, 202),
        ("POST", OWN | {"Origin": "http://evil.example", "Content-Type": "text/plain"}, 403),
        ("POST", OWN | {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", OWN | {"Origin": "null"}, 403),
        ("POST", OWN | {"Origin": "http://127.0.0.1:9000", "Sec-Fetch-Site": "same-site"}, 403),
        ("GET", {"Host": "evil.example:8000"}, 403),
        ("GET", {"Host": "["}, 403),
        ("POST", OWN | {"Origin": "http://["}, 403),
        ("GET", {"Host": "localhost:8000", "Sec-Fetch-Site": "cross-site"}, 200),
    ],
)
def test_without_a_key_pages_of_others_are_kept_out(tmp_path: Path, method: str, headers: dict[str, str], status: int) -> None:
    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            answer = await client.request(method, "/v1/datasets", content=RECIPE if method == "POST" else None, headers=headers)
            assert answer.status_code == status
            assert status != 403 or answer.json()["kind"] == "forbidden"
            assert (tmp_path / "small").exists() == (status == 202)

    run(main())


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_no_api_key_beyond_loopback_is_refused_at_the_start(tmp_path: Path, address: str) -> None:
    with pytest.raises(ValueError, match="DISTILLERY_GATEWAY_API_KEY"):
        run(make_in(tmp_path, published=address))


def test_requests_are_answered_however_many_shards_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = threading.Event()

    def curate_slowly(*given: Any) -> Curated:
        checked.wait(60)
        return curate(*given)

    async def watch(generators: dict[str, FakeGenerator]) -> None:
        async with factory(tmp_path, generators, concurrency=40) as client:
            await client.post("/v1/datasets", content=RECIPE.replace("shard_size: 5", "shard_size: 1"))
            await until(lambda: sum(sum(own.calls.values()) for own in generators.values()) == 32)
            try:
                async with asyncio.timeout(20):
                    assert [own["state"] for own in (await client.get("/v1/datasets")).json()] == ["running"]
            finally:
                checked.set()
            await wait_for(client, "finished")

    monkeypatch.setattr("gateway.curators.curate", curate_slowly)
    run(watch(two_fakes()))
