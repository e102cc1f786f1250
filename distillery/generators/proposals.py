"""Making structures by independent proposals on all cores, with a result that does not depend on how many there are.

Proposal k of a task is a pure function of (task, k). Workers run proposals ahead, the caller accepts them in order of
k, so the same seed gives the same bytes on one core and on sixty-four.
"""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import Protocol

import numpy as np

from distillery.generators.generator import Made, Progress, Task
from distillery.generators.perturb import perturb_structure
from distillery.generators.settings import ServiceSettings
from distillery.generators.workers import Workers, submit, wait_for
from distillery.runtime.machine import count_workers
from distillery.runtime.stopping import Stop
from distillery.schema.base import Message
from distillery.schema.generate import Metadata, NoOptions
from distillery.structures.cells import restate
from distillery.structures.checks import find_fault
from distillery.structures.structure import Structure, System

ATTEMPTS_PER_STRUCTURE = 25
"""A task for n structures makes at most this many times n proposals."""
_LARGEST_CHUNK = 8


class Rejected(Exception):
    """A proposal without a structure; `reason` is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PoolExhausted(Exception):
    """Neither this proposal of a task nor any later one can give a structure: its pool_slice of the pool ends here."""


@dataclass(frozen=True)
class Proposal:
    """One or more structures of one kind (conformers); proposals with a `key` seen before in the task are duplicates.

    rejected  why others of its structures were refused, a reason each
    """

    structures: tuple[Structure, ...]
    key: str | None = None
    rejected: tuple[str, ...] = ()


class Proposer(Protocol):
    """The method of a CPU-bound service: pure, picklable by name, built once in every worker.

    A class that inherits from it may leave out options and checks. It neither perturbs nor checks its structures: that is done for it.
    """

    @property
    def metadata(self) -> Metadata:
        """What it can make and with what."""

    @property
    def options(self) -> Mapping[System, type[Message]]:
        """The model of `options` for every system it makes."""
        return dict.fromkeys(self.metadata.systems, NoOptions)

    def check(self, task: Task) -> None:
        """Raise Unsupported if this task can't be done at all."""
        return

    def propose(self, task: Task, rng: np.random.Generator) -> Proposal:
        """One proposal, all of whose randomness comes from `rng`; Rejected with a reason if it came to nothing, or PoolExhausted."""


class ProposalGenerator:
    """A Generator that runs a Proposer in worker processes."""

    def __init__(self, build: Callable[[], Proposer], workers: int, module: str | None = None) -> None:
        """`build` is an importable class or function, or a partial of one; `propose_in_workers` counts the workers that a machine carries.

        module  what workers import before they are forked; that of `build` if absent
        """
        self.proposer = build()
        self._workers = Workers(self.metadata.service, workers, module or build.__module__, partial(_keep_proposer, build))

    @property
    def metadata(self) -> Metadata:
        return self.proposer.metadata

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return self.proposer.options

    def check(self, task: Task) -> None:
        self.proposer.check(task)

    def load(self) -> None:
        """Start the workers and wait for the first to be ready."""
        self._workers.load()

    def close(self) -> None:
        """End the workers, for good."""
        self._workers.close()

    def generate(self, task: Task, stop: Stop, progress: Progress) -> Made:
        """See `distillery.generators.generator.Generator`; workers that died are replaced once, then the task fails."""
        return self._workers.run(lambda pool: self._generate(pool, task, stop, progress), task.shard)

    def _generate(self, pool: ProcessPoolExecutor, task: Task, stop: Stop, progress: Progress) -> Made:
        made, keys = Made(), set[str]()
        ahead = _ProposalsAhead(pool, self._workers.n_workers, task)
        try:
            while len(made.structures) < task.n and (outcomes := ahead.take(made, stop)):
                for outcome in outcomes:
                    if outcome is None:
                        return made
                    accept_outcome(outcome, task, made, keys)
                progress(len(made.structures), task.n)
        finally:
            ahead.cancel()
        return made


def propose_in_workers(build: Callable[[], Proposer], memory_each: int = 2**28) -> ProposalGenerator:
    """A generator that runs a proposer in as many workers as the environment says, else as cores and memory carry.

    build        an importable class or function
    memory_each  bytes for each worker; on a machine with little memory for its cores there are fewer of them
    """
    return ProposalGenerator(build, ServiceSettings().workers or count_workers(memory_each))


