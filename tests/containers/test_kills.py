"""Containers are killed in turn, again and again, in the middle of one run: it ends as if nothing had happened."""

import random
import time
from pathlib import Path

from tests.containers.conftest import RECIPE
from tests.containers.project import Dataset, Identity, running

N_ROUNDS = 3
SERVICES = ["gateway", "labeller", "rdkit", "pymatgen", "ase"]


def test_killed_in_turn_again_and_again_it_ends_the_same(images: dict[str, str], expected: Identity, tmp_path: Path) -> None:
    moments = random.Random(23)
    with running("distillery-kills") as project:
        dataset = Dataset(project, RECIPE.format(name="killed"))
        dataset.begin()
        for n_kills, service in enumerate(SERVICES * N_ROUNDS):
            project.wait_until_healthy("gateway")
            dataset.wait_for_shards(1 + n_kills)
            time.sleep(moments.uniform(0, 0.5))
            status = dataset.status()
            assert status is not None
            assert status["state"] == "running", f"{status['state']} before kill {n_kills}, of {service}: there is nothing left to disturb"
            project.kill(service)
            time.sleep(moments.uniform(0, 0.5))
            project.start(service)
        assert dataset.wait_for_state("finished", "failed")["state"] == "finished"
        assert dataset.identity(tmp_path) == expected
