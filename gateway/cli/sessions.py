"""Where a command finds its gateway: over HTTP."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx


@asynccontextmanager
async def open_remote(gateway: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway at this address, with the API key from DISTILLERY_API_KEY."""
    key = os.environ.get("DISTILLERY_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(base_url=gateway, headers=headers, timeout=httpx.Timeout(60, connect=5)) as client:
        yield client
