"""More containers of a kind: all of them work, one may die and another join, and the result is the same."""

import re
from pathlib import Path

from tests.containers.conftest import RECIPE
from tests.containers.engine import docker
from tests.containers.project import Dataset, Identity, Project, is_healthy, paused, running, wait_for

SCALED = ("--scale", "rdkit=3", "--scale", "labeller=2")
ASK = "python -ISc \"import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/metrics').read().decode())\""


def count_requests(container: str, path: str) -> int:
    """How many requests to a path a container has answered with 200."""
    metrics = docker("exec", container, "sh", "-c", ASK).stdout
    pattern = rf'distillery_http_requests_total\{{[^}}]*path="{path}"[^}}]*status="200"[^}}]*\}} (\d+)'
    return sum(int(n) for n in re.findall(pattern, metrics))


def test_replicas_share_the_work_and_the_dataset_is_the_same(images: dict[str, str], expected: Identity, tmp_path: Path) -> None:
    with running("distillery-replicas", *SCALED) as project:
        dataset = Dataset(project, RECIPE.format(name="scaled"))
        assert dataset.make()["state"] == "finished"
        assert dataset.identity(tmp_path) == expected
        assert [count_requests(c, "/generate") > 0 for c in project.containers("rdkit")] == [True] * 3
        assert [count_requests(c, "/label") > 0 for c in project.containers("labeller")] == [True] * 2
        check_one_dies_and_one_joins(project, expected, tmp_path)


def check_one_dies_and_one_joins(project: Project, expected: Identity, folder: Path) -> None:
    """One of three generators and one of two labellers die in the middle of a run; a fourth generator joins and takes work."""
    dataset = Dataset(project, RECIPE.format(name="rescaled"))
    dataset.begin()
    dataset.wait_for_shards(1)
    for service in ("rdkit", "labeller"):
        project.kill(service)
    survivor = project.containers("labeller")[1]
    with paused(survivor):  # most is still to be made when the newcomer is there
        before = set(project.containers("rdkit"))
        project.compose("up", "--detach", "--no-build", "--no-recreate", "--no-deps", "--scale", "rdkit=4", "rdkit")
        (newcomer,) = set(project.containers("rdkit")) - before
        wait_for(lambda: is_healthy(newcomer), "the newcomer is ready", 120)
    assert dataset.wait_for_state("finished", "failed")["state"] == "finished"
    assert dataset.identity(folder) == expected
    for attempt in range(3):  # the first may have had no more to give it, and a gateway that met it too early avoids it for 10 s
        if not count_requests(newcomer, "/generate"):
            assert Dataset(project, RECIPE.format(name=f"joined-{attempt}")).make()["state"] == "finished"
    assert count_requests(newcomer, "/generate") > 0
