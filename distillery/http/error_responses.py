"""Errors as HTTP answers: every exception of an app becomes an RFC 9457 problem document, in this one place."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from distillery.errors import Internal, InvalidRequest, NotFound, Problem
from distillery.http.disconnect import CLIENT_LEFT
from distillery.runtime.limits import MOST_FAULTS

_log = logging.getLogger("distillery")
PROBLEM_TYPE = "application/problem+json"
_NOT_ALLOWED = 405


def as_response(problem: Problem, instance: str, status: int | None = None) -> JSONResponse:
    """The problem as an application/problem+json response, with its kind's status or another of the same class."""
    headers = {} if problem.retry_after is None else {"Retry-After": str(max(1, round(problem.retry_after)))}
    status = status or problem.status
    return JSONResponse({**problem.body(instance), "status": status}, status, headers, media_type=PROBLEM_TYPE)


def as_bug(error: Exception, method: str, path: str) -> JSONResponse:
    """The response to an exception that nobody expected; the log has its cause."""
    _log.error("%s %s failed", method, path, exc_info=error)
    return as_response(Internal(f"{type(error).__name__}: {error}; the service's log has the cause"), path)


def _describe(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        return "unknown key; GET /openapi.json has the known ones"
    came = fault.get("input")
    short = isinstance(came, str | int | float | bool) and len(str(came)) <= 80
    return str(fault["msg"]) + (f"; got {came!r}" if short else "")


def describe_faults(faults: Sequence[Mapping[str, Any]]) -> str:
    """The first faults that pydantic found, and how many there are besides."""
    shown = [f"{'.'.join(str(p) for p in fault['loc'])}: {_describe(fault)}" for fault in faults[:MOST_FAULTS]]
    more = len(faults) - len(shown)
    return "; ".join(shown + [f"and {more} faults more"] * (more > 0))


def _list_methods(request: Request) -> list[str]:
    """What all routes of a request's path take together; Starlette names those of the first alone, and no HEAD."""
    routes = [route for route in request.app.routes if isinstance(route, Route) and route.path_regex.match(request.scope["path"])]
    methods = {method for route in routes for method in route.methods or ()}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def add_error_handlers(app: FastAPI) -> None:
    """Translate the exceptions of `app` to problems, in this one place; what nobody expected is for `as_bug`."""

    async def on_problem(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)
        if error.status >= 500 and error.retry_after is None:
            _log.warning("%s %s: %s", request.method, request.url.path, error.detail, exc_info=error.__cause__)
        return as_response(error, request.url.path)

    async def on_validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return as_response(InvalidRequest(describe_faults(error.errors())), request.url.path)

    async def on_leaving(request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_LEFT)

    async def on_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        kind = NotFound if error.status_code == 404 else InvalidRequest
        response = as_response(kind(f"{request.method} {request.url.path}: {error.detail}"), request.url.path, error.status_code)
        response.headers.update(error.headers or {})
        if error.status_code == _NOT_ALLOWED and (methods := _list_methods(request)):
            response.headers["Allow"] = ", ".join(methods)
        return response

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(ClientDisconnect, on_leaving)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
