"""`make bench`: what Distillery adds or costs, each as a ratio measured in one run."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np
from ase.db import connect
from rich.console import Console
from rich.table import Table

from distillery.dataset.folder import part_path
from distillery.dataset.layout import Label, to_arrays
from distillery.dataset.merge import DATASET, finalise
from distillery.dataset.parts import digest_arrays, write_part
from distillery.dataset.torch_dataset import BlockDataset, StructureDataset
from distillery.export.ase_databases import export_ase_db
from distillery.generators.generator import resolve_task
from distillery.generators.plugins import build_service, list_services
from distillery.generators.proposals import ProposalGenerator, propose_one
from distillery.schema.generate import GenerateRequest
from distillery.schema.label import FinaliseRequest, PartSelection, Receipt, ShardRecord, TeacherCard
from distillery.structures.arrow import ARROW_TYPE, to_arrow
from distillery.structures.identity import structure_hash
from distillery.structures.structure import Structure, to_ase
from labeller.settings import LabellerSettings
from labeller.teachers import create_teacher
from tests.fake_service import FakeGenerator
from tests.integration.factory import factory, make
from tests.serving import free_port, wait_for_answer

TEACHER = "7net-0"
ROUNDS = 3
_OF_FILES = {"benchmarks", "optimade"}
"""Services that choose from what they hold."""


def main() -> None:
    """Run all benchmarks and print the table."""
    table = Table("what", "Distillery", "plain", "ratio", "wanted")
    structures = make_structures()
    for row in (bench_labelling(structures), bench_teacher_share(), bench_parts(structures), *bench_reading(structures), *bench_sources()):
        table.add_row(*row)
        Console(stderr=True).print(*row, sep="  ")
    Console().print(table)


def proposers() -> Iterator[tuple[str, Any]]:
    """Every service's method, without its workers; of those that make structures from nothing but a request."""
    for name in sorted(set(list_services()) - _OF_FILES):
        app = build_service(name)
        generator = app.state.generator
        if isinstance(generator, ProposalGenerator):
            yield name, generator.proposer


def make_structures() -> list[Structure]:
    """A mix of all sources, 20-60 atoms each."""
    return [s for _, proposer in proposers() for system in proposer.metadata.systems for s in propose(proposer, system, 12)[0]]


def propose(proposer: Any, system: str, n: int, sizes: tuple[int, int] | None = (20, 60)) -> tuple[list[Structure], float]:
    """n structures of one source, and the time they took on one core, s."""
    limits = proposer.metadata.systems[system]
    low, high = sizes or (limits.default_min_atoms, limits.default_max_atoms)
    request = GenerateRequest(n=n, seed=1, system=system, min_atoms=max(low, limits.min_atoms), max_atoms=high)
    task = resolve_task(request, proposer)
    made: list[Structure] = []
    start = time.perf_counter()
    for attempt in range(100 * n):
        outcome = propose_one(proposer, task, attempt)
        made += () if isinstance(outcome, str) else outcome.structures
        if len(made) >= n:
            break
    return [s.renamed(f"bench/{i:04d}") for i, s in enumerate(made[:n])], time.perf_counter() - start


def bench_labelling(structures: list[Structure]) -> tuple[str, ...]:
    """The labeller over HTTP, Arrow in and HDF5 out, against a loop over the teacher's ASE calculator; turn by turn."""
    from sevenn.calculator import SevenNetCalculator

    calculator = SevenNetCalculator(TEACHER, device="cpu")

    def loop() -> None:
        for structure in structures:
            atoms = to_ase(structure)
            atoms.calc = calculator
            atoms.get_potential_energy(), atoms.get_forces()

    with tempfile.TemporaryDirectory() as folder, labeller_process(Path(folder)) as client:
        numbers = iter(range(1000))
        ours, plain = alternate(lambda: label(client, f"bench-{next(numbers)}", structures), loop)
    n_atoms = sum(len(s) for s in structures)
    return "labelling, atoms/s", f"{n_atoms / ours:.0f}", f"{n_atoms / plain:.0f}", f"{plain / ours:.2f}", ">= 1.0"


