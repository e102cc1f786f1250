"""Structures that are nearly the same: copies with noise of up to about 0.01 Å, which no exact hash finds.

A fingerprint is a list of smooth sums over distances, the same in another order, place or orientation, and how these change where all
atoms are displaced at random (their covariance, to first order). So the difference of two fingerprints, in units of that covariance,
tells how far the atoms of one would have to be displaced to give the other.
"""

import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from distillery.runtime.scratch import Scratch, ScratchMemory
from distillery.structures.geometry import Neighbours, find_pairs
from distillery.structures.identity import HASH_CUTOFF
from distillery.structures.key_index import KeyIndex
from distillery.structures.structure import Structure

ALIKE = 0.013
"""Å: two structures are alike where displacements of this width would make one of the other. A copy with noise of 0.01 Å is 0.01 off; two
that were rattled by 0.02 Å each, as recipes do, are 0.028 off, and far more where they are strained too."""
_FEWEST, _TOO_FEW_ATOMS = 1.6, 3
_LEAST_SHARE, _LEAST_SHARE_PERIODIC = 0.4, 0.62
"""The fewer distances a structure has, the more of them agree by chance. With k independent sums the width is ALIKE times (k - 1.6) / 10.4,
by the quantiles of the chi distribution, but these shares of it at least; of up to three atoms nothing is told. Periodic structures are
given more: where recipes want copies of a crystal they strain it too."""
_NOISE = 0.011
"""Å: noise that a copy may have. In a perfect lattice it moves the sums in second order alone, all one way."""
_N_WAVES, _N_WEIGHTS = 6, 2
_N_SUMS = _N_WAVES * _N_WEIGHTS
_TRIANGLE = np.tril_indices(_N_SUMS, -1)
_N_BYTES = 12 * _N_SUMS + 2 * len(_TRIANGLE[0])
_LOOKED_AT = [0, _N_WAVES]
"""Sums by which most structures are told apart before their fingerprints are read: one of either weight."""
_GOLDEN = 0.6180339887
_ROUNDING = 3e-6
"""What float32 may do to a sum."""
_LEAST_VARIANCE = 1e-4
"""Of the largest: combinations of the sums that change less are noise of their rounding."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fingerprint:
    """What a structure is compared by.

    composition  elements and atoms of each, with a star where it is periodic, before them in brackets charge and spin multiplicity
                 where those are not the usual ones; only structures that have all of this in common are compared
    packed       sums, drift and scales as float32, 12 of each; then the correlations of the sums as float16, 66 of them
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
        if len(packed) != _N_BYTES:
            raise ValueError(f"a fingerprint of {len(packed)} bytes")
        return cls(composition, packed)

    @property
    def n_atoms(self) -> int:
        """Of the structure."""
        return sum(map(int, re.findall(r"\d+", self.composition.rpartition("]")[2])))

    @property
    def is_periodic(self) -> bool:
        """Whether it repeats."""
        return self.composition.endswith("*")

    @property
    def sums(self) -> NDArray[np.float32]:
        """Shape (12,)."""
        return self._read(0)

    @property
    def drift(self) -> NDArray[np.float32]:
        """Of the sums, in second order, for random displacements of 1 Å, shape (12,)."""
        return self._read(1)

    @property
    def covariance(self) -> Floats:
        """Of the sums, in first order, for random displacements of 1 Å, shape (12, 12)."""
        correlation = np.eye(_N_SUMS)
        correlation[_TRIANGLE] = correlation.T[_TRIANGLE] = np.frombuffer(self.packed, "<f2", offset=12 * _N_SUMS)
        scales = self._read(2).astype(np.float64)
        found: Floats = correlation * np.outer(scales, scales)
        return found

    @property
    def variance(self) -> float:
        """Of all sums together, for random displacements of 1 Å."""
        return float((self._read(2).astype(np.float64) ** 2).sum())

    @property
    def reach(self) -> float:
        """How far the sums of a structure that is alike may be from these, if that structure's own allow no more."""
        return ALIKE * float(np.sqrt(_N_SUMS * self.variance)) + _NOISE**2 * float(np.linalg.norm(self.drift)) + _N_SUMS * _ROUNDING

    def _read(self, place: int) -> NDArray[np.float32]:
        return np.frombuffer(self.packed, "<f4", count=_N_SUMS, offset=4 * _N_SUMS * place)


def make_fingerprint(structure: Structure, neighbours: Neighbours | None = None) -> Fingerprint:
    """The fingerprint of a structure; `neighbours` are its own, to HASH_CUTOFF, where others want them too."""
    pairs = find_pairs(structure, HASH_CUTOFF) if neighbours is None else neighbours.within(HASH_CUTOFF)
    n_atoms, unit = len(structure), pairs.vector / np.maximum(pairs.distance, 1e-12)[:, None]
    values, slopes, bends = _make_waves(pairs.distance)
    bends = bends + 2 * slopes / np.maximum(pairs.distance, 1e-12)
    sums, drift, pulls = [], [], []
    for weight in _weigh_pairs(structure, pairs.i, pairs.j):
        sums.append(values @ weight / n_atoms)
        drift.append(bends @ weight / n_atoms)
        pulls += [_pull(pairs.i, slope * weight, unit, n_atoms) for slope in slopes]
    gradients = np.array(pulls)
    return Fingerprint(_describe_composition(structure), _pack(np.concatenate(sums), np.concatenate(drift), gradients @ gradients.T))


def _pack(sums: Floats, drift: Floats, covariance: Floats) -> bytes:
    scales = np.sqrt(np.diag(covariance))
    correlation = covariance / np.maximum(np.outer(scales, scales), 1e-30)
    singles, halves = np.concatenate([sums, drift, scales]).astype("<f4"), correlation[_TRIANGLE].astype("<f2")
    packed: bytes = singles.tobytes() + halves.tobytes()
    return packed


