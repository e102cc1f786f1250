"""Structures that are nearly the same: copies with noise of up to about 0.01 Å, which no exact hash finds.

A fingerprint is a list of smooth sums over distances, the same in another order, place or orientation, with what noise does to each, and
the structure itself, rounded. Two whose sums are as near as noise leaves them are laid over each other, and what displacements are left
tells.
"""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from distillery.runtime.scratch import Scratch, ScratchMemory
from distillery.structures.alignment import count_free, find_displacement
from distillery.structures.fingerprint_heads import FingerprintHeads
from distillery.structures.geometry import Neighbours, Pairs, find_pairs
from distillery.structures.identity import HASH_CUTOFF
from distillery.structures.key_index import KeyIndex
from distillery.structures.packed_geometry import count_atoms, count_bytes, pack_geometry, unpack_geometry
from distillery.structures.structure import Structure

NOISE = 0.01
"""Å: standard deviation of the noise that a copy may have. Two that were rattled by 0.02 Å each, as recipes do, are 0.028 off, and recipes
strain crystals too."""
_QUANTILE = 2.054
"""Of the normal distribution: of copies with NOISE 98 in a hundred are found, however many atoms they have."""
_TOO_FEW_ATOMS = 3
"""Of which nothing is told: a few distances agree by chance."""
_N_WAVES, _N_WEIGHTS = 6, 2
_N_SUMS = _N_WAVES * _N_WEIGHTS
_HEAD = 8 * _N_SUMS
"""Bytes of all sums and of their noise."""
_LOOKED_AT = [0, _N_WAVES]
"""Sums by which most structures are told apart before their fingerprints are read: one of either weight."""
_FARTHEST = 2.7
"""The root mean square of what sums of copies differ by, in units of what NOISE does to each: over 99.9 in a hundred are below."""
_SLACK = 1e-6
"""By which `_FARTHEST` is widened where many are compared at once: each that is left is compared again by itself."""
_FEW = 8
"""Structures that are compared one by one; reading the sums of all of a composition at once is worth it for more."""
_PLACE = 4
"""Bytes; every fingerprint is some times as long."""
_GOLDEN = 0.6180339887
_ROUNDING = 3e-6
"""What float32 may do to a sum."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fingerprint:
    """What a structure is compared by.

    composition  elements and atoms of each, with a star where it is periodic, before them in brackets charge and spin multiplicity
                 where those are not the usual ones; only structures that have all of this in common are compared
    packed       sums and what NOISE does to each as float32, 12 of both; then the structure, as `pack_geometry` makes it
    """

    composition: str
    packed: bytes

    def as_text(self) -> str:
        """As it is kept in a part's receipt."""
        return f"{self.composition} {b64encode(self.packed).decode()}"

    @classmethod
    def from_text(cls, text: str) -> "Fingerprint":
        """What `as_text` gave; ValueError if it is none."""
        composition, _, encoded = text.partition(" ")
        packed = b64decode(encoded, validate=True)
        wanted = _HEAD + count_bytes(composition)
        if len(packed) != wanted:
            raise ValueError(f"a fingerprint of {composition} has {wanted} bytes, not {len(packed)}")
        return cls(composition, packed)

    @property
    def n_atoms(self) -> int:
        """Of the structure."""
        return sum(count_atoms(self.composition).values())

    @property
    def is_periodic(self) -> bool:
        """Whether it repeats."""
        return self.composition.endswith("*")

    @property
    def sums(self) -> Floats:
        """Shape (12,)."""
        return self._read(0)

    @property
    def noise(self) -> Floats:
        """By how much NOISE changes each sum, about its standard deviation, shape (12,)."""
        return self._read(1)

    @cached_property
    def structure(self) -> Structure:
        """Its atoms by element, wrapped into its cell and rounded to a thousandth of an ångström where it is less than 60 Å long."""
        return unpack_geometry(self.composition, self.packed[_HEAD:])

    def _read(self, place: int) -> Floats:
        return np.frombuffer(self.packed, "<f4", count=_N_SUMS, offset=4 * _N_SUMS * place).astype(np.float64)


