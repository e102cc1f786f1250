"""Benchmark structures through the gateway: no two shards take the same one, and a pool that is too small ends in NO-GO."""

import asyncio
import json
from pathlib import Path
from typing import Any

import h5py
import pytest

from cli.regenerate import choose_shards, regenerate
from distillery.http.client import EmbeddedServers
from distillery.verify.file_checks import Check
from distillery.verify.verification import Verification
from services.benchmarks.generator import BenchmarkGenerator
from services.benchmarks.settings import BenchmarkSettings
from tests.benchmark_files import slabs, write_oc20
from tests.fake_service import FakeGenerator
from tests.integration.factory import factory, identity, make, settings_for, until, wait_for

N_IN_POOL = 45
STAGES = "stages: {pilot: {per_source: 4}, test: {total: 20}, full: {wave: 15}}\n"
RECIPE = f"""
name: small
seed: 1
teacher: fake
shard_size: 6
perturb: {{rattle: 0.002}}
{STAGES}
gates: {{distinct_sizes: {{required: false}}, element_entropy: {{required: false}}, element_coverage: {{required: false}}}}
sources:
  slabs: {{service: benchmarks, system: surface, count: 30}}
  more: {{service: fake, system: surface, count: 10, fallback: slabs}}
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with slabs, some of them with too little vacuum."""
    folder = tmp_path_factory.mktemp("pool")
    write_oc20(folder / "oc20" / "0.extxyz.xz", [*slabs(N_IN_POOL, seed=6), *slabs(3, seed=1, vacuum=9.0)])
    return folder


def generators(pool: Path, seconds: float = 0.0) -> dict[str, Any]:
    """The benchmarks, and a fake that makes nothing and takes its time."""
    fake = FakeGenerator("fake", "surface")
    fake.made, fake.seconds = 0, seconds
    return {"benchmarks": BenchmarkGenerator(BenchmarkSettings(folder=pool)), "fake": fake}


async def make_in(data: Path, pool: Path, recipe: str = RECIPE) -> dict[str, Any]:
    async with factory(data, generators(pool)) as client:
        return await make(client, recipe)


def rows(data: Path) -> list[int]:
    """Which row of the pool every structure of the dataset was."""
    with h5py.File(data / "small" / "dataset.h5") as file:
        return [json.loads(text)["row"] for text in file["provenance/origin"].asstr()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, pool: Path) -> Path:
    data = tmp_path_factory.mktemp("finished")
    status = asyncio.run(make_in(data, pool))
    assert (status["state"], status["stage"]) == ("finished", "full"), status
    return data


def test_no_structure_of_the_pool_comes_twice_over_all_shards(finished: Path) -> None:
    shards = {id.split("/")[0] for id, _ in identity(finished)}
    assert {name.rsplit("-", 1)[0] for name in shards} >= {"pilot-slabs", "test-slabs", "full-slabs", "full-more-via-slabs"}
    taken = rows(finished)
    assert len(taken) == len(set(taken)) == 40


def test_cancelled_in_the_middle_it_takes_the_same_structures(finished: Path, tmp_path: Path, pool: Path) -> None:
    async def disturb() -> None:
        both = generators(pool, seconds=0.2)
        async with factory(tmp_path, both) as client:
            await client.post("/v1/datasets", content=RECIPE)
            await until(lambda: both["fake"].calls)
            await client.post("/v1/datasets/small/cancel")
            await wait_for(client, "cancelled")
        assert (await make_in(tmp_path, pool))["state"] == "finished"

    asyncio.run(disturb())
    assert identity(tmp_path) == identity(finished)


def test_every_shard_is_made_again_the_same(finished: Path, tmp_path: Path, pool: Path) -> None:
    verified = Verification(finished / "small" / "dataset.h5")
    assert [check for check in verified.run() if check.passed is False] == []
    assert verified.plan is not None
    shards = choose_shards(verified.plan, 99, seed=0)

    async def again() -> list[Check]:
        apps: dict[str, Any] = {}

        async with factory(tmp_path, generators(pool), apps=apps):
            return [check async for check in regenerate(verified, shards, settings_for(tmp_path), EmbeddedServers(apps))]

    assert [check for check in asyncio.run(again()) if not check.passed] == []


def test_a_pool_that_is_too_small_is_used_up_and_ends_in_no_go(tmp_path: Path, pool: Path) -> None:
    status = asyncio.run(make_in(tmp_path, pool, RECIPE.replace("count: 30", "count: 100").replace(STAGES, "")))
    assert (status["state"], status["verdict"]) == ("finished", "NO-GO")
    assert "completeness (all)" in status["reasons"]
    assert status["sources"]["slabs"]["rejected"]["pool_used_up"] > 0
    assert sorted(rows(tmp_path)) == list(range(N_IN_POOL))
