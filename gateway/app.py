"""The gateway's app: recipes in, datasets out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from starlette.middleware import Middleware

from distillery.errors import Conflict, Forbidden, InvalidRequest, NotFound, TooLarge, Unavailable
from distillery.http.api_key import ApiKeyGuard
from distillery.http.app import OPEN_PATHS, create_base_app
from distillery.http.body import read_body
from distillery.http.client import Servers
from distillery.http.files import serve_file, serve_page
from distillery.http.leases import Leases
from distillery.http.openapi import Responses, describe_problem, explain_problems, publish
from distillery.recipe.recipe import Recipe, StageName
from distillery.recipe.source import ServiceName
from distillery.recipe.target import Target
from distillery.runtime.limits import LARGEST_RECIPE
from distillery.runtime.yaml import read_lines
from distillery.schema.base import CONTRACT_VERSION, Message
from distillery.schema.dataset import Event, FileEntry, Forecast, RecipeCheck, Status
from distillery.schema.explain import validate_message
from distillery.schema.generate import Metadata
from distillery.schema.replica import Announcement
from gateway.auth import BrowserGuard
from gateway.clients import Clients
from gateway.manager import Manager
from gateway.neighbours import find_own_network
from gateway.replica_routes import add_replica_routes
from gateway.server_sent_events import ITEM_SCHEMA, write_events
from gateway.settings import GatewaySettings

VERSION = "1.1"
_LARGEST_PAGE = 1000
_FILE_TYPES = {".h5": "application/x-hdf5", ".json": "application/json", ".yaml": "application/yaml", ".html": "text/html"}
_BINARY = {"type": "string", "format": "binary"}
_FILES = {media_type: {"schema": _BINARY if suffix == ".h5" else {}} for suffix, media_type in _FILE_TYPES.items()}

Until = Annotated[StageName | None, Query(description="stop after this stage")]
Only = Annotated[StageName | None, Query(description="make this stage alone; those before it must be there and GO")]
Limit = Annotated[int, Query(ge=1, le=_LARGEST_PAGE, description="datasets in an answer; the header Link leads to the next ones")]
Cursor = Annotated[str, Query(max_length=255, description="only datasets with names behind this one")]
LastEvent = Annotated[int, Header(ge=0, description="only events after this one")]


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
    leases = Leases(settings.lease_seconds)
    clients = Clients(settings, servers, leases)
    manager = Manager(settings, clients)

    @asynccontextmanager
    async def work() -> AsyncIterator[None]:
        if settings.resume:
            await manager.take_up_unfinished()
        try:
            yield
        finally:
            await manager.close()
            await clients.close()

    app = create_base_app(
        "gateway",
        VERSION,
        GatewayCard,
        lambda: None,
        lambda: None,
        work,
        card=GatewayCard,
        largest_body=LARGEST_RECIPE,
        too_large=f"a recipe has at most {LARGEST_RECIPE} bytes, this one has more",
    )
    has_key = settings.key is not None
    is_open = (*OPEN_PATHS, "/metrics") if settings.open_metrics else OPEN_PATHS
    app.user_middleware.append(_create_guard(settings, is_open))  # inside the one that names the service
    _add_recipe_routes(app, manager)
    _add_dataset_routes(app, manager)
    _add_verb_routes(app, manager)
    _add_event_route(app, manager)
    _add_file_routes(app, manager)
    add_replica_routes(app, leases)

    @app.get("/v1/services/{service}", tags=["services"], responses=explain_problems(NotFound, Unavailable))
    async def get_service(service: ServiceName) -> Metadata:
        """What a service can do, or why it can't be asked; only those that the gateway is set up for are."""
        return await clients.peek(service)

    publish(app, models=[Recipe, Event, Announcement], everywhere=[] if has_key else [Forbidden], has_key=has_key, is_open=is_open)
    return app


def _create_guard(settings: GatewaySettings, is_open: tuple[str, ...]) -> Middleware:
    """Who may ask: whoever has the API key; without one whoever is on this machine, and no other site's page."""
    if settings.key is not None:
        return Middleware(ApiKeyGuard, api_key=settings.key.get_secret_value(), is_open=is_open)
    return Middleware(BrowserGuard, networks=find_own_network() if "published" in settings.model_fields_set else ())


def _add_recipe_routes(app: FastAPI, manager: Manager) -> None:
    recipe_body = {"requestBody": _describe_recipe_body()}
    responses = explain_problems(InvalidRequest, Conflict, TooLarge, Unavailable)

    @app.post(
        "/v1/datasets",
        status_code=202,
        tags=["datasets"],
        openapi_extra=recipe_body,
        responses={**responses, 202: {"headers": _describe_header("Location", "the path of the dataset")}},
    )
    async def create_dataset(request: Request, response: Response, until: Until = None, stage: Only = None) -> Status:
        """Begin a dataset from a recipe; the same recipe again resumes it. The header Location says where it is."""
        name = await manager.create(await _read_recipe(request), _make_target(until, stage))
        response.headers["Location"] = f"/v1/datasets/{name}"
        return await manager.tell(name)

    @app.post("/v1/datasets/check", tags=["datasets"], openapi_extra=recipe_body, responses=responses)
    async def check_recipe(request: Request) -> RecipeCheck:
        """What keeps a recipe from being made: services, teacher, systems, sizes and options are asked for; starts nothing."""
        return await manager.check(await _read_recipe(request))

    @app.post("/v1/datasets/plan", tags=["datasets"], openapi_extra=recipe_body, responses=responses)
    async def plan_recipe(request: Request, until: Until = None, stage: Only = None) -> Forecast:
        """What a recipe would make and take, by the rates of its parts if there are any; starts nothing."""
        return await manager.forecast(await _read_recipe(request), _make_target(until, stage))


