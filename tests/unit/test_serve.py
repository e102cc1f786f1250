"""`distillery serve`: one part of the factory as a process of its own, and what the command says where a package is missing."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from distillery.generators.plugins import list_services
from tests.serving import free_port, wait_for_answer

ROOT = Path(__file__).parents[2]
BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
from cli.main import main
main()
"""


def distillery(*arguments: str, cwd: Path = ROOT, without: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process where packages `without` can't be imported."""
    command = [sys.executable, "-c", BLOCKED.format(blocked=set(without)), *arguments]
    set_up = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(command, env=set_up, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def served(*arguments: str, until: str = "ready", **env: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`distillery serve` on a free port: its URL, once it is ready (or live), and its process."""
    port = free_port()
    command = [sys.executable, "-m", "cli", "serve", *arguments, "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, **env}, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_answer(f"http://127.0.0.1:{port}/v1/health/{until}")
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_a_service_is_served_until_it_is_told_to_stop() -> None:
    with served("ase", DISTILLERY_SERVICE_WORKERS="1") as (url, process):
        assert httpx.get(f"{url}/v1/metadata").json()["service"] == "ase"
        body = {"system": "cluster", "n": 1, "seed": 1, "min_atoms": 8, "max_atoms": 12}
        assert httpx.post(f"{url}/generate", json=body, timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert process.returncode in {0, -signal.SIGTERM}
    lines = [json.loads(line) for line in log.splitlines()]  # the server's own lines too
    assert "Application shutdown complete." in [line["message"] for line in lines]
    assert {line["service"] for line in lines} == {"ase"}
    assert "GET /v1/" not in log, "one line each time that somebody looks would fill the log"


def test_the_gateway_is_served_by_the_name_in_the_environment(tmp_path: Path) -> None:
    with served(DISTILLERY_SERVE="gateway", DISTILLERY_GATEWAY_DATA=str(tmp_path)) as (url, _):
        assert httpx.get(f"{url}/v1/datasets").json() == []


def test_its_log_says_what_it_waits_for(tmp_path: Path) -> None:
    with served("benchmarks", until="live", DISTILLERY_BENCHMARKS_FOLDER=str(tmp_path / "none")) as (_, process):
        assert process.stderr is not None
        assert any("benchmarks is not ready, next try in" in line for line in process.stderr)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    done = distillery("serve", "gatway")
    assert done.returncode == 1
    assert "there is no 'gatway' to serve; did you mean 'gateway'?" in done.stderr
    assert "did you mean 'rdkit'?" in distillery("serve", "rdkitt").stderr


def test_a_name_that_is_near_none_is_answered_with_all() -> None:
    done = distillery("serve", "zzz")
    for name in ("gateway", "labeller", *list_services()):
        assert name in done.stderr


@pytest.mark.parametrize(("name", "package"), [("labeller", "torch"), ("rdkit", "rdkit"), ("moldiff", "torch")])
def test_a_package_that_is_missing_is_named_in_one_line(name: str, package: str, tmp_path: Path) -> None:
    done = distillery("serve", name, without=(package,), DISTILLERY_LABELLER_DATA=str(tmp_path))
    assert done.returncode == 1
    assert package in done.stderr
    assert "not installed here" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_port_that_there_is_not_is_refused() -> None:
    """The operating system takes the rest of a division by 65,536 for it, and listens there."""
    done = distillery("serve", "gateway", "--port", "99999")
    assert done.returncode == 2
    assert "less than or equal to 65535" in done.stderr


def test_settings_that_are_wrong_end_it_with_one_line() -> None:
    done = distillery("serve", "gateway", DISTILLERY_GATEWAY_PUBLISHED="0.0.0.0")
    assert done.returncode == 1
    assert "set DISTILLERY_GATEWAY_API_KEY" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("command", [("report", "quickstart"), ("status",), ("services", "ase"), ("verify", "--help"), ("weights", "list")])
def test_commands_run_or_say_what_is_missing_where_only_the_library_s_packages_are(command: tuple[str, ...], tmp_path: Path) -> None:
    others = ("jinja2", "plotly", "quests", "numba", "torch", "sevenn", "orb_models", "rdkit", "pymatgen", "pyxtal", "spglib", "lmdb")
    done = distillery(*command, cwd=tmp_path, without=others)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or (done.returncode == 1 and len(done.stderr.splitlines()) == 1), done.stderr
