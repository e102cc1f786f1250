"""The HDF5 layout of parts and datasets: names, dtypes, shapes, units. Writer and reader both take it from here."""

import json
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from distillery.errors import InvalidRequest
from distillery.runtime.canonical_json import canonical_json
from distillery.structures.structure import Structure

LAYOUT_VERSION = "1.3"
"""Of the names, dtypes and attributes below. 1.1 has no energies of the elements, 1.2 no columns that are there only if wanted."""
READABLE_LAYOUTS = ("1.1", "1.2", LAYOUT_VERSION)
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
    atomic_energies  eV, shape (n_atoms,), whose sum is the energy; None where the teacher has none, or nobody wants them
    hessian  second derivatives of the energy, eV/Å², float32, shape (3 n_atoms, 3 n_atoms), rows and columns x y z of the first atom, …;
             None where nobody wants it, or the structure is too large
    """

    energy: float
    forces: NDArray[np.float32]
    stress: NDArray[np.float64] | None
    atomic_energies: NDArray[np.float64] | None = None
    hessian: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Column:
    """One dataset of the file.

    rows   "atom", "structure", or "split" (one more than there are structures); of Hessians "entry", and "entry_split"
    shape  of one row
    absent  what all rows hold where a file does not have the column
    """

    dtype: Any
    rows: str
    shape: tuple[int, ...] = ()
    unit: str = ""
    meaning: str = ""
    absent: float = 0


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
ATOMIC_ENERGIES = "labels/atomic_energies"
HESSIANS, HESSIAN_SPLITS = "labels/hessians", "labels/hessians_splits"
OPTIONAL_COLUMNS: Mapping[str, Column] = {
    "structures/charges": Column("<i4", "structure", (), "e", "total, of the cell where it is periodic"),
    "structures/multiplicities": Column("<i4", "structure", (), "", "of the spin, 2 S + 1; 0 for the lowest that the electrons allow"),
    ATOMIC_ENERGIES: Column("<f8", "atom", (), "eV", "the teacher's share of each atom in the energy, which is their sum", absent=np.nan),
    HESSIANS: Column("<f4", "entry", (), "eV/Å²", "of structure i the (3 n, 3 n) entries splits[i]:splits[i+1], row by row"),
    HESSIAN_SPLITS: Column("<i8", "entry_split", meaning="equal where a structure has no Hessian"),
}
"""Those that a file has only if they are wanted, or there: charge and spin together, where a structure has either."""
ALL_COLUMNS: Mapping[str, Column] = {**COLUMNS, **OPTIONAL_COLUMNS}
STATE = ("structures/charges", "structures/multiplicities")
"""Charge and spin."""


def to_arrays(
    structures: Sequence[Structure],
    labels: Sequence[Label],
    hashes: Sequence[str],
    *,
    source: str,
    service: str,
    shard: str,
    wanted: Container[str] = (),
) -> Arrays:
    """The columns of a part; where `atomic_energies` are wanted all labels have them, where a `hessian` is, some."""
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
    if any(s.charge or s.multiplicity for s in structures):
        raw |= dict(zip(STATE, ([s.charge for s in structures], [s.multiplicity for s in structures]), strict=True))
    if "hessian" in wanted:
        hessians = [np.zeros(0, np.float32) if label.hessian is None else label.hessian.ravel() for label in labels]
        raw[HESSIANS] = np.concatenate(hessians) if n else []
        raw[HESSIAN_SPLITS] = np.concatenate([[0], np.cumsum([len(own) for own in hessians], dtype=np.int64)])
    if "atomic_energies" in wanted:
        own = [label.atomic_energies for label in labels if label.atomic_energies is not None]
        raw[ATOMIC_ENERGIES] = np.concatenate(own) if n else []
    return {name: _as_column(raw[name], column) for name, column in choose_columns(raw).items()}


def choose_columns(found: Container[str]) -> dict[str, Column]:
    """The columns of a file or of arrays in which these names are found: all that there must be, and of the others those that it has."""
    return {name: column for name, column in ALL_COLUMNS.items() if name in COLUMNS or name in found}


def list_optional(arrays: Container[str]) -> tuple[str, ...]:
    """The optional columns that are there."""
    return tuple(name for name in OPTIONAL_COLUMNS if name in arrays)


def fill_columns(arrays: Arrays, names: Iterable[str]) -> Arrays:
    """The arrays with the optional columns of these names, made where they were left out."""
    n_structures = len(arrays["labels/energy"])
    n_rows = {"structure": n_structures, "atom": len(arrays["structures/atomic_numbers"]), "entry": 0, "entry_split": n_structures + 1}
    made = {name: OPTIONAL_COLUMNS[name] for name in names if name not in arrays}
    return arrays | {name: np.full((n_rows[c.rows], *c.shape), c.absent, c.dtype) for name, c in made.items()}


def describe_units(columns: Mapping[str, Column]) -> str:
    """The units of columns, JSON by name."""
    return canonical_json({name: column.unit for name, column in columns.items() if column.unit})


def _as_column(values: Any, column: Column) -> NDArray[Any]:
    dtype = object if column.dtype is TEXT else column.dtype
    array = np.asarray(values, dtype=dtype)
    return array.reshape((-1, *column.shape)) if column.shape else array


def describe_columns(file: h5py.Group) -> None:
    """Write unit and meaning beside every dataset."""
    for name, column in choose_columns(file).items():
        if column.unit:
            file[name].attrs["unit"] = column.unit
        if column.meaning:
            file[name].attrs["meaning"] = column.meaning


def read_arrays(file: h5py.Group) -> Arrays:
    """Every column, text as str objects; KeyError names a missing one."""
    columns = choose_columns(file)
    return {name: file[name].asstr()[:] if column.dtype is TEXT else file[name][:] for name, column in columns.items()}


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
    charge, multiplicity = (int(arrays[name][i]) if name in arrays else 0 for name in STATE)
    return Structure(
        id=str(arrays["provenance/id"][i]),
        numbers=numbers.astype(np.uint8),
        positions=arrays["structures/positions"][rows].copy(),
        cell=arrays["structures/cells"][i].copy(),
        pbc=(bool(a), bool(b), bool(c)),
        system=arrays["provenance/system"][i],
        origin=json.loads(arrays["provenance/origin"][i]),
        charge=charge,
        multiplicity=multiplicity,
    )


def open_dataset(path: Path | str) -> h5py.File:
    """A dataset, open for reading; InvalidRequest if it can't be read, is of another layout, or lacks a column or rows of one."""
    with name_damage(path):
        file = h5py.File(path, "r")
        try:
            if (fault := _find_fault(file)) is not None:
                raise InvalidRequest(f"{path} is no Distillery dataset: {fault}")
        except BaseException:
            file.close()
            raise
    return file


