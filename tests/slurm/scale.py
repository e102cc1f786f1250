"""`make scale-slurm`: as many structures of a million as the time allows, on a Slurm of four nodes; jobs join and leave all the time."""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from distillery.dataset.folder import list_parts, part_path
from distillery.dataset.parts import read_part
from tests.fast_service import GENERATORS
from tests.scale import count_labelled, write_recipe
from tests.slurm.cluster import NODES, SETTINGS, Cluster, find_missing, running, wait_until
from tests.slurm.plugin import write_plugin
from tests.watch import Watch

REPLICAS = {"labeller": 3, "molecules": 2, "crystals": 2, "shapes": 1, "sparse": 1}
"""Jobs at the start; each has one of the sixteen processors that the nodes claim to have, the gateway two."""
_LOOK_SECONDS = 2.0
_LONGEST_AWAY = 120.0


def find_serving() -> dict[psutil.Process, str]:
    """All processes of the jobs that serve, and their workers, by what they serve."""
    found = dict[psutil.Process, str]()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            kind = _find_kind(process.cmdline())
            if kind is None and (parent := process.parent()) is not None:
                kind = f"{above}'s workers" if (above := _find_kind(parent.cmdline())) else None
            if kind is not None:
                found[process] = kind
    return found


def _find_kind(command: list[str]) -> str | None:
    """What a process of this command serves."""
    return command[command.index("serve") + 1] if "serve" in command[:-1] else None


def count_loopback() -> int:
    """Bytes sent over it since this machine started."""
    return int(psutil.net_io_counters(pernic=True)["lo"].bytes_sent)


