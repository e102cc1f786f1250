"""Routes by which services and labellers announce themselves to the gateway."""

from typing import Annotated

from fastapi import FastAPI, Path, Request, Response

from distillery.errors import Conflict, InvalidRequest, NotFound, TooLarge
from distillery.http.body import describe_message, read_message
from distillery.http.leases import Leases
from distillery.http.openapi import explain_problems
from distillery.schema.base import NAME_PATTERN
from distillery.schema.replica import Announcement, Lease, Replica

Id = Annotated[str, Path(pattern=NAME_PATTERN, description="chosen by the replica, another one each time its process begins")]


def add_replica_routes(app: FastAPI, leases: Leases) -> None:
    """Add them; `publish` must be told of `Announcement`."""

    @app.get("/v1/replicas", tags=["replicas"])
    async def list_replicas() -> list[Replica]:
        """The services and labellers that announced themselves and are there now."""
        return leases.list_all()

    @app.put(
        "/v1/replicas/{id}",
        tags=["replicas"],
        openapi_extra=describe_message(Announcement),
        responses=explain_problems(InvalidRequest, NotFound, Conflict, TooLarge),
    )
    async def announce_replica(request: Request, id: Id) -> Lease:
        """Join, or stay: a replica that does not announce itself again before its lease ends is lost; its shards go elsewhere."""
        return leases.renew(id, await read_message(request, Announcement))

    @app.delete("/v1/replicas/{id}", tags=["replicas"], status_code=204, response_class=Response, responses=explain_problems(NotFound))
    async def release_replica(id: Id) -> None:
        """Leave: nothing more is sent to the replica; what it works on it may finish."""
        leases.leave(id)
