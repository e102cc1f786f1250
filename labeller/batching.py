"""How many atoms go into a batch, and which structures."""

import logging
import threading
from bisect import bisect_right
from collections.abc import Iterable
from math import ceil

from labeller.teachers.teacher import BudgetRange

_GROWTH = 1.5
_STEP_BACK = 0.8
_FULL = 0.9
_PATIENCE = 16
"""Full batches until a size that did not fit is tried again; twice as many each time it was tried in vain."""
_LEAST_CERTAIN = 3
"""A structure of n atoms fits where one or more of 3 n did: 7net-0 takes twice the memory for 512 atoms of diamond as of other crystals."""
_log = logging.getLogger("distillery")


class AtomBudget:
    """Atoms a batch. It grows while full batches fit, and steps back below the smallest batch that did not.

    As the memory may have been another program's for a while, sizes above that are tried again after some full batches.
    """

    def __init__(self, budget: BudgetRange) -> None:
        self._lock = threading.Lock()
        self._limit, self._ceiling = budget.start, max(budget.start, budget.most)
        self._most = self._ceiling
        self._largest = 0
        self._n_full, self._patience, self._is_trial = 0, _PATIENCE, False

    @property
    def limit(self) -> int:
        """Most atoms the next batch should have."""
        return self._limit

    def should_fit(self, n_atoms: int) -> bool:
        """Whether so many atoms fit if the memory is free: clearly fewer than have fitted, or nothing ever has."""
        return self._largest == 0 or _LEAST_CERTAIN * n_atoms <= self._largest

    def note_success(self, n_atoms: int) -> None:
        """A batch of so many atoms fitted."""
        with self._lock:
            self._largest = max(self._largest, n_atoms)
            self._most = max(self._most, min(self._ceiling, n_atoms))
            if n_atoms >= _FULL * self._limit:
                self._n_full += 1
                if self._n_full >= self._patience and self._limit == self._most < self._ceiling:
                    self._raise_most()
                self._limit = max(self._limit, min(self._most, max(n_atoms, ceil(self._limit * _GROWTH))))

    def _raise_most(self) -> None:
        self._most = min(self._ceiling, ceil(self._most * _GROWTH))
        self._n_full, self._is_trial = 0, True

    def note_out_of_memory(self, n_atoms: int) -> None:
        """A batch of so many atoms did not fit: halve, and do not grow to that size again for a while."""
        with self._lock:
            if self._is_trial:
                self._patience *= 2
            self._n_full, self._is_trial = 0, False
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
