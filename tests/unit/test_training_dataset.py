"""The PyTorch datasets: what is in the file, in any process, every structure once."""

import pickle
from collections.abc import Callable
from copy import copy
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from torch.utils.data import ConcatDataset, DataLoader

from distillery.dataset.blocks import read_blocks
from distillery.dataset.layout import Arrays
from distillery.dataset.mapped_columns import MappedFile
from distillery.dataset.torch_dataset import BlockDataset, Item, StructureDataset, collate
from distillery.errors import InvalidRequest
from tests.datasets import write_dataset
from tests.labelling import mixed

N = 23
COLUMNS = {
    "index": ("labels/structure_indices", torch.int64),
    "atomic_numbers": ("structures/atomic_numbers", torch.int64),
    "positions": ("structures/positions", torch.float64),
    "cell": ("structures/cells", torch.float64),
    "pbc": ("structures/pbc", torch.bool),
    "energy": ("labels/energy", torch.float64),
    "forces": ("labels/forces", torch.float32),
    "stress": ("labels/stress", torch.float64),
    "stress_mask": ("labels/stress_mask", torch.bool),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dataset.h5"


@pytest.fixture
def arrays(path: Path) -> Arrays:
    """Waters, methanes and silicons, in turn."""
    return write_dataset(path, mixed("t", N))


def check(item: Item, arrays: Arrays) -> None:
    """An item holds what the file holds."""
    i = int(item["index"])
    splits = arrays["structures/atomic_numbers_splits"]
    assert item.keys() == COLUMNS.keys()
    for name, (column, dtype) in COLUMNS.items():
        of_atoms = name in ("atomic_numbers", "positions", "forces")
        expected = arrays[column][splits[i] : splits[i + 1]] if of_atoms else arrays[column][i]
        assert item[name].dtype == dtype
        assert np.array_equal(item[name].numpy(), expected), name


def test_any_structure_is_as_in_the_file(path: Path, arrays: Arrays) -> None:
    dataset = StructureDataset(path)
    assert len(dataset) == N
    for k in np.random.default_rng(0).permutation(N).tolist():
        item = dataset[k]
        assert item["index"] == k
        check(item, arrays)


def test_indices_pick_structures(path: Path, arrays: Arrays) -> None:
    dataset = StructureDataset(path, [7, 3, 7])
    assert [int(dataset[k]["index"]) for k in range(len(dataset))] == [7, 3, 7]
    assert [int(item["index"]) for item in dataset] == [7, 3, 7]


@pytest.mark.parametrize("indices", [[0, N], [-1]])
def test_indices_that_are_not_there_are_refused(path: Path, arrays: Arrays, indices: list[int]) -> None:
    with pytest.raises(InvalidRequest, match=rf"has structures 0\.\.{N - 1}, got indices"):
        StructureDataset(path, indices)


@pytest.mark.parametrize("indices", [np.arange(N) % 2 == 0, [1.0, 2.9], [[0, 1]], 3, ["1"]])
def test_only_lists_of_whole_numbers_are_indices(path: Path, arrays: Arrays, indices: ArrayLike) -> None:
    for kind in (StructureDataset, BlockDataset):
        with pytest.raises(InvalidRequest, match=r"indices must be a list of whole numbers, got .*np\.flatnonzero"):
            kind(path, indices)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"rank": 1}, "below n_ranks, got rank 1 of 1"),
        ({"rank": -1, "n_ranks": 2}, "got rank -1 of 2"),
        ({"block_size": 0}, "must be at least 1, got 0 and 16"),
        ({"n_mixed": 0}, "must be at least 1, got 64 and 0"),
    ],
)
def test_ranks_and_blocks_that_can_not_be_are_refused(path: Path, arrays: Arrays, wrong: dict[str, int], text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        BlockDataset(path, **wrong)


def test_what_is_no_dataset_is_refused(path: Path) -> None:
    with pytest.raises(InvalidRequest, match="can't be read as HDF5"):
        StructureDataset(path)


def test_an_hdf5_file_of_another_kind_is_refused(path: Path) -> None:
    h5py.File(path, "w").close()
    with pytest.raises(InvalidRequest, match="is no Distillery dataset: it has no structures/atomic_numbers, "):
        StructureDataset(path)


def cut_energies(file: h5py.File) -> None:
    energies = file["labels/energy"][:-1]
    del file["labels/energy"]
    file["labels/energy"] = energies


def replace_forces(file: h5py.File) -> None:
    del file["labels/forces"]
    file.create_group("labels/forces")


def move_split(file: h5py.File) -> None:
    file["structures/atomic_numbers_splits"][2] = 10**9


def lose_the_end(file: h5py.File) -> None:
    file["structures/atomic_numbers_splits"][-1] = 3


def write_words(file: h5py.File) -> None:
    words = np.full(len(file["labels/energy"]), b"much")
    del file["labels/energy"]
    file["labels/energy"] = words


def call_it_newer(file: h5py.File) -> None:
    file["metadata"].attrs["layout_version"] = "9.9"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut_energies, "has the shape"),
        (replace_forces, "labels/forces is a group"),
        (move_split, "does not ascend"),
        (lose_the_end, "splits ends with 3"),
        (write_words, "labels/energy holds"),
        (call_it_newer, "its layout is 9.9"),
    ],
)
def test_a_file_whose_columns_do_not_fit_is_refused(path: Path, arrays: Arrays, spoil: Callable[[h5py.File], None], said: str) -> None:
    with h5py.File(path, "r+") as file:
        file.require_group("metadata")
        spoil(file)
    with pytest.raises(InvalidRequest, match=f"is no Distillery dataset: .*{said}"):
        list(read_blocks(path))


