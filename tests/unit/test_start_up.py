"""What a command imports before it does anything: seconds depend on the machine, modules do not."""

import os
import subprocess
import sys
from pathlib import Path

import ase.data
import pytest

from distillery.runtime.machine import count_cores
from distillery.structures.elements import ATOMIC_NUMBERS
from gateway.app import create_gateway
from gateway.settings import GatewaySettings
from tests.command import Finished
from tests.serving import serve

NEVER = {
    "torch",
    "fastapi",
    "starlette",
    "httpx",
    "pyarrow",
    "numpy",
    "h5py",
    "ase",
    "scipy",
    "asyncio",
    "filelock",
    "plotly",
    "pydantic_settings",
}
"""Packages that cost more to import than what the fast commands do."""
ASK = """
import sys
from cli.__main__ import main

try:
    main()
except SystemExit:
    pass
print("imported:", *sorted(sys.modules), file=sys.stderr)
"""


def run(folder: Path, *arguments: str) -> tuple[str, set[str]]:
    """What a command says, and the packages that it imported."""
    done = subprocess.run([sys.executable, "-c", ASK, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    modules = done.stderr.split("imported:")[-1].split()
    return done.stdout, {module.partition(".")[0] for module in modules}


COUNT = """
import psutil
from cli.__main__ import main

try:
    main()
except SystemExit:
    import numpy
print("threads:", psutil.Process().num_threads())
"""


@pytest.mark.parametrize(("environment", "n_threads"), [({}, 1), ({"OPENBLAS_NUM_THREADS": "2"}, 2)])
def test_linear_algebra_has_one_thread_where_the_environment_does_not_say_otherwise(environment: dict[str, str], n_threads: int) -> None:
    usual = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", COUNT, "--version"]
    done = subprocess.run(command, env=usual | environment, capture_output=True, text=True, check=True)
    assert f"threads: {min(n_threads, count_cores())}" in done.stdout


TORCH = """
from cli.__main__ import main

try:
    main()
except SystemExit:
    import torch
"""


def test_threads_of_torch_sleep_while_they_wait() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | {"OMP_DISPLAY_ENV": "VERBOSE"}
    command = [sys.executable, "-c", TORCH, "--version"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "GOMP_SPINCOUNT = '0'" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["status", "--help"], ["run", "--help"], ["--version"]])
def test_help_imports_neither_models_nor_arrays(arguments: list[str], tmp_path: Path) -> None:
    said, imported = run(tmp_path, *arguments)
    assert said
    assert not imported & NEVER
    assert "ruamel" not in imported
    if "--help" in arguments[:1]:
        assert "pydantic" not in imported  # typer itself imports it once there is a command


def test_status_of_finished_datasets_imports_what_reads_reports_alone(quickstart: Finished) -> None:
    said, imported = run(quickstart.dataset.parent.parent.parent, "status")
    assert "quickstart  finished" in said
    assert "molecules" in said
    assert "pydantic" in imported
    assert not imported & NEVER


def test_status_of_a_gateway_imports_what_asks_it_alone(tmp_path: Path) -> None:
    with serve(create_gateway(GatewaySettings(data=tmp_path, resume=False))) as url:
        said, imported = run(tmp_path, "status", "--gateway", url)
    assert "there are no datasets yet" in said
    assert imported & NEVER == {"httpx", "asyncio", "pydantic_settings"}


def test_status_without_datasets_says_how_to_begin(tmp_path: Path) -> None:
    said, imported = run(tmp_path, "status")
    assert "there are no datasets yet" in said
    assert not imported & NEVER


def test_status_of_an_unfinished_dataset_beside_a_finished_one_tells_both(quickstart: Finished, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "quickstart").symlink_to(quickstart.dataset.parent)
    (data / "begun").mkdir()
    (data / "begun" / "recipe.yaml").write_text(
        "name: begun\nseed: 1\nteacher: 7net-0\nsources:\n  molecules: {service: rdkit, system: molecule, count: 10}\n"
    )
    said, _ = run(tmp_path, "status")
    rows = [[word.strip() for word in line.split("│")[1:3]] for line in said.splitlines() if line.startswith("│")]
    assert rows == [["begun", "stopped"], ["quickstart", "finished"]]


def test_status_of_an_unfinished_dataset_imports_what_reads_parts_once_and_neither_http_nor_settings(tmp_path: Path) -> None:
    (tmp_path / "data" / "begun").mkdir(parents=True)
    (tmp_path / "data" / "begun" / "recipe.yaml").write_text(
        "name: begun\nseed: 1\nteacher: 7net-0\nsources:\n  molecules: {service: rdkit, system: molecule, count: 10}\n"
    )
    said, imported = run(tmp_path, "status")
    assert "begun  stopped" in said
    assert imported & NEVER <= {"numpy", "h5py", "ase", "asyncio"}
    again, imported = run(tmp_path, "status")
    assert again == said
    assert not imported & NEVER


def test_elements_are_those_of_ase() -> None:
    assert ase.data.atomic_numbers == {"X": 0, **ATOMIC_NUMBERS}
