"""The routes that all apps have: health, metadata, metrics, problems, and headers that name service and contract."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from fastapi import FastAPI
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from pydantic import BaseModel

from distillery.errors import Internal, Problem, Unavailable
from distillery.http.docs_page import DOCS_ASSETS, add_docs
from distillery.http.error_responses import add_error_handlers
from distillery.http.openapi import ReadRoute, explain_problems, publish
from distillery.http.request_limits import RequestLimits
from distillery.http.request_log import RequestLog, RequestMeter
from distillery.http.traced import configure_spans
from distillery.runtime.device import DeviceLost, is_fatal, is_out_of_memory, release_cuda_memory, without_frames
from distillery.runtime.limits import LARGEST_MESSAGE
from distillery.runtime.logs import choose_formatter, choose_level
from distillery.schema.problem import Health

OPEN_PATHS = ("/v1/health/", "/docs", DOCS_ASSETS, "/openapi.json")
"""What needs no API key: nothing of them tells of a dataset, and the page /docs is where a person gives the key."""
_RELOAD_SECONDS = 10.0
_LONGEST_RELOAD = 600.0
_LONGEST_END = 30.0
_log = logging.getLogger("distillery")


class Readiness:
    """Whether what the service needs is loaded, and if not, why."""

    def __init__(self, service: str, end_when_lost: bool) -> None:
        self._end_when_lost = end_when_lost
        self._reason: Problem | None = Unavailable(f"{service} is still loading", retry_after=2)

    def set(self, reason: Problem | None) -> None:
        """None once all is loaded."""
        self._reason = reason

    def lose(self, reason: DeviceLost) -> None:
        """Refuse all from now on, and end the process where something starts it again."""
        self.set(reason)
        if self._end_when_lost:
            _end_process()

    @property
    def is_ready(self) -> bool:
        """True once all is loaded."""
        return self._reason is None

    def require(self) -> None:
        """Raise the reason why the service is not ready."""
        if self._reason is not None:
            raise type(self._reason)(self._reason.detail, retry_after=self._reason.retry_after, **self._reason.extra)


def create_base_app(
    service: str,
    version: str,
    describe: Callable[[], BaseModel],
    load: Callable[[], None],
    close: Callable[[], None],
    alongside: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    end_when_lost: bool = False,
    card: type[BaseModel] | None = None,
    largest_body: int = LARGEST_MESSAGE,
    too_large: str = f"a body has at most {LARGEST_MESSAGE} bytes here, this one has more; ask for less at once",
    larger_bodies: Mapping[str, int] | None = None,
) -> FastAPI:
    """An app with the common routes; `app.state` carries `readiness`, the Prometheus `registry`, and `look_again`, which is awaited before
    metrics are told.

    `load` runs in a thread after the start, so that the service is alive at once and ready later; where it raises
    Unavailable (weights are missing) or finds no memory, it is tried again after 10 s, then 20, up to every 10 min. `alongside`
    is entered while the app runs; `close` is called at the end. `end_when_lost` is for a server that is started again once its
    process has ended. `card` is what `describe` gives, for the OpenAPI document. Requests with more than `largest_body` bytes are
    refused (413) with `too_large`, but for paths in `larger_bodies`, which say how many they may have.
    """
    readiness = Readiness(service, end_when_lost)
    app = _create_app(service, version, lambda app: _load_and_work(service, readiness, load, close, alongside))
    app.state.service, app.state.readiness, app.state.describe = service, readiness, describe
    app.state.registry = registry = CollectorRegistry()
    app.state.look_again = _look_at_nothing
    ProcessCollector(registry=registry)
    add_error_handlers(app)
    app.add_middleware(RequestLimits, largest_body=largest_body, too_large=too_large, larger=larger_bodies or {})
    app.add_middleware(RequestLog, service=f"{service}/{version}", meter=RequestMeter(registry))

    _add_common_routes(app, service, describe, card)
    add_docs(app)
    publish(app)
    return app


def _create_app(service: str, version: str, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> FastAPI:
    app = FastAPI(
        title=f"Distillery: {service}",
        version=version,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        telemetry=configure_spans(),
    )
    app.router.route_class = ReadRoute
    return app


@asynccontextmanager
async def _load_and_work(
    service: str,
    readiness: Readiness,
    load: Callable[[], None],
    close: Callable[[], None],
    alongside: Callable[[], AbstractAsyncContextManager[None]],
) -> AsyncIterator[None]:
    """From the start of an app to its end: `load` begins, `alongside` is entered, `close` is called."""
    _show_log(service)
    loading = asyncio.create_task(_load(service, load, readiness))
    try:
        async with alongside():
            yield
    finally:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await asyncio.to_thread(close)


async def _look_at_nothing() -> None:
    pass


def _add_common_routes(app: FastAPI, service: str, describe: Callable[[], BaseModel], card: type[BaseModel] | None) -> None:
    @app.get("/v1/health/live", tags=["health"])
    async def get_liveness() -> Health:
        """The process answers."""
        return Health(status="alive", service=service)

    @app.get("/v1/health/ready", tags=["health"], responses=explain_problems(Unavailable))
    async def get_readiness() -> Health:
        """The model is loaded; 503 with the reason if it is not."""
        app.state.readiness.require()
        return Health(status="ready", service=service)

    @app.get("/v1/metadata", tags=["metadata"], response_model=card)
    def get_metadata() -> BaseModel:
        """What this service can do and with what."""
        return describe()

    @app.get(
        "/metrics",
        tags=["health"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def get_metrics() -> Response:
        """Prometheus text format."""
        await app.state.look_again()
        return Response(await asyncio.to_thread(generate_latest, app.state.registry), media_type=CONTENT_TYPE_LATEST)


def _show_log(service: str) -> None:
    """Let a person see what goes on (downloads, faults) on stderr, from DISTILLERY_LOG (INFO) on, unless the process logs its own way."""
    if not logging.getLogger().handlers and not _log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(choose_formatter(service))
        _log.addHandler(handler)
        _log.setLevel(choose_level("INFO"))


async def _load(service: str, load: Callable[[], None], readiness: Readiness) -> None:
    wait = _RELOAD_SECONDS
    while True:
        problem: Problem | None = None
        try:
            await asyncio.to_thread(load)
        except Exception as error:
            problem = _explain(service, error)
        if isinstance(problem, DeviceLost):
            readiness.lose(problem)
            return
        readiness.set(problem)
        if not isinstance(problem, Unavailable):
            return
        _log.warning("%s is not ready, next try in %g s: %s", service, wait, problem.detail)
        release_cuda_memory()  # others that load may need it
        await asyncio.sleep(wait)
        wait = min(2 * wait, _LONGEST_RELOAD)


def _explain(service: str, error: Exception) -> Problem:
    """Why a service could not load: Unavailable if that can pass, DeviceLost if only a new process can help."""
    if isinstance(error, Unavailable):
        return without_frames(error)
    what = f"{type(error).__name__}: {error}"
    if is_out_of_memory(error):
        return Unavailable(f"{service} finds too little memory to load ({what}); free some, it tries again by itself")
    _log.exception("%s could not load", service)
    if is_fatal(error):
        return DeviceLost.of(service, error)
    return Internal(f"{service} could not load: {what}")


def _end_process() -> None:
    """Answer what is under way and end, as `docker stop` has it; in any case, for a driver may hang once its device is lost."""
    last = threading.Timer(_LONGEST_END, os._exit, (1,))
    last.daemon = True
    last.start()
    os.kill(os.getpid(), signal.SIGTERM)
