"""Texts that are much alike, such as the ids of a part, in one array."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray


class PackedTexts(Sequence[str]):
    """Texts as what they begin with in common, and an array of their ends."""

    def __init__(self, texts: Iterable[str]) -> None:
        """ValueError for a text with a NUL, which such an array can't hold."""
        texts = list(texts)
        if any("\0" in text for text in texts):
            raise ValueError("a text holds a NUL character")
        self._start = _find_common_start(texts)
        self._ends: NDArray[np.bytes_] = np.array([text[len(self._start) :].encode() for text in texts], np.bytes_)

    def choose(self, rows: NDArray[np.int64]) -> "PackedTexts":
        """Some of them."""
        chosen = PackedTexts(())
        chosen._start, chosen._ends = self._start, self._ends[rows]
        return chosen

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PackedTexts) and list(self) == list(other)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> "PackedTexts": ...
    def __getitem__(self, row: int | slice) -> "str | PackedTexts":
        if isinstance(row, slice):
            return self.choose(np.arange(len(self))[row])
        return self._start + bytes(self._ends[row]).decode()

    def __iter__(self) -> Iterator[str]:
        return (self._start + end.decode() for end in self._ends.tolist())


def _find_common_start(texts: list[str]) -> str:
    first, last = min(texts, default=""), max(texts, default="")
    n = next((k for k, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), min(len(first), len(last)))
    return first[:n]
