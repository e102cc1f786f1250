"""Events of a dataset as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import get_args

from distillery.schema.dataset import Event, EventKind

_HEARTBEAT = 15.0
"""Seconds."""
ITEM_SCHEMA = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "description": "for the header Last-Event-ID"},
        "event": {"type": "string", "enum": list(get_args(EventKind))},
        "data": {
            "type": "string",
            "description": "`time` (Unix time, s), and the keys of `Event.data`",
            "contentMediaType": "application/json",
        },
    },
}
"""The JSON Schema of one of them."""


async def write_events(events: AsyncIterator[Event]) -> AsyncIterator[str]:
    """The SSE text of events, with a comment line every 15 s so that proxies keep the line open."""
    upcoming = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait({upcoming}, timeout=_HEARTBEAT)
            if not done:
                yield ": still here\n\n"
                continue
            event = upcoming.result()
            if event is None:
                return
            yield _write_event(event)
            upcoming = asyncio.ensure_future(anext(events, None))
    finally:
        upcoming.cancel()


def _write_event(event: Event) -> str:
    data = json.dumps({"time": event.time, **event.data.model_dump(mode="json")})
    return f"id: {event.id}\nevent: {event.event}\ndata: {data}\n\n"
