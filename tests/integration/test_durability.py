"""Ctrl-C, then kill -9 at any moment, the same command again: the same structures, each once. Real services, real worker processes.

The teacher is EMT, as it starts in a tenth of the time of one with weights; tests/containers/test_kills.py kills 7net-0.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.factory import identity, leftovers

RECIPE = """\
name: durable
seed: 11
teacher: ase:ase.calculators.emt:EMT
elements: [H, C, N, O, Al, Ni, Cu, Ag, Pd]
shard_size: 3
perturb: {rattle: 0.03}
sources:
  molecules: {service: rdkit, system: molecule, elements: [H, C, N, O], count: 9, atoms: [8, 16]}
  crystals: {service: pymatgen, system: crystal, elements: [Al, Ni, Cu, Ag, Pd, O], count: 6, atoms: [8, 20]}
  clusters: {service: ase, system: cluster, elements: [Al, Ni, Cu, Ag, Pd], count: 6, atoms: [8, 16]}
gates: {element_entropy: {threshold: 3.07, required: true}}
"""
# So few small structures can't reach the entropy that a real dataset must: the verdict is NO-GO, exit code 3.
FINISHED = 3
N_KILLS = 2


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cli", "run", str(folder / "recipe.yaml"), "--data", str(folder)]
    environment = {**os.environ, "DISTILLERY_SERVICE_WORKERS": "1", "DISTILLERY_GATEWAY_PAGE": "false"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=environment)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[str, str]], float]:
    """The identity of the dataset of a run that nobody disturbed, and how long that took, s."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "recipe.yaml").write_text(RECIPE)
    begun = time.monotonic()
    process = start(folder)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == FINISHED, output
    found = identity(folder, "durable")
    assert len(found) == 21
    return found, time.monotonic() - begun


def test_stopped_by_ctrl_c_and_killed_at_random_moments_it_ends_the_same(
    tmp_path: Path, undisturbed: tuple[list[tuple[str, str]], float]
) -> None:
    expected, seconds = undisturbed
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    interrupt(tmp_path)
    n_parts = [count_parts(tmp_path)]
    moments = random.Random(os.environ.get("DISTILLERY_TEST_SEED", "5"))
    for _ in range(N_KILLS):
        process = start(tmp_path)
        workers = wait_or_end(process, moments.uniform(0.3, 0.95) * seconds)
        process.kill()
        process.communicate(timeout=60)
        assert_gone(workers)
        n_parts.append(count_parts(tmp_path))
    assert n_parts == sorted(n_parts)
    process = start(tmp_path)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == FINISHED, output
    assert identity(tmp_path, "durable") == expected
    assert not leftovers(tmp_path)


def interrupt(folder: Path) -> None:
    """Ctrl-C once the first part is there: it stops cleanly and says how to go on."""
    process = start(folder)
    wait_for_a_part(folder)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert re.search(r"\nstopping: .*\n\nStopped\. \d finished shards? (is|are) kept", output), output
    assert "lost" not in output
    assert f"distillery run {folder / 'recipe.yaml'}" in output
    assert "Traceback" not in output
    assert_gone(workers)


def count_parts(folder: Path) -> int:
    return len(list((folder / "durable" / "parts").glob("[!.]*.h5")))


def wait_or_end(process: subprocess.Popen[str], seconds: float) -> list[psutil.Process]:
    """Wait; the worker processes there are at the end."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return psutil.Process(process.pid).children(recursive=True)
    return []


def wait_for_a_part(folder: Path, seconds: float = 180) -> None:
    """Wait until the first of the seven parts is there."""
    end = time.monotonic() + seconds
    while not count_parts(folder):
        assert time.monotonic() < end, "no part came in time"
        time.sleep(0.02)


def assert_gone(workers: list[psutil.Process]) -> None:
    """Workers of a killed parent end by themselves."""
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
