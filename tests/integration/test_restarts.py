"""A new process takes up what an old one left: what the parts say counts, wherever in the plan they are."""

import asyncio
import gc
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from distillery.dataset.folder import LAST_STATUS, part_path
from distillery.dataset.parts import read_part
from distillery.errors import Unsupported
from distillery.generators.generator import Task
from distillery.http.client import open_client
from distillery.planning.made_parts import MadePart
from distillery.planning.plan import PlannedPart
from tests.fake_service import FakeGenerator
from tests.fake_teacher import FakeTeacher
from tests.integration.factory import RECIPE, factory, identity, make, two_fakes, until, wait_for

STAND_IN = RECIPE.replace("count: 12", "count: 12, fallback: one")
"""Source two (service other) owes three shards after the four of source one."""


def make_in(data: Path, generators: dict[str, FakeGenerator], recipe: str = RECIPE, **changes: Any) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        async with factory(data, generators, **changes) as client:
            return await make(client, recipe)

    return asyncio.run(main())


def only(name: str) -> dict[str, FakeGenerator]:
    return {name: two_fakes()[name]}


def lose(data: Path, *parts: str) -> None:
    """As if a kill had come before these parts."""
    for part in parts:
        part_path(data / "small", part).unlink()
    for name in ("report.json", "dataset.h5"):
        (data / "small" / name).unlink()


def test_a_service_that_has_begun_is_waited_for_wherever_its_parts_are(tmp_path: Path) -> None:
    assert make_in(tmp_path, two_fakes(), STAND_IN)["state"] == "finished"
    before = identity(tmp_path)
    lose(tmp_path, "full-one-00000", "full-two-00002")
    status = make_in(tmp_path, only("fake"), STAND_IN)
    assert status["state"] == "failed"
    assert "other" in status["problem"]["detail"]
    assert make_in(tmp_path, two_fakes(), STAND_IN)["state"] == "finished"
    assert identity(tmp_path) == before


def test_a_service_that_was_away_stays_so_for_the_dataset(tmp_path: Path) -> None:
    assert make_in(tmp_path, only("fake"), STAND_IN)["state"] == "finished"
    before = identity(tmp_path)
    lose(tmp_path, "full-one-00000", "full-two-00001", "full-two-00002")
    back = two_fakes()
    assert make_in(tmp_path, back, STAND_IN)["state"] == "finished"
    assert not back["other"].calls
    assert identity(tmp_path) == before


def test_a_service_that_refused_one_request_is_asked_the_others_again(tmp_path: Path) -> None:
    def refuse(task: Task, call: int) -> None:
        if task.shard == "full-two-00000":
            raise Unsupported("not this one")

    picky = two_fakes()
    picky["other"].script = refuse
    assert make_in(tmp_path, picky, STAND_IN)["state"] == "finished"
    before = identity(tmp_path)
    lose(tmp_path, "full-one-00000", "full-two-00002")
    assert make_in(tmp_path, picky, STAND_IN)["state"] == "finished"
    assert picky["other"].calls["full-two-00002"] == 2
    assert identity(tmp_path) == before


def test_status_counts_the_parts_behind_a_gap_and_reads_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_in(tmp_path, two_fakes())
    lose(tmp_path, "full-one-00000")
    reads = count_reads(monkeypatch)

    async def main() -> list[dict[str, Any]]:
        async with factory(tmp_path, two_fakes()) as client:
            return [(await client.get("/v1/datasets/small")).json() for _ in range(3)]

    statuses = asyncio.run(main())
    assert [{name: row["shards_done"] for name, row in s["sources"].items()} for s in statuses] == [{"one": 3, "two": 3}] * 3
    assert len(reads) == 6


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    reads: list[Path] = []
    monkeypatch.setattr("distillery.planning.made_parts.read_part", lambda path: reads.append(path) or read_part(path))
    return reads


