"""Containers die, hang, lose each other and run out of space: a clear status, then recovery, nothing lost."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers.conftest import RECIPE
from tests.containers.engine import docker
from tests.containers.project import Dataset, Identity, Project, running

N_KILLS = 3
SERVICES = ["gateway", "labeller", "rdkit", "pymatgen", "ase"]


@pytest.fixture(scope="module")
def project(images: dict[str, str]) -> Iterator[Project]:
    with running("distillery-faults") as started:
        yield started


@pytest.fixture(scope="module")
def impatient(images: dict[str, str]) -> Iterator[Project]:
    """A factory whose gateway gives up soon."""
    with running("distillery-impatient", env={"DISTILLERY_GATEWAY_GENERATE_SECONDS": "20", "DISTILLERY_GATEWAY_TRIES": "2"}) as started:
        yield started


def require_recovery(dataset: Dataset, status: dict[str, Any], named: str, expected: Identity, folder: Path) -> None:
    """A run that stopped says why and names what is missing; resumed, it ends as if nothing had happened."""
    assert status["state"] == "failed", status
    assert status["problem"]["kind"] == "unavailable", status
    assert named in status["problem"]["detail"], status
    dataset.resume()
    assert dataset.wait_for_state("finished", "failed")["state"] == "finished"
    assert dataset.identity(folder) == expected


@pytest.mark.parametrize("service", SERVICES)
def test_killed_again_and_again_it_ends_the_same(project: Project, service: str, expected: Identity, tmp_path: Path) -> None:
    dataset = Dataset(project, RECIPE.format(name=f"killed-{service}"))
    moments = random.Random(service)
    dataset.begin()
    for n in range(N_KILLS):
        dataset.wait_for_shards(1 + 3 * n)
        time.sleep(moments.uniform(0, 1))
        project.kill(service)
        time.sleep(moments.uniform(0, 1))
        project.start(service)
        project.wait_until_healthy(service)
    assert dataset.wait_for_state("finished", "failed")["state"] == "finished"
    assert dataset.identity(tmp_path) == expected


def test_cut_off_from_the_labeller_it_says_so_and_recovers(impatient: Project, expected: Identity, tmp_path: Path) -> None:
    dataset = Dataset(impatient, RECIPE.format(name="cut-off"))
    (labeller,) = impatient.containers("labeller")
    dataset.begin()
    dataset.wait_for_shards(2)
    docker("network", "disconnect", impatient.network(), labeller)
    try:
        status = dataset.wait_for_state("failed", "finished")
    finally:
        docker("network", "connect", "--alias", "labeller", impatient.network(), labeller)
    require_recovery(dataset, status, "labeller", expected, tmp_path)


def test_a_hanging_generator_is_named_and_the_run_recovers(impatient: Project, expected: Identity, tmp_path: Path) -> None:
    dataset = Dataset(impatient, RECIPE.format(name="hanging"))
    (generator,) = impatient.containers("rdkit")
    dataset.begin()
    dataset.wait_for_shards(1)
    docker("pause", generator)
    try:
        status = dataset.wait_for_state("failed", "finished")
    finally:
        docker("unpause", generator)
    require_recovery(dataset, status, "rdkit", expected, tmp_path)


def test_on_a_full_data_volume_it_says_so_and_recovers(images: dict[str, str], expected: Identity, tmp_path: Path) -> None:
    files = ("compose.yaml", "tests/containers/small-data.yaml")
    with running("distillery-full", env={"DISTILLERY_GATEWAY_TRIES": "2"}, files=files) as project:
        dataset = Dataset(project, RECIPE.format(name="full"))
        dataset.begin()
        dataset.wait_for_shards(2)
        project.execute("labeller", "cat /dev/zero >/data/filler 2>/dev/null; true")
        status = dataset.wait_for_state("failed", "finished")
        project.execute("labeller", "rm /data/filler")
        require_recovery(dataset, status, "No space left on device", expected, tmp_path)
