"""docs/tutorial.md: every block of it, with fewer structures and epochs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ase.io import read

from distillery.dataset.layout import open_dataset
from distillery.dataset.splits import read_parents
from tests.command import ROOT, distillery

SMALLER = {"count: 160": "count: 80", "EPOCHS = 60": "EPOCHS = 20"}


def blocks(language: str) -> list[str]:
    """The blocks of a language, in order, made smaller."""
    text = (ROOT / "docs" / "tutorial.md").read_text()
    for full, small in SMALLER.items():
        assert text.count(full) == 1
        text = text.replace(full, small)
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tutorial's dataset is made and everything is exported, by the commands it names."""
    folder = tmp_path_factory.mktemp("tutorial")
    (recipe,) = blocks("yaml")
    (folder / "tutorial.yaml").write_text(recipe)
    commands = [line.split() for block in blocks("sh") for line in block.splitlines() if line.startswith("distillery ")]
    assert len(commands) == 5
    for _, *arguments in commands:
        done = distillery(*arguments, cwd=folder)
        assert done.returncode == 0, done.output
    return folder


def test_the_student_beats_the_baseline(folder: Path) -> None:
    code = "\n".join(blocks("python"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    errors = {
        who: (float(energy), float(forces))
        for who, energy, forces in re.findall(r"^(.*): energy (\S+) meV/atom, forces (\S+) eV/Å$", done.stdout, re.MULTILINE)
    }
    assert errors.keys() == {"baseline, train", "baseline, test", "student, train", "student, val", "student, test"}
    assert errors["student, test"][1] < 0.7 * errors["baseline, test"][1]
    assert errors["student, test"][0] < errors["baseline, test"][0]


def test_conformers_are_on_one_side(folder: Path) -> None:
    path = folder / "data/tutorial/dataset.h5"
    with open_dataset(path) as file:
        ids = file["provenance/id"].asstr()[:]
    parents = dict(zip(ids, read_parents(path), strict=True))
    sides = {side: {parents[a.info["id"]] for a in read(folder / f"data/tutorial/dataset-{side}.extxyz", ":")} for side in ("train", "val")}
    assert sides["train"]
    assert sides["val"]
    assert not sides["train"] & sides["val"]
    assert len(set(parents.values())) < len(parents)
