"""Downloads that go on where an earlier attempt broke off."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import httpx

from distillery.runtime.stopping import Stop, Stopped

_TIMEOUT = httpx.Timeout(30, connect=10)
_LOG_EVERY_BYTES = 20 << 20
_log = logging.getLogger("distillery")

ReportBytes = Callable[[int, int | None], None]
"""Told how many bytes there are and how many there will be, if known, after every block."""


def download(url: str, partial: Path, stop: Stop | None = None, report: ReportBytes | None = None) -> None:
    """Append the rest of `url` to `partial`, or fetch all of it where the server can't resume or has another version by now.

    What came is left there on httpx.HTTPError, OSError and, once `stop` is set, Stopped. `report` is a log line every 20 MiB
    if absent.
    """
    start = partial.stat().st_size if partial.exists() else 0
    with httpx.stream("GET", url, headers=_headers(partial, start), timeout=_TIMEOUT, follow_redirects=True) as response:
        if start and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            is_whole = re.fullmatch(rf"bytes \*/{start}", response.headers.get("Content-Range", "")) is not None
        else:
            is_whole = True
            response.raise_for_status()
            _store(response, partial, start, stop, report or log_progress(partial.name))
    if not is_whole:
        partial.unlink()
        download(url, partial, stop, report)
    _version_of(partial).unlink(missing_ok=True)


def log_progress(name: str) -> ReportBytes:
    """A report that logs a line every 20 MiB."""
    logged = 0

    def report(at: int, total: int | None) -> None:
        nonlocal logged
        if at // _LOG_EVERY_BYTES > logged // _LOG_EVERY_BYTES:
            _log.info("%s: %s", name, describe_bytes(at, total))
        logged = at

    return report


def describe_bytes(at: int, total: int | None) -> str:
    """`40 of 440 MiB (9 %)`."""
    return f"{at >> 20} of {total >> 20} MiB ({100 * at // total} %)" if total else f"{at >> 20} MiB"


def _headers(partial: Path, start: int) -> dict[str, str]:
    """Ask for the bytes as they are, and for the rest only if the file is still the one the first part came from."""
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        version = _version_of(partial)
        if version.exists():
            headers["If-Range"] = version.read_text()
    return headers


def _store(response: httpx.Response, partial: Path, start: int, stop: Stop | None, report: ReportBytes) -> None:
    is_resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
    at = start if is_resumed else 0
    length = response.headers.get("Content-Length")
    total = None if length is None else at + int(length)
    _log.info("downloading %s%s, %s", partial.name, f" from byte {at} on" if at else "", f"{total} bytes" if total else "size unknown")
    _remember_version(response, partial)
    with partial.open("ab" if is_resumed else "wb") as target:
        for block in response.iter_raw():
            if stop is not None and stop.is_set():
                raise Stopped
            target.write(block)
            at += len(block)
            report(at, total)


def _remember_version(response: httpx.Response, partial: Path) -> None:
    """Note a strong ETag or the date, by which RFC 9110's If-Range knows a changed file."""
    etag = response.headers.get("ETag", "")
    version = etag if etag.startswith('"') else response.headers.get("Last-Modified")
    if version:
        _version_of(partial).write_text(version)
    else:
        _version_of(partial).unlink(missing_ok=True)


def _version_of(partial: Path) -> Path:
    return partial.with_name(partial.name + ".version")
