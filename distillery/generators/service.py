"""The one function that makes a service's app from a generator."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from distillery.errors import Busy, Internal, InvalidRequest, OutOfMemory, TooLarge, Unavailable, Unsupported
from distillery.generators.generator import Generator, Made, Task, check_request, require_answer, resolve_task
from distillery.generators.settings import ServiceSettings
from distillery.http.app import Readiness, create_base_app
from distillery.http.body import describe_message, read_message
from distillery.http.choices import choose_type
from distillery.http.disconnect import CLIENT_LEFT, run_in_thread, until_client_leaves
from distillery.http.openapi import Responses, explain_problems, publish
from distillery.runtime.device import DeviceLost
from distillery.runtime.stopping import Stop, Stopped
from distillery.runtime.versions import name_machine
from distillery.schema.generate import Generated, GeneratedBatch, GenerateRequest, Metadata, RequestCheck
from distillery.structures.arrow import ARROW_TYPE, to_arrow, to_json
from distillery.telemetry.spans import describe, span

_RESPONSES: Responses = {
    **explain_problems(InvalidRequest, TooLarge, Unsupported, Busy, Unavailable, OutOfMemory),
    200: {
        "description": "Structures: an Arrow IPC stream whose schema metadata holds a `Generated`, or the same as JSON",
        "model": GeneratedBatch,
        "content": {ARROW_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    },
}
_JSON_TYPE = "application/json"
_MOST_NAMED, _LONGEST_NAME = 100, 300
"""Refused rows that an answer names, and characters of each; all are in the log."""


class Queue:
    """At most `concurrency` pieces of work at once and `limit` that wait; one more is Busy."""

    def __init__(self, concurrency: int, limit: int, registry: CollectorRegistry) -> None:
        self._free = asyncio.Semaphore(concurrency)
        self._limit = limit
        self._waiting = 0
        self._gauge = Gauge("distillery_waiting_requests", "Requests that wait for their turn", registry=registry)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it."""
        if self._free.locked() and self._waiting >= self._limit:
            raise Busy(f"{self._waiting} requests wait already; ask again later", retry_after=1)
        self._waiting += 1
        self._gauge.set(self._waiting)
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
            self._gauge.set(self._waiting)
        try:
            yield
        finally:
            self._free.release()


def create_app(generator: Generator, settings: ServiceSettings) -> FastAPI:
    """A service: `POST /generate` beside the routes that all apps have."""
    card = generator.metadata
    executor = ThreadPoolExecutor(settings.concurrency, thread_name_prefix=card.service)

    def close() -> None:
        executor.shutdown(wait=True)
        generator.close()

    app = create_base_app(
        card.service,
        card.version,
        lambda: _describe(generator),
        generator.load,
        close,
        end_when_lost=settings.end_when_lost,
        card=Metadata,
    )
    app.state.generator = generator
    queue = Queue(settings.concurrency, settings.queue, app.state.registry)
    _add_routes(app, generator, _Work(generator, executor, queue, app.state.readiness, _Meter(app.state.registry)))
    publish(app, models=[GenerateRequest])
    return app


def _add_routes(app: FastAPI, generator: Generator, work: "_Work") -> None:
    @app.post(
        "/check", tags=["generate"], responses=explain_problems(InvalidRequest, TooLarge), openapi_extra=describe_message(GenerateRequest)
    )
    async def check(request: Request) -> RequestCheck:
        """What keeps the service from a request for `/generate`; makes nothing, and needs no loaded model."""
        body = await read_message(request, GenerateRequest)
        return await asyncio.to_thread(check_request, body, generator)

    @app.post(
        "/generate", tags=["generate"], response_class=Response, responses=_RESPONSES, openapi_extra=describe_message(GenerateRequest)
    )
    async def generate(request: Request) -> Response:
        """Structures as an Arrow IPC stream, or as JSON where `Accept` asks for it.

        Fewer than n come back, perhaps none, where the budget of attempts ran out: the metadata's `rejected` says why.
        """
        app.state.readiness.require()
        media_type = choose_type(request.headers, (ARROW_TYPE, _JSON_TYPE))
        body = await read_message(request, GenerateRequest)
        task = await asyncio.to_thread(resolve_task, body, generator)
        try:
            made, seconds = await until_client_leaves(request, work.do(task))
        except Stopped:
            return Response(status_code=CLIENT_LEFT)
        return await asyncio.to_thread(_answer, generator, task, made, seconds, media_type)


class _Work:
    """Tasks, as many at once as there are turns, each in a thread."""

    def __init__(self, generator: Generator, executor: ThreadPoolExecutor, queue: Queue, readiness: Readiness, meter: "_Meter") -> None:
        self._generator, self._executor, self._queue = generator, executor, queue
        self._readiness, self._meter = readiness, meter

    async def do(self, task: Task) -> tuple[Made, float]:
        """What was made, and the time that took, s; Busy if too many wait. Once cancelled, the generator is told to stop."""
        async with self._queue.turn():
            start = time.perf_counter()
            with span("generate", service=self._generator.metadata.service, system=task.system, requested=task.n):
                made = await run_in_thread(self._executor, partial(self._make, task))
                describe(structures=len(made.structures), attempts=made.attempts)
            seconds = time.perf_counter() - start
        self._meter.count(task, made, seconds)
        return made, seconds

    def _make(self, task: Task, stop: Stop) -> Made:
        service = self._generator.metadata.service
        try:
            made = self._generator.generate(task, stop, self._meter.show_progress)
        except DeviceLost as problem:
            self._readiness.lose(problem)
            raise
        except SystemExit as error:  # which would end this process without a word
            raise Internal(f"{service}'s generator called sys.exit({error.code!r})") from error
        require_answer(made, task, service)
        return made


def _describe(generator: Generator) -> Metadata:
    """The generator's card, with the machine that it runs on among the versions."""
    card = generator.metadata
    return card.model_copy(update={"versions": {**card.versions, **name_machine()}})


def _answer(generator: Generator, task: Task, made: Made, seconds: float, media_type: str) -> Response:
    card = _describe(generator)
    generated = Generated(
        service=card.service,
        version=card.version,
        versions=card.versions,
        weights_sha256=card.weights_sha256,
        licence=card.licence,
        requested=task.n,
        attempts=made.attempts,
        rejected=dict(sorted(made.rejected.items())),
        named=tuple(name[:_LONGEST_NAME] for name in made.named[:_MOST_NAMED]),
    ).model_dump()
    headers = {"Server-Timing": f"generate;dur={1000 * seconds:.1f}"}
    if media_type == _JSON_TYPE:
        return JSONResponse(to_json(made.structures, generated), headers=headers)
    return Response(to_arrow(made.structures, generated), media_type=ARROW_TYPE, headers=headers)


class _Meter:
    """The Prometheus metrics of a service."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._made = Counter("distillery_structures", "Structures made", ["system"], registry=registry)
        self._rejected = Counter("distillery_rejected", "Attempts without a structure", ["reason"], registry=registry)
        self._seconds = Histogram(
            "distillery_generate_seconds", "Time of one request, s", registry=registry, buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
        )
        self._progress = Gauge("distillery_request_progress", "Share done of the request at hand", registry=registry)

    def show_progress(self, made: float, n: int) -> None:
        self._progress.set(made / n)

    def count(self, task: Task, made: Made, seconds: float) -> None:
        self._made.labels(task.system).inc(len(made.structures))
        for reason, count in made.rejected.items():
            self._rejected.labels(reason).inc(count)
        self._seconds.observe(seconds)
