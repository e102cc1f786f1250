"""Which dataset, shard and request something is done for: carried from the gateway to services and labeller, and into every log line.

The headers are W3C's: `traceparent` has the trace's id, `baggage` names dataset and shard.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

_PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")


@dataclass(frozen=True)
class Trace:
    """What is under way.

    id      32 hex digits, the same wherever something is done for the same request
    parent  16 hex digits of the span that asked; empty where nobody did
    """

    id: str = field(default_factory=lambda: secrets.token_hex(16))
    dataset: str = ""
    shard: str = ""
    parent: str = ""


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def find_trace() -> Trace | None:
    """What this task or thread is at work for."""
    return _current.get()


@contextmanager
def traced(trace: Trace) -> Iterator[Trace]:
    """Within the block all is done for `trace`."""
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)


def write_headers(trace: Trace) -> dict[str, str]:
    """The headers that hand a trace on; every request is a span of its own."""
    known = {"dataset": trace.dataset, "shard": trace.shard}
    baggage = ",".join(f"distillery.{key}={quote(value, safe='')}" for key, value in known.items() if value)
    return {"traceparent": f"00-{trace.id}-{secrets.token_hex(8)}-01"} | ({"baggage": baggage} if baggage else {})


def read_headers(headers: Mapping[str, str]) -> Trace:
    """The trace that a request is of; a new one where it names none."""
    found = _PARENT.fullmatch(headers.get("traceparent", ""))
    if found is None or not int(found[1], 16):
        return Trace()
    pairs = (entry.strip().partition("=") for entry in headers.get("baggage", "").split(","))
    known = {key: unquote(value.partition(";")[0]) for key, _, value in pairs}
    names = {key: name for key in ("dataset", "shard") if _NAME.fullmatch(name := known.get(f"distillery.{key}", ""))}
    return Trace(found[1], **names, parent=found[2])
