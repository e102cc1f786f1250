"""A replica's own side of its lease: it announces itself to the gateway, again and again, and takes its leave."""

import asyncio
import contextlib
import logging
import os
import socket
import uuid
from collections.abc import Callable

import httpx
from fastapi import FastAPI

from distillery.errors import Problem
from distillery.http.access import AccessSettings
from distillery.http.address import read_address
from distillery.http.client import Client
from distillery.schema.label import LabellerCard
from distillery.schema.replica import Announcement, Lease

_log = logging.getLogger("distillery")
_LOOK_SECONDS = 1.0
_LEAVE_SECONDS = 3.0
_TIMEOUT = httpx.Timeout(10, connect=3)


class Announcer:
    """Announces one replica; whatever fails is tried again, for a gateway may come later, or come back elsewhere."""

    def __init__(self, gateway: str, describe: Callable[[str], Announcement], access: AccessSettings) -> None:
        """`gateway` is a URL or the file that one stands in; `describe` is given the URL."""
        self._id = f"{socket.gethostname()[:40]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._gateway, self._describe, self._access = gateway, describe, access
        self._known: tuple[str, bool] | None = None
        self._due, self._told = 0.0, ""

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._announce_if_due()
            await asyncio.sleep(_LOOK_SECONDS)

    async def leave(self) -> None:
        """Tell the gateway that nothing more is to be sent; one that can't be asked finds out by itself."""
        if self._known is not None:
            with contextlib.suppress(Problem, TimeoutError):
                async with asyncio.timeout(_LEAVE_SECONDS), self._open(self._known[0]) as http:
                    await Client("the gateway", http).send("DELETE", f"/v1/replicas/{self._id}")

    async def _announce_if_due(self) -> None:
        now = asyncio.get_running_loop().time()
        try:
            url = await asyncio.to_thread(read_address, self._gateway)
            announcement = await asyncio.to_thread(self._describe, url)
            if now >= self._due or self._known != (url, announcement.is_ready):
                self._due = now + await self._announce(url, announcement) / 3
                self._known = (url, announcement.is_ready)
                self._tell(f"announced to {url} as {announcement.url}", logging.INFO)
        except (Problem, OSError) as problem:
            self._known = None
            self._tell(f"can't announce itself to {self._gateway}: {problem}", logging.WARNING)

    async def _announce(self, url: str, announcement: Announcement) -> float:
        """How long the lease is, s."""
        async with self._open(url) as http:
            body = announcement.model_dump(mode="json")
            return (await Client("the gateway", http).ask(Lease, "PUT", f"/v1/replicas/{self._id}", json=body)).seconds

    def _open(self, url: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=url, headers=self._access.headers, timeout=_TIMEOUT, verify=self._access.trust(), trust_env=False)

    def _tell(self, what: str, level: int) -> None:
        """Once, until there is something else to say."""
        if what != self._told:
            _log.log(level, "%s", what)
            self._told = what


def describe_replica(app: FastAPI, url: str) -> Announcement:
    """What an app says of itself, which answers at `url`."""
    card = app.state.describe()
    return Announcement(
        name=card.service,
        url=url,
        version=card.version,
        teacher=card.teacher_name if isinstance(card, LabellerCard) else "",
        is_ready=app.state.readiness.is_ready,
        job=_name_job(),
    )


def _name_job() -> str:
    """What runs this process, as far as the environment tells."""
    job, node, task = (os.environ.get(f"SLURM_{name}", "") for name in ("JOB_ID", "NODEID", "ARRAY_TASK_ID"))
    if job:
        array, host = os.environ.get("SLURM_ARRAY_JOB_ID", job), os.environ.get("SLURMD_NODENAME", node)
        return f"Slurm job {array}{f'_{task}' if task else ''} on {host}"
    return ""
