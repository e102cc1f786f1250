"""A file HDF5 can safely write on a disk that may be full, sealed with the sha256 of its content."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import h5py

from distillery.errors import InvalidRequest, Unavailable
from distillery.runtime.atomic_files import fsync_folder, name_new, name_temporary

SEAL_BYTES = 512
_PREFIX = b"distillery sha256 of all that follows this block: "
_DIGEST_BYTES = 1 << 20


class PatientFile:
    """A new file for h5py's file-object driver that keeps the first write error to itself until it is sealed.

    HDF5 crashes the process (a segmentation fault, HDF5 1.14 and 2.0) where a write fails while it closes a file, as
    on a full disk. It never learns of the error here: later writes go nowhere, and `seal` raises what happened.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        self._at = 0
        self._size = 0
        self.error: OSError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._descriptor)
        if self.error is not None and value is not self.error:
            raise self.error from value

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, as of an ordinary file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        """The place the next byte is read from or written to."""
        return self._at

    def read(self, n_bytes: int) -> bytes:
        """At most `n_bytes` from here on."""
        content = os.pread(self._descriptor, n_bytes, self._at)
        self._at += len(content)
        return content

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` from here on."""
        n_bytes = os.preadv(self._descriptor, [buffer], self._at)
        self._at += n_bytes
        return n_bytes

    def write(self, content: memoryview) -> int:
        """Write here; an error is kept for `seal`."""
        n_bytes = len(content)
        if self.error is None:
            try:
                self._write_all(content)
            except OSError as error:
                self.error = error
        self._at += n_bytes
        self._size = max(self._size, self._at)
        return n_bytes

    def _write_all(self, content: memoryview) -> None:
        written = 0
        while written < len(content):
            written += os.pwrite(self._descriptor, content[written:], self._at + written)

    def truncate(self, size: int) -> int:
        """Set the file's length."""
        if self.error is None:
            try:
                os.ftruncate(self._descriptor, size)
            except OSError as error:
                self.error = error
        self._size = size
        return size

    def flush(self) -> None:
        """Nothing is buffered."""

    def seal(self) -> None:
        """Write the digest into the user block and fsync; the OSError of any failed write."""
        if self.error is not None:
            raise self.error
        digest, at = hashlib.sha256(), SEAL_BYTES
        while content := os.pread(self._descriptor, _DIGEST_BYTES, at):
            digest.update(content)
            at += len(content)
        os.pwrite(self._descriptor, _seal(digest.hexdigest()), 0)
        os.fsync(self._descriptor)


def _seal(sha256: str) -> bytes:
    return (_PREFIX + sha256.encode() + b"\n").ljust(SEAL_BYTES, b"\0")


def find_broken_seal(file: BinaryIO) -> str | None:
    """Why the bytes of a sealed file are not what was sealed, or None; reads the file from its start to its end."""
    seal, digest = file.read(SEAL_BYTES), hashlib.sha256()
    if not seal.startswith(_PREFIX):
        return "it does not start with a seal: not a file of this program, or cut off"
    while content := file.read(_DIGEST_BYTES):
        digest.update(content)
    return None if seal == _seal(digest.hexdigest()) else "its bytes differ from its seal: cut off or changed"


def is_sealed(path: Path) -> bool:
    """Whether a file was sealed when it was written; another program that writes it anew leaves no seal."""
    with path.open("rb") as file:
        return file.read(len(_PREFIX)) == _PREFIX


def require_unbroken(path: Path, consequence: str) -> None:
    """InvalidRequest with `consequence` if a file is not what was sealed; one that another program wrote anew has no seal and passes."""
    with path.open("rb") as content:
        fault = find_broken_seal(content) if is_sealed(path) else None
    if fault is not None:
        raise InvalidRequest(f"{path} is damaged ({fault}): {consequence}; `distillery verify` tells more")


def write_atomically(path: Path, fill: Callable[[h5py.File], None], *, replace: bool) -> bool:
    """Fill a temporary HDF5 file, fsync it, give it its name, fsync the folder.

    With `replace` false an existing file stays and False is returned, also when two writers race. The file starts with
    a user block (which every HDF5 reader skips) that holds the sha256 of all that follows; `find_broken_seal` checks it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = name_temporary(path)
    try:
        with PatientFile(temporary) as target:
            with h5py.File(target, "w", libver=("v110", "v110"), userblock_size=SEAL_BYTES) as file:
                fill(file)
            target.seal()
        if replace:
            temporary.replace(path)
        elif not name_new(temporary, path):
            return False
        fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return True


_ADVICE = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there or raise the quota",
    errno.EFBIG: "raise the file size limit (ulimit -f)",
    errno.EACCES: "make it writable for this process",
    errno.EPERM: "make it writable for this process",
    errno.EROFS: "mount it writable",
}


def explain_disk_fault(error: OSError, otherwise: str) -> str:
    """What is wrong with a disk, and what to do about it: `otherwise` where that is not known."""
    return f"{error.strerror or error}; {_ADVICE.get(error.errno or 0, otherwise)}"


@contextmanager
def name_disk_faults(folder: Path) -> Iterator[None]:
    """Turn an OSError of writing into `folder` into Unavailable."""
    try:
        yield
    except OSError as error:
        fault = explain_disk_fault(error, "make it writable")
        raise Unavailable(f"{folder.resolve()} can't be written: {fault} and ask again. Nothing half-written remains.") from error
