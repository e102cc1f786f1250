"""`make bench-host`: what the labeller's host does for each atom, with a teacher whose forward pass costs nothing.

All figures are CPU time of the processes that do the work, which other programs on the machine hardly change.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from distillery.dataset.layout import to_arrays
from distillery.dataset.parts import digest_arrays
from distillery.schema.label import LabelLimits
from distillery.structures.arrow import ARROW_TYPE, from_arrow, to_arrow
from distillery.structures.cells import restate
from distillery.structures.checks import find_fault
from distillery.structures.geometry import Neighbours
from distillery.structures.identity import HASH_CUTOFF, structure_hash
from distillery.structures.structure import Structure
from labeller.label_checks import find_label_fault, find_limit_fault, find_net_fault
from labeller.settings import LabellerSettings
from labeller.teachers import create_teacher
from labeller.teachers.teacher import CONSERVATIVE
from tests.bench import propose, proposers
from tests.labelling import NEVER, record
from tests.null_teacher import label_of
from tests.serving import free_port, wait_for_answer

SIZES = (80, 160)
PER_SOURCE = 15
ROUNDS = 5
SHARDS = 30
WANTED = 150_000
"""Atoms a second that two cores should carry, featurising left out."""
TEACHER = "7net-0"


def main() -> None:
    """Print µs of CPU an atom by step, then of the whole labeller from HTTP to parts."""
    structures = make_structures()
    n_atoms = sum(map(len, structures))
    table = Table("step", "µs/atom", title=f"{len(structures)} structures of all sources, {n_atoms / len(structures):.0f} atoms each")
    for name, step in make_steps(structures).items():
        table.add_row(name, f"{1e6 * measure(step) / n_atoms:.2f}")
    whole = 1e6 * measure_labeller(structures) / (SHARDS * n_atoms)
    table.add_row("whole labeller, HTTP to parts, nothing featurised", f"{whole:.2f}")
    Console().print(table)
    print(f"two cores carry {2e6 / whole:,.0f} atoms/s, wanted {WANTED:,}")


def make_structures() -> list[Structure]:
    """A shard of structures of all sources, as they leave the gateway."""
    made: list[Structure] = []
    for _, proposer in proposers():
        for system in proposer.metadata.systems:
            made += propose(proposer, system, PER_SOURCE, SIZES)[0]
    return [
        Structure(f"all-00000/{k:04d}", s.numbers, s.positions, s.cell, s.pbc, s.system, s.origin) for k, s in enumerate(map(restate, made))
    ]


def measure(step: Callable[[], object]) -> float:
    """The least CPU time of some rounds, s."""
    step()
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        step()
        seconds.append(time.process_time() - start)
    return min(seconds)


def make_steps(structures: Sequence[Structure]) -> dict[str, Callable[[], object]]:
    """Each step of a structure's way through gateway and labeller by itself, over all structures."""
    teacher = create_teacher(LabellerSettings(teacher=TEACHER))
    teacher.load(NEVER)
    labels, elements = [label_of(s) for s in structures], teacher.elements
    hashes = [structure_hash(s) for s in structures]
    body = to_arrow(structures, record(), hashes)
    near = [Neighbours(s, HASH_CUTOFF) for s in structures]
    for neighbours in near:
        neighbours.within(HASH_CUTOFF)
    limits = LabelLimits()
    return {
        "read Arrow": partial(from_arrow, body),
        "neighbours": lambda: [Neighbours(s, HASH_CUTOFF).within(HASH_CUTOFF) for s in structures],
        "structure hash, neighbours known": lambda: [structure_hash(s, n) for s, n in zip(structures, near, strict=True)],
        "structure hash": lambda: [structure_hash(s) for s in structures],
        "checks, neighbours known": lambda: [find_fault(s, elements, None, n) for s, n in zip(structures, near, strict=True)],
        f"featurise for {TEACHER}, 16 at once": lambda: [teacher.featurise(structures[k : k + 16]) for k in range(0, len(structures), 16)],
        "checks of labels": lambda: [
            (find_label_fault(s, label), find_net_fault(s, label, CONSERVATIVE), find_limit_fault(label, limits))
            for s, label in zip(structures, labels, strict=True)
        ],
        "arrays and their digest": lambda: digest_arrays(
            to_arrays(structures, labels, hashes, source="all", service="x", shard="all-00000")
        ),
    }


def measure_labeller(structures: Sequence[Structure]) -> float:
    """CPU time that a labeller takes for some shards of the structures, s, hashed and checked by the gateway before."""
    hashes = [structure_hash(s) for s in structures]
    with tempfile.TemporaryDirectory() as folder, start_labeller(Path(folder)) as (pid, client):
        send(client, structures, hashes, 0)
        before = read_cpu_seconds(pid)
        for shard in range(1, SHARDS + 1):
            send(client, structures, hashes, shard)
        return read_cpu_seconds(pid) - before


@contextmanager
def start_labeller(folder: Path) -> Iterator[tuple[int, httpx.Client]]:
    """A labeller with the teacher that computes nothing, as a process: its id, and a client of it."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "uvicorn", "--factory", "tests.null_teacher:build", "--port", str(port), "--log-level", "warning"]
    settings = {"DISTILLERY_LABELLER_DATA": str(folder), "DISTILLERY_LABELLER_WORKERS": "1"}
    process = subprocess.Popen([*command, "--no-access-log"], env={**os.environ, **settings})
    try:
        wait_for_answer(f"{url}/v1/health/ready")
        with httpx.Client(base_url=url, timeout=600) as client:
            yield process.pid, client
    finally:
        process.terminate()
        process.wait(60)


def send(client: httpx.Client, structures: Sequence[Structure], hashes: Sequence[str], shard: int) -> None:
    """One shard, as the gateway sends it."""
    part = f"all-{shard:05d}"
    renamed = [s.renamed(f"{part}/{k:04d}") for k, s in enumerate(structures)]
    body = to_arrow(renamed, record(source="all"), hashes)
    answer = client.post("/label", params={"dataset": "bench", "part": part}, content=body, headers={"Content-Type": ARROW_TYPE})
    assert answer.status_code == 200, answer.text


def read_cpu_seconds(pid: int) -> float:
    """User and system time of a process, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
