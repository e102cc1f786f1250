"""What a file holds: the size and elements of every structure in it, or why it is refused; found once and kept beside the file."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from distillery.runtime.atomic_files import write_whole
from distillery.structures.structure import SYSTEMS, Structure
from distillery.weights.checksums import sha256_of

_VERSION = 4
_N_BITS = 120
_LIST_ROWS = 5
_BLOCK, _MOST_USELESS, _MOST_ROWS = 10_000, 200_000, 10_000_000
"""Rows that are in memory as items at once; that may be refused before the first structure; of a file."""
ANY_SYSTEM = (1 << len(SYSTEMS)) - 1
"""Every system, as bits in the order of SYSTEMS."""
_log = logging.getLogger("distillery")


class ForeignFile(ValueError):
    """A whole file of another program that has the ending of a known format, such as a `.json` of settings."""


class RowRefused(ValueError):
    """A row that can't be a structure: a reason to count by (disordered, charged, empty, unreadable) and a detail to read."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, eq=False)
class Contents:
    """The rows of one file, in its order.

    sha256    of the file
    n_atoms   shape (n_rows,); 0 where it can't be told
    elements  bit z set if the structure holds atomic number z; shape (n_rows, 15), uint8
    at        where the reader finds it (byte, key or row); shape (n_rows,)
    refused   why a row is no structure, "" if it is one; shape (n_rows,)
    systems   which systems a row may be, as bits in the order of SYSTEMS; shape (n_rows,), uint8
    charged   whether a row has a charge, or more than the lowest spin; shape (n_rows,)
    key       size and time of the file and of what lies beside it
    """

    sha256: str
    n_atoms: NDArray[np.int32]
    elements: NDArray[np.uint8]
    at: NDArray[np.int64]
    refused: NDArray[np.str_]
    systems: NDArray[np.uint8]
    charged: NDArray[np.bool_]
    key: NDArray[np.int64]

    def find_fitting(self, elements: Iterable[str], min_atoms: int, max_atoms: int) -> NDArray[np.bool_]:
        """True for rows of these elements only and of a size in the range, and for those that can't be told; shape (n_rows,)."""
        foreign = ~pack([[atomic_numbers[e] for e in elements]])
        fits: NDArray[np.bool_] = (self.n_atoms >= min_atoms) & (self.n_atoms <= max_atoms) & ~(self.elements & foreign).any(axis=1)
        fits |= self.n_atoms == 0
        return fits


@dataclass(frozen=True)
class Item:
    """One row as a scan meets it; `refusal` if it can't be a structure, `is_charged` if it has a charge or more than the lowest spin."""

    at: int
    n_atoms: int = 0
    numbers: Sequence[int] = ()
    systems: int = ANY_SYSTEM
    refusal: RowRefused | None = None
    is_charged: bool = False


class Reader(Protocol):
    """A file format. ValueError: the file as a whole is not what it should be."""

    def list_files(self, path: Path) -> Sequence[Path]:
        """The file and those beside it that belong to it."""

    def scan(self, path: Path) -> Iterator[Item]:
        """Every row of the file."""

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Structure | RowRefused]:
        """What is in these rows of the contents, ascending; `origin` has `sid` and the `original` label."""