@contextmanager
def name_damage(path: Path | str) -> Iterator[None]:
    """InvalidRequest in place of whatever HDF5 and h5py raise where a file is damaged or none."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, ValueError) as error:
        raise InvalidRequest(f"{path} can't be read as HDF5: {error}") from error


_MOST_UNWRITTEN, _MOST_PACKED, _LARGEST_CHUNK = 64 << 20, 1100, 1 << 30
"""Bytes that a column may have beyond what is stored of it; bytes by which deflate packs one at best; bytes of a chunk, read whole."""


def find_hollow(file: h5py.Group, names: Iterable[str]) -> str | None:
    """Of columns that are there, one that claims what a file of this size can't hold, and that would fill all memory; None if none does.

    HDF5 gives values for what was never written.
    """
    for name in names:
        if name not in file or not isinstance(column := file[name], h5py.Dataset):
            continue
        stored = column.id.get_storage_size()
        if column.nbytes > _MOST_UNWRITTEN + _MOST_PACKED * stored:
            return f"{name} claims {column.nbytes} bytes, and {stored} are stored of it"
        if (chunk := math.prod(column.chunks or ()) * column.dtype.itemsize) > _LARGEST_CHUNK:
            return f"{name} has chunks of {chunk} bytes, at most {_LARGEST_CHUNK} are read at once"
    return None


def _find_fault(file: h5py.File) -> str | None:
    """Why this is no dataset, as far as names, shapes and the last of the splits tell; None if it is one."""
    layout = file["metadata"].attrs.get("layout_version", LAYOUT_VERSION) if "metadata" in file else LAYOUT_VERSION
    if layout not in READABLE_LAYOUTS:
        return f"its layout is {layout}, and this version reads {', '.join(READABLE_LAYOUTS)}; use the version of Distillery that made it"
    if missing := [name for name in COLUMNS if name not in file]:
        advice = "; `distillery import` makes one of it" if all(name.startswith("provenance/") for name in missing) else ""
        return f"it has no {', '.join(missing)}{advice}"
    columns = {name: column for name, column in choose_columns(file).items() if column.rows in {"structure", "split", "atom"}}
    if groups := [name for name in columns if not isinstance(file[name], h5py.Dataset)]:
        return f"{groups[0]} is a group, a column is wanted"
    n_structures, n_atoms = (len(file[name]) for name in ("labels/energy", "structures/atomic_numbers"))
    n_rows = {"structure": n_structures, "split": n_structures + 1, "atom": n_atoms}
    for name, column in columns.items():
        if file[name].dtype.kind not in ("OS" if column.dtype is TEXT else "biuf"):
            return f"{name} holds {file[name].dtype}, wanted {'texts' if column.dtype is TEXT else 'numbers'}"
        if file[name].shape != (wanted := (n_rows[column.rows], *column.shape)):
            return f"{name} has the shape {file[name].shape}, wanted {wanted}"
    if (hollow := find_hollow(file, ALL_COLUMNS)) is not None:
        return hollow
    if (last := int(file["structures/atomic_numbers_splits"][-1])) != n_atoms:
        return f"structures/atomic_numbers_splits ends with {last}, and there are {n_atoms} atoms"
    return None


def select_structures(arrays: Arrays, keep: NDArray[np.bool_]) -> Arrays:
    """The columns of the structures where `keep`, splits and indices made anew."""
    n_atoms = np.diff(arrays["structures/atomic_numbers_splits"])
    keep_atoms = np.repeat(keep, n_atoms)
    kept = {"atom": keep_atoms, "structure": keep}
    chosen = {name: arrays[name][kept[column.rows]] for name, column in choose_columns(arrays).items() if column.rows in kept}
    if HESSIANS in arrays:
        n_entries = np.diff(arrays[HESSIAN_SPLITS])
        chosen[HESSIANS] = arrays[HESSIANS][np.repeat(keep, n_entries)]
        chosen[HESSIAN_SPLITS] = np.concatenate([[0], np.cumsum(n_entries[keep])]).astype(np.int64)
    splits = np.concatenate([[0], np.cumsum(n_atoms[keep])]).astype(np.int64)
    chosen["structures/atomic_numbers_splits"] = chosen["labels/forces_splits"] = splits
    chosen["labels/structure_indices"] = np.arange(int(keep.sum()))
    return chosen
