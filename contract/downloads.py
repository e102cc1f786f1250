"""Downloads that go on where an earlier attempt broke off."""

import logging
from pathlib import Path

import httpx

from contract.generator import Stop, Stopped

_TIMEOUT = httpx.Timeout(30, connect=10)
_LOG_EVERY_BYTES = 20 << 20
_log = logging.getLogger("distillery")


def download(url: str, partial: Path, stop: Stop | None = None) -> None:
    """Append the rest of `url` to `partial`, or fetch all of it where the server can't resume.

    What came is left there on httpx.HTTPError, OSError and, once `stop` is set, Stopped.
    """
    start = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    with httpx.stream("GET", url, headers=headers, timeout=_TIMEOUT, follow_redirects=True) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            partial.unlink()
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        at = start if resumed else 0
        total = at + int(response.headers.get("Content-Length", 0))
        _log.info("downloading %s from byte %d of %d", url, at, total)
        with partial.open("ab" if resumed else "wb") as target:
            for block in response.iter_raw():
                if stop is not None and stop.is_set():
                    raise Stopped
                target.write(block)
                if (at + len(block)) // _LOG_EVERY_BYTES > at // _LOG_EVERY_BYTES:
                    _log.info("%s: %d of %d MiB", partial.name, (at + len(block)) >> 20, total >> 20)
                at += len(block)