def pack(numbers: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    """Sets of atomic numbers as bits, shape (n_sets, 15)."""
    held = np.zeros((len(numbers), _N_BITS), dtype=np.bool_)
    for row, members in zip(held, numbers, strict=True):
        row[list(members)] = True
    return np.packbits(held, axis=1)


def require_atoms(numbers: NDArray[Any]) -> list[int]:
    """The elements among atomic numbers, whole ones of any dtype, sorted; RowRefused if there is none, or one that is no element."""
    if not numbers.size:
        raise RowRefused("empty", "it has no atoms")
    if numbers.min() < 1 or numbers.max() >= len(chemical_symbols):
        raise RowRefused("unreadable", f"atomic numbers must lie in 1..{len(chemical_symbols) - 1}, got {numbers.min()}..{numbers.max()}")
    return [int(z) for z in np.unique(numbers)]


def index_file(path: Path, reader: Reader) -> Contents:
    """The contents, from the index beside the file if that is of this file, else by a scan; ValueError if it holds nothing of use."""
    index, key = path.with_name(path.name + ".index.npz"), key_of(path, reader)
    contents = _load(index, key)
    if contents is None:
        contents = scan_file(path, reader, key)
        _save(index, contents)
    if not (contents.refused == "").any():
        raise explain_useless(path, reader, contents)
    return contents


def explain_useless(path: Path, reader: Reader, contents: Contents) -> ValueError:
    """What is wrong with a file of which no row is a structure: why how many are refused, and of the first what it is."""
    first = next((item.refusal for item in reader.scan(path) if item.refusal is not None), None)
    told = "there is none" if first is None else f"{describe_refused(contents)}; the first is {first}"
    return ValueError(f"none of its {len(contents.at)} rows is a structure: {told}")


def key_of(path: Path, reader: Reader) -> NDArray[np.int64]:
    """What changes when a file does, or one that belongs to it."""
    stats = [file.stat() for file in reader.list_files(path) if file.exists()]
    return np.array([_VERSION, *(number for stat in stats for number in (stat.st_size, stat.st_mtime_ns))])


def describe_refused(contents: Contents) -> str:
    """How many rows are refused for which reason, and the first of them; "" if none is."""
    counts = Counter(reason for reason in contents.refused.tolist() if reason)
    rows = {reason: np.flatnonzero(contents.refused == reason)[:_LIST_ROWS].tolist() for reason in counts}
    return "; ".join(
        f"{n} {reason} (row {', '.join(map(str, rows[reason]))}{', …' if n > _LIST_ROWS else ''})" for reason, n in counts.items()
    )


def scan_file(path: Path, reader: Reader, key: NDArray[np.int64]) -> Contents:
    """The contents by a scan of the whole file; rows that are refused are named in the log. ValueError as of the reader.

    And of a file that would take all memory or time: of too many rows, or without a structure in the first 200,000.
    """
    columns, n_rows, is_of_use = [_describe(())], 0, False
    for block in _cut(reader.scan(path)):
        for row, item in enumerate(block, n_rows):
            if item.refusal is not None:
                _log.warning("row %d of %s is left out, %s", row, path, item.refusal)
        columns.append(_describe(block))
        n_rows, is_of_use = n_rows + len(block), is_of_use or any(item.refusal is None for item in block)
        if n_rows > _MOST_ROWS:
            raise ValueError(f"it has more than {_MOST_ROWS} rows; split it")
        if n_rows >= _MOST_USELESS and not is_of_use:
            raise ValueError(f"none of its first {n_rows} rows is a structure; the last of them is {block[-1].refusal}")
    n_atoms, elements, at, refused, systems, charged = (np.concatenate(own) for own in zip(*columns, strict=True))
    return Contents(sha256_of(path), n_atoms, elements, at, refused, systems, charged, key)


def _cut(items: Iterable[Item]) -> Iterator[Sequence[Item]]:
    """Blocks of rows: an item takes ten times the memory of its columns, and one that is refused more."""
    rest = iter(items)
    while block := tuple(islice(rest, _BLOCK)):
        yield block


def _describe(items: Sequence[Item]) -> tuple[NDArray[Any], ...]:
    """The columns of `Contents`, from n_atoms to charged."""
    return (
        np.array([item.n_atoms for item in items], dtype=np.int32),
        pack([item.numbers for item in items]),
        np.array([item.at for item in items], dtype=np.int64),
        np.array(["" if item.refusal is None else item.refusal.reason for item in items], dtype="<U24"),
        np.array([item.systems for item in items], dtype=np.uint8),
        np.array([item.is_charged for item in items], dtype=np.bool_),
    )


def _load(index: Path, key: NDArray[np.int64]) -> Contents | None:
    try:
        with index.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if not np.array_equal(file["key"], key):
                return None
            columns = (file[name] for name in ("n_atoms", "elements", "at", "refused", "systems", "charged"))
            n_atoms, elements, at, refused, systems, charged = columns
            return Contents(str(file["sha256"]), n_atoms, elements, at, refused, systems, charged, key)
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile, zlib, tokenize, numpy: whatever a damaged index leads to
        _log.warning("the index %s can't be read (%s: %s), so it is made anew", index, type(error).__name__, error)
        return None


def _save(index: Path, contents: Contents) -> None:
    try:
        with write_whole(index) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, **vars(contents))
    except OSError as error:
        _log.warning("the index %s can't be written, so the file is read again at every start: %s", index, error)
