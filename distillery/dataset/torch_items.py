"""Structures as dicts of tensors, that workers of a DataLoader hand over as one block of bytes, not tensor by tensor.

torch sends each tensor of a worker as a file descriptor of its own, for which the receiver has to connect to the worker: some
200 µs a tensor, as long as reading ten structures.
"""

from collections.abc import Iterator, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any, Self, overload

import torch

OF_ATOMS = {
    "atomic_numbers": "structures/atomic_numbers",
    "positions": "structures/positions",
    "forces": "labels/forces",
    "atomic_energies": "labels/atomic_energies",
}
"""The tensors with a row an atom, and their columns in dataset.h5; others have a row a structure."""
_ALIGNMENT = 16
"""Bytes; no type of a tensor here is longer."""

Place = tuple[str, torch.dtype, torch.Size, int]
"""Name, type and shape of a tensor, and where it begins, bytes."""


class Item(dict[str, torch.Tensor]):
    """A structure or a batch: tensors by name; what a dict does it does."""

    def __copy__(self) -> Self:
        return type(self)(self)


class Structures(Sequence[Item]):
    """Structures whose columns lie in one piece each: quick to make a batch of, and made into items only where these are looked at.

    batch  all of them as one flat batch (`distillery.dataset.torch_dataset.collate`); the items look into it
    """

    def __init__(self, columns: dict[str, torch.Tensor], sizes: Sequence[int]) -> None:
        """`columns` in the order of the structures, those by atom (`OF_ATOMS`) concatenated; `sizes` are atoms of each structure."""
        self._columns, self._sizes = columns, sizes
        self._items: list[Item] | None = None

    @property
    def batch(self) -> Item:
        n_atoms = torch.tensor(self._sizes, dtype=torch.int64)
        number = torch.repeat_interleave(torch.arange(len(self._sizes)), n_atoms)
        return Item(**self._columns, n_atoms=n_atoms, batch=number)

    def __len__(self) -> int:
        return len(self._sizes)

    @overload
    def __getitem__(self, k: int) -> Item: ...
    @overload
    def __getitem__(self, k: slice) -> Sequence[Item]: ...
    def __getitem__(self, k: int | slice) -> Item | Sequence[Item]:
        return self._split()[k]

    def __iter__(self) -> Iterator[Item]:
        return iter(self._split())

    def _split(self) -> list[Item]:
        if self._items is None:
            parts = [self._split_column(name, column) for name, column in self._columns.items()]
            self._items = [Item(zip(self._columns, values, strict=True)) for values in zip(*parts, strict=True)]
        return self._items

    def _split_column(self, name: str, column: torch.Tensor) -> Sequence[torch.Tensor]:
        return column.split_with_sizes(list(self._sizes)) if name in OF_ATOMS else column.unbind()


def _pack(item: Item) -> tuple[Any, tuple[list[Place], bytearray]]:
    """How an item goes to another process."""
    places, content = list[Place](), bytearray()
    for name, tensor in item.items():
        content += bytes(-len(content) % _ALIGNMENT)
        places.append((name, tensor.dtype, tensor.shape, len(content)))
        content += tensor.detach().contiguous().numpy().data.cast("B") if tensor.numel() else b""
    return _unpack, (places, content)


def _unpack(places: list[Place], content: bytearray) -> Item:
    """The item, whose tensors share these bytes."""
    return Item({name: _look_into(content, dtype, shape, start) for name, dtype, shape, start in places})


def _look_into(content: bytearray, dtype: torch.dtype, shape: torch.Size, start: int) -> torch.Tensor:
    n = shape.numel()
    if not n:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype, count=n, offset=start).view(shape)


ForkingPickler.register(Item, _pack)
