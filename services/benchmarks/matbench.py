"""MatBench: `.json.gz` with `index`, `columns` and `data`, the structures as dicts of pymatgen."""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from distillery.generators.files.contents import Contents, Item, RowRefused, require_atoms
from distillery.structures.structure import Structure

_LARGEST = 500_000_000
"""Bytes of a file unpacked; the largest of the four has some 60 million."""
_WHOLE = 1e-8
"""An occupancy so near to 1 is 1, and a charge so near to 0 is none (pymatgen's tolerance)."""
_SYMBOLS = {**{symbol: z for symbol, z in atomic_numbers.items() if z}, "D": 1, "T": 1}
"""Isotopes of hydrogen are hydrogen: no force field tells them apart."""


class MatBenchReader:
    """A `contents.Reader`; the place of a structure is its row. `unit` is that of the property beside the structures."""

    def __init__(self, unit: str) -> None:
        self._unit = unit

    def list_files(self, path: Path) -> Sequence[Path]:
        """The file alone."""
        return [path]

    def scan(self, path: Path) -> Iterator[Item]:
        """Every row."""
        for row, found in enumerate(self._parse(path)):
            if isinstance(found, Structure):
                yield Item(row, len(found), require_atoms(found.numbers.astype(np.int64)))
            else:
                yield Item(row, refusal=found)

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Structure | RowRefused]:
        """The rows wanted; files are parsed once and kept, a few megabytes each."""
        structures = self._parse(path)
        for row in rows:
            yield structures[int(contents.at[row])]

    def _parse(self, path: Path) -> tuple[Structure | RowRefused, ...]:
        stat = path.stat()
        return _parse(path, self._unit, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4)
def _parse(path: Path, unit: str, n_bytes: int, mtime_ns: int) -> tuple[Structure | RowRefused, ...]:
    try:
        table = json.loads(_unpack(path))
        columns, data = [str(column) for column in table["columns"]], list(table["data"])
        index = list(table["index"])
        column = columns.index("structure")
    except (KeyError, TypeError, IndexError, ValueError, EOFError, zlib.error, RecursionError) as error:
        raise ValueError(f"it is no table of structures: {type(error).__name__}: {error}") from error
    if len(index) != len(data):
        raise ValueError(f"it is no table of structures: its index has {len(index)} entries, its data {len(data)} rows")
    return tuple(_read_row(row, columns, column, {"sid": str(sid)}, unit) for sid, row in zip(index, data, strict=True))


def _unpack(path: Path) -> bytes:
    with gzip.open(path) as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"unpacked it has more than {_LARGEST} bytes")
    return content


def _read_row(row: Any, columns: list[str], column: int, origin: dict[str, Any], unit: str) -> Structure | RowRefused:
    try:
        if not isinstance(row, list) or len(row) != len(columns):
            raise RowRefused("unreadable", f"its row is no list of {len(columns)} values")
        labels = {name: value for name, value in zip(columns, row, strict=True) if name != columns[column]}
        return _to_structure(row[column], {**origin, **_describe_labels(labels, unit)})
    except RowRefused as refusal:
        return refusal
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        return RowRefused("unreadable", f"no Structure of pymatgen: {type(error).__name__}: {str(error)[:200]}")


def _describe_labels(labels: dict[str, Any], unit: str) -> dict[str, Any]:
    """The property beside the structures; of several none can be told to be the benchmark's, so all are kept as they are."""
    if len(labels) == 1:
        ((name, value),) = labels.items()
        return {"original": {"property": name, "value": value, "unit": unit}}
    return {"original": None, "columns": labels}


def _to_structure(structure: Mapping[str, Any], origin: Mapping[str, Any]) -> Structure:
    """A pymatgen Structure dict, every site wholly one element."""
    if abs(float(structure.get("charge") or 0.0)) > _WHOLE:
        raise RowRefused("charged", f"its charge is {structure['charge']}, and only neutral crystals are taken")
    lattice, sites = structure["lattice"], structure["sites"]
    cell = np.array(lattice["matrix"], dtype=np.float64)
    numbers = np.array([_find_element(k, site["species"]) for k, site in enumerate(sites)], dtype=np.int64)
    require_atoms(numbers)
    fractional = np.array([site["abc"] for site in sites], dtype=np.float64)
    if cell.shape != (3, 3) or fractional.shape != (len(sites), 3):
        raise RowRefused("unreadable", f"a cell of shape {cell.shape}, {len(sites)} sites and places of shape {fractional.shape}")
    return Structure(
        id="",
        numbers=numbers.astype(np.uint8),
        positions=fractional @ cell,
        cell=cell,
        pbc=_read_pbc(lattice.get("pbc", (True, True, True))),
        system="crystal",
        origin=origin,
    )


def _find_element(site: int, species: Sequence[Mapping[str, Any]]) -> int:
    """The only element of a site; RowRefused("disordered") if it is not wholly one."""
    shares: Counter[str] = Counter()
    for one in species:
        shares[str(one["element"])] += one["occu"]
    occupied = {symbol: share for symbol, share in shares.items() if share}
    if len(occupied) != 1 or abs(sum(occupied.values()) - 1) > _WHOLE:
        raise RowRefused("disordered", f"site {site} is {occupied or 'vacant'}")
    (symbol,) = occupied
    if symbol not in _SYMBOLS:
        raise RowRefused("unreadable", f"site {site} is {symbol!r}, which is no element")
    return _SYMBOLS[symbol]


def _read_pbc(pbc: Sequence[bool]) -> tuple[bool, bool, bool]:
    a, b, c = pbc
    if not all(isinstance(one, bool) for one in (a, b, c)):
        raise RowRefused("unreadable", f"its lattice.pbc is {pbc}")
    return a, b, c
