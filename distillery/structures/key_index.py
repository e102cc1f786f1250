"""Keys of eight bytes, each with a value of fixed size, in sorted arrays: a million take little more than their own bytes."""

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
        found = [values[slice(*_find_range(keys, key))] for keys, values in self._blocks]
        return np.concatenate([*found, np.array(self._loose.get(key, []), self._dtype)])

    def _sort_in(self) -> None:
        pairs = [(key, value) for key, values in self._loose.items() for value in values]
        self._blocks.append(_sort(np.array([key for key, _ in pairs], np.uint64), np.array([value for _, value in pairs], self._dtype)))
        self._loose, self._n_loose = {}, 0
        while len(self._blocks) > 1 and len(self._blocks[-2][0]) < 2 * len(self._blocks[-1][0]):
            (keys, values), (others, more) = self._blocks.pop(-2), self._blocks.pop()
            self._blocks.append(_sort(np.concatenate([keys, others]), np.concatenate([values, more])))


def _find_range(keys: NDArray[np.uint64], key: int) -> tuple[int, int]:
    wanted = np.uint64(key)
    start, stop = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
    return int(start), int(stop)


def _sort(keys: NDArray[np.uint64], values: NDArray[Any]) -> tuple[NDArray[np.uint64], NDArray[Any]]:
    order = np.argsort(keys, kind="stable")
    return keys[order], values[order]
