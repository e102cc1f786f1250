"""What every request of an app leaves behind: the names of service and contract in its answer, metrics, and a log line."""

import logging
import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distillery.http.error_responses import as_bug
from distillery.http.traced import is_routine
from distillery.runtime.trace import Trace, read_headers, traced
from distillery.schema.base import CONTRACT_VERSION
from distillery.telemetry.spans import join_trace

_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE"})
_SECONDS = (0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300, 1800)
_log = logging.getLogger("distillery.http")


class RequestMeter:
    """The Prometheus metrics of requests, by method, route and status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["method", "path", "status"]
        self._requests = Counter("distillery_http_requests", "Requests by path and status", labels, registry=registry)
        self._seconds = Histogram(
            "distillery_http_request_seconds",
            "Time from a request's head to the end of its answer, s; streams of events are left out",
            labels,
            registry=registry,
            buckets=_SECONDS,
        )

    def count(self, scope: Scope, status: int) -> None:
        """A request whose answer begins."""
        self._requests.labels(*_describe(scope), str(status)).inc()

    def time(self, scope: Scope, status: int, seconds: float) -> None:
        """A request whose answer has ended."""
        self._seconds.labels(*_describe(scope), str(status)).observe(seconds)


def _describe(scope: Scope) -> tuple[str, str]:
    """Method and route; a client may invent any number of either, so what is not known is put together."""
    method = scope["method"] if scope["method"] in _METHODS else "other"
    mounted = scope.get("root_path", "").removeprefix(scope.get("app_root_path", ""))  # a folder of files has no route
    return method, getattr(scope.get("route"), "path", f"{mounted}/{{path}}" if mounted else "unknown")


class RequestLog:
    """Adds the names of service and contract to every response, that to a bug too; counts it, times it, and does all for its trace."""

    def __init__(self, app: ASGIApp, service: str, meter: RequestMeter) -> None:
        self._app, self._service, self._meter = app, service, meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with traced(join_trace(_read_trace(scope))) as trace:
            exchange = _Exchange(scope, send, self._service, self._meter, trace)
            try:
                await self._app(scope, receive, exchange.send)
            except Exception as error:
                if exchange.status is not None:
                    raise
                await as_bug(error, scope["method"], scope["path"])(scope, receive, exchange.send)
            finally:
                exchange.end()


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send, service: str, meter: RequestMeter, trace: Trace) -> None:
        self._scope, self._send, self._service, self._meter, self._trace = scope, send, service, meter, trace
        self._began = time.perf_counter()
        self._is_stream = False
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message.get("headers", ())
            self._is_stream = any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)
            message["headers"] = [
                *headers,
                (b"distillery-service", self._service.encode()),
                (b"distillery-contract", CONTRACT_VERSION.encode()),
                (b"distillery-trace", self._trace.id.encode()),
            ]
            self._meter.count(self._scope, message["status"])
        await self._send(message)

    def end(self) -> None:
        """Time it, and log it if it was to change something."""
        if self.status is None or self._is_stream:
            return
        seconds = time.perf_counter() - self._began
        self._meter.time(self._scope, self.status, seconds)
        if not is_routine(self._scope):
            _log.info("%s %s %d %.3f s", self._scope["method"], self._scope["path"], self.status, seconds)


def _read_trace(scope: Scope) -> Trace:
    wanted = {b"traceparent", b"baggage"}
    return read_headers({name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in wanted})
