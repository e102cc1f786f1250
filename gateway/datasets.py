"""Datasets: folders with a recipe, the wanted state and parts; everything else is derived from them."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from contract.disk import write_text_whole
from contract.parts import PARTS_FOLDER, list_parts
from contract.problems import Conflict, Internal, NotFound, Problem, Unavailable
from gateway.clients import Clients
from gateway.events import Events
from gateway.forecast import describe_forecast
from gateway.handle import Handle
from gateway.ledger import Ledger, Ledgers
from gateway.lock import is_locked
from gateway.page.aside import PAGE
from gateway.pages import Pages
from gateway.plan import Plan
from gateway.progress import describe_end, describe_progress, describe_unreadable
from gateway.recipe import RECIPE, Recipe, parse_recipe, read_recipe
from gateway.report import CHECKPOINTS, REPORT, find_finished, forget_report
from gateway.run import Run
from gateway.settings import GatewaySettings
from gateway.wish import STATE, Wanted, Wish, read_wish

DATASET = "dataset.h5"
_log = logging.getLogger("distillery.gateway")


class Datasets:
    """All datasets below the data folder."""

    def __init__(self, settings: GatewaySettings, clients: Clients) -> None:
        self._settings, self._clients = settings, clients
        self._handles: dict[str, Handle] = {}
        self._ledgers = Ledgers()
        """Of the datasets that this process does not make."""
        self._reading = asyncio.Lock()
        self._pages = Pages()

    async def take_up_unfinished(self) -> None:
        """Go on with every dataset that is wanted running and is not finished."""
        for name in self.names():
            try:
                folder, wish = self._folder(name), read_wish(self._folder(name))
                if wish.wanted == "running" and find_finished(folder, self._read_recipe(name), wish.last) is None:
                    self._start(name)
            except Problem as problem:
                _log.error("can't take up %s: %s", name, problem.detail)

    async def close(self) -> None:
        """Abandon what is in work; nothing is lost, parts in the making are made again."""
        await self._pages.close()
        tasks = [handle.task for handle in self._handles.values() if handle.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def names(self) -> list[str]:
        """All datasets, sorted."""
        return sorted(path.parent.name for path in self._settings.data.glob(f"*/{RECIPE}"))

    async def create(self, text: str, wish: Wish) -> str:
        """Begin a dataset, or go on with it if the recipe is the same; its name. Conflict if the recipe is another."""
        recipe = parse_recipe(text)
        recipe.stages_until(wish.last)
        self._refuse_another(recipe)
        self._refuse_other_process(recipe.name)
        wish.refuse_cutting_back(recipe, list_parts(self._folder(recipe.name)))
        name = recipe.name
        if not self._is_working(name):
            self._put(name, text, wish)
        elif self._read_recipe(name) != recipe:
            raise Conflict(f"{name!r} is being made with other gates; hand this recipe in when that has ended, or cancel it first")
        elif (known := read_wish(self._folder(name))).last != wish.last or known.stage != wish.stage:
            raise Conflict(f"{name!r} is being made to the end of stage {known.last}; ask again when that has ended, or cancel it first")
        else:
            self._write(name, STATE, wish.as_text())
        await self._go_on(name)
        return name

    def _refuse_another(self, recipe: Recipe) -> None:
        """Conflict if the name is another recipe's of which something is there: one that was refused, for a typo perhaps, gives way."""
        folder = self._folder(recipe.name)
        is_begun = self._is_working(recipe.name) or bool(list_parts(folder)) or (folder / DATASET).exists()
        if is_begun and (folder / RECIPE).exists() and (own := self._read_recipe(recipe.name)).sha256 != recipe.sha256:
            raise Conflict(
                f"there is a dataset {recipe.name!r} from another recipe ({own.sha256[:12]}, not {recipe.sha256[:12]}); "
                f"give this one another name or move {folder} away"
            )

    def _refuse_other_process(self, name: str) -> None:
        """Conflict, before anything is written, if another process makes the dataset."""
        if not self._is_working(name) and is_locked(self._folder(name)):
            raise Conflict(f"another process is making {name!r} in {self._folder(name)}; wait for it, or stop it there")

    async def resume(self, name: str) -> None:
        """Go on as far as was wanted, whatever stopped it; a cancel at work is let end first."""
        self.require(name)
        self._refuse_other_process(name)
        self._want(name, "running")
        await self._go_on(name)

    async def _go_on(self, name: str) -> None:
        handle = self._handles.get(name)
        if handle is not None and handle.is_cancelling and handle.task is not None:
            await asyncio.wait({handle.task})
        if self._is_working(name):
            self._handles[name].run.go_on()
            self._handles[name].events.emit("state", {"state": "running"})
        else:
            self._start(name)

    async def forecast(self, text: str, wish: Wish) -> dict[str, Any]:
        """What making this recipe would take, by what its parts show so far; starts nothing."""
        recipe = parse_recipe(text)
        recipe.stages_until(wish.last)
        self._refuse_another(recipe)
        async with self._reading:
            return await asyncio.to_thread(describe_forecast, self._ledgers.find(self._folder(recipe.name), recipe), wish.last)

    async def forecast_rest(self, name: str) -> dict[str, Any]:
        """What the rest of a dataset would take, as far as it is wanted."""
        self.require(name)
        return await self.forecast((self._folder(name) / RECIPE).read_text(encoding="utf-8"), read_wish(self._folder(name)))

    def pause(self, name: str) -> None:
        """Finish the shards in work, begin no others."""
        self.require(name)
        self._refuse_other_process(name)
        self._want(name, "paused")
        if self._is_working(name):
            self._handles[name].run.pause()
            self._handles[name].events.emit("state", {"state": "paused"})

    async def cancel(self, name: str) -> None:
        """Abandon the shards in work; what is finished stays, `resume` goes on from there."""
        self.require(name)
        self._refuse_other_process(name)
        self._want(name, "cancelled")
        if self._is_working(name):
            handle = self._handles[name]
            assert handle.task is not None
            handle.is_cancelling = True
            handle.task.cancel()
            await asyncio.wait({handle.task})
            handle.events.emit("state", {"state": "cancelled"})

    async def status(self, name: str) -> dict[str, Any]:
        """Where a dataset stands, from its parts, or once it is finished from its report."""
        self.require(name)
        handle, folder = self._handles.get(name), self._folder(name)
        recipe = handle.run.ledger.recipe if handle else self._read_recipe(name)
        is_at_rest = handle is None or (handle.problem is None and not handle.is_working)
        report = find_finished(folder, recipe, read_wish(folder).last) if is_at_rest else None
        problem: Problem | None = None
        if report is not None:
            progress = describe_end(report, list_parts(folder))
        else:
            ledger = self._ledgers.find(folder, recipe) if handle is None or is_at_rest else handle.run.ledger
            plan, problem = await self._look_at(handle, ledger)
            progress = describe_progress(ledger, plan, handle.run.in_work if handle else Counter())
        return {
            "name": name,
            "state": self._state(name, report, problem),
            "verdict": report["verdict"] if report else None,
            "has_page": report is not None and (folder / PAGE).is_file(),
            "reasons": report["reasons"] if report else [],
            "failed_gates": [gate for gate in report["gates"] if gate["required"] and not gate["passed"]] if report else [],
            "doing": handle.run.doing if handle and handle.is_working else "",
            "problem": problem.body() if problem else None,
            "stages": list(recipe.stage_names),
            "until": read_wish(folder).last,
            "started": handle.started if handle else None,
            "recipe_sha256": recipe.sha256,
            "teacher": recipe.teacher,
            **progress,
        }

    async def status_or_problem(self, name: str) -> dict[str, Any]:
        """The status, or what keeps it from being read: one bad folder does not hide the others."""
        try:
            return await self.status(name)
        except Problem as problem:
            return describe_unreadable(name, problem)

    async def _look_at(self, handle: Handle | None, ledger: Ledger) -> tuple[Plan, Problem | None]:
        """The plan as far as the parts allow, and what is wrong with the dataset."""
        if handle is not None and (handle.is_working or handle.problem is not None):
            return handle.run.plan, handle.problem
        try:
            async with self._reading:
                return await asyncio.to_thread(ledger.make_plan, read_wish(ledger.folder).last), None
        except Problem as problem:
            return Plan(stage=ledger.recipe.stage_names[0]), problem

    def files(self, name: str) -> dict[str, Path]:
        """The files of a dataset that may be read, by their path in its folder."""
        self.require(name)
        folder = self._folder(name)
        own = (folder / file for file in (RECIPE, REPORT, PAGE, CHECKPOINTS, DATASET))
        paths = [*own, *sorted((folder / PARTS_FOLDER).glob("[!.]*.h5"))]
        return {str(path.relative_to(folder)): path for path in paths if path.is_file()}

    async def read_page(self, name: str) -> bytes:
        """The page of a dataset: the one made at its end, or one of the parts there are now."""
        self.require(name)
        return await self._pages.read(self._folder(name))

    async def events(self, name: str, after: int) -> AsyncIterator[dict[str, Any]]:
        """Events with an id over `after`, until the dataset's task ends."""
        handle = self._handles.get(name)
        while handle is not None:
            news, ended = handle.events.news, not handle.is_working
            for event in handle.events.since(after):
                after = event["id"]
                yield event
            if ended:
                return
            await news.wait()

    def _start(self, name: str) -> None:
        recipe, folder = self._read_recipe(name), self._folder(name)
        if recipe.name != name:
            raise Conflict(f"{folder} holds the recipe of {recipe.name!r}; name the folder so, or move it out of {self._settings.data}")
        text = (folder / RECIPE).read_text(encoding="utf-8")
        before = self._handles.get(name)
        events = Events(before.events.last if before else 0)
        run = Run(folder, recipe, text, self._clients, self._settings, events.emit, read_wish(folder))
        self._handles[name] = handle = Handle(run, events)
        handle.task = asyncio.create_task(self._make(name, handle), name=f"make {name}")

    async def _make(self, name: str, handle: Handle) -> None:
        handle.events.emit("state", {"state": "running"})
        try:
            await handle.run.make()
            handle.run.let_go()
            self._ledgers.let_go(self._folder(name))
        except Problem as problem:
            handle.problem = problem
        except OSError as error:
            handle.problem = Unavailable(f"{type(error).__name__} in {self._folder(name)}: {error}; mend that, then resume")
        except Exception as error:
            _log.exception("making %s failed", name)
            handle.problem = Internal(f"{type(error).__name__}: {error}; the gateway's log has the cause")
        if handle.problem is not None:
            _log.warning("%s stopped: %s", name, handle.problem.detail)
            handle.events.emit("failed", handle.problem.body())

    def _state(self, name: str, report: dict[str, Any] | None, problem: Problem | None) -> str:
        wanted = read_wish(self._folder(name)).wanted
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

    def require(self, name: str) -> None:
        """NotFound, naming those that are there, if there is no such dataset."""
        if name not in self.names():
            raise NotFound(f"there is no dataset {name!r} in {self._settings.data}; there are: {', '.join(self.names()) or 'none'}")

    def _read_recipe(self, name: str) -> Recipe:
        return read_recipe(self._folder(name) / RECIPE)[0]

    def _put(self, name: str, text: str, wish: Wish) -> None:
        """Write wish and recipe. The recipe comes last: with it the dataset is there, and a restart must then find how far it is to go.

        The report comes off first where it is on another text, with other gates perhaps, or on another stage: a restart takes up
        what has none.
        """
        folder, own = self._folder(name), self._folder(name) / RECIPE
        is_another = not own.exists() or own.read_text(encoding="utf-8") != text
        if is_another or read_wish(folder).last != wish.last:
            forget_report(folder)
        self._write(name, STATE, wish.as_text())
        if is_another:
            self._write(name, RECIPE, text)

    def _want(self, name: str, wanted: Wanted) -> None:
        self._write(name, STATE, read_wish(self._folder(name)).model_copy(update={"wanted": wanted}).as_text())

    def _write(self, name: str, file: str, text: str) -> None:
        """Write a small file whole or not at all."""
        folder = self._folder(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_text_whole(folder / file, text)
        except OSError as error:
            raise Unavailable(f"can't write {folder / file}: {error}; make the data folder writable and free some space") from error
