"""Locks between processes: of a dataset's folder, and of a file that several could fetch."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from distillery.errors import Conflict
from distillery.runtime.stopping import Stop, Stopped

_POLL_SECONDS = 1.0


@contextmanager
def hold_alone(path: Path, stop: Stop | None) -> Iterator[None]:
    """Wait until no other process holds `path`, and hold it; Stopped once `stop` is set.

    The lock is a file beside it, which stays, for removing it would let two in; its folder must be there. The lock ends with the process.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    while True:
        if stop is not None and stop.is_set():
            raise Stopped
        try:
            lock.acquire(timeout=_POLL_SECONDS)
        except Timeout:
            continue
        break
    try:
        yield
    finally:
        lock.release()


_TRIES, _PAUSE = 5, 0.01


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
