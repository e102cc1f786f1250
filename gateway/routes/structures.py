"""Routes that need no dataset: structures of one service, and labels of structures that a client has."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from distillery.errors import Busy, InvalidRequest, NotFound, OutOfMemory, TooLarge, Unavailable, Unsupported
from distillery.http.body import describe_message, read_body, read_message
from distillery.http.openapi import explain_problems, refer_to
from distillery.schema.generate import GenerateRequest, PoolSlice, StructureList, StructuresAnswer, StructuresRequest
from distillery.schema.label import LabelledBatch
from distillery.structures.identity import derive_seed
from gateway.clients import Batch, Clients
from gateway.formats import EXTXYZ_TYPE, JSON_TYPE, MEDIA_TYPES, Format, choose_format, open_writer, read_structures, write_labelled

_PIECE = 50
"""Structures asked for at once; a constant, as the structures depend on it."""
_TEXT = {"schema": {"type": "string"}}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_STREAMED = {MEDIA_TYPES["arrow"]: _BINARY, EXTXYZ_TYPE: _TEXT}
_BODIES = {**_STREAMED, JSON_TYPE: {"schema": refer_to(StructureList)}}


def add_structure_routes(app: FastAPI, clients: Clients, n_side_by_side: int) -> None:
    """POST /v1/generate and /v1/label; `n_side_by_side` pieces are asked of each replica at once."""
    _add_generate(app, clients, n_side_by_side)
    _add_label(app, clients)


def _add_generate(app: FastAPI, clients: Clients, n_side_by_side: int) -> None:
    @app.post(
        "/v1/generate",
        tags=["structures"],
        response_class=Response,
        openapi_extra=describe_message(StructuresRequest),
        responses={
            **explain_problems(InvalidRequest, NotFound, TooLarge, Unsupported, Busy, Unavailable, OutOfMemory),
            200: {"description": "Structures, as they are made", "model": StructuresAnswer, "content": _STREAMED},
        },
    )
    async def generate_structures(request: Request) -> Response:
        """Structures of one service without a dataset, as the service makes them: Arrow, or as `Accept` asks JSON or extended XYZ.

        The same request gives the same structures. Fewer than n may come: where JSON is asked for, its end says why.
        """
        body = await read_message(request, StructuresRequest)
        format = choose_format(request.headers, ("arrow", "json", "extxyz"))
        n_at_once = n_side_by_side * await clients.count_replicas(body.service)
        n_piece = min(_PIECE, (await clients.peek(body.service)).n_max)
        batches = _generate(clients, [_cut(body, start, n_piece) for start in range(0, body.n, n_piece)], body.service, n_at_once)
        first = await anext(batches)  # what is wrong with the request is a problem document, not an answer that breaks off
        return StreamingResponse(_write(body, first, batches, format), media_type=MEDIA_TYPES[format])


def _cut(body: StructuresRequest, start: int, n_piece: int) -> GenerateRequest:
    """The request for the piece that begins at `start`."""
    shared = body.model_dump(exclude={"service", "n", "seed", "shard", "pool_slice"})
    return GenerateRequest(
        **shared,
        n=min(n_piece, body.n - start),
        seed=derive_seed(body.seed, body.service, start),
        shard=f"{body.shard or f'{body.service}-{body.seed}'}-{start // n_piece:05d}",
        pool_slice=PoolSlice(seed=derive_seed(body.seed, body.service, 0), start=start),
    )


async def _generate(clients: Clients, pieces: list[GenerateRequest], service: str, n_at_once: int) -> AsyncIterator[Batch]:
    """The pieces in order, so many of them under way at once; what is under way is given up where nobody takes it."""
    waiting = iter(pieces)
    tasks = deque[asyncio.Task[Batch]]()
    try:
        while True:
            while len(tasks) < n_at_once and (piece := next(waiting, None)) is not None:
                tasks.append(asyncio.create_task(clients.generate(service, piece)))
            if not tasks:
                return
            yield await tasks[0]
            tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _write(body: StructuresRequest, first: Batch, rest: AsyncIterator[Batch], format: Format) -> AsyncIterator[bytes]:
    made = first.generated
    writer = open_writer(format, {"service": made.service, "version": made.version, "licence": made.licence})
    attempts, rejected = made.attempts, Counter(made.rejected)
    yield await asyncio.to_thread(writer.write, first.structures)
    async for batch in rest:
        attempts += batch.generated.attempts
        rejected.update(batch.generated.rejected)
        yield await asyncio.to_thread(writer.write, batch.structures)
    yield writer.end({"requested": body.n, "attempts": attempts, "rejected": dict(sorted(rejected.items()))})


def _add_label(app: FastAPI, clients: Clients) -> None:
    @app.post(
        "/v1/label",
        tags=["structures"],
        response_class=Response,
        openapi_extra={"requestBody": {"required": True, "content": _BODIES}},
        responses={
            **explain_problems(InvalidRequest, TooLarge, Busy, Unavailable, OutOfMemory),
            200: {"description": "Labels", "model": LabelledBatch, "content": {EXTXYZ_TYPE: _TEXT}},
        },
    )
    async def label_structures(request: Request) -> Response:
        """Labels of structures without a dataset: they come as Arrow, JSON or extended XYZ, and go back as JSON or extended XYZ.

        Structures that no teacher should see, or whose labels are unsound, are named under `rejected`.
        """
        format = choose_format(request.headers, ("json", "extxyz"))
        body, content_type = await read_body(request), request.headers.get("content-type", "")
        structures = await asyncio.to_thread(read_structures, body, content_type)
        if len({structure.id for structure in structures}) < len(structures):
            raise InvalidRequest("every structure needs an id of its own; two have the same")
        found = await clients.label_alone(structures)
        if format == "extxyz":
            return Response(await asyncio.to_thread(write_labelled, structures, found), media_type=EXTXYZ_TYPE)
        return Response(await asyncio.to_thread(found.model_dump_json), media_type=JSON_TYPE)
