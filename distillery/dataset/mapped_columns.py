"""Rows of a dataset.h5 read at random from the file's pages, without HDF5 in between, which takes many times as long for few rows."""

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray


class Rows(Protocol):
    """What gives the rows start, …, stop - 1 of a column, shape (stop - start, …)."""

    def __getitem__(self, rows: slice, /) -> NDArray[Any]: ...


class MappedFile:
    """The bytes of a file, as the system's cache has them; closed with the last array that looks into it."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        """`path` is that of the open `file`."""
        with path.open("rb") as content:
            self._bytes = mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ)
        self._user_block = int(file.userblock_size)

    def map_column(self, dataset: h5py.Dataset) -> Rows:
        """The rows of a dataset of the file: from its pages, or by HDF5 where they are packed, or not in pieces of whole rows."""
        shape, offsets = dataset.chunks or dataset.shape, _find_pieces(dataset)
        by_hdf5: Rows = dataset
        if not offsets or shape[1:] != dataset.shape[1:]:
            return by_hdf5
        first, n_bytes = dataset[: shape[0]], dataset.dtype.itemsize * int(np.prod(shape))
        for start in (0, self._user_block):  # releases of HDF5 differ in whether they count it
            if start + max(offsets) + n_bytes > len(self._bytes):
                continue
            column = _MappedColumn([np.ndarray(shape, dataset.dtype, self._bytes, start + offset) for offset in offsets], shape[0])
            if column[: len(first)].tobytes() == first.tobytes():
                return column
        return by_hdf5


def _find_pieces(dataset: h5py.Dataset) -> list[int]:
    """Where the pieces of a column begin, in order, bytes; none where they are packed or not all in the file."""
    if dataset.id.get_create_plist().get_nfilters():
        return []
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        return [] if offset is None else [offset]
    length = dataset.chunks[0]
    offsets: dict[int, int] = {}
    dataset.id.chunk_iter(lambda chunk: offsets.update({chunk.chunk_offset[0] // length: chunk.byte_offset}))
    n_pieces = -(-dataset.shape[0] // length)
    return [offsets[k] for k in range(n_pieces)] if len(offsets) == n_pieces else []


@dataclass(frozen=True)
class _MappedColumn:
    """A column in unpacked pieces of `length` rows each."""

    pieces: list[NDArray[Any]]
    length: int

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        first, last = rows.start or 0, rows.stop
        if first >= last:
            return self.pieces[0][:0]
        piece, at = divmod(first, self.length)
        n_left = last - first - (self.length - at)
        found = self.pieces[piece][at : at + last - first]
        if n_left <= 0:
            return found
        n_whole, rest = divmod(n_left, self.length)
        following = self.pieces[piece + 1 : piece + 1 + n_whole]
        ends = [self.pieces[piece + 1 + n_whole][:rest]] if rest else []
        joined: NDArray[Any] = np.concatenate([found, *following, *ends])
        return joined
