"""One process at a time, where several (replicas) share a volume."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from contract.generator import Stop, Stopped

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