class Factory:
    """Jobs that make one dataset, and what is done to them."""

    def __init__(self, cluster: Cluster, folder: Path, recipe: str, seed: int) -> None:
        self._cluster, self._folder, self._random = cluster, folder, random.Random(seed)
        self._down: dict[str, float] = {}
        self.done = Counter[str]()
        (folder / "scale.yaml").write_text(recipe)
        services = {name: f"tests.fast_service:make_{name}" for name in GENERATORS}
        self._env = {**cluster.env, **SETTINGS, "MALLOC_ARENA_MAX": "2", "PYTHONPATH": write_plugin(folder / "plugin", services)}

    @property
    def data(self) -> Path:
        """The dataset's folder."""
        return self._folder / "data" / "scale"

    @property
    def log(self) -> str:
        """What the gateway's jobs wrote."""
        return "".join(path.read_text(errors="replace") for path in sorted((self._scripts / "log").glob("gateway-*.log")))

    @property
    def _scripts(self) -> Path:
        return self._folder / "slurm" / "scale"

    def submit(self) -> None:
        """Write the scripts and submit the jobs."""
        counts = [word for name, n in REPLICAS.items() for word in (f"--{'labellers' if name == 'labeller' else name}", str(n))]
        command = [sys.executable, "-m", "cli", "slurm", "scale.yaml", *counts, "--cpus", "1", "--memory", "1G", "--time", "02:00:00"]
        subprocess.run(command, cwd=self._folder, env=self._env, check=True)

    def ask_status(self) -> dict[str, Any] | None:
        """What the gateway says; None while there is none."""
        with suppress(OSError, httpx.HTTPError, ValueError):
            key = (self._scripts / "key").read_text().strip()
            url = (self._scripts / "address").read_text().strip()
            answer = httpx.get(f"{url}/v1/datasets/scale", headers={"Authorization": f"Bearer {key}"}, timeout=30)
            found: dict[str, Any] = answer.raise_for_status().json()
            return found
        return None

    def find_running(self) -> dict[str, tuple[str, str]]:
        """Name and node of the jobs that run, by number."""
        rows = self._cluster.ask("squeue", "--noheader", "--array", "--states=R", "--format=%i %N %j").splitlines()
        return {job: (name.removeprefix("scale-"), node) for job, node, name in (row.split() for row in rows)}

    def disturb(self) -> str:
        """One thing that happens to jobs or nodes; what it was."""
        self._bring_back()
        running = self.find_running()
        replicas = {job: name for job, (name, _) in running.items() if name != "gateway"}
        gateway_node = next((node for name, node in running.values() if name == "gateway"), "")
        kinds: dict[str, Callable[[], None]] = {
            "joined": lambda: self._add(self._random.choice(list(REPLICAS))),
            "cancelled": lambda: self._cancel(self._random.choice(sorted(replicas)), replicas),
            "requeued": lambda: self._requeue(self._random.choice(sorted(replicas))),
            "node killed": lambda: self._kill(self._random.choice([n for n in NODES if n != gateway_node])),
        }
        weights = {"joined": 1, "cancelled": 4, "requeued": 4, "node killed": 0 if self._down or not gateway_node else 1}
        kind = self._random.choices(list(kinds), [weights[kind] if replicas else kind == "joined" for kind in kinds])[0]
        kinds[kind]()
        self.done[kind] += 1
        return kind

    def requeue_gateway(self) -> None:
        """End the gateway's job, which begins again on whatever node has room."""
        self._requeue(next(job for job, (name, _) in self.find_running().items() if name == "gateway"))
        self.done["gateway requeued"] += 1

    def end(self) -> None:
        """Cancel all jobs, and wait until none is left."""
        for node in list(self._down):
            self._cluster.start_node(node)
        subprocess.run([self._scripts / "stop.sh"], env=self._env, check=False)
        wait_until(lambda: not self._cluster.ask("squeue", "--noheader").strip(), "no job is left")

    def _add(self, name: str) -> None:
        command = ["sbatch", "--parsable", "--array=0-0", str(self._scripts / f"{name}.sh")]
        job = subprocess.run(command, env=self._env, stdout=subprocess.PIPE, text=True, check=True).stdout
        with (self._scripts / "jobs").open("a") as jobs:
            jobs.write(job)

    def _cancel(self, job: str, replicas: dict[str, str]) -> None:
        """One leaves for good, another of its kind joins."""
        self._cluster.ask("scancel", job)
        self._add(replicas[job])

    def _requeue(self, job: str) -> None:
        self._cluster.ask("scontrol", "requeue", job)

    def _kill(self, node: str) -> None:
        self._cluster.kill_node(node)
        self._down[node] = time.monotonic()

    def _bring_back(self) -> None:
        """Start nodes again once Slurm has seen that they are down, which has their jobs requeued."""
        for node, since in list(self._down.items()):
            is_known = "down" in self._cluster.ask("sinfo", "--noheader", f"--nodes={node}", "--format=%t")
            if is_known or time.monotonic() - since > _LONGEST_AWAY:
                self._cluster.start_node(node)
                del self._down[node]


@dataclass
class Story:
    """What happened.

    rows         (seconds, structures labelled, gateway's RSS in bytes)
    is_finished  whether the dataset was
    sent_before  bytes over loopback at the start; `began` is its moment by the monotonic clock, s
    """

    began: float = field(default_factory=time.monotonic)
    sent_before: int = field(default_factory=count_loopback)
    rows: list[tuple[float, int, int]] = field(default_factory=list)
    is_finished: bool = False


def make(factory: Factory, watch: Watch, seconds: float, every: float) -> Story:
    """Let the jobs work for so long, or until the dataset is finished, with something done to them every so many seconds."""
    story, next_time, console = Story(), every, Console()
    half_way = seconds / 2
    while (elapsed := time.monotonic() - story.began) < seconds:
        status = factory.ask_status()
        if status is not None:
            rss = next((life.rss for life in reversed(watch.lives) if life.name == "gateway"), 0)
            story.rows.append((elapsed, count_labelled(status), rss))
            if status["state"] in ("finished", "failed"):
                story.is_finished = status["state"] == "finished"
                break
        elif (factory.data / "report.json").exists():
            story.is_finished = True
            break
        if elapsed > half_way and status is not None:
            half_way = float("inf")
            factory.requeue_gateway()
        elif elapsed > next_time:
            next_time = elapsed + every
            kind = factory.disturb()
            console.print(f"{elapsed:6.0f} s  {story.rows[-1][1] if story.rows else 0:>9,} labelled  {kind}", highlight=False)
        time.sleep(_LOOK_SECONDS)
    return story


