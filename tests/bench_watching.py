"""`make bench-watching`: what a run costs that fifty browsers watch against one that nobody does, turn by turn, with a null teacher.
Gateway, labeller and services are one process here, and the browsers another; processor time is the first one's.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from fastapi import FastAPI
from rich.console import Console
from rich.table import Table

from distillery.http.background_server import serve_in_background
from tests.fast_service import FastGenerator
from tests.integration.factory import factory, make
from tests.null_teacher import NAME, NullTeacher

_RECIPE = """\
name: {name}
seed: 1
teacher: {teacher}
shard_size: 50
sources:
  molecules: {{service: molecules, system: molecule, count: {half}, atoms: [12, 60]}}
  crystals: {{service: crystals, system: crystal, count: {half}, atoms: [10, 60]}}
"""
_HOUR = 3600.0


@dataclass(frozen=True)
class Run:
    """How long a run took, processor time in it, s, and the events that browsers were sent."""

    seconds: float
    cpu: float
    n_events: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=int, default=4000, help="of each run")
    parser.add_argument("--browsers", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="distillery-watching-") as folder:
        runs = asyncio.run(_make_all(Path(folder), arguments.structures, arguments.browsers, arguments.rounds))
    _show(runs, arguments.structures)


async def _make_all(data: Path, n: int, n_browsers: int, n_rounds: int) -> dict[int, list[Run]]:
    generators = {service: FastGenerator(service, [system]) for service, system in (("molecules", "molecule"), ("crystals", "crystal"))}
    apps: dict[str, FastAPI] = {}
    runs: dict[int, list[Run]] = {0: [], n_browsers: []}
    async with factory(data, generators, NullTeacher(), apps) as client, serve_in_background(apps["gateway"]) as url:
        await make(client, _write_recipe("warm", n // 4), seconds=_HOUR)
        for k in range(n_rounds):
            for n_now in runs if k % 2 == 0 else reversed(runs):
                name = f"run-{k}-{n_now}"
                browsers = await _open_browsers(url, name, n_now)
                began, cpu = time.perf_counter(), time.process_time()
                status = await make(client, _write_recipe(name, n), seconds=_HOUR)
                assert status["state"] == "finished", status
                seconds, used = time.perf_counter() - began, time.process_time() - cpu
                runs[n_now].append(Run(seconds, used, await _close_browsers(browsers)))
                Console(stderr=True).print(name, runs[n_now][-1])
    return runs


def _write_recipe(name: str, n: int) -> str:
    return _RECIPE.format(name=name, teacher=NAME, half=n // 2)


async def _open_browsers(url: str, name: str, n: int) -> asyncio.subprocess.Process | None:
    """The browsers, a process of their own; half of them ask for the page of the dataset until it is there."""
    if not n:
        return None
    command = [sys.executable, str(Path(__file__).with_name("browsers.py")), url.rstrip("/"), name, str(n)]
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    return process


async def _close_browsers(process: asyncio.subprocess.Process | None) -> int:
    """The events that they were sent; RuntimeError if one of them was sent nothing."""
    if process is None:
        return 0
    said, _ = await process.communicate(b"\n")
    if process.returncode:
        raise RuntimeError(f"some browsers were sent nothing, or lost the gateway: {said.decode()}")
    return int(said)


def _show(runs: dict[int, list[Run]], n_structures: int) -> None:
    table = Table("browsers", "structures/s", "CPU, s", "of each run", "events", title=f"{n_structures:,} structures a run")
    for n, own in runs.items():
        each = ", ".join(f"{run.cpu:.2f}" for run in own)
        rate, cpu, events = (median(values) for values in zip(*((n_structures / r.seconds, r.cpu, r.n_events) for r in own), strict=True))
        table.add_row(f"{n}", f"{rate:.0f}", f"{cpu:.2f}", each, f"{events:.0f}")
    Console().print(table)
    alone, watched = runs.values()
    cpu = median(run.cpu for run in watched) / median(run.cpu for run in alone)
    rate = median(run.seconds for run in alone) / median(run.seconds for run in watched)
    Console().print(f"watched against alone: processor time {cpu:.3f}, rate {rate:.3f}", highlight=False)


if __name__ == "__main__":
    main()