def _pull(i: NDArray[np.int64], slope: Floats, unit: Floats, n_atoms: int) -> Floats:
    """The derivative of a sum by the positions of all atoms, shape (3 n_atoms,); each pair is there twice."""
    pulls: Floats = np.concatenate([np.bincount(i, slope * unit[:, k], n_atoms) for k in range(3)]) * 2 / n_atoms
    return pulls


def _describe_composition(structure: Structure) -> str:
    counts = np.bincount(structure.numbers)
    formula = "".join(f"{chemical_symbols[z]}{counts[z]}" for z in np.flatnonzero(counts))
    state = "" if structure.is_plain else f"[{structure.charge:+d},{structure.spin_multiplicity}]"
    return f"{state}{formula}{'*' if structure.is_periodic else ''}"


def _weigh_pairs(structure: Structure, i: NDArray[np.int64], j: NDArray[np.int64]) -> list[Floats]:
    """Two symmetric weights of pairs: 1, and one that tells elements apart by a number of each."""
    own = 2 * np.modf(structure.numbers * _GOLDEN)[0] - 1
    return [np.ones(len(i)), own[i] + own[j]]


def _make_waves(distance: Floats) -> tuple[Floats, Floats, Floats]:
    """Cosines that go out smoothly at the cutoff, and their first and second derivatives, each shape (6, n_pairs)."""
    x = distance / HASH_CUTOFF
    fade, fading, bending = (1 - x**2) ** 2, -4 * x * (1 - x**2) / HASH_CUTOFF, (12 * x**2 - 4) / HASH_CUTOFF**2
    waves = np.pi * np.arange(_N_WAVES)[:, None] / HASH_CUTOFF
    cosines, sines = np.cos(waves * distance), np.sin(waves * distance)
    slopes = cosines * fading - sines * waves * fade
    return cosines * fade, slopes, cosines * bending - 2 * sines * waves * fading - cosines * waves**2 * fade


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
    apart = other.sums.astype(np.float64) - one.sums
    apart -= np.clip(apart, -_ROUNDING, _ROUNDING)
    if not apart.any():
        return Distance(0.0)
    if one.n_atoms <= _TOO_FEW_ATOMS:
        return Distance(float("inf"))
    looser = max(one, other, key=lambda fingerprint: fingerprint.variance)
    variances, axes = np.linalg.eigh(looser.covariance)
    free = variances > max(_LEAST_VARIANCE * float(variances[-1]), 0.0)
    if not free.any():  # nothing moves them: an atom alone, two perfect lattices
        return Distance(float("inf"))
    rest = float(np.linalg.norm((apart @ axes)[~free]))
    if rest > 3 * ALIKE * np.sqrt(_N_SUMS * _LEAST_VARIANCE * variances[-1]) + 2 * _NOISE**2 * np.linalg.norm(looser.drift):
        return Distance(float("inf"))  # a strain moves what displacements don't
    steps, drift = (vector @ axes[:, free] / np.sqrt(variances[free]) for vector in (apart, looser.drift))
    share = float(np.clip(steps @ drift / max(float(drift @ drift), 1e-30), -(_NOISE**2), _NOISE**2))
    return Distance(float(np.sqrt(((steps - share * drift) ** 2).mean())), _find_width(one, int(free.sum())))


def _find_width(one: Fingerprint, n_free: int) -> float:
    least = _LEAST_SHARE_PERIODIC if one.is_periodic else _LEAST_SHARE
    return ALIKE * max((n_free - _FEWEST) / (_N_SUMS - _FEWEST), least)


class NearDuplicates:
    """The structures so far, numbered as they came, in which others are looked up.

    Fingerprints lie in `scratch`; of each structure 24 bytes stay in memory.
    """

    def __init__(self, scratch: Scratch | None = None) -> None:
        """`scratch` holds nothing else; without it all is kept in memory."""
        self._scratch = ScratchMemory() if scratch is None else scratch
        self._index = KeyIndex([("row", "<u4"), ("reach", "<f4"), ("sums", "<f4", 2)])

    def find(self, one: Fingerprint) -> tuple[int, float] | None:
        """The number of the first structure that this one is nearly the same as, and how far they are apart, Å; None if there is none."""
        for row, other in self._list_near(one):
            apart = find_distance(one, other)
            if apart.is_alike:
                return row, apart.displacement
        return None

    def add(self, one: Fingerprint) -> None:
        """Keep a structure, for others to be compared with."""
        reach = np.nextafter(np.float32(one.reach), np.float32(np.inf))
        self._index.add(_key(one.composition), (self._scratch.append(one.packed) // _N_BYTES, reach, one.sums[_LOOKED_AT]))

    def _list_near(self, one: Fingerprint) -> Iterator[tuple[int, Fingerprint]]:
        """Those of its composition that are near enough for a look, in the order they came in."""
        known = self._index.find(_key(one.composition))
        reaches = np.maximum(known["reach"], np.float32(one.reach) * np.float32(1 + 1e-6))
        for k in np.flatnonzero((np.abs(known["sums"] - one.sums[_LOOKED_AT]) <= reaches[:, None]).all(axis=1)).tolist():
            row = int(known["row"][k])
            other = Fingerprint(one.composition, self._scratch.read(row * _N_BYTES, _N_BYTES))
            if np.linalg.norm(other.sums - one.sums) <= max(one.reach, other.reach):
                yield row, other


def _key(composition: str) -> int:
    return int.from_bytes(hashlib.blake2b(composition.encode(), digest_size=8).digest(), "little")
