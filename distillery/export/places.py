"""Where an export goes: a file or a folder that appears whole or not at all, and never in place of what no export wrote."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from distillery.dataset.layout import open_dataset
from distillery.dataset.output_file import refuse_record, require_target
from distillery.errors import InvalidRequest
from distillery.runtime.atomic_files import follow, fsync_folder, name_kind, name_target, name_temporary, require_text


def require_file(dataset: Path, target: Path, *, overwrite: bool) -> Path:
    """The file that an export would write, links followed; InvalidRequest, before any work, if it must not be written.

    The dataset itself never is, by whatever name or link; nor anything but a file; one that is there only with `overwrite`.
    """
    open_dataset(dataset).close()
    return require_target(target, inputs=(dataset,), overwrite=overwrite)


def require_folder(dataset: Path, target: Path, patterns: Sequence[str], *, overwrite: bool) -> Path:
    """The same for a folder; one that is there is replaced only with `overwrite`, and only if all in it is of an export.

    patterns  of the names, relative to the folder, that this kind of export writes
    """
    open_dataset(dataset).close()
    folder = follow(target, "folder")
    require_text(folder, "--out")
    refuse_record(folder, target)
    if target.exists() and not target.is_dir():
        raise InvalidRequest(f"--out must be a folder, {target} is {name_kind(target)}; name another")
    if (file := next((above for above in target.parents if above.is_file()), None)) is not None:
        raise InvalidRequest(f"--out names a folder in {file}, which is a file; name another")
    for file in _walk(folder):
        name = str(file.relative_to(folder))
        if not any(fnmatch(name, pattern) for pattern in patterns):
            raise InvalidRequest(f"{target} holds {name}, which this export does not write; name another folder, or move that away")
        require_target(file, inputs=(dataset,), overwrite=overwrite)
    return folder


def _walk(folder: Path) -> Iterator[Path]:
    """All in a folder that is no folder itself, those at its top first: what does not belong there is found before all is read."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        yield from (Path(place) / name for name in sorted([*files, *links]))


@contextmanager
def write_folder_whole(target: Path) -> Iterator[Path]:
    """A new folder beside `target` to fill; it becomes `target`, in place of one that is there, or is removed after an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = name_temporary(target), name_temporary(target)
    try:
        temporary.mkdir()
        yield temporary
        _fsync_all(temporary)
        if target.exists():
            target.rename(old)
        temporary.rename(target)
        fsync_folder(target.parent)
    except OSError as error:
        name_target(error, target, temporary)
        raise
    finally:
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)


def _fsync_all(folder: Path) -> None:
    """Make all in a folder durable."""
    for path in folder.rglob("*"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    fsync_folder(folder)
