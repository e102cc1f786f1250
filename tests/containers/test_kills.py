"""Containers are killed in turn in the middle of a run, which ends as if nothing had happened."""

import os
import random
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.containers.conftest import RECIPE
from tests.containers.project import Dataset, Project, paused, running

SERVICES = ["gateway", "labeller", "rdkit", "pymatgen", "ase"]


def test_killed_in_turn_again_and_again_it_ends_the_same(images: dict[str, str], request: pytest.FixtureRequest, tmp_path: Path) -> None:
    moments = random.Random(os.environ.get("DISTILLERY_TEST_SEED", "23"))
    with running("distillery-kills") as project:
        dataset = Dataset(project, RECIPE.format(name="killed"))
        dataset.begin()
        for n_kills, service in enumerate(moments.sample(SERVICES, len(SERVICES))):
            kill_and_start(project, dataset, service, n_kills, moments)
        assert dataset.wait_for_state("finished", "failed")["state"] == "finished"
        assert dataset.identity(tmp_path) == request.getfixturevalue("expected")  # only now: it is made beside this run


def kill_and_start(project: Project, dataset: Dataset, service: str, n_kills: int, moments: random.Random) -> None:
    """Kill a service once there are more shards than kills, at any moment, and start it again; meanwhile no labels let the run end."""
    dataset.wait_for_shards(1 + n_kills)
    time.sleep(moments.uniform(0, 0.2))
    status = dataset.status()
    assert status is not None
    assert status["state"] == "running", f"{status['state']} before kill {n_kills}, of {service}: there is nothing left to disturb"
    project.kill(service)
    with nullcontext() if service == "labeller" else paused(project.containers("labeller")[0]):
        time.sleep(moments.uniform(0, 0.5))
        project.start(service)
        project.wait_until_healthy("gateway")
