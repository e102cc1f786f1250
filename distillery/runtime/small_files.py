"""Small files, read whole; what is no file is an error, not a wait without end, and what is too large not the end of the process."""

import errno
import os
import stat
from pathlib import Path

_LARGEST = 256 << 20
"""Bytes. A file of which a part was never written (`truncate -s 1T`) takes no room on a disk, but all memory."""


def read_small(path: Path) -> bytes:
    """The bytes of a file; OSError, which names it, if it is anything else (a pipe, a device) or has more than 256 MiB."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        if found.st_size > _LARGEST:
            raise OSError(errno.EFBIG, f"it has {found.st_size} bytes, at most {_LARGEST} make sense", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(_LARGEST)
    finally:
        os.close(descriptor)
