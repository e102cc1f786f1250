"""Heads of fingerprints, their first bytes, of the compositions that were asked for last: many are compared at once."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_MOST_ROWS = 200_000
"""Heads that stay in memory, of 96 bytes; of the composition at hand all do."""


class FingerprintHeads:
    """Tables of heads by key, a row a fingerprint in the order they came in; what was not asked for the longest is dropped.

    read      the head at a place, bytes of float32
    n_values  float32 of a head
    """

    def __init__(self, read: Callable[[int], bytes], n_values: int) -> None:
        self._read, self._n_values = read, n_values
        self._tables: dict[int, tuple[NDArray[np.float32], int]] = {}
        self._n_kept = 0

    def find(self, key: int, places: NDArray[np.uint32]) -> NDArray[np.float32]:
        """The heads at all places of a key, shape (n, n_values). Places of a key are the same each time, and more behind them."""
        table, n_rows = self._tables.pop(key, (np.empty((0, self._n_values), np.float32), 0))
        self._n_kept -= len(table)
        if len(places) > len(table):
            table = np.concatenate([table[:n_rows], np.empty((2 * len(places) - n_rows, self._n_values), np.float32)])
        for row, place in enumerate(places[n_rows:].tolist(), n_rows):
            table[row] = np.frombuffer(self._read(place), "<f4")
        self._n_kept += len(table)
        while self._n_kept > _MOST_ROWS and self._tables:
            self._n_kept -= len(self._tables.pop(next(iter(self._tables)))[0])
        self._tables[key] = table, len(places)
        return table[: len(places)]
