"""Appending structures to the columns of a new dataset.h5, some at a time."""

from collections.abc import Mapping

import h5py

from distillery.dataset.layout import CHUNK_ROWS, COLUMNS, HESSIANS, Arrays, Column, fill_columns, list_optional


class Appender:
    """Appends arrays to a file whose columns are as long as they can get, and are cut at the end."""

    def __init__(self, file: h5py.File, most_structures: int, most_atoms: int, columns: Mapping[str, Column] = COLUMNS) -> None:
        """`columns` are those of the file: what arrays lack of the optional ones among them is filled in."""
        self._file, self._columns = file, columns
        self._rows = {"structure": 0, "atom": 0, "split": 1, "entry": 0, "entry_split": 1}
        n_splits = most_structures + 1
        most = {"structure": most_structures, "atom": most_atoms, "split": n_splits, "entry_split": n_splits, "entry": 0}
        _create_columns(file, columns, most)

    @property
    def n_atoms(self) -> int:
        """So far."""
        return self._rows["atom"]

    @property
    def n_structures(self) -> int:
        """So far."""
        return self._rows["structure"]

    def append(self, arrays: Arrays) -> None:
        """Write these structures behind those that are there; their splits and indices count from 0."""
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
            start = self._rows[column.rows]
            if column.rows == "entry":
                self._file[name].resize(start + len(rows), axis=0)
            self._file[name][start : start + n[column.rows]] = rows
        self._rows = {kind: start + n[kind] for kind, start in self._rows.items()}

    def cut(self) -> None:
        """Make the columns as long as what was written."""
        for name, column in self._columns.items():
            if self._file[name].shape[0] > self._rows[column.rows]:
                self._file[name].resize(self._rows[column.rows], axis=0)


def _create_columns(file: h5py.File, columns: Mapping[str, Column], n_rows: dict[str, int]) -> None:
    for name, column in columns.items():
        n, grows = n_rows[column.rows], column.rows == "entry"
        chunks = (CHUNK_ROWS if grows else min(CHUNK_ROWS, n), *column.shape) if n or grows else None
        shape = (n, *column.shape)
        longest = (None, *column.shape) if grows else shape if n else None
        dataset = file.create_dataset(name, shape, dtype=column.dtype, chunks=chunks, maxshape=longest)
        if column.rows in {"split", "entry_split"}:
            dataset[0] = 0
