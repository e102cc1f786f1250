"""The login of the live page, where the gateway has an API key."""

import secrets
from typing import Annotated

from fastapi import FastAPI, Form, Request, Response

from gateway.live.routes import LivePage, redirect
from gateway.live.session import end_session, open_session

Text = Annotated[str, Form()]


def add_login(app: FastAPI, page: LivePage, api_key: str) -> None:
    """The form at /login, and what it sends."""

    @app.get("/login", include_in_schema=False)
    async def get_login(to: str = "/") -> Response:
        return page.render("login", to=_stay_here(to), said="")

    @app.post("/login", include_in_schema=False)
    async def log_in(request: Request, key: Text = "", to: Text = "/") -> Response:
        if not secrets.compare_digest(key.strip().encode(), api_key.encode()):
            return page.render("login", 403, to=_stay_here(to), said="This is not the gateway's key.")
        answer = redirect(_stay_here(to))
        open_session(request, answer, api_key)
        return answer

    @app.post("/logout", include_in_schema=False)
    async def log_out() -> Response:
        answer = redirect("/login")
        end_session(answer)
        return answer


def _stay_here(path: str) -> str:
    """A path of this gateway; the first page where another site was named."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() else "/"
