"""Spans of requests, by FastAPI's own and by OpenTelemetry's instrumentation of httpx, where this process keeps spans.

Routine requests have none: a page that is looked at, or replicas that are there, would fill the collector with them.
"""

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import httpx

from distillery.telemetry.spans import find_provider

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig  # a client does without FastAPI

READING = frozenset({"GET", "HEAD", "OPTIONS"})


def configure_spans() -> "TelemetryConfig":
    """What FastAPI keeps of an app's requests: a span each, which is part of the one that their `traceparent` names."""
    provider = find_provider()
    return {
        "tracer_provider": provider,
        "tracing": provider is not None,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": is_routine,
    }


def is_routine(scope: MutableMapping[str, Any]) -> bool:
    """Whether a request only reads, or is a replica's that says every few seconds that it is still there."""
    method = scope.get("method")
    return method in READING or (method == "PUT" and str(scope.get("path")).startswith("/v1/replicas/"))


def trace_requests(transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """A transport whose requests have a span each, which their `traceparent` names; `transport` itself where none are kept."""
    return transport if find_provider() is None else _TracedTransport(transport)


class _TracedTransport(httpx.AsyncBaseTransport):
    def __init__(self, plain: httpx.AsyncBaseTransport) -> None:
        from opentelemetry.instrumentation.httpx import AsyncOpenTelemetryTransport

        self._plain, self._traced = plain, AsyncOpenTelemetryTransport(plain, tracer_provider=find_provider())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await (self._plain if request.method in READING else self._traced).handle_async_request(request)

    async def aclose(self) -> None:
        await self._plain.aclose()
