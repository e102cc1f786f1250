"""Files of public Google Drive folders, by way of gdown, which is imported when one is wanted."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from distillery.runtime.stopping import Stop, Stopped
from distillery.weights.http_download import ReportBytes

_TIMEOUT_SECONDS = (10.0, 30.0)
"""To connect, and between bytes."""
_LONGEST_REASON = 200


HOST = "drive.google.com"


class DriveRefused(Exception):
    """gdown is missing, Drive does not give the file, or the folder has no such file."""


class DriveOutOfReach(DriveRefused):
    """Drive can't be connected to."""


def download_from_drive(folder: str, name: str, partial: Path, stop: Stop | None, report: ReportBytes) -> None:
    """Fetch the one file of a Drive folder whose path or name is `name` to `partial`.

    It goes on where an earlier attempt broke off (gdown keeps what came in a .part file beside it). DriveRefused, OSError of
    the disk, and Stopped once `stop` is set.
    """

    def on_block(at: int, total: int | None) -> None:
        if stop is not None and stop.is_set():
            raise Stopped
        report(at, total)

    try:
        import gdown
        import requests
        from gdown.exceptions import DownloadError
    except ImportError as error:
        raise DriveRefused(f"gdown can't be imported ({error}); pip install gdown") from error
    try:
        listing = gdown.download_folder(id=folder, skip_download=True, quiet=True, use_cookies=False, timeout=_TIMEOUT_SECONDS)
        file = find_in_listing(listing, name)
        gdown.download(
            id=file.id, output=str(partial), quiet=True, use_cookies=False, resume=True, timeout=_TIMEOUT_SECONDS, progress=on_block
        )
    except (DownloadError, requests.RequestException) as error:
        if isinstance(error, requests.ConnectionError):
            cause = re.search(r"Caused by (\w+)", str(error))
            raise DriveOutOfReach(f"Google Drive: {cause[1] if cause else str(error)[:_LONGEST_REASON]}") from error
        raise DriveRefused(f"Google Drive: {type(error).__name__}: {str(error)[:_LONGEST_REASON]}") from error


def find_in_listing(listing: Sequence[Any], name: str) -> Any:
    """The entry of gdown's listing whose path or last name is `name`; DriveRefused lists what is there if it is not exactly one."""
    found = [file for file in listing if file.path == name] or [file for file in listing if PurePosixPath(file.path).name == name]
    if len(found) != 1:
        there = ", ".join(sorted(file.path for file in listing)) or "nothing"
        raise DriveRefused(f"{len(found)} files of the folder are called {name}, wanted one; it holds {there}")
    return found[0]
