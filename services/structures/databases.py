"""ASE's databases: SQLite by ASE itself, JSON row by row, aselmdb page by page, as LMDB maps a file and dies of one that is cut off."""

import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ase.db import connect
from ase.db.row import AtomsRow
from ase.io.jsonio import decode

from distillery.generators.files.contents import Contents, ForeignFile, Item, RowRefused
from distillery.generators.files.lmdb_file import LmdbFile
from distillery.structures.electrons import STATE_KEYS
from distillery.structures.structure import Structure
from services.structures.conversion import attempt, describe_row, read_atoms, refuse
from services.structures.packed import read_bytes
from services.structures.pymatgen_json import is_pymatgen, list_pymatgen, read_pymatgen

_LONGEST_ID = 18
_LARGEST_ROW = 50_000_000
"""Bytes of one row of a database, unpacked; 100,000 atoms with all their labels have half of that."""
_LARGEST_JSON = 1_000_000_000
"""Bytes; read, they are ten times that."""


class SqliteReader:
    """A `contents.Reader` of ASE's databases in SQLite (`.db`); the place of a structure is its id."""

    def list_files(self, path: Path) -> Sequence[Path]:
        """The file alone."""
        return [path]

    def scan(self, path: Path) -> Iterator[Item]:
        """Rows by ascending id."""
        with _open(path) as database:
            for id in [int(row.id) for row in database.select(columns=["id"], include_data=False, sort="id")]:
                yield describe_row(id, _read_row(database, id))

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Structure | RowRefused]:
        """The rows wanted."""
        with _open(path) as database:
            for row in rows:
                yield _read_row(database, int(contents.at[row]))


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with connect(path, use_lock_file=False) as database:
            _require_table(database.connection)
            yield database
    except OSError:
        raise
    except Exception as error:  # sqlite3, ASE: whatever a file that is none leads to
        raise ValueError(f"it is no database of ASE: {type(error).__name__}: {error}") from error


def _require_table(connection: sqlite3.Connection) -> None:
    """ValueError if the rows are not stored but made by a query, which need not end; values are limited to what a row may have."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_ROW)
    kinds = [kind for (kind,) in connection.execute("SELECT type FROM sqlite_master WHERE name = 'systems'")]
    if kinds != ["table"]:
        raise ValueError(f"systems is {kinds[0] if kinds else 'missing'}, a table is wanted")


def _read_row(database: Any, id: int) -> Structure | RowRefused:
    try:
        row = database.get(id=id)
    except sqlite3.DataError as error:  # a value that is too large
        return refuse(error, f"id {id}")
    except (OSError, sqlite3.Error):
        raise
    except Exception as error:  # numpy, json, ASE: whatever a row of other bytes leads to
        return refuse(error, f"id {id}")
    return _convert(row)


class JsonReader:
    """A `contents.Reader` of ASE's databases in JSON, and of structures as pymatgen writes them; the place of one is its id, or place."""

    def list_files(self, path: Path) -> Sequence[Path]:
        """The file alone."""
        return [path]

    def scan(self, path: Path) -> Iterator[Item]:
        """Rows by ascending id."""
        for id, row in sorted(_read_rows(path).items()):
            yield describe_row(id, _read_json(id, row))

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Structure | RowRefused]:
        """The rows wanted."""
        found = _read_rows(path)
        for row in rows:
            id = int(contents.at[row])
            yield _read_json(id, found.get(id))


def _read_rows(path: Path) -> dict[int, Any]:
    """What the file has under each id; ASE reads all of it for every row, and none if one makes no sense."""
    try:
        found = json.loads(read_bytes(path, _LARGEST_JSON))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no database of ASE: {type(error).__name__}: {error}") from error
    if (rows := list_pymatgen(found)) is not None:
        return dict(enumerate(rows))
    if not isinstance(found, dict) or not ("ids" in found or "1" in found):
        raise ForeignFile("it is no database of ASE, with neither ids nor a row 1, and no structures of pymatgen")
    ids = found.get("ids")
    listed = {id for id in ids if isinstance(id, int)} if isinstance(ids, list) else None
    return {int(key): row for key, row in found.items() if _is_id(key) and (listed is None or int(key) in listed)}


def _read_json(id: int, row: Any) -> Structure | RowRefused:
    """A row of a file in JSON."""
    if not is_pymatgen(row):
        return _decode(id, json.dumps(row))
    return attempt(lambda: read_pymatgen(row), f"id {id}")


def _is_id(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) <= _LONGEST_ID


class AseLmdbReader:
    """A `contents.Reader` of aselmdb, as fairchem has them: keys are ids, values JSON packed by zlib."""

    def list_files(self, path: Path) -> Sequence[Path]:
        """The file alone."""
        return [path]

    def scan(self, path: Path) -> Iterator[Item]:
        """Rows by ascending id."""
        with LmdbFile(path) as file:
            for id in sorted(int(key) for key in file.keys() if key.isdigit() and len(key) <= _LONGEST_ID):  # noqa: SIM118
                yield describe_row(id, _read_packed(file, id))

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Structure | RowRefused]:
        """The rows wanted."""
        with LmdbFile(path) as file:
            for row in rows:
                yield _read_packed(file, int(contents.at[row]))


def _read_packed(file: LmdbFile, id: int) -> Structure | RowRefused:
    return attempt(lambda: _decode(id, _unpack(file, id)), f"id {id}")


def _unpack(file: LmdbFile, id: int) -> str:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(file.get(str(id).encode("ascii")) or b"", _LARGEST_ROW)
    if unpacker.unconsumed_tail:
        raise RowRefused("unreadable", f"id {id}: more than {_LARGEST_ROW} bytes")
    return text.decode()


def _decode(id: int, text: str) -> Structure | RowRefused:
    """A row of JSON."""
    return attempt(lambda: _convert(AtomsRow({**decode(text), "id": id})), f"id {id}")


def _convert(row: AtomsRow) -> Structure | RowRefused:
    return attempt(lambda: _read_fields(row))


def _read_fields(row: AtomsRow) -> Structure:
    pairs = {name: vars(row)[name] for name in row.key_value_pairs}  # row.charge itself is the sum of the atoms' charges
    told = {name: value for name, value in row.data.items() if name.lower() in STATE_KEYS or isinstance(value, str | int)}  # ids among them
    return read_atoms(row.toatoms(), {"id": int(row.id), **pairs, **told})
