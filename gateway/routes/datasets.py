"""Routes of datasets: list them, tell of one, its events, pause, cancel, resume and delete it."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from distillery.errors import Conflict, NotFound, Unavailable
from distillery.http.openapi import describe_header, explain_problems
from distillery.schema.dataset import Forecast, State, Status
from distillery.schema.report import VerdictWord
from gateway.dataset_statuses import Selection
from gateway.manager import Manager
from gateway.server_sent_events import ITEM_SCHEMA, write_events

_LARGEST_PAGE = 1000
_MISSING = explain_problems(NotFound, Conflict, Unavailable)

Limit = Annotated[int, Query(ge=1, le=_LARGEST_PAGE, description="datasets in an answer; the header Link leads to the next ones")]
Cursor = Annotated[str, Query(max_length=255, description="only datasets with names behind this one")]
OfState = Annotated[State | None, Query(description="only datasets in this state")]
OfVerdict = Annotated[VerdictWord | None, Query(description="only datasets with this verdict")]
OfTeacher = Annotated[str | None, Query(max_length=100, description="only datasets of this teacher")]
Contains = Annotated[str, Query(max_length=100, description="only datasets whose names contain this")]
LastEvent = Annotated[int, Header(ge=0, description="only events after this one")]


def add_dataset_routes(app: FastAPI, manager: Manager) -> None:
    """GET /v1/datasets and /v1/datasets/{name} with its plan and events, and the verbs."""
    _add_list(app, manager)
    _add_reading(app, manager)
    _add_verbs(app, manager)
    _add_removal(app, manager)
    _add_events(app, manager)


def _add_list(app: FastAPI, manager: Manager) -> None:
    @app.get("/v1/datasets", tags=["datasets"], responses={200: {"headers": describe_header("Link", "where the next ones are")}})
    async def list_datasets(
        response: Response,
        limit: Limit = 100,
        cursor: Cursor = "",
        state: OfState = None,
        verdict: OfVerdict = None,
        teacher: OfTeacher = None,
        contains: Contains = "",
    ) -> list[Status]:
        """Datasets by name, and where they stand; the header Link (rel="next") is there where there may be more."""
        statuses, has_more = await manager.statuses.list(cursor, limit, Selection(state, verdict, teacher, contains))
        if has_more:
            wanted = {"state": state, "verdict": verdict, "teacher": teacher, "contains": contains or None}
            given = {key: value for key, value in wanted.items() if value is not None}
            query = urlencode({"limit": limit, "cursor": statuses[-1].name, **given})
            response.headers["Link"] = f'</v1/datasets?{query}>; rel="next"'
        return statuses


def _add_reading(app: FastAPI, manager: Manager) -> None:
    @app.get("/v1/datasets/{name}", tags=["datasets"], responses=_MISSING)
    async def get_dataset(name: str) -> Status:
        """Where a dataset stands, from its parts."""
        return await manager.statuses.tell(name)

    @app.get("/v1/datasets/{name}/plan", tags=["datasets"], responses=_MISSING)
    async def plan_dataset(name: str) -> Forecast:
        """What the rest of a dataset takes, by the rates of its parts."""
        return await manager.forecast_rest(name)


def _add_verbs(app: FastAPI, manager: Manager) -> None:
    @app.post("/v1/datasets/{name}/pause", status_code=202, tags=["datasets"], responses=_MISSING)
    async def pause_dataset(name: str) -> Status:
        """Finish the shards in work, begin no others; 409 if it is finished."""
        await manager.pause(name)
        return await manager.statuses.tell(name)

    @app.post("/v1/datasets/{name}/cancel", status_code=202, tags=["datasets"], responses=_MISSING)
    async def cancel_dataset(name: str) -> Status:
        """Abandon the shards in work; finished parts stay. 409 if it is finished."""
        await manager.cancel(name)
        return await manager.statuses.tell(name)

    @app.post(
        "/v1/datasets/{name}/resume",
        status_code=202,
        tags=["datasets"],
        responses={**_MISSING, 200: {"model": Status, "description": "It is finished already"}},
    )
    async def resume_dataset(name: str, response: Response) -> Status:
        """Go on after pause, cancel or failure; 200 with its state if it is finished."""
        if not await manager.resume(name):
            response.status_code = 200
        return await manager.statuses.tell(name)


def _add_removal(app: FastAPI, manager: Manager) -> None:
    @app.delete("/v1/datasets/{name}", status_code=204, tags=["datasets"], responses=_MISSING)
    async def delete_dataset(name: str) -> None:
        """Remove a dataset with all its files, for good; 409 while it is being made: cancel it first."""
        await manager.delete(name)


def _add_events(app: FastAPI, manager: Manager) -> None:
    @app.get(
        "/v1/datasets/{name}/events",
        tags=["datasets"],
        response_class=StreamingResponse,
        responses={
            **explain_problems(NotFound),
            200: {"description": "Events", "content": {"text/event-stream": {"itemSchema": ITEM_SCHEMA}}},
        },
    )
    async def follow_dataset(request: Request, name: str, last_event_id: LastEvent = 0) -> Response:
        """Server-sent events until the dataset stops.

        They are state, round, shard, checkpoint, verdict, fallback, missing_service, finalising, page (which could not be made),
        finished and failed.
        """
        events = manager.follow(name, last_event_id)
        headers, media_type = {"Cache-Control": "no-store"}, "text/event-stream"
        if request.method == "HEAD":
            return Response(headers=headers, media_type=media_type)
        return StreamingResponse(write_events(events), headers=headers, media_type=media_type)
