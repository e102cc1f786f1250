"""How many atoms go into a batch, and which structures."""

import logging
import threading
from bisect import bisect_right
from collections.abc import Iterable

from labeller.teachers.teacher import BudgetRange

_GROWTH = 1.5
_STEP_BACK = 0.8
_FULL = 0.9
_log = logging.getLogger("distillery")


class AtomBudget:
    """Atoms a batch. It grows while full batches fit, and steps back below the smallest batch that did not."""

    def __init__(self, budget: BudgetRange) -> None:
        self._lock = threading.Lock()
        self._limit, self._most = budget.start, max(budget.start, budget.most)

    @property
    def limit(self) -> int:
        """Most atoms the next batch should have."""
        return self._limit

    def note_success(self, n_atoms: int) -> None:
        """A batch of so many atoms fitted."""
        with self._lock:
            if n_atoms >= _FULL * self._limit:
                self._limit = max(self._limit, min(self._most, int(self._limit * _GROWTH)))

    def note_out_of_memory(self, n_atoms: int) -> None:
        """A batch of so many atoms did not fit: halve, and never again grow to that size."""
        with self._lock:
            self._most = max(1, min(self._most, int(n_atoms * _STEP_BACK)))
            self._limit = max(1, min(self._limit, n_atoms // 2, self._most))
            _log.warning(
                "a batch of %d atoms did not fit into memory; the budget is %d atoms now, at most %d", n_atoms, self._limit, self._most
            )


class SortedSizes:
    """The structures of one request that wait, by size: pairs (n_atoms, index)."""

    def __init__(self, sizes: Iterable[tuple[int, int]]) -> None:
        self._sizes = sorted(sizes)

    def __len__(self) -> int:
        return len(self._sizes)

    def take_largest(self) -> tuple[int, int]:
        """Remove and return the largest."""
        return self._sizes.pop()

    def take_largest_within(self, n_atoms: int) -> tuple[int, int] | None:
        """Remove and return the largest of at most so many atoms, or None if there is none."""
        at = bisect_right(self._sizes, n_atoms, key=lambda size: size[0])
        return self._sizes.pop(at - 1) if at else None


def pack(waiting: Iterable[SortedSizes], budget: int) -> list[tuple[int, int]]:
    """One batch from requests in order of arrival: the first one's largest structure, then ever the largest that still fits.

    Returns pairs (request, index) and removes them from `waiting`. A structure larger than the budget goes alone.
    """
    batch: list[tuple[int, int]] = []
    n_left = budget
    for request, sizes in enumerate(waiting):
        if not batch and len(sizes):
            n_atoms, index = sizes.take_largest()
            batch.append((request, index))
            n_left -= n_atoms
        while n_left > 0 and (fitting := sizes.take_largest_within(n_left)) is not None:
            batch.append((request, fitting[1]))
            n_left -= fitting[0]
        if n_left <= 0:
            break
    return batch
