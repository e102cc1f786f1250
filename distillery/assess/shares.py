"""Growing shares of a training side: every share holds the smaller ones, and the same part of every source."""

import hashlib
import itertools
from collections.abc import Sequence

from distillery.errors import InvalidRequest

SHARES = (0.25, 0.5, 1.0)
"""Of the training side, each twice the one before."""


def choose_shares(ids: Sequence[str], sources: Sequence[str], shares: Sequence[float] = SHARES, *, seed: int = 0) -> list[list[int]]:
    """The places that belong to each share, ascending.

    A source's structures are put in the order of a keyed hash of their ids, and a share takes the first of them, one at least: so
    shares are nested, and the same structure comes early whatever else there is.

    InvalidRequest if the shares do not grow within 0..1.
    """
    if not all(0 < a < b for a, b in itertools.pairwise(shares)) or not 0 < shares[0] <= shares[-1] <= 1:
        raise InvalidRequest(f"shares must grow and lie in 0..1, got {', '.join(map(str, shares))}")
    own: dict[str, list[int]] = {}
    for place, source in enumerate(sources):
        own.setdefault(source, []).append(place)
    ordered = [sorted(places, key=lambda place: _draw(ids[place], seed)) for places in own.values()]
    return [sorted(place for places in ordered for place in places[: _count(share, len(places))]) for share in shares]


def _count(share: float, n: int) -> int:
    return max(1, round(share * n))


def _draw(id: str, seed: int) -> bytes:
    return hashlib.blake2b(id.encode(), key=seed.to_bytes(8, "little"), digest_size=8).digest()
