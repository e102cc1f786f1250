"""Sending spans: in batches, by a thread of its own, and with one line in the log when the collector is away."""

import logging
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor, SpanExporter, SpanExportResult

_log = logging.getLogger("distillery")
_REPEATED = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal")
"""Loggers that say at every batch what is said once here."""


def open_processor(exporter: str) -> SpanProcessor:
    """What takes spans at their end: for `otlp` at the address that the standard variables name, for `console` at once as JSON."""
    if exporter == "console":
        return SimpleSpanProcessor(ConsoleSpanExporter())
    for name in _REPEATED:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return BatchSpanProcessor(SteadyExporter(OTLPSpanExporter()))


class SteadyExporter(SpanExporter):
    """Sends by another exporter. That the collector does not take spans is said once, and once again when it does."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._is_away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter`."""
        result = self._inner.export(spans)
        is_away = result is not SpanExportResult.SUCCESS
        if is_away and not self._is_away:
            _log.warning("the collector of spans does not take them (OTEL_EXPORTER_OTLP_ENDPOINT); they are lost until it does")
        elif self._is_away and not is_away:
            _log.info("the collector of spans takes them again")
        self._is_away = is_away
        return result

    def shutdown(self) -> None:
        """See `SpanExporter`."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """See `SpanExporter`."""
        return self._inner.force_flush(timeout_millis)
