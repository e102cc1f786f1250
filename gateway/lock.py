"""The lock of a dataset's folder: one process makes it at a time."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.problems import Conflict

_TRIES, _PAUSE = 5, 0.01
"""Another process that asks `is_locked` holds the lock for a moment, s."""


def is_locked(folder: Path) -> bool:
    """True while a process, perhaps another one, makes the dataset in this folder."""
    try:
        with (folder / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the dataset for this process; the lock ends with the process, however that ends."""
    with (folder / ".lock").open("w") as file:
        for left in reversed(range(_TRIES)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if not left:
                    raise Conflict(f"another process is at work in {folder} at this moment; wait for it or stop it") from error
            time.sleep(_PAUSE)
        yield