def test_changing_an_item_changes_nothing_else(path: Path, arrays: Arrays) -> None:
    dataset = StructureDataset(path)
    for tensor in dataset[2].values():
        tensor.zero_()
    check(dataset[2], arrays)
    for item in BlockDataset(path):
        for tensor in item.values():
            tensor.zero_()
    for item in BlockDataset(path):
        check(item, arrays)


def test_a_batch_is_flat(path: Path, arrays: Arrays) -> None:
    dataset = StructureDataset(path)
    chosen = [4, 0, 2]
    batch = collate([dataset[k] for k in chosen])
    n_atoms = [len(dataset[k]["positions"]) for k in chosen]
    assert batch["n_atoms"].tolist() == n_atoms
    assert batch["batch"].tolist() == [k for k, n in enumerate(n_atoms) for _ in range(n)]
    assert batch["forces"].shape == batch["positions"].shape == (sum(n_atoms), 3)
    assert batch["cell"].shape == (3, 3, 3)
    assert batch["energy"].tolist() == arrays["labels/energy"][chosen].tolist()
    assert batch["stress_mask"].tolist() == [False, False, True]
    for k, i in enumerate(chosen):
        own = {name: batch[name][batch["batch"] == k] for name in ("atomic_numbers", "positions", "forces")}
        check(own | {name: batch[name][k] for name in COLUMNS if name not in own} | {"index": torch.tensor(i)}, arrays)


def test_a_batch_read_at_once_is_that_of_its_structures(path: Path, arrays: Arrays) -> None:
    dataset, chosen = StructureDataset(path), [4, 0, 2, 4]
    at_once, one_by_one = dataset.__getitems__(chosen), [dataset[k] for k in chosen]
    for batch, other in ((collate(at_once), collate(one_by_one)), *zip(at_once, one_by_one, strict=True)):
        assert list(batch) == list(other)
        for name, tensor in other.items():
            assert batch[name].dtype == tensor.dtype
            assert torch.equal(batch[name], tensor), name


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("kind", [StructureDataset, BlockDataset])
def test_a_worker_sends_a_batch_as_one_block_of_bytes(path: Path, arrays: Arrays, kind: type[StructureDataset | BlockDataset]) -> None:
    batches = list(DataLoader(kind(path), batch_size=5, num_workers=1, collate_fn=collate))
    assert sum(len(batch["n_atoms"]) for batch in batches) == N
    for batch in batches:
        assert not any(tensor.is_shared() for tensor in batch.values())  # no file descriptor for any of them
        for k in range(len(batch["n_atoms"])):
            own = {name: batch[name][batch["batch"] == k] for name in ("atomic_numbers", "positions", "forces")}
            check(Item(own | {name: batch[name][k] for name in COLUMNS if name not in own}), arrays)


