"""The structures of all requests that wait for the teacher."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from distillery.dataset.layout import Label
from distillery.errors import Busy, Problem
from distillery.schema.label import Reject
from distillery.structures.structure import Structure
from labeller.batching import SortedSizes, pack

if TYPE_CHECKING:
    from opentelemetry.context import Context

Outcome = Label | Reject
_RETRY_SECONDS = 2.0


@dataclass(frozen=True)
class Labelled:
    """What became of the structures of one request, in order, and the teacher's time spent on them, s."""

    outcomes: list[Outcome]
    seconds: float


LabelAll = Callable[[Sequence[Structure]], Labelled]
"""Has a teacher label structures, and waits for it."""


class Ticket:
    """The structures of one request on their way; cancelling `future` takes back those not yet begun.

    parent  the span that its batches are part of; None where they have none
    """

    def __init__(self, structures: Sequence[Structure], parent: "Context | None" = None) -> None:
        self.structures, self.parent = structures, parent
        self.future: Future[Labelled] = Future()
        self._outcomes: list[Outcome | None] = [None] * len(structures)
        self._n_open = len(structures)
        self._seconds = 0.0
        self._lock = threading.Lock()
        if not structures:
            self.future.set_result(Labelled([], 0.0))

    def settle(self, index: int, outcome: Outcome, seconds: float) -> None:
        """Say what became of structure `index`; the last one completes the ticket."""
        with self._lock:
            assert self._outcomes[index] is None, f"{self.structures[index].id} was settled twice"
            self._outcomes[index] = outcome
            self._seconds += seconds
            self._n_open -= 1
            if self._n_open == 0 and not self.future.done() and self.future.set_running_or_notify_cancel():
                self.future.set_result(Labelled([o for o in self._outcomes if o is not None], self._seconds))

    def fail(self, problem: Problem) -> None:
        """Give up on the whole request."""
        with self._lock:
            if not self.future.done() and self.future.set_running_or_notify_cancel():
                self.future.set_exception(problem)


@dataclass(frozen=True)
class Item:
    """One structure of a ticket."""

    ticket: Ticket
    index: int

    @property
    def structure(self) -> Structure:
        """The structure itself."""
        return self.ticket.structures[self.index]

    @property
    def is_wanted(self) -> bool:
        """False once the client has left or the request has failed."""
        return not self.ticket.future.done()


@dataclass
class StructureQueue:
    """Tickets in order of arrival, and their structures that wait; safe to use from several threads.

    limit  structures that may wait; a request that would exceed it is refused as Busy, unless nothing waits
    """

    limit: int
    _waiting: dict[Ticket, SortedSizes] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))
    _closed: Problem | None = None

    def __len__(self) -> int:
        with self._changed:
            return sum(len(sizes) for sizes in self._waiting.values())

    def require_room(self, n_structures: int = 1) -> None:
        """Raise Busy if so many more structures would be too many."""
        waiting = len(self)
        if waiting and waiting + n_structures > self.limit:
            raise Busy(
                f"{waiting} structures wait already and {n_structures} more would exceed {self.limit}; ask again later",
                retry_after=_RETRY_SECONDS,
            )

    def add(self, ticket: Ticket) -> None:
        """Let the structures of a ticket wait for their batch."""
        with self._changed:
            if self._closed is not None:
                raise type(self._closed)(self._closed.detail, retry_after=self._closed.retry_after)
            self.require_room(len(ticket.structures))
            self._waiting[ticket] = SortedSizes((len(s), i) for i, s in enumerate(ticket.structures))
            self._changed.notify_all()
        ticket.future.add_done_callback(self._forget)

    def _forget(self, future: Future[Labelled]) -> None:
        with self._changed:
            for ticket in [ticket for ticket in self._waiting if ticket.future is future]:
                del self._waiting[ticket]

    def take(self, budget: int) -> list[Item] | None:
        """The next batch of at most `budget` atoms; waits for one, None once the queue is closed."""
        with self._changed:
            while self._closed is None and not self._waiting:
                self._changed.wait()
            if self._closed is not None:
                return None
            tickets = list(self._waiting)
            batch = [Item(tickets[request], index) for request, index in pack(self._waiting.values(), budget)]
            for ticket in tickets:
                if not len(self._waiting[ticket]):
                    del self._waiting[ticket]
            return batch

    def close(self, problem: Problem) -> None:
        """Refuse whatever comes with `problem`, and let `take` end."""
        with self._changed:
            self._closed = problem
            self._changed.notify_all()
