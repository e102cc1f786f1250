"""A recipe on a real Slurm of four nodes: a node dies, a job is cancelled, one is requeued, and the dataset is that of one process."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distillery.generators.plugins import build_generator
from tests.integration.factory import identity
from tests.integration.test_replicas import make_embedded
from tests.null_teacher import NAME
from tests.slurm.cluster import SETTINGS, Cluster, find_missing, running, wait_until
from tests.slurm.plugin import write_plugin

MISSING = find_missing()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=f"no Slurm: {MISSING}")
RECIPE = f"""\
name: small
seed: 5
teacher: {NAME}
shard_size: 8
sources:
  clusters: {{service: ase, system: cluster, count: 120, atoms: [10, 16]}}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def distillery(cluster: Cluster, folder: Path, *arguments: str) -> str:
    env = {**cluster.env, **SETTINGS, "PYTHONPATH": write_plugin(folder / "plugin")}
    command = [sys.executable, "-m", "cli", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def find_jobs(cluster: Cluster, name: str, state: str = "R") -> dict[str, str]:
    """Nodes by job, of those with a name and in a state."""
    rows = cluster.ask("squeue", "--noheader", "--array", "--format=%i %t %N %j").splitlines()
    found = [row.split() for row in rows if row.split()[1] == state and row.split()[-1] == f"small-{name}"]
    return {row[0]: row[2] for row in found}


def test_a_node_dies_jobs_are_cancelled_and_requeued_and_the_dataset_is_that_of_one_process(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(RECIPE)
    parts = tmp_path / "data" / "small" / "parts"

    def count_parts() -> int:
        return len(list(parts.glob("[!.]*.h5")))

    options = ("--labellers", "2", "--ase", "3", "--cpus", "2", "--memory", "1G", "--time", "01:00:00")
    said = distillery(cluster, tmp_path, "slurm", "small.yaml", *options)
    assert len(re.findall(r"\d+", said.splitlines()[-1])) == 3
    wait_until(lambda: count_parts() >= 1, "the first part")

    gateway_node = next(iter(find_jobs(cluster, "gateway").values()))
    replicas = {**find_jobs(cluster, "ase"), **find_jobs(cluster, "labeller")}
    doomed = next(node for node in replicas.values() if node != gateway_node)
    cluster.kill_node(doomed)
    cancelled = next(job for job, node in find_jobs(cluster, "ase").items() if node != doomed)
    cluster.ask("scancel", cancelled)
    (gateway,) = find_jobs(cluster, "gateway")
    cluster.ask("scontrol", "requeue", gateway)
    n_parts = count_parts()
    wait_until(lambda: "down" in cluster.ask("sinfo", "--noheader", f"--nodes={doomed}", "--format=%t"), "the node is known to be down")
    cluster.start_node(doomed)  # its jobs were requeued

    wait_until(lambda: (tmp_path / "data" / "small" / "report.json").exists(), "the report", 400)
    wait_until(lambda: not cluster.ask("squeue", "--noheader").strip(), "the jobs end with the dataset")
    assert n_parts < count_parts()
    assert "small  finished" in distillery(cluster, tmp_path, "status", "small")
    assert identity(tmp_path / "data") == make_embedded(tmp_path / "embedded", RECIPE, {"ase": build_generator("ase")})
