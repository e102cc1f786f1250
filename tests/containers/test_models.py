"""The generative models in containers, with their small checkpoints: a small hybrid recipe over all eight services through HTTP."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.benchmark_files import write_benchmarks
from tests.containers.engine import docker
from tests.containers.project import Dataset, Project, running
from tests.upstream import MODELS

SMALL = {f"DISTILLERY_{name.upper()}_CHECKPOINT": "small" for name in MODELS}
RECIPE = """\
name: {name}
seed: 11
teacher: 7net-0
shard_size: 6
perturb: {{rattle: 0.03}}
sources:
  mattergen: {{service: mattergen, system: crystal, count: 6, atoms: [20, 60], generative: true, fallback: crystals}}
  crystalflow: {{service: crystalflow, system: crystal, count: 6, atoms: [20, 60], generative: true, fallback: crystals}}
  moldiff: {{service: moldiff, system: molecule, count: 6, atoms: [8, 40], elements: [H, C, N, O], generative: true, fallback: molecules}}
  geodiff: {{service: geodiff, system: molecule, count: 6, atoms: [8, 30], generative: true, fallback: molecules}}
  molecules: {{service: rdkit, system: molecule, count: 6, atoms: [8, 30]}}
  crystals: {{service: pymatgen, system: crystal, count: 6, atoms: [8, 40]}}
  clusters: {{service: ase, system: cluster, count: 6, atoms: [8, 30]}}
  matbench: {{service: benchmarks, system: crystal, count: 4, atoms: [1, 60]}}
"""


@pytest.fixture(scope="module")
def project(all_images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """All containers, the models with small checkpoints, the benchmarks with small files."""
    if not os.environ.get("DISTILLERY_UPSTREAM"):
        pytest.skip(
            "needs the models' images: set DISTILLERY_UPSTREAM to a folder with upstream checkouts and run docker/build-airgapped.sh"
        )
    folder = tmp_path_factory.mktemp("benchmarks")
    write_benchmarks(folder)
    with running("distillery-models", "gateway", "labeller", "rdkit", "pymatgen", "ase", env=SMALL) as started:
        started.compose("--profile", "*", "create", "--no-build", "benchmarks")
        (container,) = started.containers("benchmarks")
        docker("cp", "-", f"{container}:/benchmarks", stdin=pack(folder))
        started.up("benchmarks", *MODELS)
        yield started


def pack(folder: Path) -> bytes:
    """A tar archive of a folder's content that belongs to the containers' user."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, path.relative_to(folder).as_posix(), recursive=False, filter=_own)
    return buffer.getvalue()


def _own(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 10001
    return entry


def services_of(status: dict[str, Any]) -> dict[str, int]:
    return {source: row["kept"] for source, row in status["sources"].items()}


def test_a_hybrid_recipe_takes_from_all_eight_services(project: Project, tmp_path: Path) -> None:
    dataset = Dataset(project, RECIPE.format(name="hybrid"))
    status = dataset.make(seconds=580)
    assert status["state"] == "finished", status
    wanted = {source: row["wanted"] for source, row in status["sources"].items()}
    assert services_of(status) == wanted
    report = httpx.get(f"{project.url}/v1/datasets/hybrid/files/report.json").json()
    assert report["scenario"]["name"] == "A", report["scenario"]
    again = Dataset(project, RECIPE.format(name="again"))
    assert again.make(seconds=580)["state"] == "finished"
    assert [h for _, h in again.identity(tmp_path)] == [h for _, h in dataset.identity(tmp_path)]


def test_shards_of_all_services_are_made_again_in_their_containers(project: Project) -> None:
    assert Dataset(project, RECIPE.format(name="hybrid")).make(seconds=580)["state"] == "finished"
    output = project.execute("gateway", "distillery verify /data/hybrid/dataset.h5 --regenerate 99 --deployed", check=False)
    assert "✗ full-" not in output, output
    for service in (*MODELS, "molecules", "crystals", "clusters", "matbench"):
        assert f"✓ full-{service}-00000" in output, output
    assert "✓ versions" in output
    assert "verify-" not in project.execute("gateway", "ls /data")


def test_without_a_model_its_fallback_steps_in_and_the_run_says_so(project: Project) -> None:
    project.compose("--profile", "models", "stop", "mattergen", "moldiff", seconds=90)
    status = Dataset(project, RECIPE.format(name="without").replace("seed: 11", "seed: 12")).make(seconds=580)
    assert status["state"] == "finished", status
    report = httpx.get(f"{project.url}/v1/datasets/without/files/report.json").json()
    assert report["scenario"]["name"] == "B", report["scenario"]
    assert "mattergen" in str(report["scenario"])
    assert "moldiff" in str(report["scenario"])
