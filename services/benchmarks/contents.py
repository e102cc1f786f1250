"""What a file holds: the size and elements of every structure in it, found once and kept beside the file."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from distillery.runtime.atomic_files import name_temporary
from distillery.structures.structure import Structure
from services.benchmarks.archives import digest_of

_VERSION = 1
_N_BITS = 120
_log = logging.getLogger("distillery")


@dataclass(frozen=True, eq=False)
class Contents:
    """The structures of one file.

    sha256    of the file
    n_atoms   shape (n_structures,)
    elements  bit z set if the structure holds atomic number z; shape (n_structures, 15), uint8
    at        where the reader finds it (byte, key or row); shape (n_structures,)
    """

    sha256: str
    n_atoms: NDArray[np.int32]
    elements: NDArray[np.uint8]
    at: NDArray[np.int64]

    def find_fitting(self, elements: Iterable[str], min_atoms: int, max_atoms: int) -> NDArray[np.bool_]:
        """True for structures of these elements only and of a size in the range; shape (n_structures,)."""
        foreign = ~pack([[atomic_numbers[e] for e in elements]])
        fits: NDArray[np.bool_] = (self.n_atoms >= min_atoms) & (self.n_atoms <= max_atoms) & ~(self.elements & foreign).any(axis=1)
        return fits


@dataclass(frozen=True)
class Item:
    """One structure as a scan meets it."""

    at: int
    n_atoms: int
    numbers: Sequence[int]


class Reader(Protocol):
    """A file format. ValueError: the file is not what it should be."""

    def scan(self, path: Path) -> Iterator[Item]:
        """Every structure in the file."""

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Structure]:
        """The structures in these rows of the contents, ascending; `origin` has `sid` and the `original` label."""


def pack(numbers: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    """Sets of atomic numbers as bits, shape (n_sets, 15)."""
    held = np.zeros((len(numbers), _N_BITS), dtype=np.bool_)
    for row, members in zip(held, numbers, strict=True):
        if min(members) < 1 or max(members) >= _N_BITS:
            raise ValueError(f"atomic numbers must lie in 1..{_N_BITS - 1}, got {sorted(set(members))}")
        row[list(members)] = True
    return np.packbits(held, axis=1)


def index_file(path: Path, reader: Reader) -> Contents:
    """The contents, from the index beside the file if that is of this file, else by a scan; ValueError from the reader."""
    index, stat = path.with_name(path.name + ".index.npz"), path.stat()
    key = np.array([_VERSION, stat.st_size, stat.st_mtime_ns])
    known = _load(index, key)
    if known is not None:
        return known
    items = list(reader.scan(path))
    contents = Contents(
        sha256=digest_of(path, "sha256"),
        n_atoms=np.array([item.n_atoms for item in items], dtype=np.int32),
        elements=pack([item.numbers for item in items]),
        at=np.array([item.at for item in items], dtype=np.int64),
    )
    _save(index, key, contents)
    return contents


def _load(index: Path, key: NDArray[np.int64]) -> Contents | None:
    try:
        with index.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if not np.array_equal(file["key"], key):
                return None
            return Contents(str(file["sha256"]), file["n_atoms"], file["elements"], file["at"])
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile, zlib, tokenize, numpy: whatever a damaged index leads to
        _log.warning("the index %s can't be read (%s: %s), so it is made anew", index, type(error).__name__, error)
        return None


def _save(index: Path, key: NDArray[np.int64], contents: Contents) -> None:
    unfinished = name_temporary(index)
    try:
        with unfinished.open("wb") as file:
            np.savez_compressed(file, key=key, sha256=contents.sha256, n_atoms=contents.n_atoms, elements=contents.elements, at=contents.at)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(index)
    except OSError as error:
        _log.warning("the index %s can't be written, so the file is read again at every start: %s", index, error)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