def make_fingerprint(structure: Structure, neighbours: Neighbours | None = None) -> Fingerprint:
    """The fingerprint of a structure; `neighbours` are its own, to HASH_CUTOFF, where others want them too."""
    pairs = find_pairs(structure, HASH_CUTOFF) if neighbours is None else neighbours.within(HASH_CUTOFF)
    n_atoms, nearness = len(structure), 1 / np.maximum(pairs.distance, 1e-12)
    values, slopes, bends = _make_waves(pairs.distance)
    weights = _weigh_pairs(structure, pairs.i, pairs.j)
    sums = weights @ values.T / n_atoms
    drift = NOISE**2 * (weights @ (bends + 2 * slopes * nearness).T) / n_atoms
    shaken = NOISE * _find_pull((weights[:, None] * slopes).reshape(_N_SUMS, -1), pairs, nearness) / n_atoms
    packed: bytes = np.concatenate([sums.ravel(), np.hypot(drift.ravel(), shaken)]).astype("<f4").tobytes()
    return Fingerprint(_describe_composition(structure), packed + pack_geometry(structure))


def _find_pull(slopes: Floats, pairs: Pairs, nearness: Floats) -> Floats:
    """The norm of the derivative of each sum by the positions of all atoms, shape (12,); each pair is there twice."""
    starts, squares = np.flatnonzero(np.diff(pairs.i, prepend=-1)), np.zeros(len(slopes))
    for k in range(3 if len(starts) else 0):
        squares += (np.add.reduceat(slopes * (pairs.vector[:, k] * nearness), starts, axis=-1) ** 2).sum(axis=-1)
    return 2 * np.sqrt(squares)


def _describe_composition(structure: Structure) -> str:
    counts = np.bincount(structure.numbers)
    formula = "".join(f"{chemical_symbols[z]}{counts[z]}" for z in np.flatnonzero(counts))
    state = "" if structure.is_plain else f"[{structure.charge:+d},{structure.spin_multiplicity}]"
    return f"{state}{formula}{'*' if structure.is_periodic else ''}"


def _weigh_pairs(structure: Structure, i: NDArray[np.int64], j: NDArray[np.int64]) -> Floats:
    """Two symmetric weights of pairs: 1, and one that tells elements apart by a number of each, shape (2, n_pairs)."""
    own = 2 * np.modf(structure.numbers * _GOLDEN)[0] - 1
    return np.stack([np.ones(len(i)), own[i] + own[j]])


def _make_waves(distance: Floats) -> tuple[Floats, Floats, Floats]:
    """Cosines that go out smoothly at the cutoff, and their first and second derivatives, each shape (6, n_pairs)."""
    x = distance / HASH_CUTOFF
    left = 1 - x * x
    fade, fading, bending = left**2, -4 * x * left / HASH_CUTOFF, (12 * x * x - 4) / HASH_CUTOFF**2
    waves = np.pi * np.arange(_N_WAVES)[:, None] / HASH_CUTOFF
    turned = _turn(np.pi * x)
    cosines, sines = turned.real, turned.imag * waves
    slopes = cosines * fading - sines * fade
    return cosines * fade, slopes, cosines * (bending - waves**2 * fade) - 2 * sines * fading


