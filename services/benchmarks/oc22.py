"""OC22: LMDB files whose keys are ASCII integers (and `length`), each value a pickled PyG graph."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from numpy.typing import NDArray

from distillery.structures.structure import Structure
from services.benchmarks.contents import Contents, Item
from services.benchmarks.tensors import load_graph, to_array

_LABELS = ("y", "y_relaxed")


class OC22Reader:
    """A `contents.Reader`; the place of a structure is its key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def scan(self, path: Path) -> Iterator[Item]:
        """Graphs by ascending key, only their atomic numbers read."""
        with self._open(path) as transaction:
            for key in _keys_of(transaction):
                with _named(key):
                    numbers = _numbers_of(_load(transaction, key))
                yield Item(key, len(numbers), sorted(set(numbers.tolist())))

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Structure]:
        """The structures as the graphs have them: initial ones in IS2RE files."""
        with self._open(path) as transaction:
            structures = [_read(transaction, int(contents.at[row])) for row in rows]
        yield from structures

    @contextmanager
    def _open(self, path: Path) -> Iterator[lmdb.Transaction]:
        """One file at a time: LMDB forbids opening one twice in a process."""
        try:
            with (
                self._lock,
                lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=False) as env,
                env.begin() as transaction,
            ):
                yield transaction
        except lmdb.Error as error:
            raise ValueError(f"it is no LMDB file that can be read: {error}") from error


def _keys_of(transaction: lmdb.Transaction) -> list[int]:
    keys = (bytes(key) for key in transaction.cursor().iternext(values=False))
    return sorted(int(key) for key in keys if key.isdigit())


def _read(transaction: lmdb.Transaction, key: int) -> Structure:
    with _named(key):
        return _to_structure(_load(transaction, key))


@contextmanager
def _named(key: int) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"key {key}: {error}") from error


def _load(transaction: lmdb.Transaction, key: int) -> dict[str, Any]:
    content = transaction.get(str(key).encode("ascii"))
    if content is None:
        raise ValueError("there is nothing")
    return load_graph(bytes(content))


def _require(graph: dict[str, Any], name: str) -> Any:
    if name not in graph:
        raise ValueError(f"the graph has no {name}; it has {', '.join(sorted(graph)) or 'nothing'}")
    return graph[name]


def _numbers_of(graph: dict[str, Any]) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = np.rint(to_array(_require(graph, "atomic_numbers"))).astype(np.int64).ravel()
    return numbers


def _to_structure(graph: dict[str, Any]) -> Structure:
    label = next((name for name in _LABELS if name in graph), None)
    original = None if label is None else {"property": label, "value": float(to_array(graph[label]).item()), "unit": "eV"}
    origin: dict[str, Any] = {name: int(to_array(graph[name]).item()) for name in ("sid", "fid") if name in graph}
    return Structure(
        id="",
        numbers=_numbers_of(graph).astype(np.uint8),
        positions=to_array(_require(graph, "pos")).astype(np.float64),
        cell=to_array(_require(graph, "cell")).astype(np.float64).reshape(3, 3),
        pbc=(True, True, True),
        system="surface",
        origin={**origin, "original": original},
    )
