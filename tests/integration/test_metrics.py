"""What a factory says of itself to those who watch it: metrics, log lines, and in a status what is asked again."""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from distillery.errors import Unavailable
from distillery.generators.generator import Task
from distillery.runtime.logs import JsonFormatter, choose_level
from distillery.runtime.trace import Trace, read_headers, traced, write_headers
from gateway.factory import Factory
from tests.command import ROOT, distillery
from tests.integration.factory import RECIPE, factory, make, two_fakes, until, wait_for

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> Samples:
    """Name and labels of every sample; the parser refuses what Prometheus would."""
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


def use(data: Path, act: Callable[[httpx.AsyncClient], Awaitable[Any]], generators: Any = None, **changes: Any) -> Any:
    async def main() -> Any:
        async with factory(data, generators or two_fakes(), **changes) as client:
            return await act(client)

    return asyncio.run(main())


def test_metrics_tell_of_datasets_shards_and_structures_by_source_and_outcome(tmp_path: Path) -> None:
    generators = two_fakes()
    generators["fake"].seconds = 30

    async def act(client: httpx.AsyncClient) -> Samples:
        await client.post("/v1/datasets", content=RECIPE)
        async with asyncio.timeout(30):
            while (await client.get("/v1/datasets/small")).json()["sources"]["two"]["labelled"] < 12:
                await asyncio.sleep(0.05)
        return parse((await client.get("/metrics")).text)

    found = use(tmp_path, act, generators)
    assert found["distillery_datasets", (("state", "running"),)] == 1
    of_two = (("dataset", "small"), ("source", "two"))
    assert found["distillery_shards", (*of_two, ("state", "done"))] == 3
    assert found["distillery_shards", (("dataset", "small"), ("source", "one"), ("state", "generating"))] == 2
    assert found["distillery_proposals_total", (("dataset", "small"), ("outcome", "generated"), ("source", "two"))] == 12
    assert found["distillery_frames_total", (("dataset", "small"), ("outcome", "labelled"), ("source", "two"))] == 12
    assert found["distillery_disk_bytes", (("kind", "free"),)] > 0
    created = (("method", "POST"), ("path", "/v1/datasets"), ("status", "202"))
    assert found["distillery_http_request_seconds_count", created] == 1
    assert ("process_resident_memory_bytes", ()) in found


def test_every_metric_of_the_dashboard_is_told_by_gateway_or_labeller(tmp_path: Path) -> None:
    async def main() -> str:
        apps: dict[str, Any] = {}
        async with factory(tmp_path, two_fakes(), apps=apps) as client:
            await client.post("/v1/datasets", content=RECIPE)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(apps["labeller"]), base_url="http://labeller") as labeller:
                return (await client.get("/metrics")).text + (await labeller.get("/metrics")).text

    told = {name for line in asyncio.run(main()).splitlines() if line.startswith("# TYPE") for name in [line.split()[2]]}
    wanted = set(re.findall(r"distillery_[a-z_]+", (ROOT / "deploy" / "grafana.json").read_text()))
    missing = {name for name in wanted if name not in told and name.removesuffix("_bucket") not in told}
    assert missing == {"distillery_gpu_used_bytes", "distillery_gpu_total_bytes"}  # they need a GPU


def test_a_shard_has_one_trace_in_the_logs_of_gateway_service_and_labeller(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    formatter, lines = JsonFormatter("all of them"), list[dict[str, str]]()

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(formatter.format(record)))

    log, handler = logging.getLogger("distillery"), Keep()
    log.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO, "distillery"):
            use(tmp_path, make)
    finally:
        log.removeHandler(handler)
    of_one = [line for line in lines if line.get("shard") == "full-one-00000"]
    assert len({line["trace"] for line in of_one}) == 1
    assert [line["message"].split(" ")[:2] for line in of_one] == [["POST", "/generate"], ["POST", "/label"], ["made", "full-one-00000:"]]
    assert {line["dataset"] for line in of_one} == {"small"}
    assert {"time", "level", "service", "replica"} <= of_one[0].keys()


def test_a_trace_is_carried_by_headers() -> None:
    trace = Trace(dataset="small", shard="full-one-00000")
    again = read_headers(write_headers(trace))
    assert (again.id, again.dataset, again.shard) == (trace.id, trace.dataset, trace.shard)


