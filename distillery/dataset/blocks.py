"""A dataset read in blocks of structures whose columns lie side by side: some thirty times as fast as one structure at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import ATOMIC_ENERGIES, name_damage, open_dataset
from distillery.errors import InvalidRequest
from distillery.structures.electrons import find_multiplicities
from distillery.structures.structure import Structure, System

Indices = Sequence[int] | NDArray[np.int64]
_BLOCK_STRUCTURES = 2048
_BLOCK_ATOMS = 200_000
"""At most so many in a block (a structure that has more is a block of its own): some 12 MB."""
_SPLITS = "structures/atomic_numbers_splits"
_TEXTS = ("id", "source", "system", "origin")
_STATE = {"charge": "structures/charges", "multiplicity": "structures/multiplicities"}


@dataclass(frozen=True, eq=False)
class Block:
    """n structures with N atoms in all, their labels and where they are from.

    indices    rows in the dataset, (n,)
    splits     structure k has the rows splits[k]:splits[k+1] of the arrays by atom, (n + 1,)
    numbers    atomic numbers, (N,)
    positions  Å, float64, (N, 3)
    cells      Å, (n, 3, 3), rows are vectors
    pbc        (n, 3)
    energy     eV, (n,)
    forces     eV/Å, float32, (N, 3)
    stress     eV/Å³, (n, 6), ASE order and sign; zero where `has_stress` is False, (n,)
    texts      id, source, system and origin (JSON) of each, n of them
    charge     total, e, (n,); None where no structure of the file has one, nor more than the lowest spin
    multiplicity  of the spin, 0 for the lowest, (n,); None with `charge`
    atomic_energies  eV, (N,); None where the file has none, nan where a structure has none, as of a merge with a dataset without
    """

    indices: NDArray[np.int64]
    splits: NDArray[np.int64]
    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cells: NDArray[np.float64]
    pbc: NDArray[np.bool_]
    energy: NDArray[np.float64]
    forces: NDArray[np.float32]
    stress: NDArray[np.float64]
    has_stress: NDArray[np.bool_]
    texts: dict[str, list[str]]
    charge: NDArray[np.int64] | None = None
    multiplicity: NDArray[np.int64] | None = None
    atomic_energies: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def n_atoms(self) -> NDArray[np.int64]:
        """Of each structure, (n,)."""
        return np.diff(self.splits)

    @property
    def spin(self) -> NDArray[np.int64] | None:
        """The multiplicity as a number, the lowest that the electrons allow where none is told, (n,); None with `charge`."""
        if self.charge is None or self.multiplicity is None:
            return None
        return find_multiplicities(self.numbers, self.splits, self.charge, self.multiplicity)

    @cached_property
    def has_atomic_energies(self) -> NDArray[np.bool_]:
        """Which structures have energies of their atoms, (n,)."""
        return np.zeros(len(self), bool) if self.atomic_energies is None else ~np.isnan(self.atomic_energies[self.splits[:-1]])

    def rows(self, k: int) -> slice:
        """Where the arrays by atom hold structure k."""
        return slice(int(self.splits[k]), int(self.splits[k + 1]))

    def make_structures(self) -> list[Structure]:
        """All of them without their origins."""
        return [self._make_structure(k) for k in range(len(self))]

    def _make_structure(self, k: int) -> Structure:
        rows, (a, b, c) = self.rows(k), self.pbc[k].tolist()
        numbers, system = self.numbers[rows].astype(np.uint8), self.texts["system"][k]
        return Structure(self.texts["id"][k], numbers, self.positions[rows], self.cells[k], (a, b, c), cast(System, system))


def count_structures(path: Path | str) -> int:
    """How many structures a dataset has; InvalidRequest if it is none."""
    with open_dataset(path) as file:
        return len(file["labels/energy"])


def read_sizes(path: Path | str) -> NDArray[np.int64]:
    """The number of atoms of each structure; InvalidRequest if it is no dataset."""
    with open_dataset(path) as file, name_damage(path):
        splits: NDArray[np.int64] = file[_SPLITS][:]
    sizes = np.diff(splits)
    if splits[0] or (sizes < 0).any():
        raise InvalidRequest(f"{path} is no Distillery dataset: {_SPLITS} does not ascend from 0")
    return sizes


def read_blocks(path: Path | str, indices: Indices | None = None) -> Iterator[Block]:
    """The structures of a dataset in blocks; `indices` says which and in which order, all if absent.

    Ascending indices are read fastest; of a piece of the file that holds some of them all is read. InvalidRequest: the file is
    no dataset, or has no such index.
    """
    with open_dataset(path) as file:
        for own in cut_dataset(path, indices):
            with name_damage(path):
                block = _gather(file, own)
            yield block


def cut_dataset(path: Path | str, indices: Indices | None = None) -> Iterator[NDArray[np.int64]]:
    """The indices of each block of `read_blocks`; InvalidRequest as there."""
    sizes = read_sizes(path)
    yield from cut_blocks(_check_indices(path, indices, len(sizes)), sizes)


def read_block(path: Path | str, own: NDArray[np.int64]) -> Block:
    """One block: the structures at these indices, in their order."""
    with open_dataset(path) as file, name_damage(path):
        return _gather(file, own)


def _check_indices(path: Path | str, indices: Indices | None, n_structures: int) -> NDArray[np.int64]:
    chosen = np.arange(n_structures) if indices is None else np.asarray(indices, dtype=np.int64)
    wrong = chosen[(chosen < 0) | (chosen >= n_structures)]
    if wrong.size:
        raise InvalidRequest(f"{path} has structures 0 to {n_structures - 1}, not {wrong[0]}")
    return chosen


def cut_blocks(chosen: NDArray[np.int64], n_atoms: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Pieces of `chosen`, in order, none with too many structures or atoms."""
    ends = np.cumsum(n_atoms[chosen])
    start = 0
    while start < len(chosen):
        limit = (ends[start - 1] if start else 0) + _BLOCK_ATOMS
        stop = int(np.searchsorted(ends, limit, side="right"))
        stop = min(max(stop, start + 1), start + _BLOCK_STRUCTURES)
        yield chosen[start:stop]
        start = stop


