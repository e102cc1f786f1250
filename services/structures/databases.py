"""ASE's databases: SQLite and JSON by ASE itself, aselmdb page by page, as LMDB maps a file and dies of one that is cut off."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ase.db import connect
from ase.db.row import AtomsRow
from ase.io.jsonio import decode

from distillery.generators.files.contents import Contents, Item, RowRefused
from distillery.generators.files.lmdb_file import LmdbFile
from distillery.structures.electrons import STATE_KEYS
from distillery.structures.structure import Structure
from services.structures.conversion import describe_row, read_atoms

_LARGEST_ROW = 200_000_000
"""Bytes of one row of an aselmdb, unpacked."""


class DatabaseReader:
    """A `contents.Reader` of ASE's databases in SQLite (`.db`) and JSON; the place of a structure is its id."""

    def list_files(self, path: Path) -> Sequence[Path]:
        """The file alone."""
        return [path]

    def scan(self, path: Path) -> Iterator[Item]:
        """Rows by ascending id."""
        with _open(path) as database:
            for row in database.select(sort="id"):
                yield describe_row(int(row.id), _convert(row))

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Structure | RowRefused]:
        """The rows wanted."""
        with _open(path) as database:
            for row in rows:
                yield _convert(database.get(id=int(contents.at[row])))


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with connect(path, use_lock_file=False) as database:
            yield database
    except OSError:
        raise
    except Exception as error:  # sqlite3, json, ASE: whatever a file that is none leads to
        raise ValueError(f"it is no database of ASE: {type(error).__name__}: {error}") from error


class AseLmdbReader:
    """A `contents.Reader` of aselmdb, as fairchem has them: keys are ids, values JSON packed by zlib."""

    def list_files(self, path: Path) -> Sequence[Path]:
        """The file alone."""
        return [path]

    def scan(self, path: Path) -> Iterator[Item]:
        """Rows by ascending id."""
        with LmdbFile(path) as file:
            for id in sorted(int(key) for key in file.keys() if key.isdigit() and len(key) <= 18):  # noqa: SIM118
                yield describe_row(id, _read_packed(file, id))

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Structure | RowRefused]:
        """The rows wanted."""
        with LmdbFile(path) as file:
            for row in rows:
                yield _read_packed(file, int(contents.at[row]))


def _read_packed(file: LmdbFile, id: int) -> Structure | RowRefused:
    try:
        content = file.get(str(id).encode("ascii"))
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(content or b"", _LARGEST_ROW)
        if unpacker.unconsumed_tail:
            raise RowRefused("unreadable", f"id {id}: more than {_LARGEST_ROW} bytes")
        return _convert(AtomsRow({**decode(text.decode()), "id": id}))
    except RowRefused as refusal:
        return refusal
    except Exception as error:  # zlib, json, ASE: whatever a damaged row leads to
        return RowRefused("unreadable", f"id {id}: {type(error).__name__}: {str(error)[:200]}")


def _convert(row: AtomsRow) -> Structure | RowRefused:
    try:
        pairs = {name: vars(row)[name] for name in row.key_value_pairs}  # row.charge itself is the sum of the atoms' charges
        told = {name: row.data[name] for name in STATE_KEYS if name in row.data}
        return read_atoms(row.toatoms(), {"id": int(row.id), **pairs, **told})
    except RowRefused as refusal:
        return refusal
    except Exception as error:  # ASE: whatever a row that is no structure leads to
        return RowRefused("unreadable", f"{type(error).__name__}: {str(error)[:200]}")
