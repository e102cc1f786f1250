"""A gateway checks a recipe: it asks its services and its labeller, and tells every fault at its line."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from distillery.http.client import open_client
from distillery.recipe.shares import apportion
from distillery.runtime.yaml import Lines, read_lines
from gateway.app import create_gateway
from tests.fake_service import FakeGenerator
from tests.integration.factory import RECIPE, factory, settings_for, two_fakes


def check(data: Path, recipe: str, generators: dict[str, FakeGenerator] | None = None) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        async with factory(data, generators or two_fakes()) as client:
            answer: dict[str, Any] = (await client.post("/v1/datasets/check", content=recipe)).json()
            return answer

    return asyncio.run(main())


def test_a_sound_recipe_has_no_faults_and_nothing_is_begun(tmp_path: Path) -> None:
    assert check(tmp_path, RECIPE) == {"faults": [], "notes": []}
    assert not (tmp_path / "small").exists()


def test_every_fault_is_told_at_its_line(tmp_path: Path) -> None:
    recipe = RECIPE.replace("teacher: fake", "teacher: 7net-0").replace("shard_size: 5", "shard_size: 20")
    recipe = recipe.replace("service: other, system: cluster", "service: other, system: surface").replace(
        "[4, 20]}\n  two", "[4, 900]}\n  two"
    )
    generators = two_fakes()
    generators["fake"].n_max = 10
    faults = check(tmp_path, recipe + "  three: {service: faake, system: cluster, count: 3}\n", generators)["faults"]
    assert [(fault["line"], fault["key"]) for fault in faults] == [
        (3, "teacher"),
        (4, "shard_size"),
        (6, "sources.one.atoms"),
        (7, "sources.two.system"),
        (8, "sources.three.service"),
    ]
    assert "did you mean 'fake'?" in faults[-1]["message"]


def test_a_long_recipe_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its lines, which are read in a thread, nor its many sources, each of which had what all owe worked out anew."""
    readers, n_apportioned = list[str](), list[int]()

    def read_and_note(text: str) -> tuple[Any, Lines]:
        readers.append(threading.current_thread().name)
        return read_lines(text)

    def apportion_and_count(total: int, weights: Mapping[str, float]) -> dict[str, int]:
        n_apportioned.append(total)
        return apportion(total, weights)

    monkeypatch.setattr("distillery.recipe.reading.read_lines", read_and_note)
    monkeypatch.setattr("distillery.recipe.recipe.apportion", apportion_and_count)
    sources = "".join(f"  more{k}: {{service: fake, system: cluster, count: 1}}\n" for k in range(50))
    assert check(tmp_path, RECIPE + sources)["faults"] == []
    assert len(n_apportioned) < 10
    assert threading.main_thread().name not in readers


def test_a_service_that_does_not_answer_is_a_fault_unless_others_stand_in(tmp_path: Path) -> None:
    alone = {"fake": FakeGenerator("fake")}
    (fault,) = check(tmp_path, RECIPE, alone)["faults"]
    assert fault["key"] == "sources.two.service"


def test_a_service_that_has_not_announced_itself_is_a_fault_at_once(tmp_path: Path) -> None:
    async def main() -> dict[str, Any]:
        gateway = create_gateway(settings_for(tmp_path, look_up=False))
        async with (
            gateway.router.lifespan_context(gateway),
            open_client(gateway, "gateway", httpx.Timeout(30)) as client,
            asyncio.timeout(20),
        ):
            answer: dict[str, Any] = (await client.post("/v1/datasets/check", content=recipe)).json()
            return answer

    recipe = RECIPE.replace("service: fake", "service: ase")
    faults = asyncio.run(main())["faults"]
    (told,) = (fault["message"] for fault in faults if fault["key"] == "sources.one.service")
    assert told.startswith("no ase has announced itself")


def test_a_recipe_that_can_not_be_read_is_an_invalid_request(tmp_path: Path) -> None:
    answer = check(tmp_path, RECIPE + "nonsense: 1\n")
    assert (answer["kind"], answer["faults"][0]["line"]) == ("invalid_request", 8)
