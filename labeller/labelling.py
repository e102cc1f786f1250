"""One part: the request is checked, its structures labelled, the part written, the receipt answered."""

import asyncio
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from distillery.dataset.folder import part_path
from distillery.dataset.layout import Label, to_arrays
from distillery.dataset.parts import digest_arrays, read_part, write_part
from distillery.dataset.sealed_file import name_disk_faults
from distillery.errors import Conflict, InvalidRequest
from distillery.schema.explain import validate_message
from distillery.schema.label import Receipt, Reject, ShardRecord, TeacherCard
from distillery.structures.arrow import from_arrow, read_hashes
from distillery.structures.cells import restate
from distillery.structures.checks import find_input_fault
from distillery.structures.identity import digest_structures, structure_hash
from distillery.structures.structure import Structure
from labeller.engine import Engine
from labeller.pool import Labelled

T = TypeVar("T")
_LIST_IDS = 3
_MOVE = "use another dataset name or move it away"


class Labelling:
    """Makes parts; requests for the same part take turns, so that each is made once."""

    def __init__(self, engine: Engine, teacher: TeacherCard, root: Path) -> None:
        self._engine, self._teacher, self._root = engine, teacher, root
        self._host = ThreadPoolExecutor(1, thread_name_prefix="check")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._turns: weakref.WeakValueDictionary[Path, asyncio.Lock] = weakref.WeakValueDictionary()

    async def label(self, dataset: str, part: str, body: bytes) -> Receipt:
        """The receipt of a part: of the stored one if there is one already, else of the one this makes."""
        request = await self._on_host(_read_request, dataset, part, body)
        path = part_path(self._root / dataset, part)
        async with self._turn(path):
            if await self._on_host(path.exists):
                return await self._on_host(_stored_receipt, path, request, self._teacher)
            sound, refused = await self._on_host(_inspect, request.structures, self._teacher.elements)
            await self._on_host(_require_same_hash, sound, request.hashes)
            labelled, hashes = await self._run_teacher(sound, request.hashes)
            write = partial(_write, path, request, self._teacher, sound, refused, labelled, hashes)
            return await asyncio.get_running_loop().run_in_executor(self._writer, write)

    async def _run_teacher(self, structures: Sequence[Structure], known: Mapping[str, str]) -> tuple[Labelled, list[str]]:
        """Labels, and structure hashes: known by id, or made meanwhile. A cancelled caller takes its structures back."""
        future = asyncio.wrap_future(self._engine.submit(structures).future)
        try:
            hashes = await self._on_host(_hash_all, structures, known)
            return await future, hashes
        finally:
            future.cancel()

    @asynccontextmanager
    async def _turn(self, path: Path) -> AsyncIterator[None]:
        lock = self._turns.setdefault(path, asyncio.Lock())
        async with lock:
            yield

    async def _on_host(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._host, function, *arguments)

    def close(self) -> None:
        """Finish the writing at hand."""
        self._host.shutdown(wait=True, cancel_futures=True)
        self._writer.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class _Request:
    """What came: which part, from where, its structures, and the hashes of structures by id where the client made them."""

    dataset: str
    part: str
    record: ShardRecord
    structures: list[Structure]
    hashes: Mapping[str, str]


