"""Appending structures to the columns of a new dataset.h5, some at a time."""

import h5py

from distillery.dataset.layout import CHUNK_ROWS, COLUMNS, Arrays


class Appender:
    """Appends arrays to a file whose columns are as long as they can get, and are cut at the end."""

    def __init__(self, file: h5py.File, most_structures: int, most_atoms: int) -> None:
        self._file = file
        self._rows = {"structure": 0, "atom": 0, "split": 1}
        _create_columns(file, {"structure": most_structures, "atom": most_atoms, "split": most_structures + 1})

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
        n = {"structure": len(arrays["labels/energy"]), "atom": len(arrays["structures/atomic_numbers"])}
        n["split"] = n["structure"]
        for name, column in COLUMNS.items():
            rows = arrays[name]
            if column.rows == "split":
                rows = rows[1:] + self._rows["atom"]
            elif name == "labels/structure_indices":
                rows = rows + self._rows["structure"]
            start = self._rows[column.rows]
            self._file[name][start : start + n[column.rows]] = rows
        self._rows = {kind: start + n[kind] for kind, start in self._rows.items()}

    def cut(self) -> None:
        """Make the columns as long as what was written."""
        for name, column in COLUMNS.items():
            if self._file[name].shape[0] > self._rows[column.rows]:
                self._file[name].resize(self._rows[column.rows], axis=0)


def _create_columns(file: h5py.File, n_rows: dict[str, int]) -> None:
    for name, column in COLUMNS.items():
        n = n_rows[column.rows]
        chunks = (min(CHUNK_ROWS, n), *column.shape) if n else None
        shape = (n, *column.shape)
        dataset = file.create_dataset(name, shape, dtype=column.dtype, chunks=chunks, maxshape=shape if n else None)
        if column.rows == "split":
            dataset[0] = 0
