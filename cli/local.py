"""The embedded factory: the same apps in one process, joined by httpx's ASGI transport. The one composition root."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI

from distillery.errors import NotFound, Unavailable
from distillery.generators.plugins import build_service, list_services
from distillery.schema.explain import suggest
from gateway.app import create_gateway
from gateway.clients import Connect
from gateway.settings import GatewaySettings
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from labeller.teachers import create_teacher


@asynccontextmanager
async def run_apps(data: Path, teacher: str, wanted: set[str]) -> AsyncIterator[Connect]:
    """Run a labeller that writes below `data` and the `wanted` services in this process; what makes a client of each."""
    labeller_settings = LabellerSettings().model_copy(update={"teacher": teacher, "data": data})
    apps = {"labeller": create_labeller(create_teacher(labeller_settings), labeller_settings)}
    problems: dict[str, Exception] = {}
    for name in sorted(wanted):
        try:
            apps[name] = build_service(name)
        except (NotFound, Unavailable) as problem:
            problems[name] = problem

    def connect(service: str, timeout: httpx.Timeout) -> httpx.AsyncClient:
        if service not in apps:
            raise problems.get(service, NotFound(f"there is no service {service!r}{suggest(service, list_services())}"))
        return open_client(apps[service], service, timeout)

    async with AsyncExitStack() as stack:
        for app in apps.values():
            await stack.enter_async_context(app.router.lifespan_context(app))
        yield connect


@asynccontextmanager
async def run_embedded(settings: GatewaySettings, teacher: str, wanted: set[str]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway whose labeller and services run in this process.

    `wanted` are the services to start; the gateway finds no others.
    """
    async with AsyncExitStack() as stack:
        connect = await stack.enter_async_context(run_apps(settings.data, teacher, wanted))
        gateway = create_gateway(settings, connect)
        await stack.enter_async_context(gateway.router.lifespan_context(gateway))
        yield await stack.enter_async_context(open_client(gateway, "gateway", httpx.Timeout(60)))


def open_client(app: FastAPI, name: str, timeout: httpx.Timeout) -> httpx.AsyncClient:
    """A client that calls `app` without a network."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=f"http://{name}", timeout=timeout)
