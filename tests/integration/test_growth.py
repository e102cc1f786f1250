"""Datasets that grow, through a real gateway and labeller: every part stays, what is new is made, kills in between change nothing."""

import asyncio
from pathlib import Path
from typing import Any

import h5py
import pytest

from cli.recipe import write_recipe
from cli.regenerate import choose_shards, regenerate
from distillery.dataset.folder import list_parts, part_path
from distillery.http.client import EmbeddedServers
from distillery.recipe.reading import parse_recipe
from distillery.verify.file_checks import Check
from distillery.verify.verification import Verification
from tests.fake_service import FakeGenerator
from tests.integration.factory import RECIPE, factory, identity, make, settings_for, two_fakes, until, wait_for

MORE = RECIPE.replace("count: 20", "count: 32")
ADDED = MORE.replace("count: 12,", "count: 15,") + "  three: {service: fake, system: cluster, count: 6, atoms: [21, 30]}\n"


def read_parts(data: Path) -> dict[str, bytes]:
    folder = data / "small"
    return {name: part_path(folder, name).read_bytes() for name in list_parts(folder)}


def make_in(data: Path, *recipes: str) -> dict[str, Any]:
    """Hand in recipes one after another, each when the one before is finished; the last status."""

    async def main() -> dict[str, Any]:
        async with factory(data, two_fakes()) as client:
            for recipe in recipes:
                status = await make(client, recipe)
                assert status["state"] == "finished", status
            return status

    return asyncio.run(main())


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that grew twice."""
    data = tmp_path_factory.mktemp("grown")
    make_in(data, RECIPE, MORE, ADDED)
    return data


def test_every_part_stays_and_only_what_is_new_is_made(tmp_path: Path) -> None:
    make_in(tmp_path, RECIPE)
    before = read_parts(tmp_path)
    status = make_in(tmp_path, ADDED)
    after = read_parts(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {name: row["kept"] for name, row in status["sources"].items()} == {"one": 32, "two": 15, "three": 6}
    assert sum(row["requested"] for row in status["sources"].values()) < 32 + 15 + 6 + 12


def test_the_structures_of_before_are_the_first_of_their_source(grown: Path, tmp_path: Path) -> None:
    make_in(tmp_path, RECIPE)
    assert set(identity(tmp_path)) <= set(identity(grown))


def test_what_grew_is_finished_until_it_is_asked_for_more(grown: Path) -> None:
    before = identity(grown)
    status = make_in(grown, ADDED)
    assert (status["state"], status["verdict"]) == ("finished", status["verdict"])
    assert identity(grown) == before


def test_killed_while_it_grows_it_comes_out_the_same(grown: Path, tmp_path: Path) -> None:
    async def disturb() -> None:
        generators = two_fakes()
        async with factory(tmp_path, generators) as client:
            await make(client, RECIPE)
        generators["fake"].seconds = 0.2
        async with factory(tmp_path, generators) as client:
            await client.post("/v1/datasets", content=MORE)
            await until(lambda: generators["fake"].calls)
        async with factory(tmp_path, two_fakes()) as client:
            await make(client, MORE)
        async with factory(tmp_path, two_fakes()) as client:
            await make(client, ADDED)

    asyncio.run(disturb())
    assert identity(tmp_path) == identity(grown)


def test_stopped_in_the_middle_it_may_be_asked_for_more_and_keeps_what_is_there(tmp_path: Path) -> None:
    async def main() -> dict[str, Any]:
        slow = {"fake": FakeGenerator("fake"), "other": FakeGenerator("other")}
        slow["other"].seconds = 30.0
        async with factory(tmp_path, slow) as client:
            await client.post("/v1/datasets", content=RECIPE)
            await until(lambda: list_parts(tmp_path / "small"))
            refused = await client.post("/v1/datasets", content=MORE)
            assert refused.status_code == 409
            assert "hand this one in when that has ended" in refused.json()["detail"]
            await client.post("/v1/datasets/small/cancel")
            await wait_for(client, "cancelled")
        before = read_parts(tmp_path)
        changed = MORE.replace(
            "{service: other, system: cluster, count: 12, atoms: [4, 20]}", "{service: other, system: cluster, count: 4}"
        )
        async with factory(tmp_path, two_fakes()) as client:
            status = await make(client, changed)
        assert {name: read_parts(tmp_path)[name] for name in before} == before
        return status

    status = asyncio.run(main())
    assert {name: row["kept"] for name, row in status["sources"].items()} == {"one": 32, "two": 4}


def test_what_would_spoil_parts_is_refused_and_nothing_is_lost(grown: Path) -> None:
    before = identity(grown)

    async def main() -> dict[str, Any]:
        async with factory(grown, two_fakes()) as client:
            answer = await client.post("/v1/datasets", content=ADDED.replace("atoms: [21, 30]", "atoms: [21, 40]"))
            assert answer.status_code == 409
            checked = await client.post("/v1/datasets/check", content=ADDED.replace("seed: 1", "seed: 2"))
            assert "seed is 2, it was 1" in checked.json()["detail"]
            problem: dict[str, Any] = answer.json()
            return problem

    assert "sources.three.atoms is [21,40], it was [21,30]" in asyncio.run(main())["detail"]
    assert identity(grown) == before


def test_what_grew_is_verified_from_its_file_and_its_shards_come_out_again(grown: Path, tmp_path: Path) -> None:
    verified = Verification(grown / "small" / "dataset.h5")
    assert [check for check in verified.run() if check.passed is False] == []
    assert verified.plan is not None
    assert {shard.step for shard in verified.plan.shards()} == {0, 1, 2}
    shards = choose_shards(verified.plan, 99, seed=0)

    async def again() -> list[Check]:
        apps: dict[str, Any] = {}
        async with factory(tmp_path, two_fakes(), apps=apps):
            return [check async for check in regenerate(verified, shards, settings_for(tmp_path), EmbeddedServers(apps))]

    assert [check for check in asyncio.run(again()) if not check.passed] == []


def test_its_compact_form_makes_it_again(grown: Path, tmp_path: Path) -> None:
    text = write_recipe(grown / "small" / "dataset.h5")
    assert len(parse_recipe(text).steps) == 2
    make_in(tmp_path, text)
    assert identity(tmp_path) == identity(grown)
    with h5py.File(tmp_path / "small" / "dataset.h5") as again, h5py.File(grown / "small" / "dataset.h5") as file:
        assert again["metadata"].attrs["recipe_sha256"] == file["metadata"].attrs["recipe_sha256"]


def test_what_it_will_take_to_grow_is_told_before(grown: Path) -> None:
    async def main() -> dict[str, Any]:
        async with factory(grown, two_fakes()) as client:
            answer = await client.post("/v1/datasets/plan", content=ADDED.replace("count: 6", "count: 16"))
            forecast: dict[str, Any] = answer.raise_for_status().json()
            return forecast

    forecast = asyncio.run(main())
    assert forecast["parts"] - forecast["parts_done"] == 2
    assert forecast["rest"]["n_structures"] == 10
