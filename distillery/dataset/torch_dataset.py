"""PyTorch datasets over dataset.h5: one structure at a time in any order, or contiguous blocks in a seeded random order.

Both yield dicts of tensors, dtypes as in the file:

    index           row in the dataset, int64, ()
    atomic_numbers  int64, (n_atoms,)
    positions       Cartesian, Å, float64, (n_atoms, 3)
    cell            Å, float64, (3, 3); rows are vectors, so cell[0] is a; zero when not periodic
    pbc             bool, (3,)
    energy          eV, float64, ()
    forces          eV/Å, float32, (n_atoms, 3)
    stress          eV/Å³, float64, (6,), ASE order xx yy zz yz xz xy, ASE sign; zero where stress_mask is False
    stress_mask     bool, (); False where stress has no meaning (not periodic)

and of a dataset that has them

    charge          total, e, int32, ()
    multiplicity    of the spin, 2 S + 1, int32, (); 0 for the lowest that the electrons allow
    atomic_energies  eV, float64, (n_atoms,)

`collate` makes one flat batch of them. A worker of a DataLoader sends a batch, or an item, as one block of bytes.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from distillery.dataset.layout import open_dataset
from distillery.dataset.mapped_columns import MappedFile
from distillery.dataset.torch_items import OF_ATOMS, Item, Structures
from distillery.errors import InvalidRequest

__all__ = ["BlockDataset", "Item", "StructureDataset", "collate"]

_OF_STRUCTURES = {
    "index": "labels/structure_indices",
    "cell": "structures/cells",
    "pbc": "structures/pbc",
    "energy": "labels/energy",
    "stress": "labels/stress",
    "stress_mask": "labels/stress_mask",
    "charge": "structures/charges",
    "multiplicity": "structures/multiplicities",
}


class StructureDataset(Dataset[Item]):
    """Any structure at any time; `indices` picks some, such as one side of `distillery.dataset.splits.split_dataset`.

    The file is opened by the process that reads, so that workers (forked or spawned) never share a handle. A reader keeps the
    columns of structures in memory, some 180 bytes a structure. InvalidRequest: no dataset, or indices that it does not have.
    """

    def __init__(self, path: Path | str, indices: ArrayLike | None = None) -> None:
        self.path = Path(path)
        self.indices = _check_indices(self.path, indices)
        self._reader: _Reader | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, k: int) -> Item:
        return self._open().read_one(int(self.indices[k]))

    def __getitems__(self, ks: Sequence[int]) -> Structures:
        """Those of a batch, read at once; torch's DataLoader asks for it by this name, and `collate` takes what it gives as it is."""
        return self._open().read_some(self.indices[ks])

    def _open(self) -> "_Reader":
        if self._reader is None or self._reader.pid != os.getpid():
            if self._reader is not None:
                self._reader.close()
            self._reader = _Reader(self.path)
        return self._reader

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None}


