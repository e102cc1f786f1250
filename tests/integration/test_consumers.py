"""Exports read and trained on by the programs that they are for, where those are installed; all others by scripts/consumers.py."""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from distillery.dataset.selection import choose_structures
from distillery.derive.select import select_structures
from tests.command import Finished
from tests.consumers.trial import CONSUMERS, check, find_selection, hand_to, train

_N = 96


def require(name: str) -> None:
    for requirement in map(Requirement, CONSUMERS[name].requirements):
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            pytest.skip(f"{requirement.name} is not installed: make consumers makes an environment for each")
        if found not in requirement.specifier:
            pytest.skip(f"{requirement} is wanted, {found} is installed: make consumers makes an environment for each")


@pytest.fixture(scope="module")
def dataset(quickstart: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the quickstart's structures, so that an epoch takes seconds."""
    out = tmp_path_factory.mktemp("some") / "dataset.h5"
    select_structures(quickstart.dataset, out, _N, by="random")
    return out


@pytest.mark.parametrize("name", CONSUMERS)
def test_a_consumer_reads_what_is_in_the_dataset_and_trains_on_it(dataset: Path, tmp_path: Path, name: str) -> None:
    require(name)
    folder = tmp_path / name
    sides = hand_to(name, dataset, folder)
    found = check(name, Path(sys.executable), folder, dataset, sides)
    n_wanted = len(choose_structures(dataset, find_selection(name)).indices)
    assert sum(found["sides"].values()) == n_wanted > 20
    if CONSUMERS[name].finished:
        train(name, Path(sys.executable), folder)
