"""Datasets: folders with a recipe, the wanted state and parts; everything else is derived from them."""

import asyncio
import json
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from contract.disk import write_text_whole
from contract.parts import PARTS_FOLDER
from contract.problems import Conflict, Internal, NotFound, Problem, Unavailable
from gateway.clients import Clients
from gateway.ledger import Ledger
from gateway.plan import Plan
from gateway.progress import describe_sources
from gateway.recipe import Recipe, parse_recipe, read_recipe
from gateway.report import REPORT, read_report
from gateway.run import Run, is_locked
from gateway.settings import GatewaySettings

DATASET = "dataset.h5"
RECIPE = "recipe.yaml"
STATE = "state.json"
Wanted = Literal["running", "paused", "cancelled"]
_EVENTS_KEPT = 1000
_log = logging.getLogger("distillery.gateway")


@dataclass
class Handle:
    """A dataset this process knows: its run and what has happened to it."""

    run: Run
    task: asyncio.Task[None] | None = None
    is_cancelling: bool = False
    problem: Problem | None = None
    started: float = field(default_factory=time.time)
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_EVENTS_KEPT))
    n_events: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_working(self) -> bool:
        """True while its task runs."""
        return self.task is not None and not self.task.done()

    def emit(self, kind: str, data: dict[str, Any]) -> None:
        """Record an event and wake who listens."""
        self.n_events += 1
        self.events.append({"id": self.n_events, "event": kind, "time": round(time.time(), 3), "data": data})
        news, self.news = self.news, asyncio.Event()
        news.set()


