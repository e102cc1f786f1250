"""Keys of eight bytes, each with a value of fixed size, in sorted arrays: a million take little more than their own bytes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_LOOSE = 2048
"""Keys that are not sorted in yet, in a dict."""


class KeyIndex:
    """Values under keys; a key may have several, which are found in the order they came in."""

    def __init__(self, dtype: DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._loose: dict[int, list[Any]] = {}
        self._n_loose = 0
        self._blocks: list[tuple[NDArray[np.uint64], NDArray[Any]]] = []
        """Oldest first, each at least twice as long as the next."""

    def add(self, key: int, value: Any) -> None:
        """Keep a value; `key` in [0, 2**64)."""
        self._loose.setdefault(key, []).append(value)
        self._n_loose += 1
        if self._n_loose >= _LOOSE:
            self._sort_in()

    def find(self, key: int) -> NDArray[Any]:
        """The values of a key, shape (n,)."""
        wanted = np.uint64(key)
        found = [values[rows] for keys, values in self._blocks if (rows := _find_rows(keys, wanted)).stop > rows.start]
        if key in self._loose:
            found.append(np.array(self._loose[key], self._dtype))
        return _join(found, self._dtype)

    def holds(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of the keys, shape (n,), have any value: many at once, as one by one each takes microseconds a block."""
        held = np.array([key in self._loose for key in keys.tolist()], bool)
        for own, _ in self._blocks:
            places = np.minimum(np.searchsorted(own, keys), len(own) - 1)
            held |= own[places] == keys
        return held

    def _sort_in(self) -> None:
        pairs = [(key, value) for key, values in self._loose.items() for value in values]
        self._blocks.append(_sort(np.array([key for key, _ in pairs], np.uint64), np.array([value for _, value in pairs], self._dtype)))
        self._loose, self._n_loose = {}, 0
        while len(self._blocks) > 1 and len(self._blocks[-2][0]) < 2 * len(self._blocks[-1][0]):
            (keys, values), (others, more) = self._blocks.pop(-2), self._blocks.pop()
            self._blocks.append(_sort(np.concatenate([keys, others]), _join([values, more], self._dtype)))


def _find_rows(keys: NDArray[np.uint64], wanted: np.uint64) -> slice:
    start = int(keys.searchsorted(wanted))
    is_there = start < len(keys) and keys[start] == wanted
    return slice(start, int(keys.searchsorted(wanted, "right")) if is_there else start)


def _join(arrays: Sequence[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """One array of all; what `np.concatenate` asks of a type with fields takes longer than the rest."""
    joined = np.empty(sum(map(len, arrays)), dtype)
    end = 0
    for array in arrays:
        joined[end : end + len(array)] = array
        end += len(array)
    return joined


def _sort(keys: NDArray[np.uint64], values: NDArray[Any]) -> tuple[NDArray[np.uint64], NDArray[Any]]:
    order = np.argsort(keys, kind="stable")
    return keys[order], values[order]
