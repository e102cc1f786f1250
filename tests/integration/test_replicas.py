"""Replicas that announce themselves: real processes on ports of the system's choice join, die and leave, and the dataset is the same."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from distillery.generators.generator import Generator
from tests.fast_service import make_ase
from tests.integration.factory import factory, identity, make
from tests.null_teacher import NAME, NullTeacher

KEY = "a key that is shared by all of them"
RECIPE = f"""\
name: small
seed: 5
teacher: {NAME}
shard_size: 8
sources:
  clusters: {{service: ase, system: cluster, count: 64, atoms: [10, 16]}}
"""
MODULES = {
    "gateway": ("cli", "serve", "gateway", "--port", "0"),
    "ase": ("tests.process", "tests.fast_service:build_ase"),
    "labeller": ("tests.process", "tests.null_teacher:build"),
}


class Factory:
    """A gateway that looks nobody up, and replicas that find it by the file with its address."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.data, self.address = folder / "data", folder / "address"
        (folder / "key").write_text(KEY + "\n")
        self._env = {
            **os.environ,
            "DISTILLERY_API_KEY_FILE": str(folder / "key"),
            "DISTILLERY_GATEWAY_API_KEY_FILE": str(folder / "key"),
            "DISTILLERY_GATEWAY_DATA": str(self.data),
            "DISTILLERY_GATEWAY_LOOK_UP": "false",
            "DISTILLERY_GATEWAY_PAGE": "false",
            "DISTILLERY_GATEWAY_LEASE_SECONDS": "10",
            "DISTILLERY_LABELLER_DATA": str(self.data),
            "DISTILLERY_LABELLER_SELF_TEST": "false",
            **env,
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Another process of this kind."""
        place = ("--address-file", str(self.address)) if name == "gateway" else ("--gateway", str(self.address))
        process = subprocess.Popen([sys.executable, "-m", *MODULES[name], *place], env=self._env)
        self._processes.append(process)
        return process

    def end(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(30)

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Of the gateway, with the key."""
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx.request(method, self.address.read_text().strip() + path, headers=headers, timeout=30, **request)

    def replicas(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", "/v1/replicas").raise_for_status().json()
        return found

    def names(self) -> list[str]:
        """Of those that are ready."""
        return [replica["name"] for replica in self.replicas() if replica["is_ready"]]

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", "/v1/datasets/small").raise_for_status().json()
        assert found["state"] != "failed", found
        return found

    def n_parts(self) -> int:
        return len(list((self.data / "small" / "parts").glob("[!.]*.h5")))


@contextmanager
def running(folder: Path, **env: str) -> Iterator[Factory]:
    factory = Factory(folder, **env)
    try:
        factory.start("gateway")
        wait_until(factory.address.exists)
        yield factory
    finally:
        factory.end()


def wait_until(condition: Callable[[], object], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def make_embedded(data: Path, recipe: str, generators: dict[str, Generator]) -> list[tuple[str, str]]:
    """The structures of the dataset that one process makes of a recipe."""

    async def main() -> None:
        async with factory(data, generators, NullTeacher()) as client:
            assert (await make(client, recipe, seconds=300))["state"] == "finished"

    asyncio.run(main())
    return identity(data)


def test_replicas_join_and_die_in_the_middle_and_the_dataset_is_that_of_one_process(tmp_path: Path) -> None:
    with running(tmp_path) as factory:
        assert factory.ask("POST", "/v1/datasets", content=RECIPE).status_code == 202
        first = [factory.start("ase"), factory.start("labeller")]  # the gateway has begun without any
        wait_until(lambda: factory.status() and factory.n_parts() >= 1)
        for process in first:
            process.kill()
        n_parts = factory.n_parts()
        wait_until(lambda: not factory.replicas())
        assert factory.status()["state"] == "running"
        for name in ("ase", "ase", "labeller"):
            factory.start(name)
        wait_until(lambda: factory.status()["state"] == "finished")
        assert n_parts < factory.n_parts() == 8
        assert sum(replica["answered"] for replica in factory.replicas() if replica["name"] == "labeller") >= 8 - n_parts
    assert identity(tmp_path / "data") == make_embedded(tmp_path / "embedded", RECIPE, {"ase": make_ase()})


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Factory, subprocess.Popen[bytes]]]:
    """A gateway and a service, for one test after the other."""
    with running(tmp_path_factory.mktemp("lively")) as factory:
        service = factory.start("ase")
        yield factory, service


@pytest.fixture
def factory_with_ase(lively: tuple[Factory, subprocess.Popen[bytes]]) -> tuple[Factory, subprocess.Popen[bytes]]:
    factory, _ = lively
    wait_until(lambda: factory.names() == ["ase"])
    return lively


def test_who_has_no_key_is_refused_by_gateway_and_services(factory_with_ase: tuple[Factory, subprocess.Popen[bytes]]) -> None:
    factory, _ = factory_with_ase
    (service,) = factory.replicas()
    announcement = {key: service[key] for key in ("name", "url", "version", "is_ready")}
    gateway = factory.address.read_text().strip()
    for headers in ({}, {"Authorization": "Bearer another key altogether"}):
        refused = [
            httpx.put(f"{gateway}/v1/replicas/mine", json=announcement, headers=headers),
            httpx.get(f"{service['url']}/v1/metadata", headers=headers),
            httpx.post(f"{service['url']}/generate", json={"n": 1, "seed": 1}, headers=headers),
            httpx.get(f"{service['url']}/metrics", headers=headers),
        ]
        assert [answer.status_code for answer in refused] == [401] * 4
    assert httpx.get(f"{service['url']}/v1/health/ready").status_code == 200


def test_one_that_hangs_is_lost_when_its_lease_ends_and_comes_back(factory_with_ase: tuple[Factory, subprocess.Popen[bytes]]) -> None:
    factory, service = factory_with_ase
    service.send_signal(signal.SIGSTOP)
    wait_until(lambda: not factory.replicas())
    service.send_signal(signal.SIGCONT)
    wait_until(lambda: factory.names() == ["ase"])


def test_a_gateway_that_begins_again_elsewhere_is_found(factory_with_ase: tuple[Factory, subprocess.Popen[bytes]]) -> None:
    factory, _ = factory_with_ase
    before = factory.address.read_text()
    factory.start("gateway")
    wait_until(lambda: factory.address.read_text() != before)
    wait_until(lambda: factory.names() == ["ase"])


def test_one_that_is_told_to_stop_leaves_at_once(factory_with_ase: tuple[Factory, subprocess.Popen[bytes]]) -> None:
    factory, service = factory_with_ase
    service.send_signal(signal.SIGTERM)
    service.wait(60)
    assert factory.replicas() == []


def test_nothing_listens_beyond_loopback_without_a_key() -> None:
    command = [sys.executable, "-m", *MODULES["ase"], "--host", "0.0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "set DISTILLERY_API_KEY_FILE" in done.stderr
