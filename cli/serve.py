"""`distillery serve`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.app import app
from cli.completion import complete_process

if TYPE_CHECKING:
    from fastapi import FastAPI


@app.command()
def serve(
    name: Annotated[
        str,
        typer.Argument(
            envvar="DISTILLERY_SERVE", help="gateway, labeller, or a service (`distillery services`).", autocompletion=complete_process
        ),
    ],
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all, which takes an API key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port to listen on; 0 for any that is free.")] = 8000,
    gateway: Annotated[
        str | None,
        typer.Option(
            "--gateway",
            envvar="DISTILLERY_GATEWAY",
            metavar="URL|FILE",
            help="Of a service or labeller: the gateway to announce it to, or the file that a gateway writes its address to.",
        ),
    ] = None,
    announce: Annotated[
        str | None,
        typer.Option("--announce", metavar="HOST", help="Name or address that others reach it by, if not by what it listens on."),
    ] = None,
    address_file: Annotated[
        Path | None, typer.Option("--address-file", metavar="FILE", help="Of the gateway: a file to write its address to.")
    ] = None,
    stop_seconds: Annotated[
        int, typer.Option("--stop-seconds", help="How long requests at work are waited for once it is told to stop, s.")
    ] = 25,
) -> None:
    """Run the gateway, the labeller or one service over HTTP, as its container does; settings are taken from the environment."""
    from distillery.http.access import AccessSettings
    from distillery.http.process import Place, run_process
    from distillery.telemetry.setup import send_spans

    if name == "gateway":
        place = Place(host, port, announce, address_file=address_file, stop_seconds=stop_seconds)
    else:
        place = Place(host, port, announce, gateway=gateway, stop_seconds=stop_seconds)
    with send_spans(f"distillery-{name}"):
        run_process(build_app(name), AccessSettings(), place)


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
