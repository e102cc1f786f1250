"""`make scale`: 120,000 structures through real processes, with a teacher that computes nothing and two kills on the way."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from distillery.dataset.folder import PARTS, list_parts
from distillery.dataset.layout import open_dataset
from distillery.recipe.stages import LARGEST_WAVE
from tests.fast_service import GENERATORS
from tests.null_teacher import NAME
from tests.serving import free_port, wait_for_answer
from tests.watch import Life, Watch

N_STRUCTURES = 120_000
N_WAVES = 12
KILLS = {"gateway": 0.3, "labeller": 0.5}
"""Which process is killed once so much of the dataset is labelled."""
_PROCESSES = ("gateway", "labeller", *GENERATORS)
_IMAGE_ENV = {"gateway": {"MALLOC_ARENA_MAX": "2"}}
"""What gateway/Dockerfile sets that matters here."""
_UVICORN = ("--no-access-log", "--timeout-keep-alive", "30", "--timeout-graceful-shutdown", "25", "--log-level", "warning")
_RECIPE = """\
name: scale
seed: 120000
total: {n}
teacher: {teacher}
shard_size: {shard}
stages:
  pilot: {{per_source: 10}}
  test: {{total: {test}}}
  full: {{wave: {wave}}}
rebalance: [0.04]
sources:
  molecules: {{service: molecules, system: molecule, share: 0.42, atoms: [12, 99]}}
  crystals: {{service: crystals, system: crystal, share: 0.32, atoms: [10, 200]}}
  sparse: {{service: sparse, system: crystal, share: 0.08, atoms: [10, 200], attempts: 2, fallback: crystals, generative: true}}
  clusters: {{service: shapes, system: cluster, share: 0.12, atoms: [10, 200]}}
  surfaces: {{service: shapes, system: surface, share: 0.06, atoms: [30, 200]}}
"""
"""Made like recipes/hybrid-120k.yaml; `sparse` makes four tenths of what it is asked for, so that its fallback steps in."""


@dataclass
class Resumption:
    """How long after a kill things stood again, s.

    answer  until the process was ready
    plan    until the gateway had read its parts and planned
    part    until another part lay there than at `answer`
    """

    killed: str
    n_parts: int
    answer: float = 0.0
    plan: float = 0.0
    part: float = 0.0


@dataclass
class Story:
    """What happened.

    seconds      from the recipe to the report, or until it was stopped
    is_finished  False if its time was over before
    memory       rows (labelled structures, RSS of each of `_PROCESSES`), bytes
    """

    began: float = field(default_factory=time.time)
    seconds: float = 0.0
    is_finished: bool = False
    memory: list[tuple[int, ...]] = field(default_factory=list)
    resumptions: list[Resumption] = field(default_factory=list)


class Factory:
    """A gateway, a labeller and the services, each a process."""

    def __init__(self, data: Path) -> None:
        self.data, self.watch = data, Watch()
        self._ports = {name: free_port() for name in ("labeller", *GENERATORS, "gateway")}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.client = httpx.Client(base_url=self.url("gateway"), timeout=300)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name]}"

    @contextmanager
    def running(self) -> Iterator["Factory"]:
        """All processes, until the block ends."""
        self.watch.start()
        try:
            for name in self._ports:
                self.start(name)
            yield self
        finally:
            for process in self._processes.values():
                process.terminate()
            for process in self._processes.values():
                process.wait(60)
            self.watch.close()

    def start(self, name: str) -> None:
        """Start a process and wait until it is ready."""
        apps = {"gateway": "gateway.app:build", "labeller": "tests.null_teacher:build"}
        app = apps.get(name, f"tests.fast_service:build_{name}")
        command = [sys.executable, "-m", "uvicorn", "--factory", app, "--port", str(self._ports[name]), *_UVICORN]
        settings = {
            **_IMAGE_ENV.get(name, {}),
            "DISTILLERY_GATEWAY_DATA": str(self.data),
            "DISTILLERY_GATEWAY_LABELLER": self.url("labeller"),
            "DISTILLERY_GATEWAY_SERVICES": json.dumps({service: self.url(service) for service in GENERATORS}),
            "DISTILLERY_LABELLER_DATA": str(self.data),
            "DISTILLERY_LABELLER_WORKERS": "1",
        }
        self._processes[name] = subprocess.Popen(command, env={**os.environ, **settings})
        self.watch.call(self._processes[name].pid, name)
        wait_for_answer(self.url(name) + "/v1/health/ready")

    def kill(self, name: str) -> None:
        """kill -9."""
        self._processes[name].kill()
        self._processes[name].wait()

    def status(self) -> dict[str, Any]:
        """The dataset's, as the command polls it."""
        answer: dict[str, Any] = self.client.get("/v1/datasets/scale").raise_for_status().json()
        return answer

    def memory(self, name: str) -> int:
        """RSS now, bytes."""
        return self.watch.latest(name).rss


