"""The file that a command is to write: never over its input, what a dataset is made of, or a file of the user's."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from distillery.dataset.folder import CHECKPOINTS, DATASET, LAST_STATUS, PARTS, RECIPE, REPORT, TARGET
from distillery.errors import InvalidRequest
from distillery.runtime.atomic_files import follow, name_kind
from distillery.runtime.locks import LOCK, OWNER

_RECORD = frozenset({RECIPE, TARGET, LAST_STATUS, CHECKPOINTS, REPORT, DATASET, LOCK, OWNER})


def require_target(path: Path, *, inputs: Iterable[Path], overwrite: bool) -> Path:
    """The file that is to be written for `path`, links followed; InvalidRequest if it would overwrite a file of the user's.

    inputs     never written over, by whatever name or link they are meant
    overwrite  whether another regular file may be replaced; what a dataset is made of never is
    """
    target = follow(path, "file")
    if (found := _look(path)) is not None and not stat.S_ISREG(found.st_mode):  # also what has no place, as a pipe behind /dev/stdout
        raise InvalidRequest(f"--out must be a file, {path} is {name_kind(path)}; name another")
    if not target.parent.is_dir():
        place = target.parent if path.is_symlink() else path.parent
        raise InvalidRequest(f"--out names a file in {place}, and there is no such folder; make it, or name another")
    for own in inputs:
        if found is not None and _is_same(own, found):
            raise InvalidRequest(f"--out must be another file than {own}, which is read for it; {path} is that file itself")
    refuse_record(target, path)
    if found is None:
        return target
    if not overwrite:
        raise InvalidRequest(f"{path} is there already; name another file, or replace it with --force")
    return target


def refuse_record(target: Path, path: Path) -> None:
    """InvalidRequest if what is to be written, meant by `path`, would be a file that a dataset is made of, or lie among its parts."""
    if (folder := _find_dataset(target)) is not None:
        raise InvalidRequest(f"--out must be no file that a dataset is made of, as {path} is of that in {folder}; name another")


def _find_dataset(target: Path) -> Path | None:
    """The folder of the dataset, made from a recipe, that a file is a part of, or tells of how it was made."""
    is_part = target.parent.name == PARTS
    folder = target.parent.parent if is_part else target.parent
    is_record = is_part or target.name in _RECORD | {PARTS}
    return folder if is_record and (folder / RECIPE).is_file() and (folder / PARTS).is_dir() else None


def _look(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_same(path: Path, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), found)
    except OSError:
        return False
