"""Several datasets of one teacher as one: every structure once, and what must be on one side of a split stays together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import open_dataset
from distillery.dataset.output_file import require_target
from distillery.derive.families import join_families
from distillery.derive.inputs import Input, open_input, read_hashes
from distillery.derive.writer import Asked, Taken, name_differently, write_derived
from distillery.errors import Conflict, InvalidRequest

SAME_ENERGY = 0.01
"""eV/atom; energies of one structure that are farther apart are not one teacher's. Those within come of the hash's grid of 0.01 Å."""


@dataclass(frozen=True)
class Merged:
    """What was written.

    n_structures  in all
    n_taken       of each input, in order
    n_twice       structures that an input before had as well, or the same one; left out
    farthest      by how much labels of such two differ at most, eV/atom
    n_joined      parents that share a side of a split with another one's structures because of the merge
    """

    n_structures: int
    n_taken: tuple[int, ...]
    n_twice: int
    farthest: float
    n_joined: int


def merge_datasets(paths: Sequence[Path], target: Path, *, overwrite: bool = False) -> Merged:
    """Write the structures of all, in their order; ids and shards get the name of their dataset before them.

    InvalidRequest: fewer than two, the same one twice, or one that does not say who labelled it. Conflict: other teachers, or labels of
    one structure that differ. Memory: some 60 bytes a structure.
    """
    if len(paths) < 2:
        raise InvalidRequest(f"merge takes at least two datasets, got {len(paths)}")
    path = require_target(target, inputs=paths, overwrite=overwrite)
    inputs = [open_input(one) for one in paths]
    _refuse_repeated(inputs)
    _require_one_teacher(inputs)
    twice = find_twice(np.concatenate([read_hashes(one.path) for one in inputs]))
    farthest = _compare_labels(inputs, twice)
    families = join_families(inputs, twice.first)
    taken = _choose(inputs, twice)
    left_out = {"also in a dataset before": int(twice.is_later.sum())}
    n = write_derived(path, taken, Asked("merge", joined=families.find_roots(), left_out={k: v for k, v in left_out.items() if v}))
    return Merged(n, tuple(len(one.rows) for one in taken), int(twice.is_later.sum()), farthest, families.n_joined)


@dataclass(frozen=True, eq=False)
class Twice:
    """Which rows, of all datasets one behind the other, are the structure of an earlier row.

    first      the row that is kept for each, itself if it is the first, (n,)
    is_later   (n,)
    """

    first: NDArray[np.int64]

    @property
    def is_later(self) -> NDArray[np.bool_]:
        later: NDArray[np.bool_] = self.first != np.arange(len(self.first))
        return later


def find_twice(hashes: NDArray[np.bytes_]) -> Twice:
    """By structure hash."""
    _, firsts, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    return Twice(firsts[inverse].astype(np.int64))


def _refuse_repeated(inputs: Sequence[Input]) -> None:
    for k, one in enumerate(inputs):
        for other in inputs[:k]:
            if one.sha256 == other.sha256:
                raise InvalidRequest(f"{one.path} and {other.path} are the same dataset; name each once")


def _require_one_teacher(inputs: Sequence[Input]) -> None:
    silent = [str(one.path) for one in inputs if one.teacher[0] in {"", "not recorded"}]
    if silent:
        raise InvalidRequest(f"a merge needs labels of one teacher; {', '.join(silent)} does not say who labelled it")
    first = inputs[0]
    for one in inputs[1:]:
        if one.teacher != first.teacher:
            raise Conflict(
                f"a merge needs labels of one teacher: {first.path} was labelled by {_name(first)}, {one.path} by {_name(one)}. "
                f"`distillery relabel {one.path} --teacher {first.teacher[0]} --out NAME` labels the second anew"
            )


def _name(one: Input) -> str:
    name, weights = one.teacher
    return f"{name} (weights {weights[:12]})" if weights else name


def _compare_labels(inputs: Sequence[Input], twice: Twice) -> float:
    """How far two labels of one structure are apart at most, eV/atom; Conflict names two that are no teacher's rounding."""
    per_atom = np.concatenate([_read_energies(one) for one in inputs])
    apart = np.abs(per_atom - per_atom[twice.first])
    if apart.max(initial=0.0) <= SAME_ENERGY:
        return float(apart.max(initial=0.0))
    farthest = int(apart.argmax())
    here, there = (_name_row(inputs, row) for row in (farthest, int(twice.first[farthest])))
    raise Conflict(
        f"{here} and {there} are the same structure (structure hash), but their energies differ by {apart[farthest]:.3f} eV/atom; "
        f"labels of one teacher agree within {SAME_ENERGY}. Was one of them labelled with other settings? `distillery verify` both"
    )


def _read_energies(one: Input) -> NDArray[np.float64]:
    """eV/atom, (n,)."""
    with open_dataset(one.path) as file:
        energies: NDArray[np.float64] = file["labels/energy"][:] / one.n_atoms
        return energies


def _name_row(inputs: Sequence[Input], row: int) -> str:
    for one in inputs:
        if row < len(one.n_atoms):
            with open_dataset(one.path) as file:
                return f"{_read_id(file, row)} of {one.path}"
        row -= len(one.n_atoms)
    raise IndexError(row)


def _read_id(file: h5py.File, row: int) -> str:
    return str(file["provenance/id"].asstr()[row])


def _choose(inputs: Sequence[Input], twice: Twice) -> list[Taken]:
    ends = np.cumsum([len(one.n_atoms) for one in inputs])
    rows = [np.flatnonzero(~own) for own in np.split(twice.is_later, ends[:-1])]
    return [Taken(one, own, f"{name}/") for one, own, name in zip(inputs, rows, name_differently(inputs), strict=True)]