def alternate(ours: Callable[[], object], plain: Callable[[], object]) -> tuple[float, float]:
    """The best time of each, s; one warm-up, then turn by turn, so that a busy machine is busy for both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS + 1):
        for work, taken in ((ours, times[0]), (plain, times[1])):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return min(times[0][1:]), min(times[1][1:])


@contextmanager
def labeller_process(data: Path) -> Iterator[httpx.Client]:
    """A labeller as a container runs it."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "labeller.app:build", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command, env={**os.environ, "DISTILLERY_LABELLER_DATA": str(data)})
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for_answer(url + "/v1/health/ready")
        with httpx.Client(base_url=url, timeout=600) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


def label(client: httpx.Client, part: str, structures: list[Structure]) -> None:
    """Have a part labelled and written."""
    renamed = [s.renamed(f"{part}/{i:04d}") for i, s in enumerate(structures)]
    body = to_arrow(renamed, record(len(structures)).model_dump(mode="json"))
    query = {"dataset": "bench", "part": part}
    client.post("/label", params=query, content=body, headers={"Content-Type": ARROW_TYPE}).raise_for_status()


def record(n: int) -> ShardRecord:
    return ShardRecord(
        recipe_sha256="0" * 64,
        stage="full",
        source="bench",
        service="bench",
        system="molecule",
        seed=1,
        start=0,
        round=0,
        requested=n,
        generated=n,
        generate_seconds=0.0,
        service_version="1",
    )


def bench_teacher_share() -> tuple[str, ...]:
    """A whole run whose generation costs nothing: the share of its wall time in which the teacher's workers compute."""
    recipe = f"""
name: share
seed: 1
teacher: {TEACHER}
shard_size: 20
sources: {{atoms: {{service: fake, system: cluster, count: 320, atoms: [20, 60]}}}}
"""
    settings = LabellerSettings(teacher=TEACHER)

    async def run(data: Path) -> tuple[float, float]:
        apps: dict[str, Any] = {}
        async with factory(data, {"fake": FakeGenerator("fake")}, create_teacher(settings), apps=apps) as client:
            labeller = apps["labeller"]
            value = labeller.state.registry.get_sample_value
            start = time.perf_counter()
            await make(client, recipe, seconds=900)
            wall = (time.perf_counter() - start) * value("distillery_teacher_workers")
            return value("distillery_teacher_busy_seconds_total"), wall

    with tempfile.TemporaryDirectory() as folder:
        busy, wall = asyncio.run(run(Path(folder)))
    return "teacher computes, s of all its workers' wall time", f"{busy:.1f}", f"{wall:.1f}", f"{busy / wall:.2f}", ">= 0.90"


def bench_parts(structures: list[Structure]) -> tuple[str, ...]:
    """Parts of 1,000 structures against a group a structure, both fsynced at the end of 1,000."""
    many = [s.renamed(f"bench/{i:04d}") for i, s in enumerate((structures * 100)[:1000])]
    labels = [Label(1.0, np.ones((len(s), 3), np.float32), np.ones(6) if s.is_periodic else None) for s in many]
    hashes = [structure_hash(s) for s in structures] * 100
    with tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(1000))

        def ours() -> None:
            arrays = to_arrays(many, labels, hashes[:1000], source="bench", service="bench", shard="bench")
            part = f"part-{next(numbers)}"
            write_part(part_path(Path(folder), part), receipt(part, many, digest_arrays(arrays)), arrays)

        best_ours, best_plain = alternate(ours, lambda: write_groups(Path(folder) / f"groups-{next(numbers)}.h5", many, labels))
    return "writing, structures/s", f"{1000 / best_ours:.0f}", f"{1000 / best_plain:.0f}", f"{best_plain / best_ours:.1f}", ">= 20"


