"""The HTTP client: it asks a server once, or again while the failure may pass; every failure is a Problem."""

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from distillery.errors import Busy, Internal, InvalidRequest, NotFound, OutOfMemory, Problem, Unavailable, from_response
from distillery.http.leases import Leases
from distillery.http.replicas import ReplicaTransport, UnderWay, open_connections
from distillery.http.traced import trace_requests
from distillery.runtime.trace import find_trace, write_headers
from distillery.schema.explain import suggest
from distillery.telemetry.spans import note

if TYPE_CHECKING:
    from fastapi import FastAPI

    from distillery.schema.generate import Generated
    from distillery.structures.structure import Structure

T = TypeVar("T")
_log = logging.getLogger("distillery")
_CAN_PASS = (Busy, Unavailable, Internal, OutOfMemory)
_LONGEST_WAIT = 30.0


@dataclass(frozen=True)
class RetryPolicy:
    """How long a request that failed in a way that can pass is tried again.

    tries         in all; waits that the server itself asks for (it is loading or busy) do not count
    wait          before the second try, s; doubles with every try, at most 30 s
    busy_seconds  how long the waits that the server asks for may go on, s
    sleep         waits so many seconds; may raise to give up
    """

    tries: int = 1
    wait: float = 1.0
    busy_seconds: float = 0.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True)
class Retry:
    """A request that failed in a way that can pass, and is asked again.

    tries  made so far, those included that the server asked to wait for
    since  of the first failure, Unix time, s
    at     of the next try, Unix time, s
    """

    problem: Problem
    tries: int
    since: float
    at: float


class Client:
    """A client of one server; its errors name the server.

    retries    requests that have failed and wait for their next try
    n_retries  tries after a failure, so far
    """

    def __init__(self, name: str, http: httpx.AsyncClient, patience: RetryPolicy = RetryPolicy(), *, names_answers: bool = True) -> None:
        """`names_answers` puts the name before the server's own problems too."""
        self._name, self._http, self._patience = name, http, patience
        self._prefix = f"{name}: " if names_answers else ""
        self.n_retries = 0
        self._retries: dict[object, Retry] = {}

    @property
    def retries(self) -> list[Retry]:
        """Those of now."""
        return list(self._retries.values())

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The answer, if it is a good one, of one try; else a Problem."""
        try:
            answer = await self._http.request(method, path, **self._trace(request))
        except httpx.TimeoutException as error:
            raise Unavailable(f"{self._name} did not answer {method} {path} in time ({type(error).__name__})") from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"{self._name} can't be reached: {error or type(error).__name__}; see whether it runs. If it ended with exit code 137, "
                "it ran out of memory"
            ) from error
        answer.stream = httpx.ByteStream(b"")  # read already; its own refers to the answer, a cycle that keeps bodies in memory
        if answer.is_redirect:
            raise refuse_redirect(self._name, answer)
        if answer.status_code >= 400:
            problem = from_response(answer.status_code, answer.text, answer.headers.get("Retry-After", ""))
            if not problem.detail.startswith(self._name):
                problem.detail = self._prefix + problem.detail
            raise problem
        return answer

    def _trace(self, request: dict[str, Any]) -> dict[str, Any]:
        if (trace := find_trace()) is None:
            return request
        return {**request, "headers": {**request.get("headers", {}), **write_headers(trace)}}

    async def ask(self, kind: type[T], method: str, path: str, **request: Any) -> T:
        """The JSON answer of one try, as `kind`: a message, or a list of them."""
        return self.parse(kind, (await self.send(method, path, **request)).content)

    def parse(self, kind: type[T], answer: bytes) -> T:
        """What the server said, as `kind`; Internal if it is none."""
        try:
            return TypeAdapter(kind).validate_json(answer)
        except ValidationError as error:
            raise Internal(f"{self._name} answered with something that is not a {kind.__name__}: {error}") from error

    def parse_structures(self, answer: httpx.Response) -> "tuple[list[Structure], Generated]":
        """What `POST /generate` answered as Arrow; Internal if it is no structure batch."""
        from distillery.schema.generate import Generated  # who asks for no structures starts without what reads them
        from distillery.structures.arrow import from_arrow

        try:
            structures, metadata = from_arrow(answer.content)
            return structures, Generated.model_validate(metadata)
        except (InvalidRequest, ValidationError) as error:
            raise Internal(f"{self._name} answered with something that is not a batch of structures: {error}") from error

    async def retry(self, ask: Callable[[], Awaitable[T]], most: int | None = None) -> T:
        """Ask until there is an answer, as long as there is patience, at most `most` times; the last problem otherwise."""
        request, began = object(), time.time()
        patience, tries, n_asked, end = self._patience, 1, 0, time.monotonic() + self._patience.busy_seconds
        most = min(most or patience.tries, patience.tries)
        try:
            while True:
                n_asked += 1
                try:
                    return await ask()
                except _CAN_PASS as problem:
                    wait = problem.retry_after if problem.retry_after is not None and time.monotonic() < end else None
                    if wait is None:
                        if tries == most:
                            raise
                        wait = min(patience.wait * 2 ** (tries - 1), _LONGEST_WAIT)
                        tries += 1
                        _log.warning("%s; try %d of %d in %.1f s", problem.detail, tries, most, wait)
                    note("asked again", kind=problem.kind, detail=problem.detail, wait_seconds=wait)
                    began = began if n_asked > 1 else time.time()
                    self._retries[request] = Retry(problem, n_asked, began, time.time() + wait)
                self.n_retries += 1
                await patience.sleep(wait)
        finally:
            self._retries.pop(request, None)


class Servers(Protocol):
    """Servers by name."""

    def open(self, name: str, timeout: httpx.Timeout) -> httpx.AsyncClient:
        """An HTTP client of a server; a Problem, NotFound above all, if there is none of this name."""

    async def count_replicas(self, name: str) -> int:
        """How many processes answer to a name now; 1 of one that is not there, which is found out when it is asked."""

    async def list_replicas(self, name: str) -> list[str]:
        """Their addresses, which the extension `replica` of a request takes; none where it can't be found."""

    def list_under_way(self, name: str, replica: str) -> list[UnderWay]:
        """The requests that one of them is at work on for this process."""

    @property
    def names(self) -> list[str]:
        """All that can be asked."""


