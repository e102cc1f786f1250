"""One part: the request is checked, its structures labelled, the part written, the receipt answered."""

import asyncio
import threading
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from distillery.dataset.folder import part_path
from distillery.dataset.layout import Label, list_optional, to_arrays
from distillery.dataset.parts import digest_arrays, read_part, write_part
from distillery.dataset.sealed_file import name_disk_faults
from distillery.errors import Conflict, InvalidRequest
from distillery.schema.explain import validate_message
from distillery.schema.label import Hessians, LabelledBatch, Receipt, Reject, ShardRecord, TeacherCard
from distillery.structures.arrow import from_arrow, read_hashes
from distillery.structures.identity import digest_structures, find_proposal, structure_hash
from distillery.structures.structure import Structure
from distillery.telemetry.spans import find_parent, span
from labeller.engine import Engine
from labeller.hessians import make_hessians
from labeller.input_checks import inspect_structures
from labeller.isolated_atoms import IsolatedAtoms
from labeller.judgement import Judged, Made, describe_labels, judge
from labeller.sampling import Sampler
from labeller.self_test import Trial, choose_tested, try_physics
from labeller.structure_queue import LabelAll, Labelled
from labeller.teachers.teacher import PhysicsTolerance

T = TypeVar("T")
_LIST_IDS = 3
_MOVE = "use another dataset name or move it away"


