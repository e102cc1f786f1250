"""When spans are kept, and that nothing is imported or stopped for their sake."""

import asyncio
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

from distillery.http.request_log import RequestLog, RequestMeter
from distillery.http.traced import is_routine
from distillery.runtime.trace import Trace
from distillery.telemetry.sending import SteadyExporter
from distillery.telemetry.setup import send_spans
from distillery.telemetry.spans import find_provider, join_trace, span
from tests.serving import free_port

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    ("variables", "are_kept"),
    [
        ({}, False),
        ({ENDPOINT: "http://127.0.0.1:1"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
        ({ENDPOINT: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({ENDPOINT: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
    ],
)
def test_the_standard_variables_say_whether_spans_are_kept(
    variables: dict[str, str], are_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with send_spans("test"):
        assert (find_provider() is not None) == are_kept
    assert find_provider() is None


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({ENDPOINT: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc is wanted, only http/protobuf"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "otlp, console or none, got zipkin"),
    ],
)
def test_what_can_t_be_sent_is_told(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with send_spans("test"):
        assert find_provider() is None
    assert [said in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("method", "path", "routine"),
    [
        ("GET", "/v1/datasets", True),
        ("PUT", "/v1/replicas/vm-1", True),
        ("DELETE", "/v1/replicas/vm-1", False),
        ("POST", "/label", False),
    ],
)
def test_what_comes_all_the_time_has_no_span_and_no_line(method: str, path: str, routine: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask() -> None:
        scope = {"type": "http", "method": method, "path": path, "headers": []}
        await RequestLog(answer, "test", RequestMeter(CollectorRegistry()))(scope, AsyncMock(), AsyncMock())

    with caplog.at_level("INFO", "distillery.http"):
        asyncio.run(ask())
    assert (is_routine({"method": method, "path": path}), not caplog.records) == (routine, routine)


def test_the_name_of_the_process_is_its_own_unless_a_variable_says_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    assert name_process() == "distillery-rdkit"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    assert name_process() == "mine"


def name_process() -> object:
    with send_spans("distillery-rdkit"):
        return find_provider().resource.attributes["service.name"]  # type: ignore[union-attr]


def test_a_collector_that_is_away_costs_one_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with send_spans("test"):
        for _ in range(20):
            with span("shard"):
                time.sleep(0.05)
        time.sleep(1)
        began = time.monotonic()
    assert time.monotonic() - began < 3
    assert ["the collector of spans does not take them" in record.getMessage() for record in caplog.records] == [True]


class Scripted(SpanExporter):
    """Says what it is told to."""

    def __init__(self, *results: SpanExportResult) -> None:
        self._results = list(results)

    def export(self, spans: object) -> SpanExportResult:
        return self._results.pop(0)


def test_that_it_is_back_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    well, away = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    exporter = SteadyExporter(Scripted(well, away, away, well, well, away))
    with caplog.at_level(logging.INFO):
        for _ in range(6):
            exporter.export([])
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


def test_without_the_variables_nothing_more_is_imported_and_a_trace_keeps_its_id() -> None:
    trace = Trace()
    assert join_trace(trace) is trace
    code = (
        "import sys; from distillery.telemetry.setup import send_spans; from distillery.telemetry.spans import span\n"
        "import distillery.http.app, gateway.app, labeller.app\n"
        "with send_spans('x'), span('y'): pass\n"
        "print(*{'.'.join(name.split('.')[:2]) for name in sys.modules} & set(sys.argv[1:]))"
    )
    costly = ["opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.instrumentation"]  # FastAPI imports the API itself
    done = subprocess.run([sys.executable, "-c", code, *costly], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_without_the_packages_there_is_a_line_that_says_which(tmp_path: Path) -> None:
    code = (
        "import logging, sys; logging.basicConfig(format='%(message)s'); sys.modules['opentelemetry.sdk'] = None\n"
        "from distillery.telemetry.setup import send_spans\n"
        "with send_spans('x'): print('goes on')"
    )
    environment = {ENDPOINT: "http://127.0.0.1:1", "PATH": "/usr/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "goes on"
    assert "pip install 'distillery[telemetry]'" in done.stderr
    assert done.stderr.count("\n") == 1
