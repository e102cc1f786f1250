"""The quickstart, run once by the command a user types."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.once import made_once

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Finished:
    """A folder with data/quickstart in it, and what the run printed."""

    folder: Path
    returncode: int
    output: str

    @property
    def dataset(self) -> Path:
        return self.folder / "data" / "quickstart" / "dataset.h5"


def distillery(*arguments: str, cwd: Path) -> Finished:
    """Run the command in a folder."""
    command = [sys.executable, "-m", "gateway", *arguments]
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False)
    return Finished(cwd, done.returncode, done.stdout)


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The finished quickstart; tests leave it as it is."""

    def make(folder: Path) -> tuple[int, str]:
        done = distillery("run", str(ROOT / "recipes" / "quickstart.yaml"), cwd=folder)
        return done.returncode, done.output

    folder, (returncode, output) = made_once(tmp_path_factory, "quickstart", make)
    return Finished(folder, returncode, output)
