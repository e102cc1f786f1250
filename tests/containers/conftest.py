"""Fixtures of the container tests: the engine, the images, and what an undisturbed run in one process gives."""

import os
from pathlib import Path

import pytest

from tests.command import distillery
from tests.containers.engine import EVERYTHING, read_config, require_engine, require_image
from tests.containers.project import LIGHT, Identity, read_identity
from tests.once import made_once

RECIPE = """\
name: {name}
seed: 23
teacher: 7net-0
shard_size: 2
perturb: {{rattle: 0.03}}
sources:
  molecules: {{service: rdkit, system: molecule, count: 24, atoms: [8, 20]}}
  crystals: {{service: pymatgen, system: crystal, count: 18, atoms: [8, 24]}}
  clusters: {{service: ase, system: cluster, count: 18, atoms: [8, 20]}}
limits: {{force: 1e9, pressure: 1e9, energy: 1e9}}
"""
"""No teacher's label is refused, so every teacher gives the same structures."""
GO, NO_GO = 0, 3


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What only looks at files and images comes last, in whatever time the running factories leave to other processes."""
    items.sort(key=lambda item: item.path.stem in {"test_composition", "test_dockerfiles", "test_images"})


@pytest.fixture(scope="session")
def engine() -> None:
    """A container engine with Compose."""
    require_engine()


@pytest.fixture(scope="session")
def images(engine: None) -> dict[str, str]:
    """The images of the containers that start without a profile, by service, all of them built."""
    return find_images()


@pytest.fixture(scope="session")
def all_images(engine: None) -> dict[str, str]:
    """The images of all services but the generative models', all of them built; of all where DISTILLERY_UPSTREAM holds the models' code."""
    return find_images(EVERYTHING if os.environ.get("DISTILLERY_UPSTREAM") else ("benchmarks", "optimade"))


def find_images(profiles: tuple[str, ...] = ()) -> dict[str, str]:
    """The images by service; fails or skips where one has not been built from this checkout."""
    found = {name: service["image"] for name, service in read_config("compose.yaml", profiles=profiles)["services"].items()}
    for image in found.values():
        require_image(image)
    return found


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """What RECIPE gives in one process, without containers."""

    def make(folder: Path) -> Identity:
        (folder / "recipe.yaml").write_text(RECIPE.format(name="embedded"))
        done = distillery("run", "recipe.yaml", cwd=folder, env=LIGHT)
        assert done.returncode in {GO, NO_GO}, done.output
        return read_identity(folder / "data" / "embedded" / "dataset.h5")

    _, found = made_once(tmp_path_factory, "embedded", make)
    return [(id, structure_hash) for id, structure_hash in found]
