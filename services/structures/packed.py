"""Text files, packed or not."""

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PACKED = (".gz", ".xz", ".bz2")
LARGEST_TEXT = 200_000_000
"""Bytes of a file that is read as a whole, unpacked."""


def strip_packing(name: str) -> str:
    """A file's name without the ending of what it is packed by."""
    return next((name[: -len(ending)] for ending in PACKED if name.lower().endswith(ending)), name)


@contextmanager
def open_packed(path: Path) -> Iterator[IO[bytes]]:
    """The unpacked bytes of a file; ValueError if it can't be unpacked."""
    openers: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
    try:
        with openers.get(path.suffix.lower(), open)(path, "rb") as file:
            yield file
    except (lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"it can't be unpacked: {error}") from error


def read_bytes(path: Path, most: int = LARGEST_TEXT) -> bytes:
    """The whole of a file; ValueError if it has more bytes than `most` or can't be unpacked."""
    with open_packed(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most} bytes; split it")
    return content


def read_text(path: Path) -> str:
    """The whole of a text file, its lines ended by `\\n`; ValueError as of `read_bytes`, or if it is no text."""
    content = read_bytes(path)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is UTF-16, not text of one byte a letter; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")