def write_recipe(n: int) -> str:
    """A recipe for n structures."""
    return _RECIPE.format(n=n, teacher=NAME, shard=min(max(n // 240, 1), 500), test=n // 24, wave=min(-(-n // N_WAVES), LARGEST_WAVE))


def make(factory: Factory, n: int, seconds: float) -> Story:
    """Make a dataset of n structures, or as many as `seconds` allow, with the kills; what happened."""
    story, kills = Story(), dict(KILLS)
    factory.client.post("/v1/datasets", content=write_recipe(n)).raise_for_status()
    while not (is_finished := (status := factory.status())["state"] == "finished") and time.time() - story.began < seconds:
        if status["state"] != "running":
            raise RuntimeError(f"the run stopped: {status['state']}, {status['problem']}")
        n_labelled = count_labelled(status)
        story.memory.append((n_labelled, *map(factory.memory, _PROCESSES)))
        for name in [name for name, share in kills.items() if n_labelled >= share * n]:
            del kills[name]
            story.resumptions.append(_kill(factory, name, n_labelled))
        time.sleep(0.5)
    story.seconds, story.is_finished = time.time() - story.began, is_finished
    return story


def count_labelled(status: dict[str, Any]) -> int:
    """Structures so far, by a status."""
    return sum(row["labelled"] for row in status["sources"].values())


def _kill(factory: Factory, name: str, n_labelled: int) -> Resumption:
    parts = factory.data / "scale"
    factory.kill(name)
    begun = time.monotonic()
    factory.start(name)
    resumption = Resumption(name, len(list_parts(parts)), time.monotonic() - begun)
    while not resumption.plan or not resumption.part:
        status = factory.status()
        if status["state"] != "running":
            raise RuntimeError(f"{name} was killed and started again; then the run was {status['state']}, {status['problem']}")
        if not resumption.plan and count_labelled(status) >= n_labelled:
            resumption.plan = time.monotonic() - begun
        if not resumption.part and len(list_parts(parts)) > resumption.n_parts:
            resumption.part = time.monotonic() - begun
        time.sleep(0.05)
    return resumption


def verify(factory: Factory) -> tuple[float, str]:
    """How long `distillery verify` takes, s, and what it says; RuntimeError if the dataset is not what it should be."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "cli", "verify", str(factory.data / "scale" / "dataset.h5")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    factory.watch.call(process.pid, "verify")
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"distillery verify ended with {process.returncode}:\n{said}")
    return time.monotonic() - begun, said


def require_all_once(dataset: Path, n: int) -> int:
    """The number of atoms; RuntimeError unless there are n structures, each id once."""
    with open_dataset(dataset) as file:
        ids = file["provenance/id"].asstr()[:].tolist()
        n_atoms = len(file["structures/atomic_numbers"])
    if not len(ids) == len(set(ids)) == n:
        raise RuntimeError(f"{dataset} holds {len(ids)} ids, {len(set(ids))} of them different; wanted {n}")
    return n_atoms


def read_times(factory: Factory) -> dict[str, float]:
    """When the gateway told of what, s since the epoch."""
    text = factory.client.get("/v1/datasets/scale/events").text
    events = [event.split("\n") for event in text.split("\n\n") if event.startswith("id:")]
    return {lines[1].removeprefix("event: "): json.loads(lines[2].removeprefix("data: "))["time"] for lines in events}


def tell_processes(lives: list[Life]) -> Table:
    """CPU and peak memory of every process; those that were killed, or several of one kind, a line each."""
    table = Table("process", "lived, s", "CPU, s", "peak RSS, MB")
    for life in lives:
        table.add_row(life.name, f"{life.seen - life.began:.0f}", f"{life.cpu:.1f}", f"{life.peak / 1e6:.0f}")
    return table


def tell_memory(story: Story, n: int) -> Table:
    """RSS on the way, and its growth by a linear fit over the time between kills."""
    table = Table("structures labelled", *(f"{name} RSS, MB" for name in _PROCESSES))
    memory = np.array(story.memory)
    for wave in range(1, N_WAVES + 1):
        n_labelled, *each = memory[np.argmax(memory[:, 0] >= wave * memory[-1, 0] / N_WAVES)]
        table.add_row(f"{n_labelled:,}", *(f"{rss / 1e6:.1f}" for rss in each))
    growths = [_fit_growth(memory[:, [0, k]], n, KILLS.get(name, 0) * n) for k, name in enumerate(_PROCESSES, start=1)]
    table.add_row("growth, bytes a structure; of those killed before and after it", *growths)
    return table


def _fit_growth(memory: NDArray[np.int64], n: int, kill: float) -> str:
    """Of one process, while the number grows; the first twelfth after each start is warming up and does not count."""
    memory = memory[np.unique(memory[:, 0], return_index=True)[1]]
    n_labelled = memory[:, 0]
    lives = [memory[(n_labelled > n / N_WAVES) & (n_labelled < kill)], memory[n_labelled > kill + n / N_WAVES]]
    return ", ".join(f"{np.polyfit(life[:, 0], life[:, 1], 1)[0]:.0f}" for life in lives if len(life) > 1)


def tell_figures(factory: Factory, story: Story, n: int, n_atoms: int, verifying: float) -> Table:
    """Times and sizes."""
    folder, times = factory.data / "scale", read_times(factory)
    report = json.loads((folder / "report.json").read_text())
    rejected: dict[str, int] = {}
    for source in report["sources"].values():
        for reason, count in source["rejected"].items():
            rejected[reason] = rejected.get(reason, 0) + count
    page, n_bytes = factory.watch.latest("distillery.report.page"), (folder / "dataset.h5").stat().st_size
    making = times["finalising"] - story.began
    parts_bytes = sum(path.stat().st_size for path in (folder / PARTS).iterdir())
    table = Table("what", "figure")
    rows = {
        "verdict": f"{report['verdict']}, scenario {report['scenario']['text']}",
        "structures, atoms": f"{n:,}, {n_atoms:,} ({n_atoms / n:.1f} a structure)",
        "left out": ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items())),
        "wall time, from recipe to report": f"{story.seconds:.0f} s, {n / story.seconds:.0f} structures/s",
        "until all parts were there": f"{making:.0f} s, {n / making:.0f} structures/s",
        "finalising": f"{page.began - times['finalising']:.1f} s",
        "report.html": f"{page.seen - page.began:.1f} s, {(folder / 'report.html').stat().st_size / 1e6:.1f} MB",
        "report.json": f"{times['finished'] - page.seen:.1f} s",
        "dataset.h5": f"{n_bytes / 1e6:.1f} MB, {n_bytes / n:.0f} bytes a structure",
        f"{report['parts']} parts": f"{parts_bytes / 1e6:.1f} MB",
        "distillery verify": f"{verifying:.0f} s",
        **{f"{r.killed} killed at {r.n_parts} parts": _describe(r) for r in story.resumptions},
    }
    for what, figure in rows.items():
        table.add_row(what, figure)
    return table


def _describe(resumption: Resumption) -> str:
    reading = f"parts read after {resumption.plan:.1f} s, " if resumption.killed == "gateway" else ""
    return f"ready after {resumption.answer:.1f} s, {reading}next part after {resumption.part:.1f} s"


def main() -> None:
    """Run, check and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=int, default=N_STRUCTURES, help="2000 take about a minute")
    parser.add_argument("--minutes", type=float, default=24 * 60, help="stop then, wherever it is")
    parser.add_argument("--data", type=Path, help="an empty folder to keep the dataset in; one that is removed if absent")
    arguments = parser.parse_args()
    console = Console(width=160)
    with tempfile.TemporaryDirectory(prefix="distillery-scale-") as scratch, Factory(arguments.data or Path(scratch)).running() as factory:
        story = make(factory, arguments.structures, 60 * arguments.minutes)
        console.print(tell_memory(story, arguments.structures))
        if not story.is_finished:
            n_labelled = story.memory[-1][0]
            console.print(f"stopped after {story.seconds:.0f} s: {n_labelled:,} labelled, {n_labelled / story.seconds:.0f} structures/s")
            console.print(tell_processes(factory.watch.lives))
            return
        n_atoms = require_all_once(factory.data / "scale" / "dataset.h5", arguments.structures)
        verifying, said = verify(factory)
        console.print(said, markup=False, highlight=False)
        console.print(tell_figures(factory, story, arguments.structures, n_atoms, verifying))
        console.print(tell_processes(factory.watch.lives))


if __name__ == "__main__":
    main()
