"""The labeller's app: `POST /label`, `POST /finalise` beside the routes that all apps have."""

import asyncio
import logging
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from distillery.dataset.merge import finalise
from distillery.errors import Busy, Conflict, InvalidRequest, NotFound, OutOfMemory, TooLarge, Unavailable
from distillery.http.app import create_base_app
from distillery.http.body import describe_message, read_body, read_message
from distillery.http.disconnect import CLIENT_LEFT, until_client_leaves
from distillery.http.openapi import explain_problems, publish
from distillery.runtime.limits import LARGEST_FINALISE
from distillery.runtime.machine import count_cores, count_workers, return_free_memory
from distillery.runtime.stopping import Stopped
from distillery.schema.base import Name
from distillery.schema.label import (
    FinaliseReceipt,
    FinaliseRequest,
    LabelledBatch,
    LabellerCard,
    PhysicsCheck,
    Receipt,
    SelfTest,
    TeacherCard,
)
from distillery.structures.arrow import ARROW_TYPE
from labeller import VERSION
from labeller.batching import AtomBudget
from labeller.engine import Engine
from labeller.labelling import Labelling
from labeller.metrics import Meter, watch_gpu
from labeller.self_test import run_self_test
from labeller.settings import LabellerSettings
from labeller.structure_queue import StructureQueue
from labeller.teachers import create_teacher
from labeller.teachers.teacher import BudgetRange, Teacher

_log = logging.getLogger("distillery")
_MEMORY_PER_WORKER = 4 * 2**30
"""Bytes for each worker on a CPU: a prediction of 7net-0 for 500 atoms takes 2-5 GB there, by their density."""
_ARROW_BODY = {"required": True, "content": {ARROW_TYPE: {"schema": {"type": "string", "format": "binary"}}}}


@dataclass(frozen=True)
class Running:
    """A loaded teacher at work."""

    card: TeacherCard
    engine: Engine
    budget: AtomBudget
    labelling: Labelling
    n_workers: int

    def close(self) -> None:
        """Fail what is unfinished, end all threads."""
        self.engine.close()
        self.labelling.close()


