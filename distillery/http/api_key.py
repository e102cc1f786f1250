"""The API key: what it may be, how a request carries it, and the guard that refuses who has none."""

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from distillery.errors import InvalidRequest, Unauthorized

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_SHORTEST_KEY = 16


def check_key(key: SecretStr | None) -> SecretStr | None:
    """The key, if a header can carry it and it is long enough; ValueError tells what is wrong with it without the key."""
    if key is not None and len(key) < _SHORTEST_KEY:
        raise ValueError(f"it has {len(key)} characters, at least {_SHORTEST_KEY} are wanted")
    if key is not None and not (key.get_secret_value().isascii() and key.get_secret_value().isprintable()):
        raise ValueError("it holds characters that are not printable ASCII, which no header can carry; choose another")
    if key is not None and key.get_secret_value().strip() != key.get_secret_value():
        raise ValueError("it begins or ends with a blank, which headers lose on their way; choose another")
    return key


def read_key(key: SecretStr | None, file: Path | None) -> SecretStr | None:
    """The key that was given, else the one in a file, whose last line's end is none of it; InvalidRequest if there is none in it."""
    if key is not None or file is None:
        return key
    try:
        return check_key(SecretStr(file.read_text(encoding="utf-8").strip()))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InvalidRequest(f"no API key can be read from {file}: {error}") from None


def carry_key(key: SecretStr | None) -> dict[str, str]:
    """The header that a request carries a key in."""
    return {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}


class ApiKeyGuard:
    """Refuses requests without the API key, except for paths that begin with one of `is_open`."""

    def __init__(self, app: "ASGIApp", api_key: str, is_open: Iterable[str]) -> None:
        self._app, self._key, self._open = app, api_key.encode(), tuple(is_open)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        is_open = scope["type"] != "http" or scope["path"].startswith(self._open)
        scheme, _, key = dict(scope.get("headers", ())).get(b"authorization", b"").partition(b" ")
        if is_open or (scheme.lower() == b"bearer" and secrets.compare_digest(key.strip(), self._key)):
            await self._app(scope, receive, send)
            return
        from distillery.http.error_responses import as_response

        problem = Unauthorized("send the API key as `Authorization: Bearer …` (the distillery command takes it from DISTILLERY_API_KEY)")
        response = as_response(problem, scope["path"])
        response.headers["WWW-Authenticate"] = "Bearer"
        await response(scope, receive, send)
