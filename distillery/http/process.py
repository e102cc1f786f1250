"""A process of the factory: one app, served on a port that may be any, told of to those who are to find it."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware

from distillery.http.access import AccessSettings
from distillery.http.address import name_self, remove_address, write_address
from distillery.http.announcer import Announcer, describe_replica
from distillery.http.api_key import ApiKeyGuard
from distillery.http.app import OPEN_PATHS
from distillery.http.server import ListeningServer, configure_server
from distillery.runtime.logs import choose_formatter, choose_level

_STARTUP_FAILED = 1


@dataclass(frozen=True)
class Place:
    """Where a process listens and who is told of it.

    port          0 for any that is free
    announce      name or address by which others reach it; of `host` if absent
    gateway       of a service or labeller: the URL to announce it to, or the file that one stands in
    address_file  of a gateway: the file to write its URL to
    stop_seconds  how long requests at work are waited for at the end, s
    """

    host: str = "127.0.0.1"
    port: int = 8000
    announce: str | None = None
    gateway: str | None = None
    address_file: Path | None = None
    stop_seconds: int = 25  # containers are given 30


def run_process(app: FastAPI, access: AccessSettings, place: Place) -> None:
    """Serve a gateway, a service or a labeller until a signal; InvalidRequest if nothing would keep strangers from the latter two."""
    if app.state.service != "gateway":  # which keeps them out by itself
        access.require_guarded(place.host)
        _guard(app, access)
    logging.basicConfig(level=logging.WARNING, handlers=[], force=True)  # the app shows its own log (DISTILLERY_LOG, else INFO)
    _show_server_log(app.state.service)
    config = uvicorn.Config(
        app,
        log_config=None,
        host=place.host,
        port=place.port,
        timeout_graceful_shutdown=place.stop_seconds,
        **configure_server(),
        **access.configure_tls(),
    )
    server = ListeningServer(config, lambda port: _tell_of(app, access, place, port))
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(_STARTUP_FAILED)


def _show_server_log(service: str) -> None:
    """What the server itself says, in the form of all other lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(choose_formatter(service))
    handler.addFilter(lambda record: not _was_cut_off(record))
    log = logging.getLogger("uvicorn")
    log.addHandler(handler)
    log.setLevel(choose_level("INFO"))
    log.propagate = False


def _was_cut_off(record: logging.LogRecord) -> bool:
    """A request that was cut off at the end: the server says in words how many there were."""
    return record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)


def _guard(app: FastAPI, access: AccessSettings) -> None:
    """Refuse who has no key, inside of what names the service; where there is none, nobody is refused."""
    if access.key is not None:
        is_open = (*OPEN_PATHS, "/metrics") if access.open_metrics else OPEN_PATHS
        app.user_middleware.append(Middleware(ApiKeyGuard, api_key=access.key.get_secret_value(), is_open=is_open))


def _tell_of(app: FastAPI, access: AccessSettings, place: Place, port: int) -> AbstractAsyncContextManager[None]:
    """For as long as requests are taken: announce the app, or write where it is."""

    def name_url(towards: str | None = None) -> str:
        return f"{access.scheme}://{place.announce or name_self(place.host, towards)}:{port}"

    if place.gateway is not None:
        return _announced(Announcer(place.gateway, lambda gateway: describe_replica(app, name_url(gateway)), access))
    return _written(place.address_file, name_url())


@asynccontextmanager
async def _announced(announcer: Announcer) -> AsyncIterator[None]:
    announcing = asyncio.create_task(announcer.run())
    try:
        yield
    finally:
        announcing.cancel()
        await asyncio.gather(announcing, return_exceptions=True)
        await announcer.leave()


@asynccontextmanager
async def _written(path: Path | None, url: str) -> AsyncIterator[None]:
    if path is None:
        yield
        return
    await asyncio.to_thread(write_address, path, url)
    try:
        yield
    finally:
        await asyncio.to_thread(remove_address, path, url)
