"""LMDB files of Open Catalyst: keys are ASCII integers (and `length`), each value a pickled PyG graph."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillery.generators.files.contents import Contents, Item, RowRefused, require_atoms
from distillery.generators.files.lmdb_file import LmdbFile
from distillery.generators.files.tensors import HarmfulPickle, load_graph, to_array
from distillery.structures.structure import PERIODIC_SYSTEMS, SYSTEMS, Structure

_LABELS = ("y", "y_relaxed")
_PERIODIC = sum(1 << SYSTEMS.index(system) for system in PERIODIC_SYSTEMS)
_LONGEST_KEY = 18
"""Digits that fit a 64-bit integer."""


class GraphReader:
    """A `contents.Reader`; the place of a structure is its key."""

    def list_files(self, path: Path) -> Sequence[Path]:
        """The file alone."""
        return [path]

    def scan(self, path: Path) -> Iterator[Item]:
        """Graphs by ascending key."""
        with LmdbFile(path) as file:
            for key in sorted(int(key) for key in file.keys() if _is_number(key)):  # noqa: SIM118
                found = _read(file, key)
                if isinstance(found, Structure):
                    yield Item(key, len(found), require_atoms(found.numbers.astype(np.int64)), _PERIODIC)
                else:
                    yield Item(key, refusal=found)

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Structure | RowRefused]:
        """The structures as the graphs have them: initial ones in IS2RE files."""
        with LmdbFile(path) as file:
            for row in rows:
                yield _read(file, int(contents.at[row]))


def _is_number(key: bytes) -> bool:
    return key.isdigit() and len(key) <= _LONGEST_KEY and key == str(int(key)).encode()


def _read(file: LmdbFile, key: int) -> Structure | RowRefused:
    try:
        content = file.get(str(key).encode("ascii"))
        if content is None:
            raise RowRefused("unreadable", f"key {key}: there is nothing")
        return _to_structure(load_graph(content))
    except RowRefused as refusal:
        return refusal
    except HarmfulPickle as error:
        raise HarmfulPickle(f"key {key}: {error}") from error
    except (ValueError, OverflowError) as error:
        return RowRefused("unreadable", f"key {key}: {error}")


def _require(graph: dict[str, Any], name: str) -> NDArray[Any]:
    if name not in graph:
        raise ValueError(f"the graph has no {name}; it has {', '.join(sorted(graph)) or 'nothing'}")
    return to_array(graph[name])


def _to_structure(graph: dict[str, Any]) -> Structure:
    numbers = _require(graph, "atomic_numbers").ravel()
    if not np.isfinite(numbers).all():
        raise ValueError("its atomic numbers hold NaN or infinity")
    numbers = np.rint(numbers)
    require_atoms(numbers)
    label = next((name for name in _LABELS if name in graph), None)
    original = None if label is None else {"property": label, "value": float(to_array(graph[label]).item()), "unit": "eV"}
    return Structure(
        id="",
        numbers=numbers.astype(np.uint8),
        positions=_require(graph, "pos").astype(np.float64),
        cell=_require(graph, "cell").astype(np.float64).reshape(3, 3),
        pbc=(True, True, True),
        system="surface",
        origin={**{name: _identify(graph[name]) for name in ("sid", "fid") if name in graph}, "original": original},
    )


def _identify(value: object) -> int | str:
    """A number, as published files have it, or the text that others give."""
    return value if isinstance(value, str) else int(to_array(value).item())
