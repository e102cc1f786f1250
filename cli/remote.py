"""A gateway that a command asks over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from distillery.errors import Unavailable, from_response
from distillery.http.access import AccessSettings
from distillery.http.address import read_address
from distillery.http.client import Client, refuse_redirect


@asynccontextmanager
async def open_remote(gateway: str) -> AsyncIterator[Client]:
    """A client of the gateway at this URL, or the one in this file, with the API key from DISTILLERY_API_KEY or DISTILLERY_API_KEY_FILE."""
    access, url = _find_access(gateway), read_address(gateway)
    async with httpx.AsyncClient(base_url=url, headers=access.headers, timeout=httpx.Timeout(60, connect=5), verify=access.trust()) as http:
        yield Client(f"the gateway at {url}", http, names_answers=False)


@asynccontextmanager
async def open_stream(gateway: str, path: str) -> AsyncIterator[AsyncIterator[str]]:
    """The lines of an answer that goes on as long as there is something to tell; a Problem if it can't be had."""
    access, url = _find_access(gateway), read_address(gateway)
    async with httpx.AsyncClient(base_url=url, headers=access.headers, timeout=httpx.Timeout(60, connect=5), verify=access.trust()) as http:
        try:
            async with http.stream("GET", path) as answer:
                if answer.is_redirect:
                    raise refuse_redirect(f"the gateway at {url}", answer)
                if answer.status_code >= 400:
                    raise from_response(answer.status_code, (await answer.aread()).decode())
                yield answer.aiter_lines()
        except httpx.TransportError as error:
            raise Unavailable(f"the gateway at {url} can't be reached, or left: {error or type(error).__name__}") from error


def _find_access(gateway: str) -> AccessSettings:
    """The environment's; where that has no key, the one beside the file with the gateway's address, where `distillery slurm` puts it."""
    access, key = AccessSettings(), Path(gateway).with_name("key")
    return access if access.key is not None or not Path(gateway).is_file() or not key.is_file() else AccessSettings(api_key_file=key)
