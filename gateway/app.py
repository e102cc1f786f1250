"""The gateway's HTTP face: recipes in, datasets out."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, StreamingResponse
from starlette.middleware import Middleware

from distillery.errors import InvalidRequest, NotFound
from distillery.http.app import create_base_app, read_body
from distillery.http.client import Servers
from distillery.recipe.recipe import StageName
from distillery.recipe.source import ServiceName
from distillery.recipe.target import Target
from distillery.schema.base import CONTRACT_VERSION, Message
from distillery.schema.explain import validate_message
from gateway.auth import ApiKeyGuard, BrowserGuard
from gateway.clients import Clients
from gateway.manager import Datasets
from gateway.settings import GatewaySettings

VERSION = "1.0"
_LARGEST_RECIPE = 1 << 20
_HEARTBEAT = 15.0

Until = Annotated[StageName | None, Query(description="stop after this stage")]
Only = Annotated[StageName | None, Query(description="make this stage alone; those before it must be there and GO")]


class GatewayCard(Message):
    """What the gateway's `GET /v1/metadata` answers."""

    service: str = "gateway"
    version: str = VERSION
    contract: str = CONTRACT_VERSION


def build() -> FastAPI:
    """The gateway as a container runs it: settings from the environment."""
    return create_gateway(GatewaySettings())


def create_gateway(settings: GatewaySettings, servers: Servers | None = None) -> FastAPI:
    """The gateway's app; `servers` take the place of those that the settings name."""
    clients = Clients(settings, servers)
    datasets = Datasets(settings, clients)

    @asynccontextmanager
    async def work() -> AsyncIterator[None]:
        if settings.resume:
            await datasets.take_up_unfinished()
        try:
            yield
        finally:
            await datasets.close()
            await clients.close()

    app = create_base_app("gateway", VERSION, GatewayCard, lambda: None, lambda: None, work)
    key = settings.api_key
    guard = Middleware(BrowserGuard) if key is None else Middleware(ApiKeyGuard, api_key=key.get_secret_value())
    app.user_middleware.append(guard)  # inside the one that names the service
    _add_dataset_routes(app, datasets)
    _add_file_routes(app, datasets)

    @app.get("/v1/services/{service}", tags=["services"])
    async def describe_service(service: ServiceName) -> Any:
        """What a service can do, or why it can't be asked."""
        return (await clients.peek(service)).model_dump(mode="json")

    return app


def _add_dataset_routes(app: FastAPI, datasets: Datasets) -> None:
    @app.post("/v1/datasets", status_code=202, tags=["datasets"])
    async def create(request: Request, until: Until = None, stage: Only = None) -> JSONResponse:
        """Begin a dataset from a recipe (YAML or JSON as the body); the same recipe again resumes it."""
        name = await datasets.create(await _read_recipe(request), _make_target(until, stage))
        return JSONResponse(await datasets.status(name), 202, {"Location": f"/v1/datasets/{name}"})

    @app.post("/v1/datasets/plan", tags=["datasets"])
    async def plan(request: Request, until: Until = None, stage: Only = None) -> dict[str, Any]:
        """What a recipe would make and take, by the rates of its parts if there are any; starts nothing."""
        return await datasets.forecast(await _read_recipe(request), _make_target(until, stage))

    @app.get("/v1/datasets", tags=["datasets"])
    async def list_datasets() -> list[dict[str, Any]]:
        """All datasets and where they stand."""
        return [await datasets.status_or_problem(name) for name in datasets.names()]

    @app.get("/v1/datasets/{name}", tags=["datasets"])
    async def status(name: str) -> dict[str, Any]:
        """Where a dataset stands, from its parts."""
        return await datasets.status(name)

    @app.get("/v1/datasets/{name}/plan", tags=["datasets"])
    async def plan_rest(name: str) -> dict[str, Any]:
        """What the rest of a dataset takes, by the rates of its parts."""
        return await datasets.forecast_rest(name)

    @app.post("/v1/datasets/{name}/pause", status_code=202, tags=["datasets"])
    async def pause(name: str) -> dict[str, Any]:
        """Finish the shards in work, begin no others."""
        datasets.pause(name)
        return await datasets.status(name)

    @app.post("/v1/datasets/{name}/cancel", status_code=202, tags=["datasets"])
    async def cancel(name: str) -> dict[str, Any]:
        """Abandon the shards in work; finished parts stay."""
        await datasets.cancel(name)
        return await datasets.status(name)

    @app.post("/v1/datasets/{name}/resume", status_code=202, tags=["datasets"])
    async def resume(name: str) -> dict[str, Any]:
        """Go on after pause, cancel or failure."""
        await datasets.resume(name)
        return await datasets.status(name)


async def _read_recipe(request: Request) -> str:
    body = await read_body(request, _LARGEST_RECIPE, f"a recipe has at most {_LARGEST_RECIPE} bytes, this one has more")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"a recipe is UTF-8 text: {error}") from error


def _make_target(until: StageName | None, stage: StageName | None) -> Target:
    return validate_message(Target, {"until": until, "stage": stage}, "")


def _add_file_routes(app: FastAPI, datasets: Datasets) -> None:
    @app.get("/v1/datasets/{name}/events", tags=["datasets"])
    async def events(name: str, last_event_id: int = Header(0)) -> StreamingResponse:
        """Server-sent events until the dataset stops.

        They are state, round, shard, checkpoint, verdict, fallback, away, finalising, page (which could not be made), finished and failed.
        """
        datasets.require(name)
        stream = _as_server_sent(datasets.events(name, last_event_id))
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @app.get("/v1/datasets/{name}/files", tags=["files"])
    def list_files(name: str) -> list[dict[str, Any]]:
        """The dataset's files: recipe, report, checkpoints, dataset.h5, parts."""
        return [{"path": path, "bytes": file.stat().st_size} for path, file in datasets.files(name).items()]

    @app.get("/v1/datasets/{name}/report.html", tags=["files"], response_class=HTMLResponse)
    async def read_page(name: str) -> HTMLResponse:
        """The page of a dataset; while it is being made, one of its finished parts, which may take a minute."""
        return HTMLResponse(await datasets.read_page(name))

    @app.get("/v1/datasets/{name}/files/{path:path}", tags=["files"])
    def read_file(name: str, path: str) -> Response:
        """One file; ranges are honoured."""
        files = datasets.files(name)
        if path not in files:
            raise NotFound(f"dataset {name!r} has no file {path!r}; GET /v1/datasets/{name}/files lists them")
        return FileResponse(files[path], filename=f"{name}-{files[path].name}")


async def _as_server_sent(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
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
            yield f"id: {event['id']}\nevent: {event['event']}\ndata: {json.dumps({'time': event['time'], **event['data']})}\n\n"
            upcoming = asyncio.ensure_future(anext(events, None))
    finally:
        upcoming.cancel()
