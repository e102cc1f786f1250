"""What stands in the way of real processes is told by status, command and page, and how soon: full disk, killed labeller, no weights."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser import Page, expect
from tests.null_teacher import NAME
from tests.serving import free_port, wait_for_answer

PROBLEMS = "[sse-swap=problems]"
LONGEST = 60.0
"""Seconds from the fault to the words on the screen, on a machine that is busy; it takes 1 to 3 on a quiet one, and 10 are promised."""
RECIPE = f"""\
name: small
seed: 5
teacher: {NAME}
shard_size: 5
elements: [H, C, N, O]
sources:
  clusters: {{service: SERVICE, system: SYSTEM, count: 2000, atoms: [10, 16]}}
"""
MODULES = {
    "gateway": ("cli", "serve", "gateway"),
    "ase": ("tests.process", "tests.fake_service:build_slow"),
    "chemeleon": ("cli", "serve", "chemeleon"),
    "labeller": ("tests.process", "tests.null_teacher:build"),
}


class Factory:
    """Processes that look for each other at fixed ports, as containers do at fixed names; it ends them all at the end."""

    def __init__(self, data: Path, weights: Path) -> None:
        self.data, self.ports = data, {name: free_port() for name in MODULES}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._env = {
            **os.environ,
            "DISTILLERY_GATEWAY_DATA": str(data),
            "DISTILLERY_GATEWAY_LOOK_UP": "false",
            "DISTILLERY_GATEWAY_TRIES": "20",
            "DISTILLERY_GATEWAY_LABELLER": self.url("labeller"),
            "DISTILLERY_GATEWAY_SERVICES": json.dumps({name: self.url(name) for name in ("ase", "chemeleon")}),
            "DISTILLERY_LABELLER_DATA": str(data),
            "DISTILLERY_LABELLER_SELF_TEST": "false",
            "DISTILLERY_CHEMELEON_WEIGHTS": str(weights),
            "DISTILLERY_CHEMELEON_DOWNLOAD": "false",
            "DISTILLERY_CHEMELEON_DEVICE": "cpu",
        }

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def start(self, *names: str, path: str = "/v1/health/ready") -> None:
        for name in names:
            command = [sys.executable, "-m", *MODULES[name], "--port", str(self.ports[name])]
            self._processes[name] = subprocess.Popen(command, env=self._env, stderr=subprocess.DEVNULL)
        for name in names:
            wait_for_answer(self.url(name) + path)

    def kill(self, name: str) -> int:
        """End it as the kernel does for want of memory; its exit code, which a shell and Docker call 137."""
        self._processes[name].kill()
        return self._processes[name].wait(30)

    def end(self) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait(30)

    def begin(self, service: str, system: str) -> None:
        recipe = RECIPE.replace("SERVICE", service).replace("SYSTEM", system)
        assert httpx.post(f"{self.url('gateway')}/v1/datasets", content=recipe, timeout=30).status_code == 202

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.url('gateway')}/v1/datasets/small", timeout=30).raise_for_status().json()
        return found

    def n_parts(self) -> int:
        return len(list((self.data / "small" / "parts").glob("[!.]*.h5")))

    def ask_command(self, *arguments: str) -> str:
        """What `distillery status` says, its lines joined."""
        command = [sys.executable, "-m", "cli", "status", "small", *arguments]
        return " ".join(subprocess.run(command, capture_output=True, text=True, check=True, env=self._env).stdout.split())

    def require_told(self, page: Page, words: str, began: float, in_folder: str = "") -> None:
        """Page and status say so soon after the fault; so does the command, asked about the gateway or the folder."""
        expect(page.locator(PROBLEMS)).to_contain_text(words, timeout=1000 * LONGEST)
        on_page = time.monotonic() - began
        status = self.status()
        in_status = time.monotonic() - began
        assert any(words in one["detail"] for one in [*status["retries"], *filter(None, [status["problem"]])]), status
        print(f"{words}: on the page after {on_page:.1f} s, in the status after {in_status:.1f} s")
        assert words in self.ask_command("--gateway", self.url("gateway"))
        wait_until_said(in_folder or words, lambda: self.ask_command("--data", str(self.data)))


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A file system of this size, in memory; skipped where none may be mounted."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk that can be filled: mount says {done.stderr.strip()} (root may)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def running(data: Path, weights: Path) -> Iterator[Factory]:
    factory = Factory(data, weights)
    try:
        yield factory
    finally:
        factory.end()


def wait_until(condition: Callable[[], object], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.1)


def wait_until_said(words: str, ask: Callable[[], str], seconds: float = LONGEST) -> None:
    end = time.monotonic() + seconds
    while words not in (said := ask()):
        assert time.monotonic() < end, f"wanted {words!r}, was told: {said}"


def fill(folder: Path) -> Path:
    """A file that takes all that is left; some is free again as soon as a write that failed removes what it had written."""
    filler = folder / "filler"
    subprocess.run(f"cat /dev/zero > {filler}", shell=True, stderr=subprocess.DEVNULL)
    return filler


def begin_and_watch(factory: Factory, page: Page) -> None:
    """A dataset of clusters whose first parts are there, and its page."""
    factory.start("gateway", "ase", "labeller")
    factory.begin("ase", "cluster")
    page.goto(f"{factory.url('gateway')}/datasets/small")
    wait_until(lambda: factory.n_parts() >= 2)


def require_going_on(factory: Factory, page: Page) -> None:
    """Further parts come, where the run gave up meanwhile once it is resumed, and what was in the way is told no more."""
    n_parts = factory.n_parts()

    def goes_on() -> bool:
        status = factory.status()
        if status["state"] == "failed":
            page.click("#resume")
        return status["state"] == "running" and not status["retries"] and factory.n_parts() > n_parts

    wait_until(goes_on)
    expect(page.locator(PROBLEMS)).to_be_empty()


def test_a_full_disk_is_told_and_once_there_is_room_the_run_goes_on(tmp_path: Path, page: Page) -> None:
    with mounted(tmp_path / "disk", "24m") as disk, running(disk, tmp_path) as factory:
        begin_and_watch(factory, page)
        filler, began = fill(disk), time.monotonic()
        factory.require_told(page, "No space left on device; free some space there", began, "is nearly full: ")
        filler.unlink()
        require_going_on(factory, page)


def test_a_labeller_that_was_killed_is_told_and_once_it_is_back_the_run_goes_on(tmp_path: Path, page: Page) -> None:
    with running(tmp_path / "data", tmp_path) as factory:
        begin_and_watch(factory, page)
        assert factory.kill("labeller") == -9
        factory.require_told(page, "labeller can't be reached", time.monotonic())
        expect(page.locator(PROBLEMS)).to_contain_text("If it ended with exit code 137, it ran out of memory")
        factory.start("labeller")
        require_going_on(factory, page)


def test_a_service_that_was_killed_is_told_though_nothing_is_asked_of_it(tmp_path: Path, page: Page) -> None:
    with running(tmp_path / "data", tmp_path) as factory:
        begin_and_watch(factory, page)
        page.click("#pause")
        wait_until(lambda: not factory.status()["at_work"])
        assert factory.kill("ase") == -9
        factory.require_told(page, "ase can't be reached", time.monotonic())
        factory.start("ase")
        expect(page.locator(PROBLEMS)).to_be_empty()
        page.click("#resume")
        require_going_on(factory, page)


def test_a_service_without_weights_is_told_with_what_to_do(tmp_path: Path, page: Page) -> None:
    with running(tmp_path / "data", tmp_path) as factory:
        factory.start("gateway", "labeller")
        factory.start("chemeleon", path="/v1/health/live")
        wait_until(lambda: "weights" in httpx.get(f"{factory.url('chemeleon')}/v1/health/ready", timeout=30).text)
        began = time.monotonic()
        factory.begin("chemeleon", "crystal")
        page.goto(f"{factory.url('gateway')}/datasets/small")
        factory.require_told(page, "distillery weights pull chemeleon", began)
