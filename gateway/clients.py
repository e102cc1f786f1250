"""Talking to services and labeller: one try, and as many more as can pass."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import httpx
from pydantic import ValidationError

from distillery.errors import Busy, Internal, OutOfMemory, Unavailable, from_response
from distillery.http.replicas import ReplicaTransport, resolve
from distillery.schema.base import Message
from distillery.schema.generate import Generated, GenerateRequest, Metadata
from distillery.schema.label import FinaliseReceipt, FinaliseRequest, Receipt, ShardRecord, TeacherCard
from distillery.structures.arrow import ARROW_TYPE, from_arrow, to_arrow
from distillery.structures.structure import Structure
from gateway.settings import GatewaySettings

T = TypeVar("T")
M = TypeVar("M", bound=Message)
_log = logging.getLogger("distillery.gateway")
_CAN_PASS = (Busy, Unavailable, Internal, OutOfMemory)
_LONGEST_WAIT = 30.0


class Connect(Protocol):
    """Makes the HTTP client of a service ("labeller" or a service's name)."""

    def __call__(self, service: str, timeout: httpx.Timeout) -> httpx.AsyncClient: ...


@dataclass(frozen=True)
class Batch:
    """What a service made of a request, and how long that took, s."""

    structures: list[Structure]
    generated: Generated
    seconds: float


class Clients:
    """HTTP clients of all services and of the labeller."""

    def __init__(self, settings: GatewaySettings, connect: Connect | None = None) -> None:
        """`connect` replaces the network by apps in this process (embedded mode)."""
        self._settings = settings
        self._connect = connect or self._connect_by_network
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._network: ReplicaTransport | None = None
        """All clients' connections: a transport of each one's own would load the certificates again."""

    async def close(self) -> None:
        """Close all connections."""
        clients, self._clients, self._network = self._clients, {}, None
        for client in clients.values():
            await client.aclose()

    async def describe_service(self, service: str, tries: int | None = None) -> Metadata:
        """A ready service's metadata; retried while it is loading, and while it is away as often as the settings say, or `tries`."""
        return await self._retry(service, lambda: self.peek(service), tries)

    async def peek(self, service: str) -> Metadata:
        """A ready service's metadata; one try."""
        await self._send(service, "GET", "/v1/health/ready")
        return _parse(Metadata, (await self._send(service, "GET", "/v1/metadata")).json(), service)

    async def describe_teacher(self, tries: int | None = None) -> TeacherCard:
        """The ready labeller's teacher; retried while it is loading, and while it is away as often as the settings say, or `tries`."""

        async def ask() -> TeacherCard:
            await self._send("labeller", "GET", "/v1/health/ready")
            answer = await self._send("labeller", "GET", "/v1/metadata")
            return _parse(TeacherCard, answer.json()["teacher"], "labeller")

        return await self._retry("labeller", ask, tries)

    async def generate(self, service: str, request: GenerateRequest) -> Batch:
        """Structures of a service."""
        body, timeout = request.model_dump(mode="json"), self._timeout(self._settings.longest_generate(request.n))

        async def ask() -> Batch:
            start = time.perf_counter()
            answer = await self._send(service, "POST", "/generate", json=body, headers={"Accept": ARROW_TYPE}, timeout=timeout)
            structures, metadata = from_arrow(answer.content)
            return Batch(structures, _parse(Generated, metadata, service), _working_seconds(answer, time.perf_counter() - start))

        return await self._retry(service, ask)

    async def label(
        self, dataset: str, part: str, structures: list[Structure], record: ShardRecord, hashes: list[str] | None = None
    ) -> Receipt:
        """Have a part labelled and written; the receipt of the existing part if there is one. `hashes` spare the labeller making them."""
        body = to_arrow(structures, record.model_dump(mode="json"), hashes)

        async def ask() -> Receipt:
            query = {"dataset": dataset, "part": part}
            answer = await self._send("labeller", "POST", "/label", params=query, content=body, headers={"Content-Type": ARROW_TYPE})
            return _parse(Receipt, answer.json(), "labeller")

        return await self._retry("labeller", ask)

    async def finalise(self, request: FinaliseRequest) -> FinaliseReceipt:
        """Have the parts merged into dataset.h5."""

        async def ask() -> FinaliseReceipt:
            answer = await self._send("labeller", "POST", "/finalise", json=request.model_dump(mode="json"))
            return _parse(FinaliseReceipt, answer.json(), "labeller")

        return await self._retry("labeller", ask)

    async def count_replicas(self, service: str) -> int:
        """How many containers answer to a service's name now; at least 1."""
        if self._connect != self._connect_by_network:
            return 1
        try:
            return len(await resolve(httpx.URL(self._url(service))))
        except httpx.ConnectError:
            return 1

    async def _retry(self, service: str, ask: Callable[[], Awaitable[T]], most: int | None = None) -> T:
        """Ask until there is an answer; waits that the service asks for (loading, busy) have a limit of their own."""
        tries, end = 1, time.monotonic() + self._settings.busy_seconds
        most = min(most or self._settings.tries, self._settings.tries)
        while True:
            try:
                return await ask()
            except _CAN_PASS as problem:
                if problem.retry_after is not None and time.monotonic() < end:
                    await asyncio.sleep(problem.retry_after)
                    continue
                if tries == most:
                    raise
                wait = min(self._settings.patience * 2 ** (tries - 1), _LONGEST_WAIT)
                tries += 1
                _log.warning("%s: %s; try %d of %d in %.1f s", service, problem.detail, tries, most, wait)
                await asyncio.sleep(wait)

    async def _send(self, service: str, method: str, path: str, **request: Any) -> httpx.Response:
        """The answer, if it is a good one; else a Problem that names the service."""
        try:
            answer = await self._client(service).request(method, path, **request)
        except httpx.TimeoutException as error:
            raise Unavailable(f"{service} did not answer {method} {path} in time ({type(error).__name__})") from error
        except httpx.TransportError as error:
            raise Unavailable(f"{service} can't be reached: {error or type(error).__name__}") from error
        if answer.status_code >= 400:
            problem = from_response(answer.status_code, answer.text, answer.headers.get("Retry-After", ""))
            problem.detail = f"{service}: {problem.detail}"
            raise problem
        return answer

    def _client(self, service: str) -> httpx.AsyncClient:
        if service not in self._clients:
            longest = self._settings.label_seconds if service == "labeller" else self._settings.generate_seconds
            self._clients[service] = self._connect(service, self._timeout(longest))
        return self._clients[service]

    def _timeout(self, longest: float) -> httpx.Timeout:
        return httpx.Timeout(longest, connect=self._settings.connect_seconds)

    def _connect_by_network(self, service: str, timeout: httpx.Timeout) -> httpx.AsyncClient:
        self._network = self._network or ReplicaTransport()
        return httpx.AsyncClient(transport=self._network, base_url=self._url(service), timeout=timeout, trust_env=False)

    def _url(self, service: str) -> str:
        return self._settings.labeller if service == "labeller" else self._settings.service_url(service)


def _parse(model: type[M], value: Any, service: str) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise Internal(f"{service} answered with something that is no {model.__name__}: {error}") from error


def _working_seconds(answer: httpx.Response, elapsed: float) -> float:
    """The time the service itself worked (Server-Timing, its queue left out), else the time the answer took, s."""
    for entry in answer.headers.get("Server-Timing", "").split(","):
        name, _, duration = entry.strip().partition(";dur=")
        if name == "generate" and duration:
            return float(duration) / 1000
    return elapsed