class Labelling:
    """Makes parts; requests for the same part take turns, so that each is made once."""

    def __init__(self, engine: Engine, teacher: TeacherCard, tolerance: PhysicsTolerance, root: Path) -> None:
        self._engine, self._teacher, self._tolerance, self._root = engine, teacher, tolerance, root
        self._atoms = IsolatedAtoms()
        self._host = ThreadPoolExecutor(1, thread_name_prefix="check")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._turns: weakref.WeakValueDictionary[Path, asyncio.Lock] = weakref.WeakValueDictionary()

    async def label(self, dataset: str, part: str, body: bytes | bytearray) -> Receipt:
        """The receipt of a part: of the stored one if there is one already, else of the one this makes."""
        with span("read", dataset=dataset, shard=part):
            request = await self._on_host(_read_request, dataset, part, body)
        path = part_path(self._root / dataset, part)
        async with self._turn(path):
            if await self._on_host(path.exists):
                return await self._on_host(_stored_receipt, path, request, self._teacher)
            with span("check"):
                sound, refused = await self._on_host(inspect_structures, request.structures, request.hashes, self._teacher.outline)
            with span("sample" if request.record.sample else "label", structures=len(sound)):
                made = await self._make_labels(sound, request)
            judged = judge(made, request.record.limits, self._tolerance, request.record.labels)
            judged = await self._add_hessians(judged, request.record.hessian)
            with span("physics", structures=request.record.probes):
                trial = await self._try_physics(judged, request.record.probes)
            atoms = await self._find_isolated_atoms(request.record.elements)
            write = partial(_write, path, request, self._teacher, refused, judged, trial, atoms)
            with span("write", dataset=dataset, shard=part):
                return await asyncio.get_running_loop().run_in_executor(self._writer, write)

    async def label_alone(self, body: bytes | bytearray) -> LabelledBatch:
        """Labels of structures that are of no dataset; nothing is written."""
        structures, _ = await self._on_host(from_arrow, body)
        sound, refused = await self._on_host(inspect_structures, structures, {}, self._teacher.outline)
        future = asyncio.wrap_future(self._engine.submit(sound, find_parent()).future)
        try:
            labelled = await future
        finally:
            future.cancel()
        judged = judge(Made(sound, labelled.outcomes, [], len(sound), labelled.seconds), None, self._tolerance)
        return await self._on_host(describe_labels, judged, refused, self._teacher)

    async def _make_labels(self, structures: Sequence[Structure], request: "_Request") -> Made:
        """Labels of the structures, or of what the teacher makes of them, and structure hashes."""
        sample, seed = request.record.sample, request.record.seed
        if sample is None:
            labelled, hashes = await self._run_teacher(structures, request.hashes)
            return Made(list(structures), labelled.outcomes, hashes, len(structures), labelled.seconds)
        sampled = await self._in_thread(lambda label_all: Sampler(label_all, sample, seed, self._tolerance).make_frames(structures))
        hashes = await self._on_host(_hash_all, sampled.structures, {})
        return Made(sampled.structures, sampled.outcomes, hashes, sampled.n_calls, sampled.seconds)

    async def _run_teacher(self, structures: Sequence[Structure], known: Mapping[str, str]) -> tuple[Labelled, list[str]]:
        """Labels, and structure hashes: known by id, or made meanwhile. A cancelled caller takes its structures back."""
        future = asyncio.wrap_future(self._engine.submit(structures, find_parent()).future)
        try:
            hashes = await self._on_host(_hash_all, structures, known)
            return await future, hashes
        finally:
            future.cancel()

    async def _add_hessians(self, judged: Judged, wanted: Hessians | None) -> Judged:
        """Hessians of the small ones among the structures whose labels are sound."""
        if wanted is None:
            return judged
        made = judged.made
        with span("hessian", structures=len(made.structures)):
            found = await self._in_thread(lambda label_all: make_hessians(label_all, made.structures, judged.outcomes, wanted))
        made = replace(made, n_calls=made.n_calls + found.n_calls, seconds=made.seconds + found.seconds)
        return Judged(made, found.outcomes, judged.refused_labels)

    async def _try_physics(self, judged: Judged, n: int) -> Trial:
        """The laws of physics on up to `n` of the structures whose labels are sound."""
        labelled = [(s, o) for s, o in zip(judged.made.structures, judged.outcomes, strict=True) if isinstance(o, Label)]
        chosen = choose_tested(labelled, n)
        return await self._in_thread(lambda label_all: try_physics(label_all, self._tolerance, chosen)) if chosen else Trial()

    async def _find_isolated_atoms(self, elements: Sequence[str]) -> dict[str, float]:
        """The teacher's energies of single atoms of those of the elements that it knows, eV."""
        known = [element for element in elements if element in self._teacher.elements]
        return await self._in_thread(lambda label_all: self._atoms.find(label_all, known)) if known else {}

    async def _in_thread(self, work: Callable[[LabelAll], T]) -> T:
        """Work that asks the teacher again and again, in a thread of its own; it ends at the next answer once nobody waits for it."""
        stop = threading.Event()
        try:
            return await asyncio.to_thread(work, partial(self._engine.label_all, stop=stop))
        finally:
            stop.set()

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
    path: Path, request: _Request, teacher: TeacherCard, refused: list[Reject], judged: Judged, trial: Trial, atoms: dict[str, float]
) -> Receipt:
    """Write the part; the receipt of what lies there afterwards, should another labeller have been first."""
    made, record = judged.made, request.record
    structures, labels, hashes = _select_labelled(judged)
    rejects = [*refused, *(outcome for outcome in judged.outcomes if isinstance(outcome, Reject))]
    quarantined = _find_quarantined(request, made, rejects)
    _require_all(request, [*structures, *quarantined])
    names = {"source": record.source, "service": record.service, "shard": request.part}
    arrays = to_arrays(structures, labels, hashes, **names, wanted=record.labels)
    by_id = {reject.id: reject for reject in rejects}
    receipt = Receipt(
        dataset=request.dataset,
        part=request.part,
        record=record,
        teacher=teacher,
        n_structures=len(structures),
        n_atoms=sum(len(s) for s in structures),
        rejected=tuple(by_id[s.id] for s in quarantined),
        label_seconds=made.seconds,
        n_calls=made.n_calls,
        physics=tuple(check if check.passed is False else check.model_copy(update={"detail": ""}) for check in trial.checks),
        physics_seconds=trial.seconds,
        isolated_atoms=atoms,
        optional_columns=list_optional(arrays),
        structures_sha256=digest_structures((s.id for s in structures), hashes),
        content_sha256=digest_arrays(arrays),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with name_disk_faults(path.parent):
        is_first = write_part(path, receipt, arrays, quarantined, judged.refused_labels)
    return receipt if is_first else _stored_receipt(path, request, teacher)


def _select_labelled(judged: Judged) -> tuple[list[Structure], list[Label], list[str]]:
    """The structures that have a sound label, with labels and structure hashes."""
    structures, labels, hashes = list[Structure](), list[Label](), list[str]()
    for structure, outcome, own in zip(judged.made.structures, judged.outcomes, judged.made.hashes, strict=True):
        if isinstance(outcome, Label):
            structures.append(structure)
            labels.append(outcome)
            hashes.append(own)
    return structures, labels, hashes


def _find_quarantined(request: _Request, made: Made, rejects: Sequence[Reject]) -> list[Structure]:
    """The structures that were refused, in order: as they came, or as the teacher had made them."""
    known = {structure.id: structure for structure in (*request.structures, *made.structures)}
    order = {id: k for k, id in enumerate(known)}
    return [known[reject.id] for reject in sorted(rejects, key=lambda reject: order[reject.id])]


def _require_all(request: _Request, found: Sequence[Structure]) -> None:
    """Every structure that came is in the part, itself or by what was made of it, and nothing else is."""
    assert {find_proposal(structure.id) for structure in found} == {s.id for s in request.structures}, (
        "a structure is missing, or is there that was not sent"
    )
    assert len({structure.id for structure in found}) == len(found), "a structure is there twice"


def _read_request(dataset: str, part: str, body: bytes | bytearray) -> _Request:
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
    there_ids = {find_proposal(id) for id in (*stored.arrays["provenance/id"].tolist(), *(s.id for s in stored.quarantined))}
    not_in_both = sorted(there_ids ^ {s.id for s in request.structures})
    if not_in_both:
        raise Conflict(
            f"{path} is there already with {len(there_ids)} structures, yet {len(request.structures)} came; "
            f"not in both: {', '.join(not_in_both[:_LIST_IDS])}; {_MOVE}"
        )
    return old
