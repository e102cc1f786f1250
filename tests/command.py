"""The `distillery` command as a user types it, and the quickstart that it makes once for all tests."""

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from cli.main import main
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


def distillery_here(*arguments: str, cwd: Path) -> Finished:
    """Run the command in this process, for tests of what it says, not of the process: a start costs as much as many of them."""
    output = io.StringIO()
    with chdir(cwd), redirect_stdout(output), redirect_stderr(output), patch.object(sys, "argv", ["distillery", *arguments]):
        try:
            main()
        except SystemExit as ended:
            return Finished(cwd, int(ended.code or 0), output.getvalue())
    return Finished(cwd, 0, output.getvalue())


def make_quickstart(factory: pytest.TempPathFactory) -> Finished:
    """The quickstart, embedded, made by the first that asks for it; tests leave it as it is."""

    def make(folder: Path) -> tuple[int, str]:
        done = distillery("run", str(QUICKSTART), cwd=folder)
        return done.returncode, done.output

    folder, (returncode, output) = made_once(factory, "quickstart", make)
    return Finished(folder, returncode, output)
