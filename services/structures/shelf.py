"""The files that a request names: found, scanned once, and read row by row."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.folder import PARTS, RECIPE
from distillery.errors import InvalidRequest, Unavailable
from distillery.generators.files.contents import Contents, ForeignFile, Reader, RowRefused, explain_useless, key_of, scan_file
from distillery.generators.inputs import find_below, require_folder
from distillery.structures.structure import Structure, System
from services.structures.conversion import guess_system, settle, to_bits
from services.structures.formats import KNOWN, find_reader
from services.structures.options import FileOptions

_KEPT = 100_000
"""Files whose contents stay in memory, some 10 bytes a row."""
_FOLDER = "the service's input folder (DISTILLERY_SERVICE_INPUTS; without it that of the recipe)"


@dataclass(frozen=True, eq=False)
class InputFile:
    """One file; `name` is its path below the input folder."""

    name: str
    path: Path
    reader: Reader
    contents: Contents

    def read(self, rows: Sequence[int]) -> Iterator[Structure | RowRefused]:
        """What is in these rows, ascending, with file, row and digest in `origin`; Unavailable if the file has changed or can't be read."""
        try:
            if not np.array_equal(key_of(self.path, self.reader), self.contents.key):
                raise ValueError("it has changed since it was scanned")
            for row, found in zip(rows, self.reader.read(self.path, self.contents, rows), strict=True):
                yield self._mark(row, found)
        except (ValueError, OSError, EOFError) as error:
            raise Unavailable(f"{self.path} can't be used: {error}. Put it back as it was, or give the dataset another name") from error

    def _mark(self, row: int, found: Structure | RowRefused) -> Structure | RowRefused:
        if isinstance(found, RowRefused):
            return found
        return replace(found, origin={"file": self.name, "row": row, "file_sha256": self.contents.sha256, **found.origin})

    def guess(self) -> NDArray[np.uint8]:
        """What each row looks like, as bits in the order of SYSTEMS, 0 of those refused; shape (n_rows,)."""
        return _guess(self.path, self.contents.key.tobytes())


@dataclass(frozen=True, eq=False)
class FileRows:
    """The file with its rows settled as one system."""

    file: InputFile
    system: System

    @property
    def contents(self) -> Contents:
        """Of the file."""
        return self.file.contents

    def read(self, rows: Sequence[int]) -> Iterator[Structure | RowRefused]:
        """See `InputFile.read`."""
        for found in self.file.read(rows):
            yield _settle(found, self.system)


def _settle(found: Structure | RowRefused, system: System) -> Structure | RowRefused:
    try:
        return found if isinstance(found, RowRefused) else settle(found, system)
    except RowRefused as refusal:
        return refusal


def open_files(options: FileOptions, folder: Path | None) -> tuple[InputFile, ...]:
    """The files that the options name, sorted; InvalidRequest says which can't be used and why, Unsupported if there is no folder."""
    root, faults, files = require_folder(folder, "files"), list[str](), list[InputFile]()
    found = {path: is_named for name in options.files for path, is_named in _find(name, root, faults)}
    for path in sorted(found):
        try:
            files.append(_open(path, root, must_hold=found[path]))
        except ForeignFile as error:
            faults += [f"{path.relative_to(root)}: {error}"] if found[path] else []
        except (ValueError, OSError, EOFError) as error:
            faults.append(f"{path.relative_to(root)}: {error}")
    if not files and not faults:
        faults.append(f"{', '.join(options.files)}: what is there of known endings is of other programs")
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise InvalidRequest("options.files: " + "; ".join(faults[:5]) + more)
    _require_digest(options, files)
    return tuple(files)


def _find(name: str, root: Path, faults: list[str]) -> Iterator[tuple[Path, bool]]:
    """The files that a name means, and whether it names one by itself; what it should not is put among the faults."""
    path = find_below(name, root, "files")
    if any(sign in name for sign in "*?[") and not path.exists():
        paths = _expand(name, root, faults)
    else:
        if path.is_file():
            if find_reader(path) is None:
                faults.append(f"{name} is of no format that is read here: {KNOWN}")
            else:
                yield path, True
            return
        if not path.is_dir():
            faults.append(f"{name}: there is no such file or folder in {_FOLDER}")
            return
        paths = _walk(path)
    usable = [path for path in paths if find_reader(path) is not None and path.is_relative_to(root)]
    if not usable:
        faults.append(f"{name}: in {_FOLDER} it means no file of a format that is read here: {KNOWN}")
    yield from ((path, False) for path in usable)


def _expand(pattern: str, root: Path, faults: list[str]) -> list[Path]:
    try:
        relative = Path(pattern).relative_to(root) if Path(pattern).is_absolute() else Path(pattern)
        return [path.resolve() for path in root.glob(str(relative)) if path.is_file()]
    except (ValueError, NotImplementedError) as error:
        faults.append(f"{pattern} is not a usable pattern: {error}")
        return []


def _walk(folder: Path) -> list[Path]:
    """All files below a folder; hidden ones are left out, and datasets that Distillery makes there."""
    found = []
    for place, folders, names in os.walk(folder):
        is_dataset = RECIPE in names and PARTS in folders
        folders[:] = [] if is_dataset else [name for name in folders if not name.startswith(".")]
        names = [] if is_dataset else names
        found += [Path(place) / name for name in names if not name.startswith(".")]
    return [_follow(path) for path in found if not path.exists() or path.is_file()]


def _follow(path: Path) -> Path:
    """Where links lead; in a circle nowhere, which is found when it is opened."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def _open(path: Path, root: Path, *, must_hold: bool) -> InputFile:
    reader = find_reader(path)
    assert reader is not None
    if not str(path).isascii() and "\ufffd" in os.fsencode(path).decode(errors="replace"):
        raise ValueError("its name is not UTF-8, so no recipe can have it; rename it")
    contents = _scan(path, key_of(path, reader).tobytes())
    if must_hold and not (contents.refused == "").any():
        raise explain_useless(path, reader, contents)
    return InputFile(path.relative_to(root).as_posix(), path, reader, contents)


@lru_cache(maxsize=_KEPT)
def _scan(path: Path, key: bytes) -> Contents:
    reader = find_reader(path)
    assert reader is not None
    return scan_file(path, reader, np.frombuffer(key, np.int64))


@lru_cache(maxsize=_KEPT)
def _guess(path: Path, key: bytes) -> NDArray[np.uint8]:
    contents, reader = _scan(path, key), find_reader(path)
    assert reader is not None
    sound = np.flatnonzero(contents.refused == "").tolist()
    guessed = np.zeros(len(contents.at), np.uint8)
    for row, found in zip(sound, InputFile(path.name, path, reader, contents).read(sound), strict=True):
        if not isinstance(found, RowRefused):
            guessed[row] = contents.systems[row] & to_bits([guess_system(found)]) or contents.systems[row]
    return guessed


def digest_files(files: Sequence[InputFile]) -> str:
    """sha256 over names and contents of the files."""
    return hashlib.sha256("".join(f"{file.name}\0{file.contents.sha256}\n" for file in files).encode()).hexdigest()


def _require_digest(options: FileOptions, files: Sequence[InputFile]) -> None:
    if options.sha256 is not None and (found := digest_files(files)) != options.sha256:
        raise InvalidRequest(
            f"options.sha256: the {len(files)} files are others than when the recipe was written: their digest is {found}, wanted "
            f"{options.sha256}; put the files back, or leave sha256 out and give the dataset another name"
        )