def _write(
    path: Path,
    request: _Request,
    teacher: TeacherCard,
    sound: list[Structure],
    refused: list[Reject],
    labelled: Labelled,
    hashes: list[str],
) -> Receipt:
    """Write the part; the receipt of what lies there afterwards, should another labeller have been first."""
    outcomes = list(zip(sound, labelled.outcomes, hashes, strict=True))
    kept = [(s, o, h) for s, o, h in outcomes if isinstance(o, Label)]
    rejects = {r.id: r for r in (*refused, *(o for o in labelled.outcomes if isinstance(o, Reject)))}
    quarantined = [s for s in request.structures if s.id in rejects]
    assert len(kept) + len(quarantined) == len(request.structures), "a structure was lost or invented"
    structures, labels, kept_hashes = [k[0] for k in kept], [k[1] for k in kept], [k[2] for k in kept]
    record = request.record
    arrays = to_arrays(structures, labels, kept_hashes, source=record.source, service=record.service, shard=request.part)
    receipt = Receipt(
        dataset=request.dataset,
        part=request.part,
        record=record,
        teacher=teacher,
        n_structures=len(structures),
        n_atoms=sum(len(s) for s in structures),
        rejected=tuple(rejects[s.id] for s in quarantined),
        label_seconds=labelled.seconds,
        structures_sha256=digest_structures((s.id for s in structures), kept_hashes),
        content_sha256=digest_arrays(arrays),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with name_disk_faults(path.parent):
        is_first = write_part(path, receipt, arrays, quarantined)
    return receipt if is_first else _stored_receipt(path, request, teacher)


def _read_request(dataset: str, part: str, body: bytes) -> _Request:
    structures, metadata = from_arrow(body)
    record = validate_message(ShardRecord, metadata, "metadata")
    ids = [s.id for s in structures]
    unprintable = [id for id in ids if not id.isprintable()]
    if unprintable:
        raise InvalidRequest(f"ids are printable text; got {', '.join(map(repr, unprintable[:_LIST_IDS]))}")
    foreign = [id for id in ids if not id.startswith(f"{part}/")]
    if foreign:
        raise InvalidRequest(f"the ids of part {part} start with '{part}/'; got {', '.join(map(repr, foreign[:_LIST_IDS]))}")
    twice = sorted(id for id, n in Counter(ids).items() if n > 1)
    if twice:
        raise InvalidRequest(f"ids must be unique in a part; twice or more: {', '.join(twice[:_LIST_IDS])}")
    hashes = read_hashes(body, len(structures))
    return _Request(dataset, part, record, structures, {} if hashes is None else dict(zip(ids, hashes, strict=True)))


def _inspect(structures: list[Structure], elements: tuple[str, ...]) -> tuple[list[Structure], list[Reject]]:
    """The structures a teacher may see, and why the others may not be seen."""
    sound, refused = [], []
    for structure in map(restate, structures):
        fault = find_input_fault(structure, elements)
        if fault is None:
            sound.append(structure)
        else:
            refused.append(Reject(id=structure.id, reason=fault.reason, detail=fault.detail, stage="label"))
    return sound, refused


def _require_same_hash(structures: Sequence[Structure], known: Mapping[str, str]) -> None:
    """The client's hashes are taken if the first is what it would be here: then it makes them as this labeller does."""
    if known and structures and (own := structure_hash(structures[0])) != (given := known[structures[0].id]):
        raise InvalidRequest(
            f"the structure hash of {structures[0].id} is {own} here, and {given} came: gateway and labeller must be of one version"
        )


def _hash_all(structures: Sequence[Structure], known: Mapping[str, str]) -> list[str]:
    return [known[s.id] if known else structure_hash(s) for s in structures]


def _stored_receipt(path: Path, request: _Request, teacher: TeacherCard) -> Receipt:
    """The receipt of the part that lies there already; Conflict if it is the part of something else."""
    stored = read_part(path)
    old, record = stored.receipt, request.record
    for what, there, came in (
        ("recipe_sha256", old.record.recipe_sha256, record.recipe_sha256),
        ("seed", old.record.seed, record.seed),
        ("teacher", old.teacher.name, teacher.name),
        ("weights_sha256", old.teacher.weights_sha256, teacher.weights_sha256),
    ):
        if there != came:
            raise Conflict(f"{path} is there already with {what} {there}, yet {what} {came} came; {_MOVE}")
    there_ids = {*stored.arrays["provenance/id"].tolist(), *(s.id for s in stored.quarantined)}
    not_in_both = sorted(there_ids ^ {s.id for s in request.structures})
    if not_in_both:
        raise Conflict(
            f"{path} is there already with {len(there_ids)} structures, yet {len(request.structures)} came; "
            f"not in both: {', '.join(not_in_both[:_LIST_IDS])}; {_MOVE}"
        )
    return old
