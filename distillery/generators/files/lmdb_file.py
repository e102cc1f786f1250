"""LMDB files, read without LMDB, which maps a file into memory and so dies of one that is cut off or damaged.

The format is that of LMDB 0.9 on 64-bit little-endian machines (mdb.c: MDB_page, MDB_meta, MDB_node): two meta pages, then a B+ tree of
branch and leaf pages; values beyond a page lie on overflow pages of their own. Every place is checked before it is read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_HEADER = struct.Struct("<QHHHH")
"""Page number, padding, flags, end of the list of nodes, begin of the nodes."""
_META = struct.Struct("<IIQQ 48x IHHQQQQQ QQ")
"""Magic, version, address, map size, (the free list's tree,) the main tree's eight fields, last page, transaction."""
_NODE = struct.Struct("<HHHH")
"""Size of the value or number of the child page (low, high, flags), size of the key."""
_BRANCH, _LEAF = 0x01, 0x02
_IS_BIG, _IS_TREE = 0x01, 0x06
_NO_PAGE = 2**64 - 1
_DEEPEST = 32
"""Levels of a tree, as in LMDB itself."""
_KEPT_PAGES = 256
_LARGEST_VALUE = 200_000_000
"""Bytes; a file that was drawn out can hold values of 4 GB that were never written."""
_SIZES = tuple(2**k for k in range(8, 17))
"""A page may have these many bytes."""


@dataclass(frozen=True)
class _Meta:
    page_size: int
    root: int
    n_pages: int
    transaction: int


class _Node(NamedTuple):
    key: bytes
    flags: int
    child: int
    size: int
    at: int


class LmdbFile:
    """One file, open for reading. ValueError: it is cut off, damaged or none."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._page = lru_cache(maxsize=_KEPT_PAGES)(self._read_page)
        try:
            self._size = path.stat().st_size
            self._meta = self._read_meta()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def _read_meta(self) -> _Meta:
        """The newer of the two meta pages; the file must have all pages that it tells of."""
        first = self._parse_meta(0)
        metas = [first, self._parse_meta(first.page_size)]
        newest = max(metas, key=lambda meta: meta.transaction)
        wanted = newest.n_pages * newest.page_size
        if self._size < wanted:
            raise ValueError(f"it is cut off: it has {self._size} bytes, and {wanted} are wanted for its {newest.n_pages} pages")
        return newest

    def _parse_meta(self, at: int) -> _Meta:
        content = self._read(at + _HEADER.size, _META.size)
        magic, version, _, _, _, _, _, _, _, _, _, root, last_page, transaction = _META.unpack(content)
        (page_size,) = struct.unpack_from("<I", content, 24)
        if magic != _MAGIC or version != _VERSION or page_size not in _SIZES:
            raise ValueError(f"it is no LMDB file: it begins with {content[:8].hex()}, version {version}, pages of {page_size} bytes")
        return _Meta(page_size, root, last_page + 1, transaction)

    def _read(self, at: int, n: int) -> bytes:
        if at < 0 or at + n > self._size:
            raise ValueError(f"it is cut off: it has {self._size} bytes, and {at + n} are wanted")
        self._file.seek(at)
        content = self._file.read(n)
        if len(content) != n:
            raise ValueError(f"it ended at byte {at + len(content)} while it was read")
        return content

    def keys(self) -> Iterator[bytes]:
        """Every key, in LMDB's order."""
        seen: set[int] = set()
        pages = [] if self._meta.root == _NO_PAGE else [self._meta.root]
        while pages:
            number = pages.pop()
            if number in seen:
                raise ValueError(f"page {number} is met twice: the file is damaged")
            seen.add(number)
            is_leaf, nodes = self._page(number)
            if is_leaf:
                yield from (node.key for node in nodes)
            else:
                pages.extend(node.child for node in reversed(nodes))

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, None if there is none."""
        number = self._meta.root
        for _ in range(_DEEPEST):
            if number == _NO_PAGE:
                return None
            is_leaf, nodes = self._page(number)
            if is_leaf:
                found = next((node for node in nodes if node.key == key), None)
                return None if found is None else self._read_value(number, found)
            if not nodes:
                break
            number = [nodes[0], *(node for node in nodes[1:] if node.key <= key)][-1].child
        raise ValueError("its tree is too deep: the file is damaged")

    def _read_page(self, number: int) -> tuple[bool, list[_Node]]:
        """Whether a page is a leaf, and its nodes."""
        if not 2 <= number < self._meta.n_pages:
            raise ValueError(f"there is no page {number} among {self._meta.n_pages}: the file is damaged")
        page = self._read(number * self._meta.page_size, self._meta.page_size)
        own, _, flags, lower, _ = _HEADER.unpack_from(page)
        if own != number or flags & ~0x10 not in (_BRANCH, _LEAF) or not _HEADER.size <= lower <= len(page):
            raise ValueError(f"page {number} is not a page of a tree: the file is damaged")
        places = struct.unpack_from(f"<{(lower - _HEADER.size) // 2}H", page, _HEADER.size)
        return bool(flags & _LEAF), [_parse_node(page, at, number) for at in places]

    def _read_value(self, number: int, node: _Node) -> bytes:
        start = number * self._meta.page_size + node.at
        if node.flags & _IS_TREE:
            raise ValueError(f"key {node.key!r} has more than one value")
        if node.flags & _IS_BIG:
            (page,) = struct.unpack("<Q", self._read(start, 8))
            start = page * self._meta.page_size + _HEADER.size
        elif node.at + node.size > self._meta.page_size:
            raise ValueError(f"the value of key {node.key!r} ends beyond its page: the file is damaged")
        if node.size > _LARGEST_VALUE:
            raise ValueError(f"the value of key {node.key!r} has {node.size} bytes, at most {_LARGEST_VALUE} are read")
        return self._read(start, node.size)


def _parse_node(page: bytes, at: int, number: int) -> _Node:
    end = at + _NODE.size
    if end > len(page):
        raise ValueError(f"page {number} has a node at {at}: the file is damaged")
    low, high, flags, key_size = _NODE.unpack_from(page, at)
    key = page[end : end + key_size]
    if len(key) != key_size:
        raise ValueError(f"page {number} has a key of {key_size} bytes at {end}: the file is damaged")
    return _Node(key, flags, low | high << 16 | flags << 32, low | high << 16, end + key_size)
