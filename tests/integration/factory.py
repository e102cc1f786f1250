"""A gateway with a labeller and fake services in one process, and a recipe for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import h5py
import httpx
from fastapi import FastAPI

from distillery.generators.generator import Generator
from distillery.generators.service import ServiceSettings, create_app
from distillery.http.client import EmbeddedServers, open_client
from gateway.app import create_gateway
from gateway.settings import GatewaySettings
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from labeller.teachers.teacher import Teacher
from tests.fake_service import FakeGenerator
from tests.fake_teacher import FakeTeacher

RECIPE = """\
name: small
seed: 1
teacher: fake
shard_size: 5
sources:
  one: {service: fake, system: cluster, count: 20, atoms: [4, 20]}
  two: {service: other, system: cluster, count: 12, atoms: [4, 20]}
"""


def settings_for(data: Path, **changes: Any) -> GatewaySettings:
    return GatewaySettings(
        **{"data": data, "patience": 0.01, "visible_seconds": 0.05, "tries": 3, "resume": False, "page": False, **changes}
    )


@asynccontextmanager
async def factory(
    data: Path,
    generators: Mapping[str, Generator],
    teacher: Teacher | None = None,
    apps: dict[str, FastAPI] | None = None,
    labeller_data: Path | None = None,
    **changes: Any,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway; the apps it talks to are put into `apps`."""
    settings, apps = ServiceSettings(concurrency=4), {} if apps is None else apps
    apps |= {name: create_app(generator, settings) for name, generator in generators.items()}
    apps["labeller"] = create_labeller(teacher or FakeTeacher(), LabellerSettings(data=labeller_data or data))
    async with AsyncExitStack() as stack:
        for app in apps.values():
            await stack.enter_async_context(app.router.lifespan_context(app))
        async with asyncio.timeout(120):
            while not all(app.state.readiness.is_ready for app in apps.values()):
                await asyncio.sleep(0.01)

        gateway = create_gateway(settings_for(data, **changes), EmbeddedServers(dict(apps)))
        await stack.enter_async_context(gateway.router.lifespan_context(gateway))
        apps["gateway"] = gateway
        yield await stack.enter_async_context(open_client(gateway, "gateway", httpx.Timeout(30)))


def two_fakes() -> dict[str, FakeGenerator]:
    return {"fake": FakeGenerator("fake"), "other": FakeGenerator("other")}


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until `condition()` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def wait_for(client: httpx.AsyncClient, *states: str, name: str = "small", seconds: float = 60) -> dict[str, Any]:
    """The status once it is one of `states`."""
    async with asyncio.timeout(seconds):
        while True:
            status: dict[str, Any] = (await client.get(f"/v1/datasets/{name}")).raise_for_status().json()
            if status["state"] in states:
                return status
            assert status["state"] not in {"failed", "finished"}, status
            await asyncio.sleep(0.02)


async def make(client: httpx.AsyncClient, recipe: str = RECIPE, seconds: float = 60) -> dict[str, Any]:
    """Hand in a recipe and wait for its end."""
    answer = await client.post("/v1/datasets", content=recipe)
    assert answer.status_code == 202, answer.text
    return await wait_for(client, "finished", "failed", name=answer.json()["name"], seconds=seconds)


def identity(data: Path, name: str = "small") -> list[tuple[str, str]]:
    """(id, structure hash) of every structure of the finished file, in order."""
    with h5py.File(data / name / "dataset.h5") as file:
        ids, hashes = (file[f"provenance/{key}"].asstr()[:] for key in ("id", "structure_hash"))
        return list(zip(ids.tolist(), hashes.tolist(), strict=True))


def leftovers(data: Path) -> list[Path]:
    return [path for path in data.rglob("*") if ".tmp" in path.name]
