"""The atoms and cell of a structure in few bytes: six an atom, lengths rounded to a 65,520th of its extent."""

import re
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from ase.data import atomic_numbers

from distillery.structures.structure import Structure, Vectors

_LARGEST = 32760
_HEAD, _CELL = 8, 36
"""Bytes of what comes before the positions: which directions repeat, as a number, and the step; the cell of a periodic one."""
_ELEMENT = re.compile(r"([A-Z][a-z]?)(\d{1,7})")


@lru_cache(maxsize=4096)
def count_atoms(composition: str) -> Mapping[str, int]:
    """Atoms of each element of "[+1,2]H4C1O1*", whose brackets and star need not be there; ValueError where it is no composition."""
    formula = composition.rpartition("]")[2].removesuffix("*")
    counts = {symbol: int(count) for symbol, count in _ELEMENT.findall(formula)}
    if (
        not counts
        or "".join(f"{symbol}{count}" for symbol, count in counts.items()) != formula
        or not counts.keys() <= atomic_numbers.keys()
    ):
        raise ValueError(f"{composition!r} is no composition")
    return counts


def count_bytes(composition: str) -> int:
    """How many a structure of this composition takes; ValueError where it is none."""
    return _HEAD + _CELL * composition.endswith("*") + _pad(6 * sum(count_atoms(composition).values()))


def pack_geometry(structure: Structure) -> bytes:
    """Cell and positions, atoms by element in the order they come in."""
    positions = _centre(_wrap(structure))[np.argsort(structure.numbers, kind="stable")]
    step = np.float32(max(float(np.abs(positions).max(initial=0.0)) / _LARGEST, 1e-6))
    repeats = sum(1 << k for k, repeats in enumerate(structure.pbc) if repeats)
    places = np.rint(positions / step.astype(np.float64)).astype("<i2").tobytes()
    cell = structure.cell.astype("<f4").tobytes() if structure.is_periodic else b""
    head = np.array([repeats], "<u4").tobytes() + np.array([step], "<f4").tobytes()
    return (head + cell + places).ljust(_HEAD + len(cell) + _pad(len(places)), b"\0")


def unpack_geometry(composition: str, packed: bytes) -> Structure:
    """The structure that `pack_geometry` packed, of its composition; it has no id."""
    is_periodic, counts = composition.endswith("*"), count_atoms(composition)
    numbers = np.repeat(np.array([atomic_numbers[symbol] for symbol in counts], np.uint8), list(counts.values()))
    repeats, step = int(np.frombuffer(packed, "<u4", 1)[0]), float(np.frombuffer(packed, "<f4", 1, 4)[0])
    cell = np.frombuffer(packed, "<f4", 9, _HEAD).astype(np.float64).reshape(3, 3) if is_periodic else np.zeros((3, 3))
    places = np.frombuffer(packed, "<i2", 3 * len(numbers), _HEAD + _CELL * is_periodic).reshape(-1, 3)
    pbc = (bool(repeats & 1), bool(repeats & 2), bool(repeats & 4))
    return Structure("", numbers, step * places.astype(np.float64), cell, pbc, "crystal" if is_periodic else "molecule")


def _pad(n_bytes: int) -> int:
    """To a multiple of four."""
    return n_bytes + -n_bytes % 4


def _wrap(structure: Structure) -> Vectors:
    """Positions within the cell, where it repeats along all of its vectors."""
    if not all(structure.pbc):
        return structure.positions
    fractional = structure.positions @ np.linalg.inv(structure.cell)
    wrapped: Vectors = (fractional - np.floor(fractional)) @ structure.cell
    return wrapped


def _centre(positions: Vectors) -> Vectors:
    """The same, with the middle of their extent in the origin."""
    centred: Vectors = positions - (positions.max(axis=0) + positions.min(axis=0)) / 2
    return centred
