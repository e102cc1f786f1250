"""Routes of a dataset's files and of its page."""

from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse

from distillery.errors import CorruptPart, InvalidRequest, NotFound
from distillery.http.files import serve_file, serve_page
from distillery.http.openapi import Responses, describe_problem, explain_problems
from distillery.schema.dataset import FileEntry, SeenStructure
from gateway.latest import read_latest
from gateway.manager import Manager

_FILE_TYPES = {
    ".h5": "application/x-hdf5",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".html": "text/html",
    ".md": "text/markdown",
}
_BINARY = {"type": "string", "format": "binary"}
_FILES = {media_type: {"schema": _BINARY if suffix == ".h5" else {}} for suffix, media_type in _FILE_TYPES.items()}
Latest = Annotated[int, Query(ge=1, le=50, description="at most so many")]
_UNCHANGED: Responses = {304: {"description": "The client has it already (If-None-Match)"}}


def add_file_routes(app: FastAPI, manager: Manager) -> None:
    """GET …/files, …/files/{path} and …/report.html."""
    missing = explain_problems(NotFound)

    @app.get("/v1/datasets/{name}/files", tags=["files"], responses=missing)
    def list_files(name: str) -> list[FileEntry]:
        """The dataset's files: recipe, report, checkpoints, dataset.h5, parts."""
        return manager.list_files(name)

    @app.get("/v1/datasets/{name}/structures", tags=["files"], responses=explain_problems(NotFound, CorruptPart, InvalidRequest))
    def list_latest_structures(name: str, n: Latest = 12) -> list[SeenStructure]:
        """The structures that were labelled last, the newest first, to be looked at."""
        return read_latest(manager.find_folder(name), n)

    @app.get(
        "/v1/datasets/{name}/report.html",
        tags=["files"],
        response_class=HTMLResponse,
        responses={**missing, **_UNCHANGED, **explain_problems(InvalidRequest)},
    )
    async def get_page(request: Request, name: str) -> Response:
        """The page of a dataset; while it is being made, one of its finished parts, which may take a minute."""
        return await serve_page(request, await manager.read_page(name))

    @app.get(
        "/v1/datasets/{name}/files/{path:path}",
        tags=["files"],
        response_class=Response,
        responses={
            **missing,
            **_UNCHANGED,
            200: {"description": "The file", "content": _FILES},
            206: {"description": "The range that was asked for", "content": _FILES | {"multipart/byteranges": {"schema": _BINARY}}},
            416: describe_problem("There is no such range"),
        },
    )
    def get_file(request: Request, name: str, path: str) -> Response:
        """One file; ranges and If-None-Match are honoured, and text is compressed (gzip) where no range is asked for."""
        file = manager.find_file(name, path)
        return serve_file(request, file, f"{name}-{file.name}", _FILE_TYPES[file.suffix])
