"""`distillery serve`."""

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from cli.app import app

if TYPE_CHECKING:
    from fastapi import FastAPI

_STOP_SECONDS = 25  # containers are given 30


@app.command()
def serve(
    name: Annotated[str, typer.Argument(envvar="DISTILLERY_SERVE", help="gateway, labeller, or a service (`distillery services`).")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on.")] = 8000,
) -> None:
    """Run the gateway, the labeller or one service over HTTP, as its container does; settings are taken from the environment."""
    import uvicorn

    from distillery.http.server import configure_server

    served = build_app(name)
    logging.basicConfig(level=logging.WARNING, handlers=[], force=True)  # the app shows its own log (DISTILLERY_LOG, else INFO)
    uvicorn.run(
        served,
        host=host,
        port=port,
        **configure_server(),
        timeout_graceful_shutdown=_STOP_SECONDS,
    )


def build_app(name: str) -> "FastAPI":
    """The app of this name, set up from the environment; NotFound names the nearest, Unavailable says which package is missing."""
    if name == "gateway":
        from gateway.app import build as build_gateway

        return build_gateway()
    if name == "labeller":
        from labeller.app import build as build_labeller

        return build_labeller()
    from distillery.errors import NotFound
    from distillery.generators.plugins import build_service, list_services
    from distillery.schema.explain import suggest

    known = ["gateway", "labeller", *list_services()]
    if name not in known:
        raise NotFound(f"there is no {name!r} to serve{suggest(name, known)}")
    return build_service(name)
