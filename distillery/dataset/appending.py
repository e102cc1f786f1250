"""Appending structures to the columns of a new dataset.h5, some at a time."""

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import CHUNK_ROWS, COLUMNS, HESSIANS, Arrays, Column, fill_columns, list_optional

_WAITING = 2_000
"""Structures that wait to be written together: a write costs as much as copying hundreds of them."""


class Appender:
    """Appends arrays to a file whose columns are as long as they can get, and are cut at the end."""

    def __init__(self, file: h5py.File, most_structures: int, most_atoms: int, columns: Mapping[str, Column] = COLUMNS) -> None:
        """`columns` are those of the file: what arrays lack of the optional ones among them is filled in."""
        self._columns = columns
        self._rows = {"structure": 0, "atom": 0, "split": 1, "entry": 0, "entry_split": 1}
        self._written = dict(self._rows)
        self._waiting: dict[str, list[NDArray[Any]]] = {name: [] for name in columns}
        n_splits = most_structures + 1
        most = {"structure": most_structures, "atom": most_atoms, "split": n_splits, "entry_split": n_splits, "entry": 0}
        self._datasets = _create_columns(file, columns, most)

    @property
    def n_atoms(self) -> int:
        """So far."""
        return self._rows["atom"]

    @property
    def n_structures(self) -> int:
        """So far."""
        return self._rows["structure"]

    def append(self, arrays: Arrays) -> None:
        """Put these structures behind those that are there; their splits and indices count from 0. Some wait until `cut`."""
        arrays = fill_columns(arrays, list_optional(self._columns))
        n = {"structure": len(arrays["labels/energy"]), "atom": len(arrays["structures/atomic_numbers"])}
        n |= {"split": n["structure"], "entry_split": n["structure"], "entry": len(arrays.get(HESSIANS, ()))}
        for name, column in self._columns.items():
            rows = arrays[name]
            if column.rows == "split":
                rows = rows[1:] + self._rows["atom"]
            elif column.rows == "entry_split":
                rows = rows[1:] + self._rows["entry"]
            elif name == "labels/structure_indices":
                rows = rows + self._rows["structure"]
            self._waiting[name].append(rows)
        self._rows = {kind: start + n[kind] for kind, start in self._rows.items()}
        if self._rows["structure"] - self._written["structure"] >= _WAITING:
            self._write()

    def _write(self) -> None:
        """Write what waits."""
        for name, column in self._columns.items():
            start, stop, waiting = self._written[column.rows], self._rows[column.rows], self._waiting[name]
            if column.rows == "entry":
                self._datasets[name].resize(stop, axis=0)
            if waiting:
                self._datasets[name][start:stop] = np.concatenate(waiting)
            waiting.clear()
        self._written = dict(self._rows)

    def cut(self) -> None:
        """Write what waits, and make the columns as long as all."""
        self._write()
        for name, column in self._columns.items():
            if self._datasets[name].shape[0] > self._rows[column.rows]:
                self._datasets[name].resize(self._rows[column.rows], axis=0)


def _create_columns(file: h5py.File, columns: Mapping[str, Column], n_rows: dict[str, int]) -> dict[str, h5py.Dataset]:
    made = {}
    for name, column in columns.items():
        n, grows = n_rows[column.rows], column.rows == "entry"
        chunks = (CHUNK_ROWS if grows else min(CHUNK_ROWS, n), *column.shape) if n or grows else None
        shape = (n, *column.shape)
        longest = (None, *column.shape) if grows else shape if n else None
        made[name] = dataset = file.create_dataset(name, shape, dtype=column.dtype, chunks=chunks, maxshape=longest)
        if column.rows in {"split", "entry_split"}:
            dataset[0] = 0
    return made