@pytest.mark.parametrize("parent", ["", "00-zz-0-01", f"00-{'0' * 32}-{'1' * 16}-01", "01-" + "a" * 32])
def test_a_header_that_names_no_trace_begins_another(parent: str) -> None:
    assert re.fullmatch("[0-9a-f]{32}", read_headers({"traceparent": parent}).id)
    assert read_headers({"traceparent": parent, "baggage": "distillery.dataset=a%0ab"}).dataset == ""


def test_a_line_without_a_trace_names_none() -> None:
    record = logging.LogRecord("distillery", logging.INFO, "", 0, "here", None, None)
    with traced(Trace("a" * 32, "small")):
        line = json.loads(JsonFormatter("gateway").format(record))
    assert (line["trace"], line["dataset"], "shard" in line) == ("a" * 32, "small", False)
    assert "trace" not in json.loads(JsonFormatter("gateway").format(record))


def test_the_level_of_log_lines_may_be_written_large_or_small_and_another_word_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_level("INFO") == "INFO"
    monkeypatch.setenv("DISTILLERY_LOG", "warning")
    assert choose_level("INFO") == "WARNING"
    done = distillery("schema", cwd=ROOT, env={"DISTILLERY_LOG": "loud"})
    assert (done.returncode, "must be one of DEBUG, INFO" in done.output, "Traceback" in done.output) == (1, True, False)


def fail(task: Task, call: int) -> None:
    raise Unavailable("the weights of fake are missing; put them into /weights")


def test_what_is_asked_again_is_told_in_the_status_and_by_the_factory(tmp_path: Path) -> None:
    generators = two_fakes()
    generators["fake"].script = fail

    async def act(client: httpx.AsyncClient) -> None:
        await client.post("/v1/datasets", content=RECIPE)
        async with asyncio.timeout(10):
            while not (status := (await client.get("/v1/datasets/small")).json())["retries"]:
                await asyncio.sleep(0.02)
        assert status["state"] == "running"
        (retry,) = status["retries"]
        assert (retry["service"], retry["kind"]) == ("fake", "unavailable")
        assert "put them into /weights" in retry["detail"]
        assert (await client.get("/v1/factory")).json()["retries"][0]["detail"] == retry["detail"]
        assert 'distillery_retries_total{service="fake"}' in (await client.get("/metrics")).text
        generators["fake"].script = None
        status = await wait_for(client, "finished")
        assert status["retries"] == status["at_work"] == []

    use(tmp_path, act, generators, patience=1.0, tries=8)


def test_the_factory_says_what_every_replica_does_and_how_busy_the_teacher_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.factory._LOOK_AGAIN_SECONDS", 0.0)
    generators = two_fakes()
    generators["fake"].seconds = 30

    async def act(client: httpx.AsyncClient) -> None:
        await client.post("/v1/datasets", content=RECIPE)
        await until(lambda: generators["fake"].calls)
        await client.get("/v1/factory")
        found = {row["service"]: row for row in (await client.get("/v1/factory")).json()["replicas"]}
        assert found["fake"]["at_work"] == ["small/full-one-00000", "small/full-one-00001"]
        assert 0 <= found["labeller"]["busy_share"] <= 1
        assert found["fake"]["is_ready"]

    use(tmp_path, act, generators)


def test_the_factory_is_looked_at_once_however_many_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, look = [], Factory._look
    monkeypatch.setattr(Factory, "_look", lambda self: looks.append(1) or look(self))

    async def act(client: httpx.AsyncClient) -> None:
        await asyncio.gather(*(client.get("/v1/factory") for _ in range(20)))

    use(tmp_path, act)
    assert len(looks) == 1


def test_requests_are_counted_by_route_files_of_the_page_too_and_what_is_none_together(tmp_path: Path) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        for path in ("/live/assets/live.js", "/live/assets/style.css", "/nowhere", "/nowhere/else", "/v1/datasets/none"):
            await client.get(path)
        counted = (await client.get("/metrics")).text
        for path, status, n in (("/live/assets/{path}", 200, 2), ("unknown", 404, 2), ("/v1/datasets/{name}", 404, 1)):
            assert f'distillery_http_requests_total{{method="GET",path="{path}",status="{status}"}} {n}.0' in counted

    use(tmp_path, act)
