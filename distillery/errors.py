"""Problems: every error a caller can meet, named for the caller's next move (RFC 9457).

Problem
├── InvalidRequest   400  change the request
├── Unauthorized     401  send the API key
├── Forbidden        403  ask from where it is allowed
├── NotFound         404  ask for something that exists
├── Conflict         409  something else already has this name
├── TooLarge         413  send less at once
├── Unsupported      422  ask another service, or ask for less
├── Busy             429  ask again after `retry_after` seconds
├── Internal         500  report it; the log has the cause
├── CorruptPart      500  move the named file away, then resume
├── Unavailable      503  provide what is missing (weights, a service, disk space), then ask again
└── OutOfMemory      507  ask for less at once
"""

import json
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

_log = logging.getLogger("distillery")


class Problem(Exception):
    """An error with a kind, an HTTP status and a detail that says what was wanted, what came and what to do."""

    kind: ClassVar[str] = "problem"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Problem"

    def __init__(self, detail: str, *, retry_after: float | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.extra = extra

    def body(self, instance: str | None = None) -> dict[str, Any]:
        """The members of an RFC 9457 problem document, and `kind`."""
        body: dict[str, Any] = {
            "type": f"urn:distillery:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "kind": self.kind,
            **self.extra,
        }
        if instance is not None:
            body["instance"] = instance
        return body


class InvalidRequest(Problem):
    kind, status, title = "invalid_request", 400, "Invalid request"


class Unauthorized(Problem):
    kind, status, title = "unauthorized", 401, "API key required"


class Forbidden(Problem):
    kind, status, title = "forbidden", 403, "Forbidden"


class NotFound(Problem):
    kind, status, title = "not_found", 404, "Not found"


class Conflict(Problem):
    kind, status, title = "conflict", 409, "Conflict"


class TooLarge(Problem):
    kind, status, title = "too_large", 413, "Request too large"


class Unsupported(Problem):
    kind, status, title = "unsupported", 422, "Unsupported"


class Busy(Problem):
    kind, status, title = "busy", 429, "Busy"


class Internal(Problem):
    kind, status, title = "internal", 500, "Internal error"


class CorruptPart(Problem):
    kind, status, title = "corrupt_part", 500, "Corrupt part"


class Unavailable(Problem):
    kind, status, title = "unavailable", 503, "Unavailable"


class OutOfMemory(Problem):
    kind, status, title = "out_of_memory", 507, "Out of memory"


KINDS: Mapping[str, type[Problem]] = {
    problem.kind: problem
    for problem in (
        *(InvalidRequest, Unauthorized, Forbidden, NotFound, Conflict, TooLarge, Unsupported),
        *(Busy, Internal, CorruptPart, Unavailable, OutOfMemory),
    )
}


def from_response(status: int, text: str, retry_after: str = "") -> Problem:
    """The Problem a service answered with, by the answer's body and Retry-After header; what is no problem document becomes Internal."""
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    problem = from_body(status, body if isinstance(body, dict) else {}, text[:300])
    problem.retry_after = float(retry_after) if retry_after.isdigit() else None
    return problem


def from_body(status: int, body: Mapping[str, Any], fallback: str) -> Problem:
    """The Problem of a problem document."""
    if body.get("kind") not in KINDS:
        return Internal(f"answered {status}: {fallback}")
    extra = {k: v for k, v in body.items() if k not in {"type", "title", "status", "detail", "kind", "instance"}}
    return KINDS[str(body["kind"])](str(body.get("detail", fallback)), **extra)
