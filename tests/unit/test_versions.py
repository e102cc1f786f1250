"""A service's card names the version of every library that decides its bytes."""

import re
from pathlib import Path

import pytest

from distillery.runtime.versions import name_versions
from distillery.schema.generate import Metadata
from services.ase.generator import ClusterSurfaceProposer
from services.benchmarks.generator import BenchmarkGenerator
from services.benchmarks.settings import BenchmarkSettings
from services.pymatgen.generator import CrystalProposer
from services.rdkit.generator import MoleculeProposer

ROOT = Path(__file__).parents[2]
DECISIVE = {"ase", "numpy", "pymatgen", "pyxtal", "rdkit", "scipy", "spglib", "vesin"}
CARDS = {
    "rdkit": MoleculeProposer().metadata,
    "pymatgen": CrystalProposer().metadata,
    "ase": ClusterSurfaceProposer().metadata,
    "benchmarks": BenchmarkGenerator(BenchmarkSettings()).metadata,
}


def imports_of(folder: Path) -> set[str]:
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    return DECISIVE & set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE))


@pytest.mark.parametrize("service", CARDS)
def test_every_decisive_library_that_service_or_library_imports_is_named(service: str) -> None:
    card: Metadata = CARDS[service]
    library = imports_of(ROOT / "distillery" / "structures") | imports_of(ROOT / "distillery" / "generators")
    assert library
    assert imports_of(ROOT / "services" / service) | library <= card.versions.keys()


def test_a_library_is_named_once() -> None:
    assert list(name_versions("ase", "scipy")) == ["ase", "scipy", "numpy", "vesin"]
