"""Containers hang, lose each other and run out of space: a clear status, then recovery, nothing lost."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers.conftest import RECIPE
from tests.containers.engine import docker
from tests.containers.project import Dataset, Identity, Project, paused, running

FILES = ("compose.yaml", "tests/containers/small-data.yaml")
IMPATIENT = {"DISTILLERY_GATEWAY_GENERATE_SECONDS": "20", "DISTILLERY_GATEWAY_STRUCTURE_SECONDS": "0", "DISTILLERY_GATEWAY_TRIES": "2"}


@pytest.fixture(scope="module")
def impatient(images: dict[str, str]) -> Iterator[Project]:
    """A factory whose gateway gives up soon, on a data volume that is soon full."""
    with running("distillery-impatient", env=IMPATIENT, files=FILES) as started:
        yield started


def require_recovery(dataset: Dataset, status: dict[str, Any], named: str, expected: Identity, folder: Path) -> None:
    """A run that stopped says why and names what is missing; resumed, it ends as if nothing had happened."""
    assert status["state"] == "failed", status
    assert status["problem"]["kind"] == "unavailable", status
    assert named in status["problem"]["detail"], status
    dataset.resume()
    assert dataset.wait_for_state("finished", "failed")["state"] == "finished"
    assert dataset.identity(folder) == expected


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
    with paused(generator):
        status = dataset.wait_for_state("failed", "finished")
    require_recovery(dataset, status, "rdkit", expected, tmp_path)


def test_on_a_full_data_volume_it_says_so_and_recovers(impatient: Project, expected: Identity, tmp_path: Path) -> None:
    dataset = Dataset(impatient, RECIPE.format(name="full"))
    dataset.begin()
    dataset.wait_for_shards(2)
    impatient.execute("labeller", "cat /dev/zero >/data/filler 2>/dev/null; true")
    try:
        status = dataset.wait_for_state("failed", "finished")
    finally:
        impatient.execute("labeller", "rm /data/filler")
    require_recovery(dataset, status, "No space left on device", expected, tmp_path)