def _gather(file: h5py.File, own: NDArray[np.int64]) -> Block:
    """The block of these rows, each stretch of the file that holds some of them read as one piece."""
    ascending, place = np.unique(own, return_inverse=True)
    gaps = np.flatnonzero(np.diff(ascending) > _BLOCK_STRUCTURES) + 1
    pieces = [_read_piece(file, piece) for piece in np.split(ascending, gaps)]
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    n_atoms = columns["n_atoms"]
    atoms = _find_rows(np.concatenate([[0], np.cumsum(n_atoms)])[:-1], n_atoms, place)
    return Block(
        indices=own,
        splits=np.concatenate([[0], np.cumsum(n_atoms[place])]).astype(np.int64),
        texts={name: columns[name][place].tolist() for name in _TEXTS},
        **{name: columns[name][atoms] for name in ("numbers", "positions", "forces", "atomic_energies") if name in columns},
        **{name: columns[name][place] for name in ("cells", "pbc", "energy", "stress", "has_stress", *_STATE) if name in columns},
    )


def _read_piece(file: h5py.File, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Columns of these ascending rows, and the number of atoms of each; nothing is read of what lies before or behind them."""
    first, last = int(rows[0]), int(rows[-1]) + 1
    splits = file[_SPLITS][first : last + 1]
    start, stop, n_atoms, kept = int(splits[0]), int(splits[-1]), np.diff(splits), rows - first
    atoms = _find_rows(splits[:-1] - start, n_atoms, kept)
    structures = {"cells": "structures/cells", "pbc": "structures/pbc", "energy": "labels/energy"}
    structures |= {"stress": "labels/stress", "has_stress": "labels/stress_mask"}
    structures |= {name: column for name, column in _STATE.items() if column in file}
    by_atom = {"numbers": "structures/atomic_numbers", "positions": "structures/positions", "forces": "labels/forces"}
    by_atom |= {"atomic_energies": ATOMIC_ENERGIES} if ATOMIC_ENERGIES in file else {}
    return {
        "n_atoms": n_atoms[kept],
        **{name: file[column][first:last][kept] for name, column in structures.items()},
        **{name: file[column][start:stop][atoms] for name, column in by_atom.items()},
        **{name: file[f"provenance/{name}"].asstr()[first:last][kept] for name in _TEXTS},
    }


def _find_rows(starts: NDArray[np.int64], n_atoms: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows by atom of the chosen structures, one structure after the other."""
    counts = n_atoms[chosen]
    ends = np.cumsum(counts)
    return np.repeat(starts[chosen] - ends + counts, counts) + np.arange(ends[-1] if ends.size else 0)