class _ProposalsAhead:
    """The proposals under way, in order: as many as keep the workers busy, and no more than what is missing will take."""

    def __init__(self, pool: ProcessPoolExecutor, n_workers: int, task: Task) -> None:
        self._pool, self._n_workers, self._task = pool, n_workers, task
        self._running: deque[Future[list[Proposal | str | None]]] = deque()
        self._n_submitted = 0

    def take(self, made: Made, stop: Stop) -> "list[Proposal | str | None]":
        """The outcomes of the oldest chunk, waited for; none once the budget is spent. `made` is what came of those before it."""
        while n_proposals := self._count_next(made):
            self._running.append(submit(self._pool, _run_proposals, self._task, self._n_submitted, n_proposals))
            self._n_submitted += n_proposals
        return wait_for(self._running.popleft(), stop) if self._running else []

    def _count_next(self, made: Made) -> int:
        """Proposals in the next chunk; 0 if enough are under way, by the acceptance so far."""
        n_missing = self._task.n - len(made.structures)
        n_needed = ceil(n_missing * (made.attempts + 1) / (len(made.structures) + 1))
        n_under_way = self._n_submitted - made.attempts
        if len(self._running) == 2 * self._n_workers or n_under_way >= max(self._n_workers, n_needed):
            return 0
        chunk = max(1, min(_LARGEST_CHUNK, n_missing // (4 * self._n_workers)))
        return min(chunk, ATTEMPTS_PER_STRUCTURE * self._task.n - self._n_submitted)

    def cancel(self) -> None:
        """Begin nothing of it that has not begun."""
        for future in self._running:
            future.cancel()


def accept_outcome(outcome: Proposal | str, task: Task, made: Made, keys: set[str]) -> None:
    """Count one attempt and take its structures unless they are duplicates or too many; `keys` are those seen so far."""
    if len(made.structures) >= task.n:
        return
    made.attempts += 1
    if isinstance(outcome, str):
        made.rejected[outcome] += 1
        return
    if outcome.key is not None and outcome.key in keys:
        made.rejected["duplicate"] += 1
        return
    if outcome.key is not None:
        keys.add(outcome.key)
    made.rejected.update(outcome.rejected)
    for structure in outcome.structures[: task.n - len(made.structures)]:
        made.structures.append(structure.renamed(f"{task.shard}/{len(made.structures):04d}"))


_proposer: Proposer | None = None
"""The worker's own proposer; set once in every worker process, never in the parent."""


def _keep_proposer(build: Callable[[], Proposer]) -> None:
    global _proposer
    _proposer = build()


def _run_proposals(task: Task, start: int, count: int) -> "list[Proposal | str | None]":
    """The outcomes of `count` proposals; None ends them where the task's pool_slice does."""
    assert _proposer is not None
    outcomes: list[Proposal | str | None] = []
    try:
        for attempt in range(start, start + count):
            outcomes.append(propose_one(_proposer, task, attempt))
    except PoolExhausted:
        outcomes.append(None)
    return outcomes


def propose_one(proposer: Proposer, task: Task, attempt: int) -> Proposal | str:
    """Proposal number `attempt`, perturbed and checked, or the reason why there is none; PoolExhausted comes through."""
    rng = np.random.default_rng([task.seed, attempt])
    try:
        proposal = proposer.propose(replace(task, attempt=attempt), rng)
    except Rejected as rejected:
        return rejected.reason
    if not isinstance(proposal, Proposal):
        raise TypeError(f"{type(proposer).__name__}.propose must return a Proposal, it returned {type(proposal).__name__}")
    return finish_proposal(proposal, task, rng)


def finish_proposal(proposal: Proposal, task: Task, rng: np.random.Generator) -> Proposal | str:
    """The proposal perturbed, without the structures that are refused, or why if all are: size, elements, input and chemistry are
    checked after the perturbation.
    """
    kept, rejected = list[Structure](), list[str]()
    for structure in [restate(perturb_structure(s, task.perturb, rng)) for s in proposal.structures]:
        fault = find_fault(structure, task.elements, (task.min_atoms, task.max_atoms))
        if fault is None:
            kept.append(structure)
        else:
            rejected.append(fault.reason)
    return replace(proposal, structures=tuple(kept), rejected=tuple(rejected)) if kept else rejected[0]
