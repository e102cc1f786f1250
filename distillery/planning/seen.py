"""What the structures of a dataset so far are known by, so that none counts twice."""

import hashlib
from collections.abc import Collection, Sequence

import numpy as np

from distillery.structures.key_index import KeyIndex


class Seen:
    """What structures are known by, as digests of 16 bytes."""

    def __init__(self) -> None:
        self._index = KeyIndex("<u8")

    def take(self, identities: Sequence[Collection[str]]) -> list[bool]:
        """Of each structure whether nothing of its identity came before, in an earlier one of these either; from now on it has."""
        digests = [[_digest(text) for text in identity] for identity in identities]
        held = iter(self._index.holds(np.array([key for own in digests for key, _ in own], np.uint64)).tolist())
        fresh, is_new = set[tuple[int, int]](), list[bool]()
        for own in digests:
            new = [pair for pair in own if not (next(held) and pair[1] in self._index.find(pair[0])) and pair not in fresh]
            fresh.update(new)
            is_new.append(len(new) == len(own))
        for key, rest in fresh:
            self._index.add(key, rest)
        return is_new


def _digest(text: str) -> tuple[int, int]:
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
