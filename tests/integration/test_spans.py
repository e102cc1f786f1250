"""Spans: a shard is one trace from the gateway to service and labeller, whether they share a process or not."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from distillery.errors import Unavailable
from distillery.generators.generator import Task
from distillery.telemetry.spans import keep_with
from tests.fake_service import FakeGenerator
from tests.integration.factory import factory, make, two_fakes
from tests.integration.test_replicas import RECIPE, running, wait_until
from tests.otlp_receiver import Received, receiving

SMALL = """\
name: small
seed: 1
teacher: fake
sources:
  one: {service: fake, system: cluster, count: 5, atoms: [4, 20]}
"""
SHARD = [
    "shard",
    "shard > curate",
    "shard > generate",
    "shard > generate > POST",
    "shard > generate > POST > POST /generate",
    "shard > generate > POST > POST /generate > generate",
    "shard > label",
    "shard > label > POST",
    "shard > label > POST > POST /label",
    "shard > label > POST > POST /label > check",
    "shard > label > POST > POST /label > label",
    "shard > label > POST > POST /label > label > featurise",
    "shard > label > POST > POST /label > label > forward",
    "shard > label > POST > POST /label > physics",
    "shard > label > POST > POST /label > read",
    "shard > label > POST > POST /label > write",
]


@pytest.fixture
def kept() -> Iterator[InMemorySpanExporter]:
    """The spans of this process."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    keep_with(provider)
    yield exporter
    keep_with(None)


def tell(spans: list[Received]) -> list[str]:
    """Every kind of span, by the names from the first of its trace down to it."""
    by_id = {span.id: span for span in spans}

    def path(span: Received) -> str:
        return f"{path(by_id[span.parent])} > {span.name}" if span.parent else span.name

    return sorted(set(map(path, spans)))


def read(span: ReadableSpan) -> Received:
    context, parent = span.get_span_context(), span.parent
    assert context is not None
    return Received(
        "",
        span.name,
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        f"{parent.span_id:016x}" if parent else "",
        {key: str(value) for key, value in (span.attributes or {}).items()},
        tuple(f"{link.context.trace_id:032x}" for link in span.links),
    )


def make_small(data: Path, fakes: dict[str, FakeGenerator]) -> None:
    async def main() -> None:
        async with factory(data, fakes) as client:
            assert (await make(client, SMALL))["state"] == "finished"

    asyncio.run(main())


def test_a_shard_is_one_trace_from_the_gateway_to_the_parts_file(kept: InMemorySpanExporter, tmp_path: Path) -> None:
    make_small(tmp_path, two_fakes())
    spans = [read(span) for span in kept.get_finished_spans()]
    shard = next(span for span in spans if span.name == "shard")
    assert tell([span for span in spans if span.trace == shard.trace]) == SHARD
    assert (shard.attributes["distillery.dataset"], shard.attributes["distillery.source"]) == ("small", "one")
    others = tell([span for span in spans if span.trace != shard.trace])
    request = "POST > POST /v1/datasets"  # that the recipe came with: its sender waits for an answer, the run goes on
    assert [name.removeprefix(f"{request} > ") for name in others if "run" in name] == [
        "run",
        "run > merge",
        "run > merge > POST",
        "run > merge > POST > POST /finalise",
        "run > preflight",
        "run > preflight > POST",
        "run > preflight > POST > POST /check",
        "run > round",
    ]
    assert shard.links == tuple({span.trace for span in spans if span.name == "round"})


def test_log_lines_name_the_trace_that_the_collector_has(
    kept: InMemorySpanExporter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from distillery.runtime.logs import JsonFormatter

    lines: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonFormatter("test").format(record))

    listening = Listening()
    logger = logging.getLogger("distillery")
    logger.addHandler(listening)
    try:
        with caplog.at_level(logging.INFO, "distillery"):
            make_small(tmp_path, two_fakes())
    finally:
        logger.removeHandler(listening)
    shard = next(read(span) for span in kept.get_finished_spans() if span.name == "shard")
    said = [line for line in lines if "made " in line or "POST /label" in line or "POST /generate" in line]
    assert len(said) == 3
    assert all(f'"trace": "{shard.trace}"' in line for line in said)


def fail_once(task: Task, k: int) -> None:
    if k == 0:
        raise Unavailable("not yet")


def test_a_retry_is_told_by_the_span_that_waits(kept: InMemorySpanExporter, tmp_path: Path) -> None:
    make_small(tmp_path, {"fake": FakeGenerator("fake", script=fail_once), "other": FakeGenerator("other")})
    generate = next(span for span in kept.get_finished_spans() if any(event.name == "asked again" for event in span.events))
    attempts = [span for span in kept.get_finished_spans() if span.name == "POST" and span.parent and span.parent == generate.context]
    assert generate.name == "generate"
    assert len(attempts) == 2


def test_processes_send_the_spans_of_a_shard_as_one_trace(tmp_path: Path) -> None:
    with receiving() as receiver:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        with running(tmp_path, **settings) as factory:
            for name in ("ase", "labeller"):
                factory.start(name)
            wait_until(lambda: len(factory.names()) == 2)
            assert factory.ask("POST", "/v1/datasets", content=RECIPE).status_code == 202
            wait_until(lambda: factory.status()["state"] == "finished")
            wait_until(lambda: any(span.name == "run" for span in receiver.spans), 20)
        spans = list(receiver.spans)
    shards = [span for span in spans if span.name == "shard"]
    assert len(shards) == 8
    for shard in shards:
        own = [span for span in spans if span.trace == shard.trace]
        assert set(SHARD) - {"shard > label > POST > POST /label > physics"} <= set(tell(own))
        services = {span.name: span.service for span in own}
        assert services["shard"] == "distillery-gateway"
        assert services["POST /generate"] == "tests.fast_service:build_ase"
        assert services["forward"] == services["write"] == "tests.null_teacher:build"