def test_a_copied_item_is_another_dict_of_the_same_tensors(path: Path, arrays: Arrays) -> None:
    item = StructureDataset(path)[0]
    copied = copy(item)
    del copied["energy"]
    assert "energy" in item
    assert copied["forces"] is item["forces"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize(("start", "n_workers"), [("fork", 2), ("spawn", 1)])
def test_workers_read_what_the_parent_has_open(path: Path, arrays: Arrays, start: str, n_workers: int) -> None:
    train, val = StructureDataset(path, range(12)), StructureDataset(path, range(12, N))
    check(train[0], arrays)
    check(val[0], arrays)
    both = ConcatDataset([train, val])
    items = list(DataLoader(both, batch_size=None, num_workers=n_workers, multiprocessing_context=start))
    assert [int(item["index"]) for item in items] == list(range(N))
    for item in (*items, train[1], val[1]):
        check(item, arrays)


def test_an_open_dataset_is_pickled_without_its_file(path: Path, arrays: Arrays) -> None:
    dataset = StructureDataset(path)
    check(dataset[1], arrays)
    check(pickle.loads(pickle.dumps(dataset))[1], arrays)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("n_ranks", [1, 3])
@pytest.mark.parametrize("n_workers", [0, 2])
def test_blocks_bring_every_structure_once(path: Path, arrays: Arrays, n_ranks: int, n_workers: int) -> None:
    wanted = sorted(set(range(N)) - {0, 8, 9, 10, 11, 17})
    seen = []
    for rank in range(n_ranks):
        blocks = BlockDataset(path, wanted, block_size=4, n_mixed=2, rank=rank, n_ranks=n_ranks)
        for item in DataLoader(blocks, batch_size=None, num_workers=n_workers):
            check(item, arrays)
            seen.append(int(item["index"]))
    assert sorted(seen) == wanted


def order(path: Path, seed: int, epoch: int) -> list[int]:
    blocks = BlockDataset(path, seed=seed, block_size=2, n_mixed=3)
    blocks.set_epoch(epoch)
    return [int(item["index"]) for item in blocks]


def test_seed_and_epoch_fix_the_order(path: Path, arrays: Arrays) -> None:
    assert order(path, 1, 0) == order(path, 1, 0)
    assert len({tuple(order(path, seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_neighbours_in_the_file_are_mixed_over_several_blocks(path: Path, arrays: Arrays) -> None:
    blocks = BlockDataset(path, block_size=4, n_mixed=3)
    first = [int(item["index"]) // 4 for item in blocks][:11]
    assert len(set(first)) == 3
    assert first != sorted(first)


def test_an_empty_side_has_no_blocks(path: Path, arrays: Arrays) -> None:
    assert list(BlockDataset(path, [])) == []


@pytest.mark.parametrize("chunks", [None, 7, 16])
@pytest.mark.parametrize("user_block", [0, 4096])
def test_rows_come_from_the_files_pages_as_hdf5_gives_them(tmp_path: Path, chunks: int | None, user_block: int) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3))
    with h5py.File(tmp_path / "rows.h5", "w", userblock_size=user_block) as file:
        file.create_dataset("before", data=np.zeros(999))
        file.create_dataset("rows", data=rows, chunks=chunks and (chunks, 3))
    with h5py.File(tmp_path / "rows.h5") as file:
        column = MappedFile(tmp_path / "rows.h5", file).map_column(file["rows"])
        assert not isinstance(column, h5py.Dataset)
        for first, last in ((0, 0), (0, 1), (6, 8), (7, 14), (3, 40), (39, 40), (40, 40)):
            assert np.array_equal(column[first:last], rows[first:last])


@pytest.mark.parametrize("how", [{"compression": "gzip"}, {"chunks": (8, 1)}, {"chunks": (8, 3), "shuffle": True}])
def test_rows_that_are_packed_or_cut_come_by_hdf5(tmp_path: Path, how: dict[str, object]) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3))
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file.create_dataset("rows", data=rows, **how)
    with h5py.File(tmp_path / "rows.h5") as file:
        column = MappedFile(tmp_path / "rows.h5", file).map_column(file["rows"])
        assert isinstance(column, h5py.Dataset)
        assert np.array_equal(column[5:21], rows[5:21])
