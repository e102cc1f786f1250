"""Disk full, folder read-only: said with the folder's name and what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.problems import Unavailable

_ADVICE = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there or raise the quota",
    errno.EFBIG: "raise the file size limit (ulimit -f)",
    errno.EACCES: "make it writable for this process",
    errno.EPERM: "make it writable for this process",
    errno.EROFS: "mount it writable",
}


@contextmanager
def name_disk_faults(folder: Path) -> Iterator[None]:
    """Turn an OSError of writing into `folder` into Unavailable."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "make it writable")
        raise Unavailable(
            f"{folder.resolve()} can't be written: {error.strerror or error}; {advice} and ask again. Nothing half-written remains."
        ) from error
