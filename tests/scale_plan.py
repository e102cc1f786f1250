"""`make scale-plan`: plan, judgements and status of a dataset of ten millions whose parts are made up as they are asked for.

All that grows with the structures is there: their ids, hashes, fingerprints and measures. Services, labels and files are not.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from ase.data import chemical_symbols
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from distillery.planning.made_parts import MadeParts
from distillery.planning.part_measures import PartMeasures, PhysicsTally
from distillery.planning.plan import PartFacts, Plan, Shard
from distillery.recipe.reading import parse_recipe
from distillery.report.summary import describe_progress
from distillery.schema.label import Receipt, ShardRecord, TeacherCard
from distillery.structures.near_duplicates import Fingerprint
from distillery.structures.packed_geometry import count_bytes
from distillery.structures.packed_texts import PackedTexts
from distillery.structures.structure import DEFAULT_ELEMENTS, numbers_of
from tests.null_teacher import NAME
from tests.scale import write_recipe

N_STRUCTURES = 10_000_000
_ROWS = 12
"""Of the table."""
_TWICE, _FAR_OFF = 0.003, 0.0005
"""Of the structures so many are one that came before, and have an energy that is far off."""
_ATOMS = (10, 100)
_NUMBERS = np.sort(numbers_of(DEFAULT_ELEMENTS)).astype(np.int64)
_SYMBOLS = [chemical_symbols[z] for z in _NUMBERS]
_TEACHER = TeacherCard(name=NAME, version="null==1", weights_sha256="0" * 64, device="cpu", elements=DEFAULT_ELEMENTS)


class MadeUpParts(MadeParts):
    """Parts that were never on disk: nearly as many structures as were asked for, of `sparse` four tenths."""

    def make(self, shard: Shard) -> None:
        """Make a shard's part up, the same one for the same seed."""
        rng = np.random.default_rng(shard.seed)
        n = round(shard.n * (0.4 if shard.maker == "sparse" else 0.98))
        counts = rng.multinomial(rng.integers(*_ATOMS, n), rng.dirichlet(np.ones(len(_NUMBERS)), n)).astype(np.uint16)
        ids = tuple(f"{shard.name}/{k:05d}" for k in range(n))
        facts = PartFacts(ids, _make_hashes(rng, n), fingerprints=tuple(_make_fingerprint(rng, row) for row in counts))
        self._found[shard.name] = self._keep(self._sign(shard, n), facts, _make_measures(rng, shard, counts, ids))

    def _sign(self, shard: Shard, n: int) -> Receipt:
        source = self.recipe.sources[shard.source]
        record = ShardRecord(
            recipe_sha256=self.recipe.sha256,
            stage=shard.stage,
            source=shard.source,
            service=source.service,
            system=source.system,
            seed=shard.seed,
            start=shard.start,
            round=shard.round,
            requested=shard.n,
            generated=n,
            generate_seconds=0.0,
            service_version="1",
        )
        return Receipt(
            dataset=self.recipe.name,
            part=shard.name,
            record=record,
            teacher=_TEACHER,
            n_structures=n,
            n_atoms=0,
            label_seconds=0.0,
            structures_sha256="0" * 64,
            content_sha256="0" * 64,
            created="",
        )


def _make_hashes(rng: np.random.Generator, n: int) -> tuple[str, ...]:
    """Some come again and again, whatever the shard."""
    pool = rng.integers(0, 1000, n)
    return tuple(f"{pool[k] if rng.random() < _TWICE else int.from_bytes(rng.bytes(32)):064x}" for k in range(n))


def _make_fingerprint(rng: np.random.Generator, counts: NDArray[np.uint16]) -> Fingerprint:
    formula = "".join(f"{symbol}{count}" for symbol, count in zip(_SYMBOLS, counts.tolist(), strict=True) if count)
    sums, noise = rng.normal(0.0, 50.0, 12).astype("<f4"), rng.uniform(0.01, 0.05, 12).astype("<f4")
    return Fingerprint(formula, sums.tobytes() + noise.tobytes() + bytes(count_bytes(formula)))


def _make_measures(rng: np.random.Generator, shard: Shard, counts: NDArray[np.uint16], ids: tuple[str, ...]) -> PartMeasures:
    n = len(counts)
    off = np.where(rng.random(n) < _FAR_OFF, 9.0, rng.normal(0.0, 0.05, n))
    return PartMeasures(
        source=shard.source,
        service=shard.maker,
        system="crystal",
        requested=shard.n,
        generated=n,
        labelled=n,
        n_payload_bytes=0,
        numbers=_NUMBERS,
        counts=counts,
        ids=PackedTexts(ids),
        energies=counts @ (-0.3 * _NUMBERS) + off * counts.sum(axis=1),
        largest_forces=rng.gamma(2.0, 2.0, n),
        pressures=rng.normal(0.0, 5.0, n),
        compositions=rng.integers(0, 2**63, n, np.uint64),
        contacts=dict.fromkeys(range(0, n, max(n // 20, 1)), 0.9),
        environments={k: rng.normal(0.0, 1.0, (4, 63)).astype(np.float16) for k in range(0, n, max(n // 16, 1))},
        physics=PhysicsTally(8),
        self_test=PhysicsTally(30),
        charges=np.zeros(n, np.int32),
    )


@dataclass
class Row:
    """What was seen at the end of a wave.

    look, longest   processor time of all looks at the plan since the row before, and of the longest of them, s
    status          processor time of one status, s
    memory          RSS, bytes
    """

    n_structures: int
    look: float
    longest: float
    status: float
    memory: int


def walk(parts: MadeUpParts, every: int) -> list[Row]:
    """Plan and make parts up in turn until the dataset is complete; a row every so many structures."""
    rows, looks, due = list[Row](), list[float](), every
    while True:
        begun = time.thread_time()
        plan = parts.make_plan()
        looks.append(time.thread_time() - begun)
        if (n := sum(tally.made for tally in plan.tallies.values())) >= due or plan.is_complete:
            due += every
            rows.append(Row(n, sum(looks), max(looks), _time_status(parts, plan), psutil.Process().memory_info().rss))
            print(rows[-1], flush=True)
            looks.clear()
        if plan.is_complete:
            return rows
        for shard in plan.rounds[-1]:
            parts.make(shard)


def _time_status(parts: MadeUpParts, plan: Plan) -> float:
    begun = time.thread_time()
    describe_progress(parts, plan, {})
    return time.thread_time() - begun


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=int, default=N_STRUCTURES)
    parser.add_argument("--folder", type=Path, help="where what does not stay in memory goes, 1.5 kB a structure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        parts = MadeUpParts(Path(folder), parse_recipe(write_recipe(arguments.structures)))
        rows = walk(parts, -(-arguments.structures // _ROWS))
    table = Table("structures", "looks, s", "longest look, s", "status, ms", "RSS, MB")
    for row in rows:
        table.add_row(
            f"{row.n_structures:,}", f"{row.look:.1f}", f"{row.longest:.2f}", f"{1e3 * row.status:.1f}", f"{row.memory / 1e6:.0f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