class Labeller:
    """A teacher and, once it is loaded, what runs it; `app.state.labeller`."""

    def __init__(self, teacher: Teacher, settings: LabellerSettings) -> None:
        self._teacher, self._settings = teacher, settings
        self._closing = threading.Event()
        self._running: Running | None = None
        self._checks: tuple[PhysicsCheck, ...] = ()

    @property
    def running(self) -> Running:
        """What `load` made; Unavailable before."""
        if self._running is None:
            raise Unavailable("the teacher is not loaded yet; ask again soon", retry_after=2)
        return self._running

    def load(self, app: FastAPI) -> None:
        """Load the teacher and start the pipeline; Unavailable says what is missing."""
        teacher, settings = self._teacher, self._settings
        teacher.load(self._closing)
        if self._closing.is_set():
            return
        n_cores = count_cores()
        n_workers = settings.workers or (1 if teacher.device == "cuda" else count_workers(_MEMORY_PER_WORKER))
        teacher.use_threads(max(1, n_cores // n_workers))
        chosen = teacher.budget if settings.atom_budget is None else BudgetRange(settings.atom_budget, settings.atom_budget)
        budget = AtomBudget(chosen)
        engine = Engine(teacher, n_workers, budget, StructureQueue(settings.queue), Meter(app.state.registry))
        if teacher.device == "cuda":
            watch_gpu(app.state.registry)
        engine.on_fatal = app.state.readiness.lose
        engine.start()
        self._checks = self._test(engine)
        card = describe_teacher(teacher, self._checks)
        self._running = Running(card, engine, budget, Labelling(engine, card, teacher.tolerance, settings.data), n_workers)

    def _test(self, engine: Engine) -> tuple[PhysicsCheck, ...]:
        """The teacher's self-test, told in the log; what it finds decides nothing here, but goes into every part for the gates to judge."""
        if not self._settings.self_test:
            return ()
        outline = describe_teacher(self._teacher).outline
        checks = run_self_test(engine.label_all, self._teacher.tolerance, outline)
        for detail in dict.fromkeys(check.detail for check in checks if check.passed is False):
            _log.error("the self-test of %s failed: %s", self._teacher.name, detail)
        return checks

    def describe(self) -> LabellerCard:
        """The card of `GET /v1/metadata`."""
        running = self._running
        return LabellerCard(
            version=VERSION,
            teacher_name=self._teacher.name,
            teacher=None if running is None else running.card,
            data=str(self._settings.data),
            workers=None if running is None else running.n_workers,
            atom_budget=None if running is None else running.budget.limit,
            waiting=0 if running is None else len(running.engine.waiting),
            queue=self._settings.queue,
            body_limit_mib=self._settings.body_limit_mib,
            self_test=self._checks,
        )

    def close(self) -> None:
        """Give up a download that is under way, fail what is unfinished, end all threads and the teacher."""
        self._closing.set()
        if self._running is not None:
            self._running.close()
        self._teacher.close()


def describe_teacher(teacher: Teacher, checks: tuple[PhysicsCheck, ...] = ()) -> TeacherCard:
    """The card of a loaded teacher, as it goes into every receipt."""
    return TeacherCard(
        name=teacher.name,
        version=teacher.version,
        weights_sha256=teacher.weights_sha256,
        licence=teacher.licence,
        device=teacher.device,
        elements=teacher.elements,
        abilities=teacher.abilities,
        self_test=SelfTest.of(checks) if checks else None,
    )


def create_labeller(teacher: Teacher, settings: LabellerSettings) -> FastAPI:
    """The labeller's app with this teacher; the teacher is loaded once the app's lifespan has begun."""
    labeller = Labeller(teacher, settings)
    app = create_base_app(
        "labeller",
        VERSION,
        labeller.describe,
        lambda: labeller.load(app),
        labeller.close,
        end_when_lost=settings.end_when_lost,
        card=LabellerCard,
        largest_body=settings.body_limit_mib << 20,
        too_large=f"a body may have {settings.body_limit_mib} MiB, this one has more; send fewer structures at once",
    )
    app.state.labeller = labeller
    _add_label_routes(app, labeller)
    _add_finalise_route(app, settings.data)
    publish(app, models=[FinaliseRequest])
    return app


def _add_label_routes(app: FastAPI, labeller: Labeller) -> None:
    @app.post(
        "/label",
        tags=["label"],
        response_model=Receipt,
        openapi_extra={"requestBody": _ARROW_BODY},
        responses=explain_problems(InvalidRequest, Conflict, TooLarge, Busy, Unavailable, OutOfMemory),
    )
    async def label(dataset: Name, part: Name, request: Request) -> Response:
        """Label a structure batch (Arrow) and write it as a part; a part that is there already stays as it is."""
        app.state.readiness.require()
        running = labeller.running
        running.engine.waiting.require_room()
        try:
            body = await _read_body(request)
            receipt = await until_client_leaves(request, running.labelling.label(dataset, part, body))
        except Stopped:
            return Response(status_code=CLIENT_LEFT)
        return JSONResponse(receipt.model_dump(mode="json"))

    @app.post(
        "/labels",
        tags=["label"],
        response_model=LabelledBatch,
        openapi_extra={"requestBody": _ARROW_BODY},
        responses=explain_problems(InvalidRequest, TooLarge, Busy, Unavailable, OutOfMemory),
    )
    async def label_alone(request: Request) -> Response:
        """Label a structure batch (Arrow) that is of no dataset; nothing is written."""
        app.state.readiness.require()
        running = labeller.running
        running.engine.waiting.require_room()
        try:
            found = await until_client_leaves(request, running.labelling.label_alone(await _read_body(request)))
        except Stopped:
            return Response(status_code=CLIENT_LEFT)
        return Response(await asyncio.to_thread(found.model_dump_json), media_type="application/json")


def _add_finalise_route(app: FastAPI, data: Path) -> None:
    finalising: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    @app.post(
        "/finalise",
        tags=["finalise"],
        openapi_extra=describe_message(FinaliseRequest),
        responses=explain_problems(InvalidRequest, NotFound, Conflict, TooLarge, Unavailable),
    )
    async def finalise_dataset(request: Request) -> FinaliseReceipt:
        """Merge parts, in the order given, into dataset.h5."""
        body = await read_message(request, FinaliseRequest, LARGEST_FINALISE, LARGEST_FINALISE, LARGEST_FINALISE)
        async with finalising.setdefault(body.dataset, asyncio.Lock()):
            return await asyncio.to_thread(_finalise, data, body)


def _finalise(data: Path, request: FinaliseRequest) -> FinaliseReceipt:
    receipt = finalise(data, request)
    return_free_memory()
    return receipt


async def _read_body(request: Request) -> bytearray:
    content_type = request.headers.get("content-type", "nothing").split(";")[0].strip()
    if content_type != ARROW_TYPE:
        raise InvalidRequest(f"unsupported media type: the body of /label is {ARROW_TYPE}, got {content_type}")
    return await read_body(request)


def build() -> FastAPI:
    """The app as a container runs it: settings from the environment."""
    settings = LabellerSettings()
    return create_labeller(create_teacher(settings), settings)
