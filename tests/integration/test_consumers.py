"""Exports read and trained on by the programs that they are for, where those are installed; all others by scripts/consumers.py."""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.command import Finished
from tests.consumers.trial import CONSUMERS, check, hand_to, train


def require(name: str) -> None:
    for requirement in map(Requirement, CONSUMERS[name].requirements):
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            pytest.skip(f"{requirement.name} is not installed: make consumers makes an environment for each")
        if found not in requirement.specifier:
            pytest.skip(f"{requirement} is wanted, {found} is installed: make consumers makes an environment for each")


@pytest.mark.parametrize("name", CONSUMERS)
def test_a_consumer_reads_what_is_in_the_dataset_and_trains_on_it(quickstart: Finished, tmp_path: Path, name: str) -> None:
    require(name)
    folder = tmp_path / name
    sides = hand_to(name, quickstart.dataset, folder)
    found = check(name, Path(sys.executable), folder, quickstart.dataset, sides)
    assert sum(found["sides"].values()) == {"orb": 210, "chgnet": 150, "matgl": 150}.get(name, 480)
    if CONSUMERS[name].finished:
        train(name, Path(sys.executable), folder)