def _add_dataset_routes(app: FastAPI, manager: Manager) -> None:
    missing = explain_problems(NotFound, Conflict, Unavailable)

    @app.get("/v1/datasets", tags=["datasets"], responses={200: {"headers": _describe_header("Link", "where the next ones are")}})
    async def list_datasets(response: Response, limit: Limit = 100, cursor: Cursor = "") -> list[Status]:
        """Datasets by name, and where they stand; the header Link (rel="next") is there where there are more."""
        statuses, has_more = await manager.list_statuses(cursor, limit)
        if has_more:
            query = urlencode({"limit": limit, "cursor": statuses[-1].name})
            response.headers["Link"] = f'</v1/datasets?{query}>; rel="next"'
        return statuses

    @app.get("/v1/datasets/{name}", tags=["datasets"], responses=missing)
    async def get_dataset(name: str) -> Status:
        """Where a dataset stands, from its parts."""
        return await manager.tell(name)

    @app.get("/v1/datasets/{name}/plan", tags=["datasets"], responses=missing)
    async def plan_dataset(name: str) -> Forecast:
        """What the rest of a dataset takes, by the rates of its parts."""
        return await manager.forecast_rest(name)


def _add_verb_routes(app: FastAPI, manager: Manager) -> None:
    missing = explain_problems(NotFound, Conflict, Unavailable)

    @app.post("/v1/datasets/{name}/pause", status_code=202, tags=["datasets"], responses=missing)
    async def pause_dataset(name: str) -> Status:
        """Finish the shards in work, begin no others; 409 if it is finished."""
        await manager.pause(name)
        return await manager.tell(name)

    @app.post("/v1/datasets/{name}/cancel", status_code=202, tags=["datasets"], responses=missing)
    async def cancel_dataset(name: str) -> Status:
        """Abandon the shards in work; finished parts stay. 409 if it is finished."""
        await manager.cancel(name)
        return await manager.tell(name)

    @app.post(
        "/v1/datasets/{name}/resume",
        status_code=202,
        tags=["datasets"],
        responses={**missing, 200: {"model": Status, "description": "It is finished already"}},
    )
    async def resume_dataset(name: str, response: Response) -> Status:
        """Go on after pause, cancel or failure; 200 with its state if it is finished."""
        if not await manager.resume(name):
            response.status_code = 200
        return await manager.tell(name)


def _add_event_route(app: FastAPI, manager: Manager) -> None:
    @app.get(
        "/v1/datasets/{name}/events",
        tags=["datasets"],
        response_class=StreamingResponse,
        responses={
            **explain_problems(NotFound),
            200: {"description": "Events", "content": {"text/event-stream": {"itemSchema": ITEM_SCHEMA}}},
        },
    )
    async def follow_dataset(request: Request, name: str, last_event_id: LastEvent = 0) -> Response:
        """Server-sent events until the dataset stops.

        They are state, round, shard, checkpoint, verdict, fallback, missing_service, finalising, page (which could not be made),
        finished and failed.
        """
        events = manager.follow(name, last_event_id)
        headers, media_type = {"Cache-Control": "no-store"}, "text/event-stream"
        if request.method == "HEAD":
            return Response(headers=headers, media_type=media_type)
        return StreamingResponse(write_events(events), headers=headers, media_type=media_type)


def _add_file_routes(app: FastAPI, manager: Manager) -> None:
    missing = explain_problems(NotFound)
    unchanged: Responses = {304: {"description": "The client has it already (If-None-Match)"}}

    @app.get("/v1/datasets/{name}/files", tags=["files"], responses=missing)
    def list_files(name: str) -> list[FileEntry]:
        """The dataset's files: recipe, report, checkpoints, dataset.h5, parts."""
        return manager.list_files(name)

    @app.get(
        "/v1/datasets/{name}/report.html",
        tags=["files"],
        response_class=HTMLResponse,
        responses={**missing, **unchanged, **explain_problems(InvalidRequest)},
    )
    async def get_page(request: Request, name: str) -> Response:
        """The page of a dataset; while it is being made, one of its finished parts, which may take a minute."""
        return await serve_page(request, await manager.read_page(name))

    @app.get(
        "/v1/datasets/{name}/files/{path:path}",
        tags=["files"],
        response_class=Response,
        responses={
            **missing,
            **unchanged,
            200: {"description": "The file", "content": _FILES},
            206: {"description": "The range that was asked for", "content": _FILES | {"multipart/byteranges": {"schema": _BINARY}}},
            416: describe_problem("There is no such range"),
        },
    )
    def get_file(request: Request, name: str, path: str) -> Response:
        """One file; ranges and If-None-Match are honoured."""
        file = manager.find_file(name, path)
        return serve_file(request, file, f"{name}-{file.name}", _FILE_TYPES[file.suffix])


def _describe_header(name: str, description: str) -> dict[str, Any]:
    return {name: {"description": description, "schema": {"type": "string"}}}


async def _read_recipe(request: Request) -> str:
    try:
        return (await read_body(request)).decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"a recipe is UTF-8 text: {error}") from error


def _make_target(until: StageName | None, stage: StageName | None) -> Target:
    return validate_message(Target, {"until": until, "stage": stage}, "")


_EXAMPLE = """\
name: example
seed: 42
teacher: 7net-0
sources:
  molecules: {service: rdkit, system: molecule, count: 100, atoms: [10, 60]}
  crystals: {service: pymatgen, system: crystal, count: 60}
"""


def _describe_recipe_body() -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Recipe"}
    content = {
        "application/yaml": {"schema": schema, "example": _EXAMPLE},
        "application/json": {"schema": schema, "example": read_lines(_EXAMPLE)[0]},
    }
    return {"required": True, "description": "A recipe; recipes/quickstart.yaml explains every key", "content": content}