def bench_reading(structures: list[Structure]) -> Iterator[tuple[str, ...]]:
    """Training's two ways of reading 4,000 structures against `get` on the rows of an ASE database, at random and in order."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_finished(Path(folder), structures, n_parts=4)
        n = export_ase_db(path, path.with_suffix(".db"))
        anywhere = np.random.default_rng(0).permutation(n).tolist()
        dataset = StructureDataset(path)
        with connect(path.with_suffix(".db"), serial=True) as database:
            for what, ours, rows in (
                ("at random", lambda: [dataset[k] for k in anywhere], anywhere),
                ("in blocks", lambda: list(BlockDataset(path)), range(n)),
            ):
                best_ours, best_plain = alternate(ours, lambda rows=rows: [database.get(k + 1).toatoms() for k in rows])
                ratio = f"{best_plain / best_ours:.1f}"
                yield f"reading {what}, structures/s", f"{n / best_ours:.0f}", f"{n / best_plain:.0f}", ratio, "> 1"


def write_finished(root: Path, structures: list[Structure], n_parts: int) -> Path:
    """A dataset.h5 of parts of 1,000 structures."""
    hashes = [structure_hash(s) for s in structures] * 100
    for k in range(n_parts):
        many = [s.renamed(f"part-{k}/{i:04d}") for i, s in enumerate((structures * 100)[:1000])]
        labels = [Label(1.0, np.ones((len(s), 3), np.float32), np.ones(6) if s.is_periodic else None) for s in many]
        arrays = to_arrays(many, labels, hashes[:1000], source="bench", service="bench", shard=f"part-{k}")
        write_part(part_path(root / "bench", f"part-{k}"), receipt(f"part-{k}", many, digest_arrays(arrays)), arrays)
    parts = tuple(PartSelection(part=f"part-{k}") for k in range(n_parts))
    finalise(root, FinaliseRequest(dataset="bench", recipe="bench", recipe_sha256="0" * 64, seed=1, parts=parts))
    return root / "bench" / DATASET


def receipt(part: str, structures: list[Structure], digest: str) -> Receipt:
    teacher = TeacherCard(name="bench", version="1", weights_sha256="0" * 64, device="cpu", elements=("H",))
    return Receipt(
        dataset="bench",
        part=part,
        record=record(len(structures)),
        teacher=teacher,
        n_structures=len(structures),
        n_atoms=sum(len(s) for s in structures),
        label_seconds=0.0,
        structures_sha256="0" * 64,
        content_sha256=digest,
        created="2026-01-01T00:00:00Z",
    )


def write_groups(path: Path, structures: list[Structure], labels: list[Label]) -> None:
    """The plain way: a group a structure."""
    with h5py.File(path, "w") as file:
        for structure, own in zip(structures, labels, strict=True):
            group = file.create_group(structure.id)
            for name in ("numbers", "positions", "cell", "pbc"):
                group.create_dataset(name, data=getattr(structure, name))
            group.create_dataset("energy", data=own.energy)
            group.create_dataset("forces", data=own.forces)
            group.create_dataset("stress", data=np.zeros(6) if own.stress is None else own.stress)
            group.attrs["origin"] = str(dict(structure.origin))
    with path.open("rb") as written:
        os.fsync(written.fileno())


def bench_sources() -> Iterator[tuple[str, ...]]:
    """Structures per second and core, at the sizes of the plan and at those of the quickstart."""
    for name, proposer in proposers():
        for system in proposer.metadata.systems:
            full, small = propose(proposer, system, 24, None), propose(proposer, system, 48)
            rates = [f"{len(made) / seconds:.1f}" for made, seconds in (full, small)]
            yield f"{name} {system}, structures/s a core", rates[0], "", "", f"{rates[1]} at 20-60 atoms"


if __name__ == "__main__":
    main()
