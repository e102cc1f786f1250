"""The embedded factory: the same apps in one process, joined by httpx's ASGI transport. The one composition root."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx

from distillery.errors import NotFound, Problem, Unavailable
from distillery.generators.plugins import build_service
from distillery.http.background_server import serve_in_background
from distillery.http.client import Client, EmbeddedServers, open_client
from distillery.telemetry.setup import send_spans
from gateway.app import create_gateway
from gateway.settings import GatewaySettings
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from labeller.teachers import create_teacher


@asynccontextmanager
async def run_apps(data: Path, teacher: str, wanted: set[str]) -> AsyncIterator[EmbeddedServers]:
    """Run a labeller that writes below `data` and the `wanted` services in this process."""
    labeller_settings = LabellerSettings().model_copy(update={"teacher": teacher, "data": data})
    apps = {"labeller": create_labeller(create_teacher(labeller_settings), labeller_settings)}
    problems: dict[str, Problem] = {}
    for name in sorted(wanted):
        try:
            apps[name] = build_service(name)
        except (NotFound, Unavailable) as problem:
            problems[name] = problem

    async with AsyncExitStack() as stack:
        for app in apps.values():
            await stack.enter_async_context(app.router.lifespan_context(app))
        yield EmbeddedServers(apps, problems)


@asynccontextmanager
async def run_embedded(
    settings: GatewaySettings, teacher: str, wanted: set[str], show_page: Callable[[str], None] | None = None
) -> AsyncIterator[Client]:
    """A client of a gateway whose labeller and services run in this process.

    `wanted` are the services to start; the gateway finds no others. `show_page` is told the address of its live page, which is
    served on this machine as long as it runs.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(send_spans("distillery"))
        servers = await stack.enter_async_context(run_apps(settings.data, teacher, wanted))
        gateway = create_gateway(settings, servers)
        await stack.enter_async_context(gateway.router.lifespan_context(gateway))
        if show_page is not None:
            show_page(await stack.enter_async_context(serve_in_background(gateway)))
        http = await stack.enter_async_context(open_client(gateway, "gateway", httpx.Timeout(60)))
        yield Client("the gateway", http, names_answers=False)
