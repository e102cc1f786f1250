"""The login of the live page: who has given the API key has a cookie that proves it until the browser is closed, at most 12 hours."""

import hashlib
import hmac
import time
from http.cookies import CookieError, SimpleCookie

from fastapi import Request, Response

COOKIE = "distillery-session"
_LONGEST_SECONDS = 12 * 3600


def open_session(request: Request, response: Response, api_key: str) -> None:
    """Give the cookie; the key itself is in it nowhere."""
    until = int(time.time()) + _LONGEST_SECONDS
    is_safe = request.url.scheme == "https"
    response.set_cookie(COOKIE, f"{until}.{_sign(until, api_key)}", httponly=True, samesite="strict", secure=is_safe, path="/")


def end_session(response: Response) -> None:
    """Take the cookie back."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


def has_session(cookie_header: str, api_key: str) -> bool:
    """Whether a request's header Cookie proves that its sender once gave the key, not too long ago."""
    try:
        morsel = SimpleCookie(cookie_header).get(COOKIE)
    except CookieError:
        return False
    until, _, proof = (morsel.value if morsel else "").partition(".")
    if not until.isascii() or not until.isdigit() or len(until) > 12 or int(until) < time.time():
        return False
    return hmac.compare_digest(proof.encode(), _sign(int(until), api_key).encode())


def _sign(until: int, api_key: str) -> str:
    return hmac.new(api_key.encode(), f"live page until {until}".encode(), hashlib.sha256).hexdigest()
