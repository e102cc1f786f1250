"""Many containers behind one name: every request goes to the address that has least to do."""

import asyncio
import socket
import time
from collections import Counter

import httpx

Place = tuple[str, int | None]
"""Address and port."""
_AVOID_SECONDS = 10.0
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


class ReplicaTransport(httpx.AsyncBaseTransport):
    """Resolves the host of every request anew and sends it to one of its addresses; serves any number of hosts.

    Chosen is the address with the fewest requests under way, then the one least recently used; an address that could
    not be reached, or was not ready (503), is avoided for 10 s if there are others. So replicas may come and go at any time.
    """

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport(socket_options=_KEEP_ALIVE, limits=_NO_LIMITS)
        self._under_way: Counter[Place] = Counter()
        self._last_used: dict[Place, float] = {}
        self._failed: dict[Place, float] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        place = self._choose(await resolve(request.url), request.url.port)
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}  # the name that a certificate is of
        request.url = request.url.copy_with(host=place[0])  # the Host header keeps the name
        self._last_used[place] = time.monotonic()
        self._under_way[place] += 1
        try:
            response = await self._inner.handle_async_request(request)
            if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                self._failed[place] = time.monotonic()
            return response
        except httpx.TransportError:
            self._failed[place] = time.monotonic()
            raise
        finally:
            self._under_way[place] -= 1

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _choose(self, addresses: list[str], port: int | None) -> Place:
        now, places = time.monotonic(), [(address, port) for address in addresses]
        sound = [p for p in places if now - self._failed.get(p, -_AVOID_SECONDS) >= _AVOID_SECONDS]
        return min(sound or places, key=lambda place: (self._under_way[place], self._last_used.get(place, 0.0), place[0]))


async def resolve(url: httpx.URL) -> list[str]:
    """The addresses of a URL's host, sorted; ConnectError if there are none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpx.ConnectError(f"no address for {url.host}: {error}") from error
    return sorted({str(entry[4][0]) for entry in found})
