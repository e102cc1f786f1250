"""Bodies of requests, read on the event loop and parsed off it, where what is large keeps nobody else waiting."""

import asyncio
import json
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from distillery.errors import InvalidRequest, TooLarge
from distillery.http.error_responses import describe_faults
from distillery.http.openapi import refer_to
from distillery.runtime.limits import LARGEST_DEPTH, LARGEST_MESSAGE, LARGEST_NODES, MOST_KEYS

M = TypeVar("M", bound=BaseModel)


async def read_body(request: Request) -> bytearray:
    """The body of a request, which `request_limits` bounds; not copied once it is there, for that takes as long as others may wait.

    InvalidRequest if it is packed: what it would be unpacked has no bound that could be told before.
    """
    if (packing := request.headers.get("content-encoding", "identity").strip().lower()) not in {"", "identity"}:
        raise InvalidRequest(f"bodies are read as they are, and this one has Content-Encoding {packing[:40]}; send it unpacked")
    body = bytearray()
    async for block in request.stream():
        body += block
    return body


async def read_message(
    request: Request, kind: type[M], largest: int = LARGEST_MESSAGE, most_values: int = LARGEST_NODES, most_keys: int = MOST_KEYS
) -> M:
    """The JSON body of a request as a message; InvalidRequest names what is wrong, TooLarge says how many bytes it may have."""
    body = await read_body(request)
    if len(body) > largest:
        raise TooLarge(f"this message may have {largest} bytes, {len(body)} came")
    return await asyncio.to_thread(parse_message, body, kind, most_values, most_keys)


def describe_message(kind: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body is read so; `publish` must be told of the kind."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": refer_to(kind)}}}}


def parse_message(body: bytes | bytearray, kind: type[M], most_values: int = LARGEST_NODES, most_keys: int = MOST_KEYS) -> M:
    """A message from JSON; InvalidRequest if it is none, or holds more than a message may."""
    try:
        value = json.loads(body, object_pairs_hook=_refuse_twins)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from error
    if (excess := _find_excess(value, most_values, most_keys)) is not None:
        raise InvalidRequest(f"the body {excess}")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise InvalidRequest(describe_faults([{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()])) from error


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twin = next(key for k, (key, _) in enumerate(pairs) if key in dict(pairs[:k]))
        raise ValueError(f"key {twin[:100]!r} is given twice")
    return found


def _find_excess(value: Any, most_values: int, most_keys: int) -> str | None:
    """What is too much in a value: depth, number of values, or text that can't be written as UTF-8 or names a file."""
    n_nodes, level = 0, [value]
    for _ in range(LARGEST_DEPTH + 1):
        n_nodes += len(level)
        if n_nodes > most_values:
            return f"holds more than {most_values} values"
        if any(isinstance(one, dict) and len(one) > most_keys for one in level):
            return f"has a mapping with more than {most_keys} keys"
        if any(isinstance(one, str) and not _is_text(one) for one in level):
            return "holds text with a NUL or half of a surrogate pair; leave it out"
        inner = [(one.keys(), one.values()) if isinstance(one, dict) else (one,) for one in level if isinstance(one, dict | list)]
        level = [one for group in inner for some in group for one in some]
        if not level:
            return None
    return f"is nested deeper than {LARGEST_DEPTH} levels"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
