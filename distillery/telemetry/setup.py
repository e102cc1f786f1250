"""Whether and where spans are sent: OpenTelemetry's own variables say so."""

import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from distillery.telemetry.spans import keep_with

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_EXPORTER = "OTEL_TRACES_EXPORTER"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_LAST_SECONDS = 2.0
"""How long the last spans may take at the end of a process."""
_log = logging.getLogger("distillery")


@contextmanager
def send_spans(service: str) -> Iterator[None]:
    """Within the block the spans of this process, named `service`, and of apps and clients that are made in it, go where the environment
    says; nowhere if it says nothing.

    A collector that is away, or packages that are, keep nothing from being done: the log has a line of it.
    """
    provider = _start(service) if _find_exporter(os.environ) else None
    try:
        yield
    finally:
        if provider is not None:
            keep_with(None)
            last = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
            last.start()
            last.join(_LAST_SECONDS)


def _find_exporter(environment: Mapping[str, str]) -> str:
    """`otlp`, or `console` for lines on standard output; "" if no spans are wanted, or of a kind that is not there."""
    named = environment.get(_EXPORTER, "").strip().lower()
    has_place = any(environment.get(name) for name in _ENDPOINTS)
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or named == "none" or not (named or has_place):
        return ""
    protocol = next(filter(None, (environment.get(name, "").strip() for name in _PROTOCOLS)), _PROTOCOL)
    if (named or "otlp") == "otlp" and protocol != _PROTOCOL:
        _log.error("no spans are sent: %s is wanted, only %s is spoken here, most often at port 4318", protocol, _PROTOCOL)
        return ""
    if named not in {"", "otlp", "console"}:
        _log.error("no spans are sent: %s is otlp, console or none, got %s", _EXPORTER, named)
        return ""
    return named or "otlp"


def _start(service: str) -> "TracerProvider | None":
    try:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider

        from distillery.telemetry.sending import open_processor

        processor = open_processor(_find_exporter(os.environ))
    except ModuleNotFoundError as error:
        _log.error("no spans are sent: %s is not installed here; pip install 'distillery[telemetry]'", error.name)
        return None
    own = Resource.create({"service.name": service, "service.version": version("distillery"), "service.instance.id": socket.gethostname()})
    provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    keep_with(provider)
    return provider
