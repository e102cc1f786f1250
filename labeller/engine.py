"""The pipeline: featurising in one thread, the teacher in one or more, failures bisected down to the single structure."""

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distillery.dataset.layout import Label
from distillery.errors import Busy, Internal, Problem, Unavailable
from distillery.runtime.device import DeviceLost, is_fatal, is_out_of_memory, without_frames
from distillery.runtime.stopping import Stop, Stopped
from distillery.schema.label import Reject
from distillery.structures.cells import make_right_handed
from distillery.structures.structure import Structure
from distillery.telemetry.spans import record
from labeller.batching import AtomBudget
from labeller.label_checks import find_label_fault, require_label
from labeller.metrics import Meter
from labeller.structure_queue import Item, Labelled, StructureQueue, Ticket
from labeller.teachers.teacher import StructureFailed, Teacher

if TYPE_CHECKING:
    from opentelemetry.context import Context

_log = logging.getLogger("distillery")
_MEMORY_SECONDS = 10.0
"""After which a request may be repeated that found the memory taken by others."""
Batch = list[Item]


@dataclass
class Job:
    """A batch, and what `featurise` made of it or the exception that it raised: None once that was tried, to free its memory."""

    batch: Batch
    features: Any


class Engine:
    """Labels the structures of all tickets with one teacher, which sees right-handed cells alone: by left-handed ones CHGNet's calculator,
    and who else takes the determinant for the volume, gives the stress the other sign."""

    def __init__(self, teacher: Teacher, n_workers: int, budget: AtomBudget, waiting: StructureQueue, meter: Meter) -> None:
        self.waiting = waiting
        self._teacher, self._budget, self._meter = teacher, budget, meter
        self._featurised: queue.Queue[Job | None] = queue.Queue(maxsize=n_workers)
        self._n_workers = n_workers
        self._threads: list[threading.Thread] = []
        self._tickets: dict[Future[Labelled], Ticket] = {}
        self.on_fatal: Callable[[DeviceLost], None] = lambda problem: None
        meter.waiting.set_function(lambda: len(waiting))
        meter.budget_atoms.set_function(lambda: budget.limit)
        meter.workers.set(n_workers)

    def start(self) -> None:
        """Start the threads; the teacher must be loaded."""
        self._threads = [threading.Thread(target=self._run_worker, name=f"teacher-{k}", daemon=True) for k in range(self._n_workers)]
        self._threads.append(threading.Thread(target=self._run_featuriser, name="featuriser", daemon=True))
        for thread in self._threads:
            thread.start()

    def submit(self, structures: Sequence[Structure], parent: "Context | None" = None) -> Ticket:
        """Hand structures to the teacher, whose work on them is part of the span `parent`; Busy if too many wait already."""
        ticket = Ticket(structures, parent)
        if structures:
            self._tickets[ticket.future] = ticket
            ticket.future.add_done_callback(self._forget)
            try:
                self.waiting.add(ticket)
            except Problem:
                ticket.future.cancel()
                raise
        return ticket

    def label_all(self, structures: Sequence[Structure], stop: Stop | None = None) -> Labelled:
        """Label structures beside whatever else waits, and wait for them; Stopped, before anything is asked, once `stop` is set."""
        while True:
            if stop is not None and stop.is_set():
                raise Stopped
            try:
                return self.submit(structures).future.result()
            except Busy as busy:  # a trajectory that is under way waits for its turn
                time.sleep(busy.retry_after or 1.0)

    def close(self, problem: Problem | None = None) -> None:
        """Fail what is unfinished and end the threads."""
        self._abandon(problem or Unavailable("the labeller is shutting down; ask again when it is back", retry_after=5))
        for thread in self._threads:
            thread.join()

    def _abandon(self, problem: Problem) -> None:
        self.waiting.close(problem)
        for ticket in list(self._tickets.values()):
            ticket.fail(problem)

    def _forget(self, future: Future[Labelled]) -> None:
        """Of one that is done. A callback that holds the ticket would be a cycle, which keeps structures and labels for long."""
        self._tickets.pop(future, None)

    def _run_featuriser(self) -> None:
        while (batch := self.waiting.take(self._budget.limit)) is not None:
            self._featurised.put(self._featurise(batch))
        for _ in range(self._n_workers):
            self._featurised.put(None)

    def _featurise(self, batch: Batch) -> Job:
        began = time.time_ns()
        try:
            with _refuse_to_exit():
                return Job(batch, self._teacher.featurise(make_right_handed([item.structure for item in batch])))
        except Exception as error:  # any failure of the teacher is bisected
            return Job(batch, without_frames(error))
        finally:
            _record("featurise", batch, began)

    def _run_worker(self) -> None:
        while (job := self._featurised.get()) is not None:
            if not any(item.is_wanted for item in job.batch):
                continue
            try:
                self._label(job)
            except Exception as error:  # a bug here must not leave a request waiting for ever
                _log.exception("labelling a batch failed")
                for item in job.batch:
                    item.ticket.fail(Internal(f"the labeller failed: {type(error).__name__}: {error}"))

    def _label(self, job: Job) -> None:
        failure = self._try(job)
        if failure is not None:  # outside its `except`, where the memory of the failed batch is free
            self._recover(job.batch, failure)

    def _try(self, job: Job) -> Exception | None:
        """Label a batch and settle it; what the teacher raised if it did."""
        features, job.features = job.features, None
        try:
            if isinstance(features, Exception):
                raise features
            labels, seconds = self._predict(job.batch, features)
        except Exception as error:  # any failure of the teacher is bisected
            return without_frames(error)
        n_atoms = _count_atoms(job.batch)
        self._budget.note_success(n_atoms)
        self._meter.batch_atoms.observe(n_atoms)
        for item, label in zip(job.batch, labels, strict=True):
            self._settle(item, label, seconds * len(item.structure) / n_atoms)
        return None

    def _predict(self, batch: Batch, features: Any) -> tuple[list[Label], float]:
        start, began = time.perf_counter(), time.time_ns()
        try:
            with _refuse_to_exit():
                labels = self._teacher.predict(features)
        finally:
            seconds = time.perf_counter() - start
            _record("forward", batch, began)
            self._meter.busy_seconds.inc(seconds)
        if len(labels) != len(batch):
            raise RuntimeError(f"the teacher gave {len(labels)} labels for {len(batch)} structures")
        for label in labels:
            require_label(label)
        return labels, seconds

    def _recover(self, batch: Batch, error: Exception) -> None:
        """Try the halves of a batch that failed, smaller structures first; one that fails alone is rejected if it is at fault."""
        if isinstance(error, Problem):  # the teacher itself is not there: nobody's structure is at fault
            for item in batch:
                item.ticket.fail(error)
            return
        if isinstance(error, StructureFailed) and len(batch) == 1:
            self._reject(batch[0], error.reason, error.detail)
            return
        if is_fatal(error):
            self._give_up(error)
            return
        if is_out_of_memory(error):
            self._teacher.release_memory()
            self._budget.note_out_of_memory(_count_atoms(batch))
        if len(batch) == 1:
            self._blame(batch[0], error)
            return
        _log.info("a batch of %d structures failed (%s: %s); trying its halves", len(batch), type(error).__name__, error)
        middle = len(batch) // 2
        self._retry(batch[middle:])
        self._retry(batch[:middle])

    def _blame(self, item: Item, error: Exception) -> None:
        """Reject a structure that failed alone; where the memory is at fault, which may pass, its request fails instead."""
        said = f"{type(error).__name__}: {error}"
        if not is_out_of_memory(error):
            self._reject(item, "teacher_failed", said)
        elif not self._budget.should_fit(len(item.structure)):
            self._reject(item, "out_of_memory", said)
        else:
            item.ticket.fail(
                Unavailable(
                    f"there is no memory for {item.structure.id} of {len(item.structure)} atoms alone, which would fit if others left "
                    f"it free ({said}); free it, then ask again",
                    retry_after=_MEMORY_SECONDS,
                )
            )

    def _retry(self, batch: Batch) -> None:
        if any(item.is_wanted for item in batch):
            self._label(self._featurise(batch))

    def _settle(self, item: Item, label: Label, seconds: float) -> None:
        fault = find_label_fault(item.structure, label)
        if fault is not None:
            self._reject(item, fault.reason, fault.detail, seconds)
            return
        self._meter.structures.inc()
        self._meter.atoms.inc(len(item.structure))
        item.ticket.settle(item.index, label, seconds)

    def _reject(self, item: Item, reason: str, detail: str, seconds: float = 0.0) -> None:
        self._meter.rejected.labels(reason).inc()
        reject = Reject(id=item.structure.id, reason=reason, detail=detail, stage="label")
        item.ticket.settle(item.index, reject, seconds)

    def _give_up(self, error: Exception) -> None:
        problem = DeviceLost.of("labeller", error)
        _log.error("%s", problem.detail)
        self.on_fatal(problem)
        self._abandon(problem)


@contextmanager
def _refuse_to_exit() -> Iterator[None]:
    """RuntimeError in the place of SystemExit, which would end a thread without a word."""
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(f"the teacher called sys.exit({error.code!r})") from error


def _record(name: str, batch: Batch, began: int) -> None:
    """A span for each request that has structures in a batch; as long as the batch took."""
    shares = Counter(item.ticket for item in batch if item.ticket.parent is not None)
    for ticket, n in shares.items():
        assert ticket.parent is not None
        record(name, ticket.parent, began, structures=n, batch_structures=len(batch), batch_atoms=_count_atoms(batch))


def _count_atoms(batch: Batch) -> int:
    return sum(len(item.structure) for item in batch)
