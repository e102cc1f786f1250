"""Small datasets for tests, in the layout of dataset.h5."""

from collections.abc import Sequence
from pathlib import Path

import h5py

from distillery.dataset.layout import Arrays, choose_columns, to_arrays
from distillery.dataset.sealed_file import write_atomically
from distillery.structures.identity import structure_hash
from distillery.structures.structure import Structure
from tests.fake_teacher import pair_label


def write_dataset(path: Path, structures: Sequence[Structure], service: str = "fake") -> Arrays:
    """Write structures with labels of the fake teacher; the columns that were written."""
    hashes = [structure_hash(s) for s in structures]
    labels = [pair_label(s) for s in structures]
    arrays = to_arrays(structures, labels, hashes, source="tests", service=service, shard="tests")

    def fill(file: h5py.File) -> None:
        for name, column in choose_columns(arrays).items():
            file.create_dataset(name, data=arrays[name], dtype=column.dtype)

    write_atomically(path, fill, replace=True)
    return arrays
