"""One running factory: a Compose project of its own name, port and volumes, to use, kill and starve."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np

from tests.containers.engine import docker
from tests.serving import free_port

Identity = list[tuple[str, str]]
LIGHT = {"DISTILLERY_GATEWAY_PAGE": "false", "DISTILLERY_SERVICE_WORKERS": "1"}
"""Most tests look at the dataset alone; the page costs half a minute in a new container, a second worker a start of its own."""


class Project:
    """Containers of compose.yaml under a name of their own; `url` is the gateway's."""

    def __init__(self, name: str, env: Mapping[str, str] | None = None, files: tuple[str, ...] = ("compose.yaml",)) -> None:
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = {"DISTILLERY_PORT": str(self.port), **LIGHT, **(env or {})}
        self._files = files

    def compose(self, *arguments: str, check: bool = True, seconds: float = 300) -> str:
        """Run docker compose on this project; its output."""
        files = [part for file in self._files for part in ("-f", file)]
        return docker("compose", "-p", self.name, *files, *arguments, check=check, seconds=seconds, env=self._env).stdout

    def up(self, *arguments: str) -> None:
        """Start and wait until every container is healthy."""
        self.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "240", *arguments)

    def down(self) -> None:
        """Remove containers, network and volumes."""
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "5", check=False)

    def logs(self) -> str:
        """The last lines of every container."""
        return self.compose("--profile", "*", "logs", "--no-color", "--tail", "60", check=False)

    def containers(self, service: str) -> list[str]:
        """Ids of a service's containers, stopped ones too."""
        return self.compose("ps", "--all", "--quiet", service).split()

    def kill(self, service: str) -> None:
        """SIGKILL to the first container of a service."""
        docker("kill", "--signal", "KILL", self.containers(service)[0])

    def start(self, service: str) -> None:
        """Start the containers of a service that are stopped."""
        self.compose("start", service)

    def execute(self, service: str, script: str, check: bool = True) -> str:
        """The output of a shell script in the first container of a service."""
        return docker("exec", self.containers(service)[0], "sh", "-c", script, check=check).stdout

    def volume(self, name: str) -> str:
        """The engine's name of a volume."""
        return f"{self.name}_{name}"

    def network(self) -> str:
        """The engine's name of the network that all containers share."""
        return f"{self.name}_default"

    def wait_until_healthy(self, service: str, seconds: float = 120) -> None:
        """Wait until every container of a service is healthy."""
        containers = self.containers(service)
        wait_for(lambda: all(is_healthy(container) for container in containers), f"{service} is healthy", seconds)

    def copy_out(self, path: str, folder: Path) -> Path:
        """Copy a file from the data volume, through the gateway's API, into a folder of this machine."""
        dataset, _, name = path.partition("/")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(httpx.get(f"{self.url}/v1/datasets/{dataset}/files/{name}", timeout=60).raise_for_status().content)
        return target


@contextmanager
def running(
    name: str, *arguments: str, env: Mapping[str, str] | None = None, files: tuple[str, ...] = ("compose.yaml",)
) -> Iterator[Project]:
    """A project that is up and is gone afterwards; where the block fails, the containers' logs are printed."""
    project = Project(f"{name}-{os.getpid()}", env, files)
    try:
        project.up(*arguments)
        yield project
    except BaseException:
        print(project.logs())
        raise
    finally:
        project.down()


@contextmanager
def paused(container: str) -> Iterator[None]:
    """A container whose processes do nothing until the block ends; by signals, for freezers of old cgroups give up on a loaded machine."""
    docker("exec", container, "sh", "-c", "kill -STOP -1")
    try:
        yield
    finally:
        docker("exec", container, "sh", "-c", "kill -CONT -1")


def wait_for(condition: Callable[[], bool], what: str, seconds: float, interval: float = 0.3) -> None:
    """Wait until a condition holds; TimeoutError names it."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds} s it is still not so that {what}")
        time.sleep(interval)


def is_healthy(container: str) -> bool:
    """Whether a container's health check says that it is ready."""
    return docker("inspect", "--format", "{{.State.Health.Status}}", container).stdout.strip() == "healthy"


class Dataset:
    """A dataset of a project's gateway, over HTTP."""

    def __init__(self, project: Project, recipe: str) -> None:
        self._project = project
        self._recipe = recipe
        self.name = recipe.partition("name: ")[2].split()[0]
        self._at = f"{project.url}/v1/datasets/{self.name}"

    def begin(self) -> None:
        """Hand in the recipe; the gateway may be away for a while."""
        httpx.post(f"{self._project.url}/v1/datasets", content=self._recipe, timeout=30).raise_for_status()

    def resume(self) -> None:
        """Ask the gateway to go on."""
        httpx.post(f"{self._at}/resume", timeout=30).raise_for_status()

    def status(self) -> dict[str, Any] | None:
        """Where it stands; None while the gateway is away."""
        try:
            answer = httpx.get(self._at, timeout=30)
        except httpx.TransportError:
            return None
        return dict(answer.raise_for_status().json())

    def shards_done(self) -> int:
        """How many parts there are; AssertionError if the run has stopped."""
        status = self.status()
        if status is None:
            return 0
        assert status["state"] in {"running", "finished"}, status
        return sum(row["shards_done"] for row in status["sources"].values())

    def wait_for_shards(self, n_shards: int, seconds: float = 180) -> None:
        """Wait until at least so many parts are there."""
        wait_for(lambda: self.shards_done() >= n_shards, f"{self.name} has {n_shards} shards", seconds)

    def wait_for_state(self, *states: str, seconds: float = 300) -> dict[str, Any]:
        """The status once it is one of `states`."""
        seen: dict[str, Any] = {}

        def reached() -> bool:
            seen.update(self.status() or {})
            return seen.get("state") in states

        try:
            wait_for(reached, f"{self.name} is {' or '.join(states)}", seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the last status is {json.dumps(seen)}") from None
        return seen

    def make(self, seconds: float = 300) -> dict[str, Any]:
        """Hand in the recipe and wait for its end; the status."""
        self.begin()
        return self.wait_for_state("finished", "failed", seconds=seconds)

    def identity(self, folder: Path) -> Identity:
        """(id, structure hash) of every structure of the finished file, in order."""
        return read_identity(self._project.copy_out(f"{self.name}/dataset.h5", folder))


def read_identity(path: Path) -> Identity:
    """(id, structure hash) of every structure of a dataset.h5, in order."""
    with h5py.File(path) as file:
        ids, hashes = (file[f"provenance/{key}"].asstr()[:] for key in ("id", "structure_hash"))
        return list(zip(ids.tolist(), hashes.tolist(), strict=True))


def read_frames(path: Path) -> tuple[list[tuple[str, str, int]], np.ndarray[Any, Any]]:
    """(id, hash of the proposal, place among its frames) of every structure of a dataset that a teacher sampled, and all positions, Å.

    A teacher's arithmetic is not the same in every process, so frames are the same to `FRAME_DISTANCE`, and their hashes may differ.
    """
    with h5py.File(path) as file:
        ids, origins = (file[f"provenance/{key}"].asstr()[:] for key in ("id", "origin"))
        samples = [json.loads(origin)["sample"] for origin in origins]
        named = [(str(one), sample["parent_hash"], sample["frame"]) for one, sample in zip(ids, samples, strict=True)]
        return named, file["structures/positions"][:]
