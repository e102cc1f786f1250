"""A subset's files on disk: found, or taken from an official archive that is downloaded, checked and extracted once."""

import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx

from distillery.errors import Unavailable
from distillery.runtime.atomic_files import fsync_folder
from distillery.runtime.locks import hold_alone
from distillery.runtime.stopping import Stop, Stopped
from distillery.weights.http_download import download
from services.benchmarks.catalogue import SUFFIXES, Archive, Subset
from services.benchmarks.settings import BenchmarkSettings


def ensure_files(subset: Subset, settings: BenchmarkSettings, stop: Stop) -> list[Path]:
    """The files with the subset's structures, in a fixed order; Unavailable says what is missing, from where and where to put it.

    Replicas that share the folder take turns at downloading and unpacking.
    """
    folder = settings.folder
    if not find_files(subset, folder) or _find_packed(subset, folder):
        if not (settings.download or _find_packed(subset, folder)):
            raise Unavailable(_ask_for_files(subset, folder))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with hold_alone(folder / subset.name, stop):
                _make_ready(subset, folder, stop)
        except OSError as error:
            raise Unavailable(f"{subset.name} can't be made ready in {folder.absolute()}: {error}") from error
    files = find_files(subset, folder)
    if not files:
        raise Unavailable(f"the archive of {subset.name} holds no {SUFFIXES[subset.format][0]} file")
    return files


def find_files(subset: Subset, folder: Path) -> list[Path]:
    """Files of the subset: below its own folder, links to folders followed, and for MatBench beside it by its name.

    An LMDB may be a folder as well, with its file in it.
    """
    ending = SUFFIXES[subset.format][0]
    inside = [path for path in _walk(folder / subset.name) if path.name.endswith(ending) or _is_lmdb_of_folder(path, ending)]
    beside = [path for path in (folder / (subset.name + ending),) if path.is_file()]
    return sorted(inside + beside)


def _walk(folder: Path) -> Iterator[Path]:
    """The files below a folder; a folder that is met again, by a link, is gone through once."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (path for name in names if (path := Path(place) / name).is_file())


def _is_lmdb_of_folder(path: Path, ending: str) -> bool:
    return ending == ".lmdb" and path.name == "data.mdb" and path.parent.name.endswith(ending)


def digest_of(path: Path, algorithm: str) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _make_ready(subset: Subset, folder: Path, stop: Stop) -> None:
    """Unpack what lies there, or else what is downloaded; to be called by one process at a time."""
    _extract_found(subset, folder, stop)
    if not find_files(subset, folder):
        _download(subset, folder, stop)
        _extract_found(subset, folder, stop)


def _extract_found(subset: Subset, folder: Path, stop: Stop) -> None:
    for archive in _find_packed(subset, folder):
        path = folder / archive.name
        _require_digest(archive, path, f"Remove it and get it again from {archive.url}.")
        _extract(subset, path, _place_of(archive, subset, folder), stop)


def _find_packed(subset: Subset, folder: Path) -> list[Archive]:
    """The official tar files that lie in the folder and are not unpacked yet."""
    return [
        archive
        for archive in subset.archives
        if archive.name.endswith((".tar", ".tar.gz"))
        and (folder / archive.name).is_file()
        and not _place_of(archive, subset, folder).exists()
    ]


def _place_of(archive: Archive, subset: Subset, folder: Path) -> Path:
    """Where an archive is unpacked."""
    return folder / subset.name / archive.name.split(".tar")[0]


def _ask_for_files(subset: Subset, folder: Path) -> str:
    ending = SUFFIXES[subset.format][0]
    offers = " or ".join(f"{archive.url} ({archive.size}, {archive.algorithm} {archive.digest})" for archive in subset.archives)
    return (
        f"{subset.name} is missing. Put {offers} as it is into {folder.absolute()}, or your own *{ending} files into "
        f"{folder.absolute() / subset.name}; or set DISTILLERY_BENCHMARKS_DOWNLOAD=true"
    )


def _download(subset: Subset, folder: Path, stop: Stop) -> None:
    archive = subset.archives[0]
    target, partial = folder / archive.name, folder / f"{archive.name}.partial"
    refused = folder / f"{archive.name}.refused"
    if refused.exists():
        raise Unavailable(f"{refused} came from {archive.url} with a wrong {archive.algorithm}; remove it to try again")
    try:
        download(archive.url, partial, stop)
    except httpx.HTTPError as error:
        raise Unavailable(
            f"{archive.url} ({archive.size}) can't be fetched ({type(error).__name__}: {error}); what came is kept and "
            f"the next try goes on from there. Or get it elsewhere and put it at {target.absolute()}"
        ) from error
    try:
        _require_digest(archive, partial, f"It is kept as {refused.name}; remove it to try again.")
    except Unavailable:
        partial.replace(refused)
        raise
    partial.replace(target)
    fsync_folder(folder)


def _require_digest(archive: Archive, path: Path, advice: str) -> None:
    digest = digest_of(path, archive.algorithm)
    if digest != archive.digest:
        raise Unavailable(f"{path} is not {archive.name}: its {archive.algorithm} is {digest}, wanted {archive.digest}. {advice}")


def _extract(subset: Subset, path: Path, target: Path, stop: Stop) -> None:
    """Unpack what the subset needs beside its place, then rename; nothing leaves the folder (tarfile's `data` filter)."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # a killed process left it: the lock is ours
    unfinished.mkdir()
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                if stop.is_set():
                    raise Stopped
                tarfile.data_filter(member, str(unfinished))
                if member.isreg() and member.name.endswith(SUFFIXES[subset.format]):
                    tar.extract(member, unfinished, filter="data")
        target.parent.mkdir(exist_ok=True)
        unfinished.replace(target)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise Unavailable(f"{path} can't be extracted ({type(error).__name__}: {error}); remove it") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    fsync_folder(target.parent)
