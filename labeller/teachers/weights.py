"""Weights files: found or downloaded, and known by their sha256 from the first use on."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import httpx

from contract.downloads import download
from contract.problems import Unavailable

_log = logging.getLogger("distillery")


@dataclass(frozen=True)
class Weights:
    """A weights file and its digest."""

    path: Path
    sha256: str


def ensure_weights(name: str, url: str, folder: Path, path: Path | None = None) -> Weights:
    """The weights of teacher `name`: `path` if given, else the file in `folder`, else downloaded from `url` into it.

    The sha256 is recorded in `<file>.sha256` on first use. Unavailable: no file and no network, or the file has
    changed since.
    """
    if path is not None and not path.is_file():
        raise Unavailable(f"the weights of {name} should be at {path} (DISTILLERY_LABELLER_WEIGHTS_PATH), but there is no such file")
    file = path if path is not None else folder / url.rsplit("/", 1)[-1]
    if not file.is_file():
        _download(name, url, file)
    return Weights(file, _require_recorded(name, file))


def sha256_of(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_recorded(name: str, file: Path) -> str:
    record, sha256 = file.with_name(file.name + ".sha256"), sha256_of(file)
    if record.is_file():
        recorded = record.read_text().split()[0] if record.read_text().strip() else ""
        if recorded != sha256:
            raise Unavailable(
                f"the weights of {name} have changed: {file} has sha256 {sha256}, but {record} says {recorded!r}. Put the old file "
                f"back, or remove {record.name} if the change is wanted: labels of both must not be mixed."
            )
        return sha256
    try:
        record.write_text(f"{sha256}  {file.name}\n")
    except OSError as error:
        _log.warning("the sha256 of %s (%s) can't be recorded, so a later change will go unnoticed: %s", file, sha256, error)
    return sha256


def _download(name: str, url: str, file: Path) -> None:
    """Fetch `url` to `file`, going on where an earlier attempt broke off."""
    partial = file.with_name(file.name + ".partial")
    by_hand = (
        f"Download it elsewhere and put it there, or name its place in DISTILLERY_LABELLER_WEIGHTS_PATH; {name} can't label without it."
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        download(url, partial)
        partial.replace(file)
    except httpx.HTTPError as error:
        raise Unavailable(f"{file} is missing and {url} can't be had ({type(error).__name__}: {error}). {by_hand}") from error
    except OSError as error:
        raise Unavailable(f"{file} can't be written: {error}. {by_hand}") from error
