"""One file of a checkpoint: where it comes from, fetched by one process at a time, checked before it gets its name."""

import logging
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit, urlunsplit

import httpx
from pydantic import Field, StrictInt, StrictStr, model_validator

from distillery.errors import Unavailable
from distillery.runtime.atomic_files import name_kind
from distillery.runtime.locks import hold_alone
from distillery.runtime.stopping import Stop
from distillery.schema.base import Message, Sha256
from distillery.weights.checksums import find_foreign_content, read_record, require_known, sha256_of, write_record
from distillery.weights.google_drive import HOST as DRIVE
from distillery.weights.google_drive import DriveOutOfReach, DriveRefused, download_from_drive
from distillery.weights.http_download import ReportBytes, download, log_progress

_log = logging.getLogger("distillery")


class FileSource(Message):
    """Where one file comes from: a URL, or a file of a Google Drive folder."""

    url: StrictStr | None = Field(None, pattern="(?i)^https?://")
    drive_folder: StrictStr | None = Field(None, description="id of a public Google Drive folder")
    name: StrictStr | None = Field(None, description="the file's path or name in that folder")
    member: StrictStr | None = Field(None, description="the file's path or name in the tar archive that comes from there")
    sha256: Sha256 | None = Field(None, description="of the file, as published; recorded on first use if absent")
    bytes: StrictInt | None = Field(None, ge=1, description="size of the file")

    @model_validator(mode="after")
    def _be_one(self) -> "FileSource":
        if (self.url is None) == (self.drive_folder is None) or (self.drive_folder is None) != (self.name is None):
            raise ValueError("a file has either a url or a drive_folder and a name")
        return self

    @property
    def host(self) -> str:
        """The name of the server that has it."""
        return DRIVE if self.url is None else urlsplit(self.url).hostname or ""

    def __str__(self) -> str:
        """A place that a person can go to; of a URL neither user and password nor the query, which may hold a token."""
        in_drive = f"{self.name} in https://drive.google.com/drive/folders/{self.drive_folder}"
        place = in_drive if self.url is None else _hide_secrets(self.url)
        return place if self.member is None else f"{self.member} from {place}"


def _hide_secrets(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@dataclass(frozen=True)
class Fetch:
    """How files are fetched.

    is_allowed  may anything be downloaded?
    stop        once set, Stopped; what came stays for the next try
    show        makes what is told of a file's progress, from its name
    """

    is_allowed: bool
    stop: Stop | None = None
    show: Callable[[str], ReportBytes] = log_progress


_NO_CONNECTION = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, DriveOutOfReach)


class OutOfReach(Unavailable):
    """A file that can't be downloaded now.

    what    the same without what to do about it, for where several are told of together
    host    the server, if it can't even be connected to: nothing else will come from it now
    reason  why
    """

    what = ""
    host: str | None = None
    reason = ""


class _Wrong(Exception):
    """What came is not what was wanted: a noun phrase says what it is."""


def ensure_file(source: FileSource, path: Path, fetch: Fetch, advice: str) -> str:
    """The sha256 of the file at `path`, fetched from `source` if it is not there; `advice` ends what Unavailable says to do."""
    if not path.is_file():
        by_hand = f"Get {source}{_size(source)} and put it at {path.absolute()}, {advice}."
        if not fetch.is_allowed:
            raise Unavailable(f"{path} is missing and downloads are off. {by_hand}")
        try:
            _fetch(source, _find_place(path), fetch, by_hand)
        except OSError as error:
            raise Unavailable(f"{path} is missing and can't be written: {error}. {by_hand}") from error
    return require_known(path, source.sha256)


def _find_place(path: Path) -> Path:
    """Where a missing file is put: where links lead. Unavailable if they lead nowhere, or anything but a file is in its place."""
    if path.exists():
        raise Unavailable(f"{path} is {name_kind(path)}, where a file should be; move it away")
    place = Path(os.path.realpath(path))
    if place.is_symlink() or (path.is_symlink() and not place.parent.is_dir()):
        raise Unavailable(f"{path} is a link that leads nowhere ({place}); mend it, or remove it to have the file fetched here")
    return place


def _fetch(source: FileSource, path: Path, fetch: Fetch, by_hand: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    refused = _beside(path, "refused")
    with hold_alone(path, fetch.stop):
        if path.is_file():
            return
        if refused.exists():
            raise Unavailable(f"{refused} came from {source}, but is not {path.name}; remove it to try again. {by_hand}")
        _log.info("fetching %s%s to %s", source, _size(source), path)
        came = _beside(path, "partial" if source.member is None else "archive")
        try:
            _download(source, came, fetch.stop, fetch.show(path.name))
            unchecked = came if source.member is None else _extract(came, source.member, _beside(path, "extracted"))
            _require_right(source, unchecked)
        except (httpx.HTTPError, DriveRefused) as error:
            what = f"{path} is missing and {source} can't be fetched ({_describe(error)})"
            problem = OutOfReach(f"{what}; what came is kept, the next try goes on from there. {by_hand}")
            problem.what, problem.reason = what, _describe(error)
            problem.host = source.host if isinstance(error, _NO_CONNECTION) else None
            raise problem from error
        except _Wrong as wrong:
            came.replace(refused)
            _beside(path, "extracted").unlink(missing_ok=True)
            raise Unavailable(
                f"what came from {source} is {wrong}; it is kept as {refused}, remove that to try again. {by_hand}"
            ) from wrong
        if source.sha256 is None and read_record(path) is None:
            write_record(path, sha256_of(unchecked))
        unchecked.replace(path)
        came.unlink(missing_ok=True)
        _log.info("%s is there", path)


def _download(source: FileSource, partial: Path, stop: Stop | None, report: ReportBytes) -> None:
    if source.url is not None:
        download(source.url, partial, stop, report)
    else:
        assert source.drive_folder is not None
        assert source.name is not None
        download_from_drive(source.drive_folder, source.name, partial, stop, report)
    foreign = find_foreign_content(partial)
    if foreign is not None:
        raise _Wrong(foreign)


def _extract(archive: Path, member: str, target: Path) -> Path:
    """The one file of a tar archive whose path or name is `member`, as `target`."""
    try:
        with tarfile.open(archive) as tar:
            names = [info.name for info in tar if info.isreg()]
            found = [name for name in names if member in {name, PurePosixPath(name).name}]
            if len(found) != 1:
                raise _Wrong(f"an archive with {len(found)} files called {member}, wanted one; it holds {', '.join(names)}")
            with tar.extractfile(found[0]) as content, target.open("wb") as file:  # type: ignore[union-attr]
                shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _Wrong(f"no tar archive that can be read ({type(error).__name__}: {error})") from error
    return target


def _require_right(source: FileSource, file: Path) -> None:
    """The size and the published sha256."""
    if source.bytes is not None and file.stat().st_size != source.bytes:
        raise _Wrong(f"{file.stat().st_size} bytes long, wanted {source.bytes}")
    if source.sha256 is not None and (sha256 := sha256_of(file)) != source.sha256:
        raise _Wrong(f"another file: its sha256 is {sha256}, published is {source.sha256}")


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


def _size(source: FileSource) -> str:
    return "" if source.bytes is None else f" ({source.bytes / 2**20:.1f} MiB)"


def _describe(error: Exception) -> str:
    """An error without its URL, which may hold a token."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"it answered {error.response.status_code} {error.response.reason_phrase}"
    return str(error) if isinstance(error, DriveRefused) else f"{type(error).__name__}: {error}"
