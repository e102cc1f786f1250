"""Tests on the other Pythons of this machine that Distillery supports: `make test-pythons`, in environments `.venv-3.12` and so on.

On each: what the services rdkit, pymatgen and ase make is sane and comes out again, files are written where they may be, and
docs/extend.md, whose commands make and verify a labelled dataset. The quickstart itself needs torch: it is run where torch is installed
there already or its wheel lies on disk, and with --quickstart anywhere. The last lines say what was run and what was not.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUPPORTED = ("3.11", "3.12", "3.13")
EXTRAS = "rdkit,pymatgen,ase,benchmarks,test"
OF_PYTHON = [f"tests/unit/test_{name}.py" for name in ("export", "output_file", "weights_command")]
"""What differs between Pythons: links, warnings, the terminal."""
CHOSEN = "test_extend or output_file or weights_command or only_a_file or ([rdkit] or [pymatgen] or [ase]) and (same_seed or are_sane)"
TESTS = ("tests/integration/test_extend.py", "tests/contract/test_services.py", *OF_PYTHON, "-k", CHOSEN)


def find_python(version: str) -> str | None:
    """An interpreter of this version that starts: from the path, else one of pyenv's."""
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(map(str, installed.glob(f"{version}.*/bin/python")), reverse=True)]
    return next((python for python in found if python and starts_as(python, version)), None)


def starts_as(python: str, version: str) -> bool:
    """Whether it is there and of this version; a shim may name one that is not."""
    code = "import sys; print(*sys.version_info[:2], sep='.')"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout.strip() == version


def test_python(version: str, python: str, with_quickstart: bool) -> str:
    """Run what can be run on it, CalledProcessError if that fails; a line that says what it was."""
    environment = ROOT / f".venv-{version}"
    run(python, "-m", "venv", environment)
    own = environment / "bin" / "python"
    install(own, "--upgrade", "pip")
    install(own, "setuptools", "-e", f".[{EXTRAS}]")
    run(own, "-m", "pytest", *TESTS)
    done = "docs/extend.md and the structures of rdkit, pymatgen and ase passed"
    if not with_quickstart and not has_torch_at_hand(own):
        return f"{done}; the quickstart was NOT run, as torch would have to be downloaded: make test-pythons QUICKSTART=1 does it"
    install(own, "-e", ".[7net]")
    with tempfile.TemporaryDirectory() as data:
        run(environment / "bin" / "distillery", "run", "recipes/quickstart.yaml", "--data", data)
    return f"{done}, and so did the quickstart"


def has_torch_at_hand(python: Path) -> bool:
    """Whether torch is installed there, or pip would take it from a file of this machine."""
    words = [str(python), "-m", "pip", "install", "--dry-run", "--no-deps", "--quiet", "--report", "-", "-c", "constraints.txt", "torch"]
    report = json.loads(subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return all(one["download_info"]["url"].startswith("file:") for one in report["install"])


def install(python: Path, *what: str) -> None:
    """Install what is named, as pinned."""
    run(python, "-m", "pip", "install", "--quiet", "--no-compile", "-c", "constraints.txt", *what)


def run(*words: str | Path) -> None:
    """Run a command in the checkout; CalledProcessError if it fails."""
    subprocess.run(words, cwd=ROOT, check=True)


def main() -> None:
    """Test every supported Python but the one that runs this; exit with 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quickstart", action="store_true", help="run the quickstart on each, whatever has to be downloaded for it")
    with_quickstart = parser.parse_args().quickstart
    own, lines, has_failed = "{}.{}".format(*sys.version_info), [], False
    for version in SUPPORTED:
        python = find_python(version)
        if version == own:
            said = "is what `make test` runs on"
        elif python is None:
            said = "is not on this machine"
        else:
            try:
                said = test_python(version, python, with_quickstart)
            except subprocess.CalledProcessError as error:
                said, has_failed = f"FAILED: {' '.join(map(str, error.cmd))}", True
        lines.append(f"Python {version}: {said}")
    print("\n".join(lines))
    sys.exit(has_failed)


main()
