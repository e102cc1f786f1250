"""docs/extend.md: every block of it, from an empty folder to a dataset of another package's generator and teacher."""

import re
import subprocess
import sys
import venv
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.calculators.emt import EMT

import distillery
from tests.command import ROOT

PAGE = (ROOT / "docs" / "extend.md").read_text()
LONGEST = 30
"""Lines of code in a generator or a teacher, imports and blank lines aside."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def make_environment(folder: Path) -> Path:
    """A Python of its own that finds all that the tests' one finds."""
    venv.create(folder, with_pip=False)
    (own,) = folder.glob("lib/python*/site-packages")
    shared = [path for path in sys.path if path.endswith("site-packages")]
    (own / "shared.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in shared))
    return folder / "bin" / "python"


def run(python: Path, command: list[str], folder: Path) -> str:
    """Run a command of the page in its folder; what it printed."""
    program, *arguments = command
    if program == "pip":  # offline, and nothing but the package itself
        words = ["-m", "pip", "--python", str(python), *arguments, "--no-build-isolation", "--no-deps", "--no-index", "--quiet"]
        words = [sys.executable, *words]
    else:
        assert program == "distillery"
        words = [str(python), "-m", "cli", *arguments]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder once all commands of the page have run in it, what each printed beside it."""
    folder = tmp_path_factory.mktemp("alloys")
    (toml,), (generator, teacher), (recipe,), (commands,) = (blocks(language) for language in ("toml", "python", "yaml", "sh"))
    files = {"pyproject.toml": toml, "alloys_generator.py": generator, "alloys_teacher.py": teacher, "alloys.yaml": recipe}
    for name, text in files.items():
        (folder / name).write_text(text)
    python = make_environment(tmp_path_factory.mktemp("environment") / "venv")
    for number, command in enumerate(commands.splitlines()):
        (folder / f"{number}.txt").write_text(run(python, command.split(), folder))
    return folder


def test_the_dataset_is_labelled_by_the_pages_own_teacher(folder: Path) -> None:
    structures = list(distillery.read_dataset(folder / "data" / "alloys" / "dataset.h5"))
    assert len(structures) == 40
    for atoms in structures:
        labelled, atoms.calc = atoms.calc.results, EMT()
        assert atoms.get_potential_energy() == pytest.approx(labelled["energy"], abs=1e-9)
        assert np.allclose(atoms.get_forces(), labelled["forces"], atol=1e-5)
        assert np.allclose(atoms.get_stress(), labelled["stress"], atol=1e-9)


def test_the_structures_are_of_the_pages_own_generator(folder: Path) -> None:
    with h5py.File(folder / "data" / "alloys" / "dataset.h5") as file:
        assert set(file["provenance/service"].asstr()[:]) == {"alloys"}
        assert {29, 79} == set(file["structures/atomic_numbers"][:])


def test_the_commands_say_go_and_that_a_shard_comes_out_again(folder: Path) -> None:
    _, services, made, verified = [(folder / f"{number}.txt").read_text() for number in range(4)]
    assert "random fcc alloys of Cu and Au" in services
    assert "GO  40 of 40 structures" in made
    assert "✗" not in verified
    assert verified.count("✓") > 10


@pytest.mark.parametrize("code", blocks("python"))
def test_a_generator_and_a_teacher_are_short(code: str) -> None:
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith(("from ", "import "))]
    assert len(lines) <= LONGEST
