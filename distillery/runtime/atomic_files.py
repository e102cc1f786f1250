"""Files that are written whole or not at all, and durably."""

import ctypes
import errno
import glob
import os
import re
import socket
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from distillery.errors import InvalidRequest

TEMPORARY = ".tmp"
"""The ending of files that are not finished."""
_STANDARD_OUTPUT = Path("-")
_STARTED = uuid.uuid4().hex[:8]


def follow(path: Path, wanted: str) -> Path:
    """Where links lead; InvalidRequest if they lead to each other, in place of the `wanted` file or folder, and for standard output."""
    if path == _STANDARD_OUTPUT:
        raise InvalidRequest(f"--out must be a {wanted}; nothing is written to standard output, which - stands for elsewhere: name one")
    try:
        place = path.resolve()
        if place.is_symlink():  # a circle of links, of which Python says so itself only until 3.12
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    except (OSError, RuntimeError) as error:
        raise InvalidRequest(f"--out must be a {wanted}, {path} leads nowhere ({error}); name another") from error
    return place


_NO_TEXT = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
"""Control characters, ends of lines, and what Python makes of bytes that are no UTF-8."""


def require_text(path: Path, wanted: str) -> None:
    """InvalidRequest if a path holds control characters, or bytes that are no UTF-8: scripts, and libraries of formats, can't name it."""
    if _NO_TEXT.search(str(path)):
        raise InvalidRequest(f"{wanted} must be a path in UTF-8 without control characters, {str(path)!r} is none; name another")


def name_kind(path: Path) -> str:
    """What is there: a file, a folder, a device, a pipe, a socket."""
    mode = path.stat().st_mode
    kinds = (
        (stat.S_ISREG, "a file"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for is_kind, name in kinds if is_kind(mode)), "no file")


@contextmanager
def write_whole(target: Path) -> Iterator[Path]:
    """A temporary name beside `target` to write to; it becomes `target` at the end, or is removed after an error.

    So is what libraries put beside the temporary (locks, journals).
    """
    temporary = name_temporary(target)
    try:
        temporary.touch()  # a folder that can't be written to is told as such, whatever a library would say of it
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
        fsync_folder(target.parent)
    except OSError as error:
        name_target(error, target, temporary)
        raise
    finally:
        with suppress(OSError):
            for left in target.parent.glob(f"{glob.escape(temporary.name)}*"):
                left.unlink(missing_ok=True)


def name_target(error: OSError, target: Path, temporary: Path) -> None:
    """Have an error say what could not be written, where it names a temporary, or nothing: a write to a full disk knows only a number."""
    if error.filename in {None, str(temporary)}:
        error.filename = str(target)


def write_text_whole(path: Path, text: str) -> None:
    """Write a small text file whole or not at all, durably; of several who write it at once the last one's stays."""
    with write_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def name_new(temporary: Path, path: Path) -> bool:
    """Give a finished file its name unless something has that name, also when two try at once; False, and nothing changed, if so.

    By a hard link, which every network file system makes but once; where there are none, as on FAT and some FUSE and SMB mounts, by
    a rename that replaces nothing. OSError where neither can be done: then nothing there keeps two writers apart.
    """
    try:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _rename_new(temporary, path)
    except FileExistsError:
        return False
    return True


_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""What link(2) says where a file system has no hard links, or no more of them."""
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1


def _rename_new(temporary: Path, path: Path) -> None:
    """renameat2 of Linux, which Python does not offer; FileExistsError if there is something of that name."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, "the file system has no hard links, and the C library no rename that replaces nothing", str(path))
    if rename(_AT_FDCWD, os.fsencode(temporary), _AT_FDCWD, os.fsencode(path), _RENAME_NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def name_temporary(path: Path) -> Path:
    """A name beside `path` that no other process uses, on this host or another one; of a long name only the beginning is in it."""
    ending = f".{_name_process()}-{uuid.uuid4().hex[:8]}{TEMPORARY}"
    room, name = _LONGEST_NAME - len(ending) - 1 - _ROOM_BESIDE, path.name
    while len(os.fsencode(name)) > room:
        name = name[:-1]
    return path.with_name(f".{name}{ending}")


_LONGEST_NAME = 255
"""Bytes, on all usual file systems."""
_ROOM_BESIDE = 16
"""Bytes of what libraries put behind a temporary's name, as `-journal`."""


def is_own_temporary(path: Path) -> bool:
    """Whether this process gave a temporary its name, so that it may be in use."""
    return f".{_name_process()}-" in path.name


def _name_process() -> str:
    """In a container that starts again a process has the host and the number of the one before."""
    return f"{socket.gethostname()}-{os.getpid()}-{_STARTED}"


def is_visible(path: Path) -> bool:
    """Whether a file is there; where it seems not to be, its folder is listed, by which a client of NFS learns what is new in it."""
    return path.exists() or (path.parent.is_dir() and path.name in os.listdir(path.parent) and path.exists())


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