def _turn(angle: Floats) -> NDArray[np.complex128]:
    """Cosines (real) and sines (imaginary) of 0, 1, … 5 times an angle, shape (6, n): powers of one number."""
    turned = np.empty((_N_WAVES, len(angle)), np.complex128)
    turned[0], turned[1].real, turned[1].imag = 1.0, np.cos(angle), np.sin(angle)
    for k in range(2, _N_WAVES):
        turned[k] = turned[k // 2] * turned[k - k // 2]
    return turned


@dataclass(frozen=True)
class Distance:
    """How far two structures of one composition are apart.

    displacement  how wide displacements would have to be that make one of the other, Å
    width         up to which they are taken for noise, Å
    """

    displacement: float
    width: float = 0.0

    @property
    def is_alike(self) -> bool:
        """Whether one is the other with noise."""
        return self.displacement <= self.width


def find_distance(one: Fingerprint, other: Fingerprint) -> Distance:
    """How far two structures of one composition are apart."""
    if one.packed == other.packed:
        return Distance(0.0)
    if one.n_atoms <= _TOO_FEW_ATOMS or not _may_be_alike(one, other):
        return Distance(float("inf"))
    structures = one.structure, other.structure
    width = find_width(count_free(structures[0]))
    return Distance(find_displacement(*structures, width), width)


def find_width(n_free: int) -> float:
    """The width of displacements, Å, below which 98 in a hundred copies with NOISE are, by the quantile of chi squared.

    E. B. Wilson and M. M. Hilferty, PNAS 17 (1931) 684.
    """
    spread = 2 / (9 * max(n_free, 1))
    return float(NOISE * (1 - spread + _QUANTILE * spread**0.5) ** 1.5)


def _may_be_alike(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether noise may be all that their sums differ by."""
    noise = np.maximum(one.noise, other.noise) + _ROUNDING
    return float(np.sqrt((((other.sums - one.sums) / noise) ** 2).mean())) <= _FARTHEST


def _find_alike(one: Fingerprint, heads: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Of many heads, shape (n, 24), those that `_may_be_alike` may find so, shape (n,)."""
    sums, noise = heads[:, :_N_SUMS].astype(np.float64), heads[:, _N_SUMS:].astype(np.float64)
    apart = (sums - one.sums) / (np.maximum(noise, one.noise) + _ROUNDING)
    found: NDArray[np.bool_] = np.sqrt((apart**2).mean(axis=1)) <= _FARTHEST * (1 + _SLACK)
    return found


class NearDuplicates:
    """The structures so far, in which others are looked up.

    Fingerprints lie in `scratch`; of each structure 24 bytes stay in memory.
    """

    def __init__(self, scratch: Scratch | None = None) -> None:
        """`scratch` holds nothing else; without it all is kept in memory."""
        self._scratch = ScratchMemory() if scratch is None else scratch
        self._index = KeyIndex([("place", "<u4"), ("reach", "<f4"), ("sums", "<f4", 2)])
        self._heads = FingerprintHeads(lambda place: self._scratch.read(place * _PLACE, _HEAD), 2 * _N_SUMS)

    def find(self, one: Fingerprint) -> tuple[int, float] | None:
        """What `add` gave for the first structure that this one nearly is, and how far they are apart, Å; None if there is none."""
        for place, other in self._list_near(one):
            apart = find_distance(one, other)
            if apart.is_alike:
                return place, apart.displacement
        return None

    def add(self, one: Fingerprint) -> int:
        """Keep a structure, for others to be compared with, and say what it will be found by."""
        place = self._scratch.append(one.packed) // _PLACE
        self._index.add(_key(one.composition), (place, _find_reach(one), one.sums[_LOOKED_AT]))
        return place

    def take(self, structures: Sequence[Fingerprint]) -> list[bool]:
        """Of each of many whether it nearly is an earlier one, of these too; those that are none are kept."""
        keys = [_key(one.composition) for one in structures]
        held, kept, repeated = self._index.holds(np.array(keys, np.uint64)).tolist(), set[int](), list[bool]()
        for one, key, is_held in zip(structures, keys, held, strict=True):
            repeated.append((is_held or key in kept) and self.find(one) is not None)
            if not repeated[-1]:
                self.add(one)
                kept.add(key)
        return repeated

    def _list_near(self, one: Fingerprint) -> Iterator[tuple[int, Fingerprint]]:
        """Those of its composition that are near enough for a look, in the order they came in."""
        known = self._index.find(key := _key(one.composition))
        reaches = np.maximum(known["reach"], np.float32(_find_reach(one)))
        near = np.flatnonzero((np.abs(known["sums"] - one.sums[_LOOKED_AT]) <= reaches[:, None]).all(axis=1))
        if len(near) > _FEW:
            near = near[_find_alike(one, self._heads.find(key, known["place"])[near])]
        for place in known["place"][near].tolist():
            yield place, Fingerprint(one.composition, self._scratch.read(place * _PLACE, len(one.packed)))


def _find_reach(one: Fingerprint) -> float:
    """How far the sums that are looked at first may be apart, if the other's allow no more."""
    return float(1.001 * _FARTHEST * _N_SUMS**0.5 * (one.noise[_LOOKED_AT].max() + _ROUNDING))


def _key(composition: str) -> int:
    return int.from_bytes(hashlib.blake2b(composition.encode(), digest_size=8).digest(), "little")