class BlockDataset(IterableDataset[Item]):
    """All structures once an epoch, read in contiguous blocks: for datasets on disks that are slow at random.

    The blocks come in an order that seed and epoch fix; `n_mixed` of them at a time are read and their structures shuffled, as
    neighbours in a dataset are of one source. Blocks go to ranks and workers in turn: nothing is lost or repeated,
    but ranks may get different numbers of structures. All ranks need the same seed, epoch and number of workers.
    InvalidRequest as for `StructureDataset`, and for a rank, block or mix that there can't be.

    block_size  structures a block
    n_mixed     blocks in memory at once
    """

    def __init__(
        self,
        path: Path | str,
        indices: ArrayLike | None = None,
        *,
        seed: int = 0,
        block_size: int = 64,
        n_mixed: int = 16,
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        if not 0 <= rank < n_ranks:
            raise InvalidRequest(f"rank must be at least 0 and below n_ranks, got rank {rank} of {n_ranks}; give both")
        if block_size < 1 or n_mixed < 1:
            raise InvalidRequest(f"block_size and n_mixed must be at least 1, got {block_size} and {n_mixed}")
        self.path = Path(path)
        self.indices = np.unique(_check_indices(self.path, indices))
        self.seed, self.epoch, self.n_mixed = seed, 0, n_mixed
        self.rank, self.n_ranks = rank, n_ranks
        starts = np.flatnonzero(np.diff(self.indices // block_size, prepend=-1))
        self.blocks = np.split(self.indices, starts)[1:]

    def set_epoch(self, epoch: int) -> None:
        """Another order; to be called before the epoch's workers start (so not with `persistent_workers`)."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Item]:
        worker = get_worker_info()
        n_workers, number = (1, 0) if worker is None else (worker.num_workers, worker.id)
        shard = self.rank * n_workers + number
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.blocks))[shard :: self.n_ranks * n_workers]
        rng = np.random.default_rng([self.seed, self.epoch, shard])
        reader = _Reader(self.path)
        try:
            for at in range(0, len(order), self.n_mixed):
                items = [item for block in order[at : at + self.n_mixed] for item in reader.pick(self.blocks[block])]
                yield from (items[k] for k in rng.permutation(len(items)))
        finally:
            reader.close()


def collate(items: Sequence[Item]) -> Item:
    """One flat batch of n structures with N atoms in all, as models with a batch index take it.

    Atoms are concatenated (`atomic_numbers`, `positions`, `forces`: N rows), all else is stacked (n rows); beside them
    `n_atoms` (int64, (n,)) and `batch`, the structure that each atom belongs to (int64, (N,)).
    """
    if isinstance(items, Structures):
        return items.batch
    n_atoms = torch.tensor([len(item["atomic_numbers"]) for item in items])
    return Item(
        {name: torch.cat([item[name] for item in items]) for name in OF_ATOMS if name in items[0]}
        | {name: torch.stack([item[name] for item in items]) for name in _OF_STRUCTURES if name in items[0]},
        n_atoms=n_atoms,
        batch=torch.repeat_interleave(torch.arange(len(items)), n_atoms),
    )


class _Reader:
    """An open dataset, for the process that opened it."""

    def __init__(self, path: Path) -> None:
        self.pid = os.getpid()
        self._file = file = open_dataset(path)
        mapped = MappedFile(path, file)
        self._splits = file["structures/atomic_numbers_splits"][:].tolist()
        self._atoms = {name: mapped.map_column(file[column]) for name, column in OF_ATOMS.items() if column in file}
        self._structures = {name: file[column][:] for name, column in _OF_STRUCTURES.items() if column in file}

    def read_one(self, i: int) -> Item:
        """One structure."""
        rows = slice(self._splits[i], self._splits[i + 1])
        item = Item({name: torch.from_numpy(column[rows].copy()) for name, column in self._atoms.items()})
        for name, column in self._structures.items():
            item[name] = torch.from_numpy(column[i, ...].copy())  # quicker than a clone of a tensor's row
        return item

    def read_some(self, indices: NDArray[np.int64]) -> Structures:
        """The structures at any indices, in their order."""
        rows = [slice(self._splits[i], self._splits[i + 1]) for i in indices.tolist()]
        columns = {name: torch.from_numpy(np.concatenate([column[own] for own in rows])) for name, column in self._atoms.items()}
        columns |= {name: torch.from_numpy(column[indices]) for name, column in self._structures.items()}
        return Structures(columns, [own.stop - own.start for own in rows])

    def read(self, start: int, stop: int) -> Structures:
        """The structures start, …, stop - 1, whose atoms are read at once."""
        first, last = self._splits[start], self._splits[stop]
        columns = {name: torch.from_numpy(column[first:last].copy()) for name, column in self._atoms.items()}
        columns |= {name: torch.from_numpy(column[start:stop].copy()) for name, column in self._structures.items()}
        return Structures(columns, np.diff(self._splits[start : stop + 1]).tolist())

    def pick(self, indices: NDArray[np.int64]) -> list[Item]:
        """The structures at ascending indices, read as one piece with all between them."""
        items = self.read(int(indices[0]), int(indices[-1]) + 1)
        return [items[i - indices[0]] for i in indices]

    def close(self) -> None:
        self._file.close()


def _check_indices(path: Path, indices: ArrayLike | None) -> NDArray[np.int64]:
    with open_dataset(path) as file:
        n_structures = len(file["labels/energy"])
    if indices is None:
        return np.arange(n_structures)
    given = np.asarray(indices)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise InvalidRequest(f"indices must be a list of whole numbers, got {given.dtype}, shape {given.shape}; of a mask, np.flatnonzero")
    checked = given.astype(np.int64)
    if checked.size and (checked.min() < 0 or checked.max() >= n_structures):
        raise InvalidRequest(f"{path} has structures 0..{n_structures - 1}, got indices {checked.min()}..{checked.max()}")
    return checked
