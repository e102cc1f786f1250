"""The `distillery` command as a user types it, and the quickstart that it makes once for all tests."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.once import made_once

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "recipes" / "quickstart.yaml"


@dataclass(frozen=True)
class Finished:
    """A folder that a command ran in, and what it printed."""

    folder: Path
    returncode: int
    output: str

    @property
    def dataset(self) -> Path:
        """The quickstart's dataset.h5."""
        return self.folder / "data" / "quickstart" / "dataset.h5"


def distillery(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Finished:
    """Run the command in a folder, with more environment variables if given."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
        env={**os.environ, **(env or {})},
    )
    return Finished(cwd, done.returncode, done.stdout)


def make_quickstart(factory: pytest.TempPathFactory) -> Finished:
    """The quickstart, embedded, made by the first that asks for it; tests leave it as it is."""

    def make(folder: Path) -> tuple[int, str]:
        done = distillery("run", str(QUICKSTART), cwd=folder)
        return done.returncode, done.output

    folder, (returncode, output) = made_once(factory, "quickstart", make)
    return Finished(folder, returncode, output)