def require_each_once(data: Path) -> tuple[int, int, int]:
    """Parts, structures and bytes that lie there; RuntimeError if a structure lies there twice. CorruptPart if a part can't be read."""
    paths = [part_path(data, name) for name in list_parts(data)]
    ids = [str(id) for path in paths for id in read_part(path).arrays["provenance/id"]]
    if len(set(ids)) != len(ids):
        raise RuntimeError(f"{data}: {len(ids)} structures in {len(paths)} parts have {len(set(ids))} ids")
    return len(paths), len(ids), sum(path.stat().st_size for path in paths)


def tell(factory: Factory, watch: Watch, story: Story) -> Table:
    """Counts, rates, and what one gateway carried."""
    n_parts, n_structures, n_bytes = require_each_once(factory.data)
    seconds = story.rows[-1][0] - story.rows[0][0]
    cpu, log, sent = Counter[str](), factory.log, (count_loopback() - story.sent_before) / 1e6
    for life in watch.lives:
        cpu[life.name] += life.cpu
    gateway = cpu["gateway"]
    end = "finished" if story.is_finished else "stopped"
    carries = f"{n_structures / gateway:.0f} structures/s, {n_parts / gateway:.1f} shards/s, {sent / gateway:.0f} MB/s"
    share = f"{100 * gateway / seconds:.0f} % of a core, {1e3 * gateway / n_structures:.2f} ms a structure"
    working = cpu["gateway's workers"]
    rows = {
        "labelled": f"{n_structures:,} structures in {n_parts:,} parts, {n_bytes / 1e6:,.0f} MB, each once; {end}",
        "time": f"{seconds:.0f} s: {n_structures / seconds:.0f} structures/s, {n_parts / seconds:.2f} shards/s",
        "over loopback, nearly all to or from the gateway": f"{sent:,.0f} MB, {sent / seconds:.1f} MB/s",
        "done to it": ", ".join(f"{n} {kind}" for kind, n in sorted(factory.done.items())),
        "the gateway's log": ", ".join(f"{log.count(f'{word}: ')} {word}" for word in ("joined", "left", "lost")),
        "processor time": ", ".join(f"{kind} {seconds:.0f} s" for kind, seconds in cpu.most_common()),
        "gateway": f"{share}, and {1e3 * working / n_structures:.2f} ms of its workers",
        "so it carries, with a core for itself and others for its workers": carries,
        "its memory, MB, and structures labelled": ", ".join(
            f"{rss / 1e6:.0f} at {n:,}" for _, n, rss in story.rows[:: len(story.rows) // 8]
        ),
    }
    table = Table("what", "figure")
    for what, figure in rows.items():
        table.add_row(what, figure)
    return table


def main() -> None:
    """Run, check and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=45, help="stop then, wherever it is")
    parser.add_argument("--every", type=float, default=30, help="seconds between what is done to jobs and nodes")
    parser.add_argument("--folder", type=Path, help="an empty folder to keep everything in; one that is removed if absent")
    arguments = parser.parse_args()
    if (missing := find_missing()) is not None:
        parser.error(f"no Slurm: {missing}")
    with tempfile.TemporaryDirectory(prefix="distillery-slurm-") as scratch:
        folder = arguments.folder or Path(scratch)
        (folder / "cluster").mkdir(parents=True)
        with running(folder / "cluster") as cluster:
            factory = Factory(cluster, folder, write_recipe(arguments.structures), seed=0)
            factory.submit()
            watch = Watch(find_serving, _LOOK_SECONDS)
            watch.start()
            story = make(factory, watch, 60 * arguments.minutes, arguments.every)
            watch.close()
            factory.end()
            Console(width=160).print(tell(factory, watch, story))


if __name__ == "__main__":
    main()