@pytest.mark.parametrize("recipe", [STAND_IN, RECIPE + "stages: {pilot: {per_source: 3}, full: {wave: 8}}\n"])
def test_a_finished_dataset_is_told_of_by_its_report_and_not_by_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    generators = two_fakes()
    generators["fake"].made = 4
    if recipe == STAND_IN:
        del generators["other"]
    make_in(tmp_path, generators, recipe)
    (tmp_path / "small" / LAST_STATUS).unlink()
    reads = count_reads(monkeypatch)

    async def main() -> list[dict[str, Any]]:
        async with factory(tmp_path, two_fakes(), resume=True) as client:
            by_report = (await client.get("/v1/datasets/small")).json()
            assert (await client.get("/v1/datasets")).json() == [by_report]
            assert not reads
            monkeypatch.setattr("gateway.store.Store.tell_finished", lambda *_: None)
            monkeypatch.setattr("gateway.dataset_statuses.read_last_status", lambda _: None)
            return [by_report, (await client.get("/v1/datasets/small")).json()]

    by_report, by_parts = asyncio.run(main())
    assert len(set(reads)) == len(reads) > 7
    assert by_report["state"] == "finished"
    for name, row in by_report["sources"].items():
        for key in ("generate_seconds", "label_seconds"):
            assert row.pop(key) == pytest.approx(by_parts["sources"][name].pop(key), abs=0.001)
    of_verdict = ("state", "verdict", "has_page", "reasons")
    assert {k: v for k, v in by_report.items() if k not in of_verdict} == {k: v for k, v in by_parts.items() if k not in of_verdict}


def test_a_finished_dataset_that_misses_a_part_is_taken_up(tmp_path: Path) -> None:
    make_in(tmp_path, two_fakes())
    before = identity(tmp_path)
    part_path(tmp_path / "small", "full-two-00001").unlink()

    async def main() -> None:
        async with factory(tmp_path, two_fakes(), resume=True) as client:
            await wait_for(client, "finished")

    asyncio.run(main())
    assert part_path(tmp_path / "small", "full-two-00001").exists()
    assert identity(tmp_path) == before


def count_kept() -> int:
    """What gateways and plans hold of parts, in this process."""
    gc.collect()
    return sum(type(one) in {MadePart, PlannedPart} for one in gc.get_objects())


def test_nothing_of_a_finished_dataset_stays_in_memory(tmp_path: Path) -> None:
    before = count_kept()

    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            await make(client)
            await make(client, RECIPE.replace("name: small", "name: other"))
            assert count_kept() <= before
            assert (await client.get("/v1/datasets/small")).json()["sources"]["one"]["kept"] == 20

    asyncio.run(main())


def test_a_part_that_is_taken_away_is_missed_at_once(tmp_path: Path) -> None:
    make_in(tmp_path, two_fakes())

    async def count_shards(client: httpx.AsyncClient) -> int:
        sources = (await client.get("/v1/datasets/small")).json()["sources"]
        return sum(row["shards_done"] for row in sources.values())

    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            assert await count_shards(client) == 7
            lose(tmp_path, "full-two-00001")
            assert await count_shards(client) == 6

    asyncio.run(main())


def test_other_weights_of_the_same_teacher_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    make_in(tmp_path, two_fakes(), teacher=FakeTeacher())
    lose(tmp_path, "full-two-00002")
    generators = two_fakes()
    status = make_in(tmp_path, generators, teacher=FakeTeacher(weights_sha256="a" * 64))
    assert status["problem"]["kind"] == "conflict"
    assert "weights aaaaaaaaaaaa" in status["problem"]["detail"]
    assert "weights ffffffffffff" in status["problem"]["detail"]
    assert not any(generator.calls for generator in generators.values())


def test_parts_of_two_teachers_are_noticed_when_they_are_read(tmp_path: Path) -> None:
    make_in(tmp_path / "a", two_fakes(), teacher=FakeTeacher())
    make_in(tmp_path / "b", two_fakes(), teacher=FakeTeacher(weights_sha256="a" * 64))
    stranger = part_path(tmp_path / "b" / "small", "full-two-00001")
    part_path(tmp_path / "a" / "small", "full-two-00001").write_bytes(stranger.read_bytes())
    status = make_in(tmp_path / "a", two_fakes())
    assert status["problem"]["kind"] == "conflict"
    assert "full-two-00001.h5 was labelled by fake" in status["problem"]["detail"]


def test_a_part_too_many_takes_the_verdict_away(tmp_path: Path) -> None:
    make_in(tmp_path, two_fakes())
    part = part_path(tmp_path / "small", "full-two-00002")
    part.with_name("full-two-00003.h5").write_bytes(part.read_bytes())
    status = make_in(tmp_path, two_fakes())
    assert (status["state"], status["verdict"]) == ("failed", None)
    assert "full-two-00003" in status["problem"]["detail"]


