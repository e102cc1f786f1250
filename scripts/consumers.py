"""Exports tried with the programs that read them, each in an environment of its own; prints the table of docs/trainers.md.

    python scripts/consumers.py data/quickstart/dataset.h5 [NAME …]

An environment shares what is installed here, torch above all, and lies in .consumers/; unless --keep is given it is removed as soon as
its last consumer was tried.
"""

import argparse
import shutil
import subprocess
import sys
import sysconfig
from datetime import date
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.consumers.trial import CONSUMERS, check, name_sides, run_command, train  # noqa: E402


def make_environment(folder: Path, requirements: tuple[str, ...]) -> Path:
    """The Python of a virtual environment with these packages over those installed here."""
    python = folder / "bin" / "python"
    if python.exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    own = next(folder.glob("lib/python*/site-packages"))
    (own / "shared.pth").write_text(f"{sysconfig.get_path('purelib')}\n{SHARED}")
    pin = folder / "pin.txt"
    pin.write_text(f"torch=={version('torch')}\n")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", "-c", pin, *requirements], check=True)
    return python


SHARED = "".join(path.read_text() for path in Path(sysconfig.get_path("purelib")).glob("zz_shared.pth"))
"""Where this environment takes packages from in its turn."""


def name_environment(name: str, work: Path) -> Path:
    """Where the environment of a consumer lies; those with the same check share one."""
    return work / f"venv-{CONSUMERS[name].module}"


def try_consumer(name: str, dataset: Path, work: Path) -> str:
    """A row of the table; what fails is said in it."""
    consumer, packages = CONSUMERS[name], ", ".join(CONSUMERS[name].requirements)
    try:
        python = make_environment(name_environment(name, work), consumer.requirements)
    except subprocess.CalledProcessError:
        shutil.rmtree(name_environment(name, work))
        return f"| {name} | {packages} | no: it can't be installed on this Python | | | | |"
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    sides = name_sides(folder)
    try:
        run_command([str(python), "-m", "tests.consumers.trial", name, str(dataset), str(folder)], ROOT, python)  # zarr is there alone
        found = check(name, python, folder, dataset, sides)
    except AssertionError as error:
        return f"| {name} | {packages} | no: {str(error).strip().splitlines()[-1]} | | | | |"
    step = "not tried"
    if consumer.finished:
        try:
            step = f"yes: `{train(name, python, folder)}`"
        except AssertionError as error:
            step = f"no: {str(error).strip().splitlines()[-1]}"
    counts = ", ".join(f"{side} {n}" for side, n in found["sides"].items())
    return f"| {name} | {found['package']} | yes | {found['values']} | {found['stress']} | {counts} | {step} |"


def main() -> None:
    """Try those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CONSUMERS))
    parser.add_argument("--work", type=Path, default=ROOT / ".consumers")
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    unknown = set(given.names) - set(CONSUMERS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(CONSUMERS)}")
    given.work.mkdir(exist_ok=True)
    print(f"\nPython {sys.version.split()[0]}, torch {version('torch')}, {date.today()}\n")
    print("| consumer | package | loads unchanged | values | stress | splits | trains |\n|---|---|---|---|---|---|---|", flush=True)
    names, work = list(given.names or CONSUMERS), given.work.resolve()
    for k, name in enumerate(names):
        print(try_consumer(name, given.dataset.resolve(), work), flush=True)
        own = name_environment(name, work)
        if not given.keep and own not in {name_environment(later, work) for later in names[k + 1 :]}:
            shutil.rmtree(own)
    if not given.keep:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
