"""MatBench: `.json.gz` with `index`, `columns` and `data`, the structures as dicts of pymatgen."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from distillery.structures.structure import Structure, numbers_of
from services.benchmarks.contents import Contents, Item


class MatBenchReader:
    """A `contents.Reader`; the place of a structure is its row. `unit` is that of the property beside the structures."""

    def __init__(self, unit: str) -> None:
        self._unit = unit

    def scan(self, path: Path) -> Iterator[Item]:
        """Every row."""
        for row, structure in enumerate(self._parse(path)):
            yield Item(row, len(structure), sorted(set(structure.numbers.tolist())))

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Structure]:
        """The rows wanted; files are parsed once and kept, a few megabytes each."""
        structures = self._parse(path)
        for row in rows:
            yield structures[int(contents.at[row])]

    def _parse(self, path: Path) -> tuple[Structure, ...]:
        stat = path.stat()
        return _parse(path, self._unit, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4)
def _parse(path: Path, unit: str, n_bytes: int, mtime_ns: int) -> tuple[Structure, ...]:
    try:
        table = json.loads(gzip.decompress(path.read_bytes()))
        columns = list(table["columns"])
        column = columns.index("structure")
        (label,) = (k for k in range(len(columns)) if k != column)
        rows = zip(table["index"], table["data"], strict=True)
        return tuple(
            _to_structure(data[column], {"sid": str(sid), "original": {"property": columns[label], "value": data[label], "unit": unit}})
            for sid, data in rows
        )
    except (KeyError, TypeError, IndexError, EOFError, zlib.error, gzip.BadGzipFile, RecursionError) as error:
        raise ValueError(f"it is no table of structures with one property: {type(error).__name__}: {error}") from error


def _to_structure(structure: Mapping[str, Any], origin: Mapping[str, Any]) -> Structure:
    """A pymatgen Structure dict, every site wholly one element."""
    cell = np.array(structure["lattice"]["matrix"], dtype=np.float64)
    symbols, fractional = [], []
    for site in structure["sites"]:
        (species,) = site["species"]
        if species["occu"] != 1:
            raise ValueError(f"row {origin['sid']} is disordered: {site['species']}")
        symbols.append(species["element"])
        fractional.append(site["abc"])
    return Structure(
        id="",
        numbers=numbers_of(symbols),
        positions=np.array(fractional, dtype=np.float64) @ cell,
        cell=cell,
        pbc=(True, True, True),
        system="crystal",
        origin=origin,
    )