class NetworkServers:
    """Servers at URLs, and those that announced themselves."""

    def __init__(
        self,
        urls: Mapping[str, str],
        leases: Leases | None = None,
        names: Collection[str] = (),
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        """`names` may announce themselves later, and are waited for; every request carries `headers`, `verify` checks certificates."""
        self._urls, self._leases, self._names, self._headers, self._verify = urls, leases or Leases(), names, headers or {}, verify
        self._connections: httpx.AsyncHTTPTransport | None = None
        self._transports: dict[str, ReplicaTransport] = {}

    def open(self, name: str, timeout: httpx.Timeout) -> httpx.AsyncClient:
        """See `Servers`."""
        if name not in {*self._urls, *self._names} and not self._leases.find(name):
            raise _explain_unknown(name, {*self._urls, *self._names})
        return httpx.AsyncClient(
            transport=trace_requests(self._find_transport(name)),
            base_url=self._url(name),
            headers=self._headers,
            timeout=timeout,
            trust_env=False,
        )

    async def count_replicas(self, name: str) -> int:
        """See `Servers`."""
        return await self._find_transport(name).count(httpx.URL(self._url(name)))

    async def list_replicas(self, name: str) -> list[str]:
        """See `Servers`."""
        return await self._find_transport(name).list_addresses(httpx.URL(self._url(name)))

    def list_under_way(self, name: str, replica: str) -> list[UnderWay]:
        """See `Servers`."""
        return self._find_transport(name).list_under_way(replica)

    @property
    def names(self) -> list[str]:
        """See `Servers`."""
        return list(dict.fromkeys([*self._urls, *self._names]))

    def _url(self, name: str) -> str:
        """Of one that nobody looks up the name is all that matters."""
        return self._urls.get(name, f"http://{name}")

    def _find_transport(self, name: str) -> ReplicaTransport:
        if name not in self._transports:
            self._connections = self._connections or open_connections(self._verify)
            transport = ReplicaTransport(name, self._leases, looks_up=name in self._urls, connections=self._connections)
            self._transports[name] = transport
        return self._transports[name]


class EmbeddedServers:
    """Apps in this process, joined without a network; `problems` says why others are not there."""

    def __init__(self, apps: "Mapping[str, FastAPI]", problems: Mapping[str, Problem] | None = None) -> None:
        self._apps, self._problems = apps, problems or {}

    def open(self, name: str, timeout: httpx.Timeout) -> httpx.AsyncClient:
        """See `Servers`."""
        if name in self._problems:
            raise self._problems[name]
        if name not in self._apps:
            raise _explain_unknown(name, self._apps)
        return open_client(self._apps[name], name, timeout)

    async def count_replicas(self, name: str) -> int:
        """See `Servers`."""
        return 1

    async def list_replicas(self, name: str) -> list[str]:
        """See `Servers`; an app in this process is its only replica."""
        return ["here"] if name in self._apps else []

    def list_under_way(self, name: str, replica: str) -> list[UnderWay]:
        """See `Servers`; nothing is counted here."""
        return []

    @property
    def names(self) -> list[str]:
        """See `Servers`."""
        return [*self._apps, *self._problems]


def _explain_unknown(name: str, known: Collection[str]) -> NotFound:
    return NotFound(f"there is no service {name!r}{suggest(name, set(known) - {'labeller'})}")


def refuse_redirect(name: str, answer: httpx.Response) -> Unavailable:
    """A redirect is no answer, and is not followed: it may lead to a stranger, who must not get the key."""
    where = answer.headers["location"][:200]
    return Unavailable(f"{name} answered {answer.status_code}: it is at {where}, so nothing was done here; give that address")


def open_client(app: "FastAPI", name: str, timeout: httpx.Timeout) -> httpx.AsyncClient:
    """A client that calls `app` without a network."""
    transport = trace_requests(httpx.ASGITransport(app, raise_app_exceptions=False))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{name}", timeout=timeout)
