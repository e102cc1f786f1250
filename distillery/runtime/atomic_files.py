"""Files that are written whole or not at all, durably."""

import os
import socket
import uuid
from pathlib import Path

TEMPORARY = ".tmp"
"""The ending of files that are not finished."""


def write_text_whole(path: Path, text: str) -> None:
    """Write a small text file whole or not at all, durably."""
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_folder(path.parent)


def name_temporary(path: Path) -> Path:
    """A name beside `path` that no other process uses, on this host or another one."""
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}{TEMPORARY}")


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
