"""Scratch: bytes that are needed again seldom, in a file without a name in place of memory. It ends with the process."""

import os
import tempfile
import threading
import weakref
from pathlib import Path
from typing import BinaryIO, Protocol


class Scratch(Protocol):
    """Bytes that are kept, to be read by their place."""

    def append(self, content: bytes) -> int:
        """The place of what is kept."""
        ...

    def read(self, place: int, size: int) -> bytes:
        """So many bytes of a place."""
        ...


class ScratchMemory:
    """Scratch of a few structures, in memory."""

    def __init__(self) -> None:
        self._content = bytearray()

    def append(self, content: bytes) -> int:
        """See `Scratch`."""
        self._content += content
        return len(self._content) - len(content)

    def read(self, place: int, size: int) -> bytes:
        """See `Scratch`."""
        return bytes(self._content[place : place + size])


class ScratchFile:
    """Scratch in a file without a name, which several threads may use: nothing of it is left once the object is gone."""

    def __init__(self, folder: Path) -> None:
        """`folder` is on a disk that has room: /tmp is memory in a container. Where it can't be written to, the machine's own is taken."""
        self._file = _open_unnamed(folder)
        self._adding = threading.Lock()
        self._end = 0
        weakref.finalize(self, self._file.close)

    def append(self, content: bytes) -> int:
        """See `Scratch`; OSError if the disk is full."""
        with self._adding:
            place = self._end
            self._end += len(content)
            self._file.seek(place)
            self._file.write(content)
            self._file.flush()
        return place

    def read(self, place: int, size: int) -> bytes:
        """See `Scratch`."""
        return os.pread(self._file.fileno(), size, place)


def _open_unnamed(folder: Path) -> BinaryIO:
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError:
        return tempfile.TemporaryFile()
