"""Known files: by a published sha256, or by the one that was recorded beside them on first use."""

import hashlib
import logging
from pathlib import Path

from distillery.errors import Unavailable
from distillery.runtime.atomic_files import write_text_whole

_LFS = b"version https://git-lfs.github.com/spec/"
_PAGES = (b"<!doctype html", b"<html")
_log = logging.getLogger("distillery")


def sha256_of(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_foreign_content(path: Path) -> str | None:
    """What a file is in place of the wanted one (`a git-lfs pointer …`), or None."""
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "an empty file"
    if start.startswith(_LFS):
        return "a git-lfs pointer in place of the file itself, which `git lfs pull` fetches"
    if start.lstrip().lower().startswith(_PAGES):
        return "an HTML page, as a server sends to ask for a login or to report an error,"
    return None


def record_of(path: Path) -> Path:
    """Where the sha256 of a file is recorded."""
    return path.with_name(path.name + ".sha256")


def read_record(path: Path) -> str | None:
    """The sha256 recorded for a file ("" if the record is empty), or None."""
    record = record_of(path)
    return (record.read_text().split() or [""])[0] if record.is_file() else None


def write_record(path: Path, sha256: str) -> None:
    """Record a file's sha256 as sha256sum would; where that can't be written it is logged."""
    try:
        write_text_whole(record_of(path), f"{sha256}  {path.name}\n")
    except OSError as error:
        _log.warning("the sha256 of %s (%s) can't be recorded, so a later change will go unnoticed: %s", path, sha256, error)


def examine(path: Path, published: str | None) -> tuple[str, str | None]:
    """A file's sha256 and what is wrong with the file (`is an HTML page …`), if anything: it should have the published sha256, or else
    the recorded one if there is one.
    """
    sha256, foreign, recorded = sha256_of(path), find_foreign_content(path), read_record(path)
    if foreign is not None:
        return sha256, f"is {foreign}; put the real file there, or remove it to have it fetched"
    if published is not None and sha256 != published:
        return sha256, f"has sha256 {sha256}, published is {published}; put the right file there, or remove it to have it fetched"
    if published is None and recorded not in {None, sha256}:
        return sha256, (
            f"has changed: its sha256 is {sha256}, but {record_of(path)} says {recorded!r}. Put the old file back, or remove "
            f"{record_of(path).name} if the change is wanted: what both files make must not be mixed"
        )
    return sha256, None


def require_known(path: Path, published: str | None) -> str:
    """The sha256 of a file that is the one it should be (`examine`); Unavailable if it is another. If it is not known it is recorded."""
    sha256, fault = examine(path, published)
    if fault is not None:
        raise Unavailable(f"{path} {fault}")
    if published is None and read_record(path) is None:
        write_record(path, sha256)
    return sha256
