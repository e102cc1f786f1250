"""Locks between processes: of a dataset's folder, and of a file that several could fetch."""

import errno
import fcntl
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distillery.errors import Conflict
from distillery.runtime.atomic_files import write_text_whole
from distillery.runtime.small_files import read_small
from distillery.runtime.stopping import Stop, Stopped

_POLL_SECONDS = 1.0


@contextmanager
def hold_alone(path: Path, stop: Stop | None) -> Iterator[None]:
    """Wait until no other process holds `path`, and hold it; Stopped once `stop` is set.

    The lock is a file beside it, which stays, for removing it would let two in; its folder must be there. The lock ends with the process.
    """
    from filelock import FileLock, Timeout

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
LOCK = ".lock"
"""The file in a dataset's folder that whoever makes it holds."""
OWNER = ".owner"
"""Beside the lock: who holds it, with a number that goes up while that process lives."""
_BEAT_SECONDS = 5.0
_SILENT_BEATS = 4


def is_locked(folder: Path) -> bool:
    """True while a process, perhaps another one, makes the dataset in this folder, as far as flock can tell."""
    try:
        with (folder / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def hold_lock(folder: Path, beat_seconds: float = _BEAT_SECONDS) -> Iterator[None]:
    """Hold the dataset for this process; the lock ends with the process, however that ends.

    flock keeps out who is on this host, and on NFS who is on another one, until the server hears of a dead host's end. Where a file
    system keeps it to one host (Lustre mounted with localflock, some FUSE), `watch_owner` does that, which is called first.
    """
    with (folder / LOCK).open("w") as file:
        for left in reversed(range(_TRIES)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if not left:
                    raise _explain_locked(folder) from error
            except OSError as error:
                if error.errno not in {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}:
                    raise
                break  # Lustre without flock: the owner's beats alone tell
            time.sleep(_PAUSE)
        with _beating(folder / OWNER, beat_seconds):
            yield


async def watch_owner(folder: Path, beat_seconds: float = _BEAT_SECONDS) -> None:
    """Conflict if a process on another host holds the dataset: its number goes up while it is looked at.

    No clock of another host plays a part. One that has been silent for 20 s is dead, or its host is; the lock may be taken.
    """
    import asyncio

    if (first := await asyncio.to_thread(_read_owner, folder)) is None or first.get("host") == socket.gethostname():
        return
    for _ in range(_SILENT_BEATS):
        await asyncio.sleep(beat_seconds)
        now = await asyncio.to_thread(_read_owner, folder)
        if now is None:
            return
        if now != first:
            raise Conflict(f"{now.get('host')} is at work in {folder} at this moment (process {now.get('process')}); wait or stop it there")


@contextmanager
def _beating(path: Path, seconds: float) -> Iterator[None]:
    """Write who is at work, again and again with another number, and remove that at the end."""
    over = threading.Event()

    def beat() -> None:
        for number in itertools.count():
            with suppress(OSError):  # a full disk keeps nobody from working
                write_text_whole(path, json.dumps({"host": socket.gethostname(), "process": os.getpid(), "beat": number}))
            if over.wait(seconds):
                return

    thread = threading.Thread(target=beat, name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        path.unlink(missing_ok=True)


def _read_owner(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(read_small(folder / OWNER))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _explain_locked(folder: Path) -> Conflict:
    owner = _read_owner(folder)
    who = f" (process {owner.get('process')} on {owner.get('host')})" if owner else ""
    return Conflict(f"another process is at work in {folder} at this moment{who}; wait for it or stop it")
