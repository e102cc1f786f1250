"""The OpenAPI document of an app: what FastAPI finds out, made true where it can't know."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.datastructures import QueryParams
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from distillery.errors import Internal, InvalidRequest, Problem, Unauthorized
from distillery.http.error_responses import PROBLEM_TYPE
from distillery.schema.explain import suggest
from distillery.schema.problem import ProblemDocument

Responses = dict[int | str, dict[str, Any]]
_REF = "#/components/schemas/{model}"
_BEARER = "ApiKey"


class ReadRoute(APIRoute):
    """A route that answers HEAD wherever it answers GET, the server leaving the body away.

    Parameters that it does not know, or that come twice, are refused.

    What is asked for by machines with parameters of their own takes any, as files do, which pages ask for with a version behind them.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return super().matches({**scope, "method": "GET"} if self._is_head(scope) else scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if takes_known_alone(self.path) and self.include_in_schema:
            self._refuse_unknown(scope)
        if self._is_head(scope):
            await self.app(scope, receive, send)
        else:
            await super().handle(scope, receive, send)

    def _refuse_unknown(self, scope: Scope) -> None:
        """InvalidRequest names a parameter that would be ignored in silence, as `untill` would, and as all but one of several values."""
        known = {str(parameter.alias) for parameter in self.dependant.query_params}
        for name, n_values in Counter(name for name, _ in QueryParams(scope["query_string"]).multi_items()).items():
            if name not in known:
                advice = suggest(name, known) if known else "; there are none here"
                raise InvalidRequest(f"{scope['method']} {scope['path']} has no parameter {name[:100]!r}{advice}")
            if n_values > 1:
                raise InvalidRequest(f"{scope['method']} {scope['path']} takes one value of {name!r}; {n_values} came")

    def _is_head(self, scope: Scope) -> bool:
        return scope["type"] == "http" and scope["method"] == "HEAD" and "GET" in (self.methods or ())


def takes_known_alone(path: str) -> bool:
    """Whether a route of this path refuses parameters that it does not know or that come twice."""
    return not path.startswith(("/v1/health", "/metrics")) and not path.endswith(("/report.html", "/{path:path}", "/{path}"))


def refer_to(model: type[BaseModel]) -> dict[str, str]:
    """The schema of a body that FastAPI does not read; `publish` must be told of the model."""
    return {"$ref": _REF.format(model=model.__name__)}


def explain_problems(*kinds: type[Problem]) -> Responses:
    """The `responses` of a route that may fail in these ways."""
    return {kind.status: _describe_kind(kind) for kind in kinds}


def describe_header(name: str, description: str) -> dict[str, Any]:
    """A header of a response, which is text."""
    return {name: {"description": description, "schema": {"type": "string"}}}


def publish(
    app: FastAPI,
    *,
    models: Sequence[type[BaseModel]] = (),
    everywhere: Iterable[type[Problem]] = (),
    has_key: bool = False,
    is_open: Iterable[str] = (),
) -> None:
    """Make `app.openapi()` true: problems as they are sent, and how the API key is given.

    models      what else the document speaks of: bodies that are not read by FastAPI
    everywhere  what each request may fail with, besides a bug
    has_key     an API key is asked for, but on paths that begin with one of `is_open`
    """
    kinds, free = explain_problems(Internal, *everywhere), tuple(is_open)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
            )
            _add_models(document, [ProblemDocument, *models])
            for path, operations in document["paths"].items():
                needs_key = has_key and not path.startswith(free)
                for operation in operations.values():
                    _complete(operation, path, kinds | (explain_problems(Unauthorized) if needs_key else {}))
                    operation |= {"security": [{_BEARER: []}]} if needs_key else {}
            if has_key:
                document["components"]["securitySchemes"] = {_BEARER: {"type": "http", "scheme": "bearer"}}
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(operation: dict[str, Any], path: str, always: Responses) -> None:
    """Wrong parameters and bodies are 400 here, not FastAPI's 422."""
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    if "parameters" in operation or "requestBody" in operation or takes_known_alone(path):
        responses.setdefault("400", _describe_kind(InvalidRequest))
    for status, response in always.items():
        responses.setdefault(str(status), response)
    operation["responses"] = dict(sorted(responses.items()))


def describe_problem(description: str) -> dict[str, Any]:
    """The response that is a problem document."""
    return {"description": description, "content": {PROBLEM_TYPE: {"schema": {"$ref": _REF.format(model=ProblemDocument.__name__)}}}}


def _describe_kind(kind: type[Problem]) -> dict[str, Any]:
    return describe_problem(f"{kind.title} ({kind.kind})")


def _add_models(document: dict[str, Any], models: Sequence[type[BaseModel]]) -> None:
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= definitions["$defs"]
    for left_over in ("HTTPValidationError", "ValidationError"):
        schemas.pop(left_over, None)
    document["components"]["schemas"] = dict(sorted(schemas.items()))