def test_two_processes_do_not_make_one_dataset(tmp_path: Path) -> None:
    async def main() -> None:
        generators = two_fakes()
        generators["fake"].seconds = 0.5
        async with factory(tmp_path, generators) as first, factory(tmp_path, two_fakes()) as second:
            await first.post("/v1/datasets", content=RECIPE)
            await until(lambda: generators["fake"].calls)
            files = {name: (tmp_path / "small" / name).read_bytes() for name in ("recipe.yaml", "state.json")}
            other_gates = RECIPE + "gates: {element_entropy: {required: false}}\n"
            for refused in (
                await second.post("/v1/datasets", content=other_gates),
                *[await second.post(f"/v1/datasets/small/{verb}") for verb in ("pause", "cancel", "resume")],
            ):
                assert refused.status_code == 409
                assert "another process" in refused.json()["detail"]
            assert files == {name: (tmp_path / "small" / name).read_bytes() for name in files}
            await wait_for(first, "finished")

    asyncio.run(main())


NOTHING: dict[str, Any] = {
    "bandwidth": 0.06,
    "ceiling": 0.0,
    **{key: {} for key in ("n_structures", "entropy", "coverage", "covered_by_others", "too_small")},
}
"""What a page without environments says of diversity."""


def test_a_finished_dataset_is_reported_anew_only_if_something_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    async def write_page(folder: Path, target: Path) -> dict[str, Any]:
        made.append(target)
        target.write_text("a page")
        return NOTHING | {"n_environments": len(made)}

    monkeypatch.setattr("gateway.run.write_page_aside", write_page)

    def make_again(recipe: str = RECIPE) -> tuple[int, str | None, int]:
        status = make_in(tmp_path, two_fakes(), recipe, page=True)
        return len(made), status["verdict"], json.loads((tmp_path / "small" / "report.json").read_text())["diversity"]["n_environments"]

    assert make_again() == (1, "GO", 1)
    assert make_again() == (1, "GO", 1)
    (tmp_path / "small" / "report.html").unlink()
    assert make_again() == (2, "GO", 2)
    (tmp_path / "small" / "report.json").write_text("{")
    assert make_again() == (3, "GO", 3)
    assert make_again(RECIPE + "gates: {element_entropy: {threshold: 5, required: true}}\n") == (4, "NO-GO", 4)
    lose(tmp_path, "full-two-00002")
    assert make_again() == (5, "GO", 5)


def test_events_are_numbered_on_after_a_resume(tmp_path: Path) -> None:
    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            await make(client)
            first = await read_events(client, 0)
            lose(tmp_path, "full-two-00002")
            await client.post("/v1/datasets/small/resume")
            await wait_for(client, "finished")
            news = await read_events(client, len(first))
            assert news[0] == "state"
            assert news[-1] == "finished"
            assert await read_events(client, 1000) == news  # an id of an earlier process

    asyncio.run(main())


async def read_events(client: httpx.AsyncClient, last: int) -> list[str]:
    text = (await client.get("/v1/datasets/small/events", headers={"Last-Event-ID": str(last)})).text
    return [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]


@pytest.mark.parametrize(("seconds", "n_late", "n_requests"), [(60.0, 2, 7), (1e-9, 1, 8)])
def test_a_part_that_is_seen_late_is_waited_for_and_then_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, n_late: int, n_requests: int
) -> None:
    """As behind the caches of a network file system; the labeller, asked again, finds the part and leaves it as it is."""
    hidden: Counter[str] = Counter()

    def see(path: Path) -> bool:
        hidden[path.name] += 1
        return hidden[path.name] > (n_late if path.name == "full-one-00001.h5" else 0)

    monkeypatch.setattr("gateway.clients.is_visible", see)
    apps: dict[str, FastAPI] = {}

    async def main() -> str:
        async with factory(tmp_path, two_fakes(), apps=apps, visible_seconds=seconds) as client:
            assert (await make(client))["state"] == "finished"
        async with open_client(apps["labeller"], "labeller", httpx.Timeout(30)) as client:
            return (await client.get("/metrics")).text

    metrics = asyncio.run(main())
    assert f'path="/label",status="200"}} {n_requests}.0' in metrics, "seven shards; one of them twice where it is not waited for"
    assert hidden["full-one-00001.h5"] > n_late
