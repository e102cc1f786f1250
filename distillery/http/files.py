"""Files and pages as HTTP answers: with ETag, If-None-Match, ranges and compression; what can't be served is a problem."""

import asyncio
import gzip
import hashlib
from email.utils import parsedate_to_datetime
from pathlib import Path

from fastapi import Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.exceptions import HTTPException
from starlette.responses import MalformedRangeHeader, RangeNotSatisfiable

from distillery.http.choices import read_choices

_LEVEL = 6
_PACKED = frozenset({"application/json", "application/yaml", "text/html", "text/markdown"})
_LARGEST_PACKED = 64 << 20
"""Bytes that are held in memory to be compressed."""


class _RangedFile(FileResponse):
    """Of several ranges those are sent that are there, and a unit that nobody knows is left aside (RFC 9110, 14.2 and 15.5.17)."""

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        unit, is_one, _ = http_range.partition("=")
        return [] if is_one and unit.strip().lower() != "bytes" else super()._parse_range_header(http_range, file_size)

    @classmethod
    def _parse_ranges(cls, range_: str, file_size: int) -> list[tuple[int, int]]:
        found = super()._parse_ranges(range_, file_size)
        return [own for own in found if own[0] < file_size] or found


def serve_file(request: Request, path: Path, filename: str, media_type: str) -> Response:
    """A file, or the ranges of it that are asked for; 304 if the client has it, 416 if it has none of these ranges.

    The range is left aside where the file is another than the client has a piece of (If-Range).

    A small text is compressed where that is understood and no range is asked for; HDF5 hardly shrinks.
    """
    found = path.stat()
    can_be_packed = media_type in _PACKED and found.st_size <= _LARGEST_PACKED
    if can_be_packed and "range" not in request.headers and _takes_gzip(request):
        return _serve_packed(request, path.read_bytes(), filename, media_type)
    varies = {"Vary": "Accept-Encoding"} if can_be_packed else {}
    response = _RangedFile(path, filename=filename, media_type=media_type, stat_result=found, headers=varies)
    if _is_known(request, response.headers["etag"], found.st_mtime):
        return Response(status_code=304, headers={"ETag": response.headers["etag"], **varies})
    wanted, condition = request.headers.get("range"), request.headers.get("if-range")
    if wanted is not None and (condition is None or response._should_use_range(condition)):  # else the whole file is sent
        _require_range(wanted, found.st_size)
    return response


def _serve_packed(request: Request, content: bytes, filename: str, media_type: str) -> Response:
    """Bytes as a compressed file, with a tag of their own: the client that has these has not the plain ones."""
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}-gzip"', "Vary": "Accept-Encoding"}
    if _is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    headers |= {"Content-Encoding": "gzip", "Content-Disposition": f'attachment; filename="{filename}"'}
    return Response(gzip.compress(content, _LEVEL, mtime=0), headers=headers, media_type=media_type)


def _takes_gzip(request: Request) -> bool:
    return "gzip" in read_choices(request.headers, "accept-encoding")


async def serve_page(request: Request, page: bytes) -> Response:
    """An HTML page, compressed where that is understood; 304 if the client has it."""
    is_packed = _takes_gzip(request)
    headers = {"ETag": f'"{hashlib.sha256(page).hexdigest()[:32]}{"-gzip" if is_packed else ""}"', "Vary": "Accept-Encoding"}
    if _is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if is_packed:
        page, headers["Content-Encoding"] = await asyncio.to_thread(gzip.compress, page, _LEVEL, mtime=0), "gzip"
    return HTMLResponse(page, headers=headers)


def _is_known(request: Request, etag: str, changed: float | None = None) -> bool:
    """Whether the client has what has this tag, or what has not been changed since; 412 if it wants none but another (If-Match), or
    none that was changed since (If-Unmodified-Since).

    changed  when the file was, Unix time, s; None where the answer does not tell
    """
    wanted = _read_tags(request, "if-match")
    unless = _read_date(request.headers.get("if-unmodified-since", ""))
    if not wanted and changed is not None and unless is not None and int(changed) > unless:
        raise HTTPException(412, "the file has been changed since the date of the header If-Unmodified-Since")
    if wanted and not wanted & {etag, "*"}:
        raise HTTPException(412, f"the file has the tag {etag}, the header If-Match asks for {', '.join(sorted(wanted))[:200]}")
    if "if-none-match" in request.headers or changed is None:
        return bool({tag.removeprefix("W/") for tag in _read_tags(request, "if-none-match")} & {etag, "*"})
    since = _read_date(request.headers.get("if-modified-since", ""))
    return since is not None and int(changed) <= since


def _read_date(text: str) -> float | None:
    """A date of HTTP as Unix time, s; None if it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _read_tags(request: Request, header: str) -> set[str]:
    return {tag.strip() for tag in request.headers.get(header, "").split(",")} - {""}


def _require_range(wanted: str, size: int) -> None:
    try:
        _RangedFile._parse_range_header(wanted, size)
    except MalformedRangeHeader as error:
        raise HTTPException(400, f"the header Range is malformed: {error.content}") from error
    except RangeNotSatisfiable as error:
        detail = f"the file has {size} bytes, the header Range asks for {wanted!r}"
        raise HTTPException(416, detail, {"Content-Range": f"bytes */{size}"}) from error