class Datasets:
    """All datasets below the data folder."""

    def __init__(self, settings: GatewaySettings, clients: Clients) -> None:
        self._settings, self._clients = settings, clients
        self._handles: dict[str, Handle] = {}

    async def take_up_unfinished(self) -> None:
        """Go on with every dataset that is wanted running and is not finished."""
        for name in self.names():
            try:
                if self._read_wanted(name) == "running" and read_report(self._folder(name)) is None:
                    self._start(name)
            except Problem as problem:
                _log.error("can't take up %s: %s", name, problem.detail)

    async def close(self) -> None:
        """Abandon what is in work; nothing is lost, parts in the making are made again."""
        tasks = [handle.task for handle in self._handles.values() if handle.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def names(self) -> list[str]:
        """All datasets, sorted."""
        return sorted(path.parent.name for path in self._settings.data.glob(f"*/{RECIPE}"))

    async def create(self, text: str) -> str:
        """Begin a dataset, or go on with it if the recipe is the same; its name. Conflict if the recipe is another."""
        recipe = parse_recipe(text)
        folder = self._settings.data / recipe.name
        if (folder / RECIPE).exists() and (own := self._read_recipe(recipe.name)).sha256 != recipe.sha256:
            raise Conflict(
                f"there is a dataset {recipe.name!r} from another recipe ({own.sha256[:12]}, not {recipe.sha256[:12]}); "
                f"give this one another name or move {folder} away"
            )
        if not self._is_working(recipe.name):
            self._write(recipe.name, RECIPE, text)
        elif self._read_recipe(recipe.name).gates != recipe.gates:
            raise Conflict(f"{recipe.name!r} is being made with other gates; hand this recipe in when that has ended, or cancel it first")
        await self.resume(recipe.name)
        return recipe.name

    async def resume(self, name: str) -> None:
        """Go on, whatever stopped it; a cancel at work is let end first."""
        self._require(name)
        self._write(name, STATE, json.dumps({"wanted": "running"}))
        handle = self._handles.get(name)
        if handle is not None and handle.is_cancelling and handle.task is not None:
            await asyncio.wait({handle.task})
        if self._is_working(name):
            self._handles[name].run.go_on()
            self._handles[name].emit("state", {"state": "running"})
        else:
            self._start(name)

    def pause(self, name: str) -> None:
        """Finish the shards in work, begin no others."""
        self._require(name)
        self._write(name, STATE, json.dumps({"wanted": "paused"}))
        if self._is_working(name):
            self._handles[name].run.pause()
            self._handles[name].emit("state", {"state": "paused"})

    async def cancel(self, name: str) -> None:
        """Abandon the shards in work; what is finished stays, `resume` goes on from there."""
        self._require(name)
        self._write(name, STATE, json.dumps({"wanted": "cancelled"}))
        if self._is_working(name):
            handle = self._handles[name]
            assert handle.task is not None
            handle.is_cancelling = True
            handle.task.cancel()
            await asyncio.wait({handle.task})
            handle.emit("state", {"state": "cancelled"})

    async def status(self, name: str) -> dict[str, Any]:
        """Where a dataset stands, from its parts."""
        self._require(name)
        handle = self._handles.get(name)
        ledger = handle.run.ledger if handle else Ledger(self._folder(name), self._read_recipe(name))
        plan, problem = await self._look_at(handle, ledger)
        report = read_report(self._folder(name)) if plan.is_complete and not (handle and handle.is_working) else None
        return {
            "name": name,
            "state": self._state(name, report, problem),
            "verdict": report["verdict"] if report else None,
            "reasons": report["reasons"] if report else [],
            "problem": problem.body() if problem else None,
            "round": max(len(plan.rounds) - 1, 0),
            "started": handle.started if handle else None,
            "recipe_sha256": ledger.recipe.sha256,
            "teacher": ledger.recipe.teacher,
            "sources": describe_sources(ledger, plan, handle.run.in_work if handle else Counter()),
        }

    async def status_or_problem(self, name: str) -> dict[str, Any]:
        """The status, or what keeps it from being read: one bad folder does not hide the others."""
        try:
            return await self.status(name)
        except Problem as problem:
            return {"name": name, "state": "failed", "verdict": None, "problem": problem.body(), "round": 0, "teacher": "", "sources": {}}

    async def _look_at(self, handle: Handle | None, ledger: Ledger) -> tuple[Plan, Problem | None]:
        """The plan as far as the parts allow, and what is wrong with the dataset."""
        if handle is not None and (handle.is_working or handle.problem is not None):
            return handle.run.plan, handle.problem
        try:
            return await asyncio.to_thread(ledger.make_plan), None
        except Problem as problem:
            return Plan(), problem

    def files(self, name: str) -> dict[str, Path]:
        """The files of a dataset that may be read, by their path in its folder."""
        self._require(name)
        folder = self._folder(name)
        paths = [folder / RECIPE, folder / REPORT, folder / DATASET, *sorted((folder / PARTS_FOLDER).glob("[!.]*.h5"))]
        return {str(path.relative_to(folder)): path for path in paths if path.is_file()}

    async def events(self, name: str, after: int) -> AsyncIterator[dict[str, Any]]:
        """Events with an id over `after`, until the dataset's task ends."""
        self._require(name)
        handle = self._handles.get(name)
        while handle is not None:
            news, ended = handle.news, not handle.is_working
            for event in [e for e in handle.events if e["id"] > after]:
                after = event["id"]
                yield event
            if ended:
                return
            await news.wait()

    def _start(self, name: str) -> None:
        recipe, folder = self._read_recipe(name), self._folder(name)
        if recipe.name != name:
            raise Conflict(f"{folder} holds the recipe of {recipe.name!r}; name the folder so, or move it out of {self._settings.data}")
        self._forget_report(name)
        text = (folder / RECIPE).read_text(encoding="utf-8")
        events: list[Handle] = []
        run = Run(folder, recipe, text, self._clients, self._settings, lambda kind, data: events[0].emit(kind, data))
        handle = Handle(run)
        events.append(handle)
        self._handles[name] = handle
        handle.task = asyncio.create_task(self._make(name, handle), name=f"make {name}")

    async def _make(self, name: str, handle: Handle) -> None:
        handle.emit("state", {"state": "running"})
        try:
            await handle.run.make()
        except Problem as problem:
            handle.problem = problem
        except OSError as error:
            handle.problem = Unavailable(f"{type(error).__name__} in {self._folder(name)}: {error}; mend that, then resume")
        except Exception as error:
            _log.exception("making %s failed", name)
            handle.problem = Internal(f"{type(error).__name__}: {error}; the gateway's log has the cause")
        if handle.problem is not None:
            _log.error("%s stopped: %s", name, handle.problem.detail)
            handle.emit("failed", handle.problem.body())

    def _state(self, name: str, report: dict[str, Any] | None, problem: Problem | None) -> str:
        wanted = self._read_wanted(name)
        if self._is_working(name):
            return wanted
        if problem is not None:
            return "failed"
        if report is not None:
            return "finished"
        if wanted == "running":
            return "running" if is_locked(self._folder(name)) else "stopped"
        return wanted

    def _is_working(self, name: str) -> bool:
        return name in self._handles and self._handles[name].is_working

    def _folder(self, name: str) -> Path:
        return self._settings.data / name

    def _require(self, name: str) -> None:
        if name not in self.names():
            raise NotFound(f"there is no dataset {name!r} in {self._settings.data}; there are: {', '.join(self.names()) or 'none'}")

    def _read_recipe(self, name: str) -> Recipe:
        return read_recipe(self._folder(name) / RECIPE)[0]

    def _forget_report(self, name: str) -> None:
        """A verdict holds until the dataset is worked on again."""
        try:
            (self._folder(name) / REPORT).unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"can't remove the old {self._folder(name) / REPORT}: {error}; make the data folder writable") from error

    def _read_wanted(self, name: str) -> Wanted:
        try:
            wanted: Wanted = json.loads((self._folder(name) / STATE).read_text(encoding="utf-8"))["wanted"]
        except FileNotFoundError:
            return "running"
        except (OSError, ValueError, KeyError) as error:
            raise Internal(f"{self._folder(name) / STATE} can't be read: {error}; remove it, then resume") from error
        return wanted

    def _write(self, name: str, file: str, text: str) -> None:
        """Write a small file whole or not at all."""
        folder = self._folder(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_text_whole(folder / file, text)
        except OSError as error:
            raise Unavailable(f"can't write {folder / file}: {error}; make the data folder writable and free some space") from error
