"""Many processes behind one name, found by DNS or by their own announcements: each request goes to the one that has least to do."""

import asyncio
import logging
import socket
import ssl
import time
from collections import defaultdict
from dataclasses import dataclass, field

import httpx

from distillery.errors import Unavailable
from distillery.http.leases import LeasedReplica, Leases

_log = logging.getLogger("distillery")
_AVOID_SECONDS = 10.0
_WAIT_SECONDS = 2.0
"""Until one asks again whether a replica has come."""
_KEEP_ALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
"""A service that is cut off while it works is noticed within half a minute, not at the end of the longest wait; a busy one answers."""
_NO_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100)
"""`gateway.concurrency` says how many requests are under way: one that had to wait for a connection would time out."""
if hasattr(socket, "TCP_KEEPIDLE"):
    _KEEP_ALIVE += [
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    ]


@dataclass(frozen=True)
class UnderWay:
    """A request that is not answered yet: its path, the trace that it is of, and since when, Unix time, s."""

    path: str
    trace: str
    since: float


@dataclass(frozen=True)
class Place:
    """Where a replica answers. `name` is that of its certificate, `tenant` who announced it."""

    scheme: str
    host: str
    port: int | None
    name: str = field(compare=False)
    tenant: LeasedReplica | None = field(default=None, compare=False)

    @property
    def address(self) -> str:
        """Host and port, as a request's extension `replica` names it."""
        return self.host if self.port is None else f"{self.host}:{self.port}"


def open_connections(verify: ssl.SSLContext | bool = True) -> httpx.AsyncHTTPTransport:
    """The connections to all replicas of all names: a transport of each one's own would load the certificates again."""
    return httpx.AsyncHTTPTransport(verify=verify, socket_options=_KEEP_ALIVE, limits=_NO_LIMITS)


class ReplicaTransport(httpx.AsyncBaseTransport):
    """Finds the replicas of a name anew for every request and sends it to one of them.

    Chosen is the place with the fewest requests under way, then the one least recently used; one that could not be
    reached, or was not ready (503), is avoided for 10 s if there are others. So replicas may come and go at any time. A
    request to one whose lease ends is given up, to be sent elsewhere. The extension `replica` of a request names the address itself.
    """

    def __init__(
        self, name: str = "", leases: Leases | None = None, *, looks_up: bool = True, connections: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`looks_up` asks DNS for the addresses of the URL's host; `leases` has those that announced themselves as `name`."""
        self._name, self._leases, self._looks_up = name, leases or Leases(), looks_up
        self._inner = connections or open_connections()
        self._under_way: defaultdict[Place, dict[object, UnderWay]] = defaultdict(dict)
        self._last_used: dict[Place, float] = {}
        self._failed: dict[Place, float] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        wanted, places = request.extensions.get("replica"), await self._find_places(request.url)
        place = self._choose([one for one in places if one.address == wanted] or places if wanted else places)
        request.extensions = {**request.extensions, "sni_hostname": place.name}
        request.url = request.url.copy_with(scheme=place.scheme, host=place.host, port=place.port)  # the Host header keeps the name
        self._last_used[place] = time.monotonic()
        token = object()
        self._under_way[place][token] = UnderWay(request.url.path, request.headers.get("traceparent", "")[3:35], time.time())
        try:
            response = await self._send(request, place)
        except httpx.TransportError as error:
            self._failed[place] = time.monotonic()
            if place.tenant is not None and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                self._leases.lose(place.tenant, f"it can't be reached ({error or type(error).__name__})")
            raise
        finally:
            del self._under_way[place][token]
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            self._failed[place] = time.monotonic()
        elif place.tenant is not None and response.is_success:
            place.tenant.answered += 1
            if request.method == "POST":
                _log.info("%s was answered by %s", request.url.raw_path.decode(), place.tenant.describe())
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def count(self, url: httpx.URL) -> int:
        """How many places there are now; at least 1."""
        return len(await self.list_addresses(url)) or 1

    async def list_addresses(self, url: httpx.URL) -> list[str]:
        """The addresses of all places there are now."""
        try:
            return [place.address for place in await self._find_places(url)]
        except (httpx.ConnectError, Unavailable):
            return []

    def list_under_way(self, address: str) -> list[UnderWay]:
        """The requests under way to an address."""
        return [one for place, requests in self._under_way.items() if place.address == address for one in requests.values()]

    async def _find_places(self, url: httpx.URL) -> list[Place]:
        """ConnectError if DNS has no address and nobody announced itself; Unavailable, to be waited for, if DNS plays no part."""
        announced = [_place(tenant) for tenant in self._leases.find(self._name)]
        if self._looks_up:
            try:
                named = [Place(url.scheme, address, url.port, url.host) for address in await resolve(url)]
            except httpx.ConnectError:
                if not announced:
                    raise
                named = []
            return list(dict.fromkeys([*announced, *named]))
        if not announced:
            raise Unavailable(f"no {self._name} has announced itself to this gateway; one is waited for", retry_after=_WAIT_SECONDS)
        return announced

    async def _send(self, request: httpx.Request, place: Place) -> httpx.Response:
        """The answer; ReadError once the replica's lease is over."""
        if (tenant := place.tenant) is None:
            return await self._inner.handle_async_request(request)
        work = asyncio.ensure_future(self._inner.handle_async_request(request))
        try:
            while not work.done():
                if (left := self._leases.remaining(tenant)) <= 0:
                    raise httpx.ReadError(f"{tenant.describe()} is lost: its lease ended")
                await asyncio.wait({work}, timeout=min(left, _WAIT_SECONDS))
            return work.result()
        finally:
            work.cancel()

    def _choose(self, places: list[Place]) -> Place:
        now = time.monotonic()
        sound = [p for p in places if now - self._failed.get(p, -_AVOID_SECONDS) >= _AVOID_SECONDS]
        return min(sound or places, key=lambda place: (len(self._under_way[place]), self._last_used.get(place, 0.0), place.host))


def _place(tenant: LeasedReplica) -> Place:
    url = httpx.URL(tenant.announcement.url)
    return Place(url.scheme, url.host, url.port, url.host, tenant)


async def resolve(url: httpx.URL) -> list[str]:
    """The addresses of a URL's host, sorted; ConnectError if there are none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpx.ConnectError(f"no address for {url.host}: {error}") from error
    return sorted({str(entry[4][0]) for entry in found})
