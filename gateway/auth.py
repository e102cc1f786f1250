"""Access to a gateway: with an API key or the session of a browser that gave it; without a key from its own machine alone."""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, ip_address
from urllib.parse import urlencode, urlsplit

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from distillery.errors import Forbidden, Problem
from distillery.http.api_key import ApiKeyGuard
from distillery.http.error_responses import as_response
from gateway.live.session import has_session
from gateway.local_network import is_near

_READING = {"GET", "HEAD", "OPTIONS"}


class SessionGuard(ApiKeyGuard):
    """Lets in who has the API key, and a browser that has logged in; with a session pages of other sites may change nothing.

    A browser that asks for a page without either is led to the login.
    """

    def __init__(self, app: ASGIApp, api_key: str, is_open: Iterable[str]) -> None:
        super().__init__(app, api_key, is_open)
        self._secret = api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(self._open):
            await super().__call__(scope, receive, send)
            return
        headers = _read_headers(scope)
        if "authorization" in headers or not has_session(headers.get("cookie", ""), self._secret):
            await self._ask_for_key(scope, receive, send, headers)
        elif (problem := _find_foreign_change(scope, headers)) is not None:
            await as_response(problem, scope["path"])(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _ask_for_key(self, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str]) -> None:
        is_page = scope["method"] == "GET" and "text/html" in headers.get("accept", "") and "authorization" not in headers
        query = scope["query_string"].decode("latin-1")
        login = RedirectResponse(f"/login?{urlencode({'to': scope['path'] + (f'?{query}' if query else '')})}", 303)
        await (login if is_page else super().__call__)(scope, receive, send)


class BrowserGuard:
    """Without an API key, keeps out other machines, and what web pages of others make a user's browser ask.

    A peer must be this machine, or in one of `networks`: settings may say "loopback" of a port that is published everywhere.
    Pages may change nothing here, and can't read under a name of their own that leads to this address (DNS rebinding): the
    gateway answers to addresses, to localhost and to names without a dot, as containers have.
    """

    def __init__(self, app: ASGIApp, networks: Sequence[IPv4Network] = ()) -> None:
        self._app, self._networks = app, networks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = (self._find_stranger(scope) or _find_intrusion(scope)) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await as_response(problem, scope["path"])(scope, receive, send)

    def _find_stranger(self, scope: Scope) -> Problem | None:
        peer = scope.get("client")
        if peer is None or is_near(peer[0], self._networks):  # there is none on a Unix socket
            return None
        return Forbidden(
            f"without an API key the gateway answers to its own machine only, not to {peer[0]}; set DISTILLERY_GATEWAY_API_KEY "
            "(DISTILLERY_API_KEY in compose's .env), or in a container with a port on loopback DISTILLERY_GATEWAY_PUBLISHED=127.0.0.1"
        )


def _find_intrusion(scope: Scope) -> Problem | None:
    headers = _read_headers(scope)
    host = headers.get("host", "")
    if not _is_own_name(host):
        return Forbidden(f"without an API key the gateway answers to localhost or an address, not to {host!r}; ask there, or set a key")
    return _find_foreign_change(scope, headers)


def _read_headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _find_foreign_change(scope: Scope, headers: Mapping[str, str]) -> Problem | None:
    """Forbidden if a page of another site would change something."""
    host = headers.get("host", "")
    origin = headers.get("origin")
    is_foreign = headers.get("sec-fetch-site") in {"cross-site", "same-site"} or (origin is not None and not _leads_to(origin, host))
    if is_foreign and scope["method"] not in _READING:
        return Forbidden(f"a page from {origin or 'elsewhere'} may not change anything here; use the distillery command, or set an API key")
    return None


def _leads_to(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False


def _is_own_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(".localhost")
    return True
