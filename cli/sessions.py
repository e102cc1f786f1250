"""Where a command finds its gateway: over HTTP, or in this process to read with."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from gateway.settings import GatewaySettings


@asynccontextmanager
async def open_remote(gateway: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway at this address, with the API key from DISTILLERY_API_KEY."""
    key = os.environ.get("DISTILLERY_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(base_url=gateway, headers=headers, timeout=httpx.Timeout(60, connect=5)) as client:
        yield client


@asynccontextmanager
async def open_reader(data: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway in this process that has neither services nor labeller: for what the parts alone can tell."""
    from cli.local import open_client
    from gateway.app import create_gateway

    settings = GatewaySettings(data=data, resume=False, api_key=None, published="127.0.0.1")
    async with open_client(create_gateway(settings), "gateway", httpx.Timeout(600)) as client:
        yield client
