"""The HDF5 layout of parts and datasets: names, dtypes, shapes, units. Writer and reader both take it from here."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from distillery.errors import InvalidRequest
from distillery.runtime.canonical_json import canonical_json
from distillery.structures.structure import Structure

LAYOUT_VERSION = "1.2"
"""Of the names, dtypes and attributes below. 1.1 has no energies of the elements."""
READABLE_LAYOUTS = ("1.1", LAYOUT_VERSION)
CHUNK_ROWS = 2048
"""Rows a chunk of the final file; measured to read best at random."""
_TEXTS_AT_ONCE = 16_384

Arrays = dict[str, NDArray[Any]]
TEXT = h5py.string_dtype("utf-8")


@dataclass(frozen=True, eq=False)
class Label:
    """What a teacher says of one structure.

    energy  eV
    forces  eV/Å, float32, shape (n_atoms, 3)
    stress  eV/Å³, shape (6,), ASE order xx yy zz yz xz xy and sign; None where it has no meaning (not periodic)
    """

    energy: float
    forces: NDArray[np.float32]
    stress: NDArray[np.float64] | None


@dataclass(frozen=True)
class Column:
    """One dataset of the file.

    rows   "atom", "structure", or "split" (one more than there are structures)
    shape  of one row
    """

    dtype: Any
    rows: str
    shape: tuple[int, ...] = ()
    unit: str = ""
    meaning: str = ""


COLUMNS: Mapping[str, Column] = {
    "structures/atomic_numbers": Column("<i8", "atom"),
    "structures/atomic_numbers_splits": Column("<i8", "split", meaning="structure i has the rows splits[i]:splits[i+1]"),
    "structures/positions": Column("<f8", "atom", (3,), "Å", "Cartesian"),
    "structures/cells": Column("<f8", "structure", (3, 3), "Å", "rows are vectors; zero when not periodic"),
    "structures/pbc": Column("?", "structure", (3,)),
    "labels/energy": Column("<f8", "structure", (), "eV"),
    "labels/forces": Column("<f4", "atom", (3,), "eV/Å"),
    "labels/forces_splits": Column("<i8", "split", meaning="structure i has the rows splits[i]:splits[i+1]"),
    "labels/stress": Column("<f8", "structure", (6,), "eV/Å³", "ASE order xx yy zz yz xz xy, ASE sign; zero where the mask is False"),
    "labels/stress_mask": Column("?", "structure", (), "", "False where stress has no meaning (not periodic)"),
    "labels/structure_indices": Column("<i8", "structure"),
    "provenance/id": Column(TEXT, "structure", (), "", "<shard>/<nnnn>"),
    "provenance/source": Column(TEXT, "structure", (), "", "the recipe's name of the source"),
    "provenance/service": Column(TEXT, "structure", (), "", "the service that made it"),
    "provenance/system": Column(TEXT, "structure", (), "", "molecule | crystal | cluster | surface"),
    "provenance/shard": Column(TEXT, "structure"),
    "provenance/structure_hash": Column(TEXT, "structure", (), "", "distillery.structures.identity.structure_hash"),
    "provenance/origin": Column(TEXT, "structure", (), "", "JSON: how it was made"),
}


def to_arrays(
    structures: Sequence[Structure], labels: Sequence[Label], hashes: Sequence[str], *, source: str, service: str, shard: str
) -> Arrays:
    """The columns of a part."""
    n = len(structures)
    splits = np.concatenate([[0], np.cumsum([len(s) for s in structures], dtype=np.int64)]).astype(np.int64)
    raw: dict[str, Any] = {
        "structures/atomic_numbers": np.concatenate([s.numbers for s in structures]) if n else [],
        "structures/atomic_numbers_splits": splits,
        "structures/positions": np.concatenate([s.positions for s in structures]) if n else [],
        "structures/cells": [s.cell for s in structures],
        "structures/pbc": [s.pbc for s in structures],
        "labels/energy": [label.energy for label in labels],
        "labels/forces": np.concatenate([label.forces for label in labels]) if n else [],
        "labels/forces_splits": splits,
        "labels/stress": [np.zeros(6) if label.stress is None else label.stress for label in labels],
        "labels/stress_mask": [label.stress is not None for label in labels],
        "labels/structure_indices": np.arange(n),
        "provenance/id": [s.id for s in structures],
        "provenance/source": [source] * n,
        "provenance/service": [service] * n,
        "provenance/system": [s.system for s in structures],
        "provenance/shard": [shard] * n,
        "provenance/structure_hash": list(hashes),
        "provenance/origin": [canonical_json(dict(s.origin)) for s in structures],
    }
    return {name: _as_column(raw[name], column) for name, column in COLUMNS.items()}


def _as_column(values: Any, column: Column) -> NDArray[Any]:
    dtype = object if column.dtype is TEXT else column.dtype
    array = np.asarray(values, dtype=dtype)
    return array.reshape((-1, *column.shape)) if column.shape else array


def describe_columns(file: h5py.Group) -> None:
    """Write unit and meaning beside every dataset."""
    for name, column in COLUMNS.items():
        if column.unit:
            file[name].attrs["unit"] = column.unit
        if column.meaning:
            file[name].attrs["meaning"] = column.meaning


def read_arrays(file: h5py.Group) -> Arrays:
    """Every column, text as str objects; KeyError names a missing one."""
    return {name: file[name].asstr()[:] if column.dtype is TEXT else file[name][:] for name, column in COLUMNS.items()}


def iterate_texts(file: h5py.Group, name: str) -> Iterator[str]:
    """A column of texts, of which only some are in memory at once."""
    column = file[name].asstr()
    for start in range(0, len(column), _TEXTS_AT_ONCE):
        yield from column[start : start + _TEXTS_AT_ONCE].tolist()


def make_structure(arrays: Arrays, i: int) -> Structure:
    """Structure i of columns, which it shares no memory with; ValueError if it holds what no structure can."""
    rows = slice(*arrays["structures/atomic_numbers_splits"][i : i + 2])
    numbers, (a, b, c) = arrays["structures/atomic_numbers"][rows], arrays["structures/pbc"][i]
    if numbers.size and not 0 <= numbers.min() <= numbers.max() <= 255:
        raise ValueError(f"atomic numbers from {numbers.min()} to {numbers.max()}")
    return Structure(
        id=str(arrays["provenance/id"][i]),
        numbers=numbers.astype(np.uint8),
        positions=arrays["structures/positions"][rows].copy(),
        cell=arrays["structures/cells"][i].copy(),
        pbc=(bool(a), bool(b), bool(c)),
        system=arrays["provenance/system"][i],
        origin=json.loads(arrays["provenance/origin"][i]),
    )


def open_dataset(path: Path | str) -> h5py.File:
    """A dataset, open for reading; InvalidRequest if it can't be read or lacks a column."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InvalidRequest(f"{path} can't be read as HDF5: {error}") from error
    missing = [name for name in COLUMNS if name not in file]
    if missing:
        file.close()
        advice = "; `distillery import` makes one of it" if all(name.startswith("provenance/") for name in missing) else ""
        raise InvalidRequest(f"{path} is no Distillery dataset: it has no {', '.join(missing)}{advice}")
    return file


def select_structures(arrays: Arrays, keep: NDArray[np.bool_]) -> Arrays:
    """The columns of the structures where `keep`, splits and indices made anew."""
    n_atoms = np.diff(arrays["structures/atomic_numbers_splits"])
    keep_atoms = np.repeat(keep, n_atoms)
    chosen = {
        name: arrays[name][keep_atoms if column.rows == "atom" else keep] for name, column in COLUMNS.items() if column.rows != "split"
    }
    splits = np.concatenate([[0], np.cumsum(n_atoms[keep])]).astype(np.int64)
    chosen["structures/atomic_numbers_splits"] = chosen["labels/forces_splits"] = splits
    chosen["labels/structure_indices"] = np.arange(int(keep.sum()))
    return chosen
