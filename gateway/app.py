"""The gateway's app: recipes in, datasets out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from starlette.middleware import Middleware

from distillery.errors import Forbidden, NotFound, Unavailable
from distillery.http.app import OPEN_PATHS as BASE_PATHS
from distillery.http.app import create_base_app
from distillery.http.client import Servers
from distillery.http.leases import Leases
from distillery.http.openapi import explain_problems, publish
from distillery.recipe.recipe import Recipe
from distillery.recipe.source import ServiceName
from distillery.runtime.limits import LARGEST_RECIPE, LARGEST_STRUCTURES
from distillery.schema.base import CONTRACT_VERSION, Message
from distillery.schema.dataset import Event, Notice
from distillery.schema.factory import FactoryRecord
from distillery.schema.generate import Metadata, StructureList, StructuresRequest
from distillery.schema.replica import Announcement
from gateway.auth import BrowserGuard, SessionGuard
from gateway.clients import Clients
from gateway.factory import Factory
from gateway.live.login import add_login
from gateway.live.routes import add_live_page
from gateway.local_network import find_own_network
from gateway.manager import Manager
from gateway.metrics import DatasetCollector
from gateway.replica_routes import add_replica_routes
from gateway.routes.datasets import add_dataset_routes
from gateway.routes.files import add_file_routes
from gateway.routes.recipes import add_recipe_routes
from gateway.routes.structures import add_structure_routes
from gateway.settings import GatewaySettings

VERSION = "1.2"
OPEN_PATHS = (*BASE_PATHS, "/login", "/live/assets/")
"""What needs no API key: nothing of them tells of a dataset, and at /docs and /login a person gives the key."""


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
    factory = Factory(clients, manager, settings.data)

    app = create_base_app(
        "gateway",
        VERSION,
        GatewayCard,
        lambda: None,
        lambda: None,
        partial(_work, settings.resume, manager, clients),
        card=GatewayCard,
        largest_body=LARGEST_RECIPE,
        larger_bodies={"/v1/label": LARGEST_STRUCTURES},
        too_large=f"a recipe has at most {LARGEST_RECIPE} bytes, this one has more",
    )
    has_key = settings.key is not None
    is_open = (*OPEN_PATHS, "/metrics") if settings.open_metrics else OPEN_PATHS
    app.user_middleware.append(_create_guard(settings, is_open))  # inside the one that names the service
    add_recipe_routes(app, manager)
    add_dataset_routes(app, manager)
    add_file_routes(app, manager)
    add_structure_routes(app, clients, settings.concurrency)
    add_replica_routes(app, leases)
    _add_metrics(app, manager, clients, factory)
    page = add_live_page(app, manager, factory, settings)
    if settings.key is not None:
        add_login(app, page, settings.key.get_secret_value())
    _add_service_routes(app, clients, factory)
    publish(
        app,
        models=[Recipe, Event, Announcement, Notice, StructureList, StructuresRequest],
        everywhere=[] if has_key else [Forbidden],
        has_key=has_key,
        is_open=is_open,
    )
    return app


@asynccontextmanager
async def _work(resume: bool, manager: Manager, clients: Clients) -> AsyncIterator[None]:
    """What goes on while the app runs: with `resume` unfinished datasets are gone on with; at the end all is closed."""
    if resume:
        await manager.take_up_unfinished()
    try:
        yield
    finally:
        await manager.close()
        await clients.close()


def _add_service_routes(app: FastAPI, clients: Clients, factory: Factory) -> None:
    @app.get("/v1/factory", tags=["services"])
    async def get_factory() -> FactoryRecord:
        """What every replica of services and labeller does now, what is asked again, and the disk."""
        return await factory.look()

    @app.get("/v1/services/{service}", tags=["services"], responses=explain_problems(NotFound, Unavailable))
    async def get_service(service: ServiceName) -> Metadata:
        """What a service can do, or why it can't be asked; only those that the gateway is set up for are."""
        return await clients.peek(service)


def _add_metrics(app: FastAPI, manager: Manager, clients: Clients, factory: Factory) -> None:
    collector = DatasetCollector()
    app.state.registry.register(collector)

    async def look_again() -> None:
        collector.note(await manager.statuses.list_all(), await factory.look(), clients.count_retries())

    app.state.look_again = look_again


def _create_guard(settings: GatewaySettings, is_open: tuple[str, ...]) -> Middleware:
    """Who may ask: whoever has the API key; without one whoever is on this machine, and no other site's page."""
    if settings.key is not None:
        return Middleware(SessionGuard, api_key=settings.key.get_secret_value(), is_open=is_open)
    return Middleware(BrowserGuard, networks=find_own_network() if "published" in settings.model_fields_set else ())
