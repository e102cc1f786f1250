"""The lock of a dataset's folder: one process makes it at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.problems import Conflict


def is_locked(folder: Path) -> bool:
    """True while a process, perhaps another one, makes the dataset in this folder."""
    try:
        with (folder / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the dataset for this process; the lock ends with the process, however that ends."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"another process is at work in {folder} at this moment; wait for it or stop it") from error
        yield
