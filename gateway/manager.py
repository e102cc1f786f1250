"""Datasets: folders with a recipe, the wanted state and parts; everything else is derived from them."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from distillery.dataset.folder import CHECKPOINTS, DATASET, PAGE, PARTS, RECIPE, REPORT, TARGET, list_parts
from distillery.errors import Conflict, Internal, NotFound, Problem, Unavailable
from distillery.planning.forecast import describe_forecast
from distillery.planning.ledger import Ledger, Ledgers
from distillery.planning.plan import Plan
from distillery.recipe.recipe import Recipe, parse_recipe, read_recipe
from distillery.recipe.target import Target, Wanted, read_target
from distillery.report.files import find_finished, forget_report
from distillery.report.summary import describe_end, describe_progress, describe_unreadable
from distillery.runtime.atomic_files import write_text_whole
from distillery.runtime.locks import is_locked
from gateway.clients import Clients
from gateway.job import Events, Job
from gateway.page_jobs import PageJobs
from gateway.run import Run
from gateway.settings import GatewaySettings

_log = logging.getLogger("distillery.gateway")


class Datasets:
    """All datasets below the data folder."""

    def __init__(self, settings: GatewaySettings, clients: Clients) -> None:
        self._settings, self._clients = settings, clients
        self._jobs: dict[str, Job] = {}
        self._ledgers = Ledgers()
        """Of the datasets that this process does not make."""
        self._reading = asyncio.Lock()
        self._pages = PageJobs()

    async def take_up_unfinished(self) -> None:
        """Go on with every dataset that is wanted running and is not finished."""
        for name in self.names():
            try:
                folder, target = self._folder(name), read_target(self._folder(name))
                if target.wanted == "running" and find_finished(folder, self._read_recipe(name), target.last) is None:
                    self._start(name)
            except Problem as problem:
                _log.error("can't take up %s: %s", name, problem.detail)

    async def close(self) -> None:
        """Abandon what is in work; nothing is lost, parts in the making are made again."""
        await self._pages.close()
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def names(self) -> list[str]:
        """All datasets, sorted."""
        return sorted(path.parent.name for path in self._settings.data.glob(f"*/{RECIPE}"))

    async def create(self, text: str, target: Target) -> str:
        """Begin a dataset, or go on with it if the recipe is the same; its name. Conflict if the recipe is another."""
        recipe = parse_recipe(text)
        recipe.stages_until(target.last)
        self._refuse_another(recipe)
        self._refuse_other_process(recipe.name)
        target.refuse_cutting_back(recipe, list_parts(self._folder(recipe.name)))
        name = recipe.name
        if not self._is_working(name):
            self._put(name, text, target)
        elif self._read_recipe(name) != recipe:
            raise Conflict(f"{name!r} is being made with other gates; hand this recipe in when that has ended, or cancel it first")
        elif (known := read_target(self._folder(name))).last != target.last or known.stage != target.stage:
            raise Conflict(f"{name!r} is being made to the end of stage {known.last}; ask again when that has ended, or cancel it first")
        else:
            self._write(name, TARGET, target.as_text())
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
        job = self._jobs.get(name)
        if job is not None and job.is_cancelling and job.task is not None:
            await asyncio.wait({job.task})
        if self._is_working(name):
            self._jobs[name].run.go_on()
            self._jobs[name].events.emit("state", {"state": "running"})
        else:
            self._start(name)

    async def forecast(self, text: str, target: Target) -> dict[str, Any]:
        """What making this recipe would take, by what its parts show so far; starts nothing."""
        recipe = parse_recipe(text)
        recipe.stages_until(target.last)
        self._refuse_another(recipe)
        async with self._reading:
            return await asyncio.to_thread(describe_forecast, self._ledgers.find(self._folder(recipe.name), recipe), target.last)

    async def forecast_rest(self, name: str) -> dict[str, Any]:
        """What the rest of a dataset would take, as far as it is wanted."""
        self.require(name)
        return await self.forecast((self._folder(name) / RECIPE).read_text(encoding="utf-8"), read_target(self._folder(name)))

    def pause(self, name: str) -> None:
        """Finish the shards in work, begin no others."""
        self.require(name)
        self._refuse_other_process(name)
        self._want(name, "paused")
        if self._is_working(name):
            self._jobs[name].run.pause()
            self._jobs[name].events.emit("state", {"state": "paused"})

    async def cancel(self, name: str) -> None:
        """Abandon the shards in work; what is finished stays, `resume` goes on from there."""
        self.require(name)
        self._refuse_other_process(name)
        self._want(name, "cancelled")
        if self._is_working(name):
            job = self._jobs[name]
            assert job.task is not None
            job.is_cancelling = True
            job.task.cancel()
            await asyncio.wait({job.task})
            job.events.emit("state", {"state": "cancelled"})

    async def status(self, name: str) -> dict[str, Any]:
        """Where a dataset stands, from its parts, or once it is finished from its report."""
        self.require(name)
        job, folder = self._jobs.get(name), self._folder(name)
        recipe = job.run.ledger.recipe if job else self._read_recipe(name)
        is_at_rest = job is None or (job.problem is None and not job.is_working)
        report = find_finished(folder, recipe, read_target(folder).last) if is_at_rest else None
        problem: Problem | None = None
        if report is not None:
            progress = describe_end(report, list_parts(folder))
        else:
            ledger = self._ledgers.find(folder, recipe) if job is None or is_at_rest else job.run.ledger
            plan, problem = await self._look_at(job, ledger)
            progress = describe_progress(ledger, plan, job.run.shard_maker.in_work if job else Counter())
        return {
            "name": name,
            "state": self._state(name, report, problem),
            "verdict": report["verdict"] if report else None,
            "has_page": report is not None and (folder / PAGE).is_file(),
            "reasons": report["reasons"] if report else [],
            "failed_gates": [gate for gate in report["gates"] if gate["required"] and not gate["passed"]] if report else [],
            "doing": job.run.doing if job and job.is_working else "",
            "problem": problem.body() if problem else None,
            "stages": list(recipe.stage_names),
            "until": read_target(folder).last,
            "started": job.started if job else None,
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

    async def _look_at(self, job: Job | None, ledger: Ledger) -> tuple[Plan, Problem | None]:
        """The plan as far as the parts allow, and what is wrong with the dataset."""
        if job is not None and (job.is_working or job.problem is not None):
            return job.run.plan, job.problem
        try:
            async with self._reading:
                return await asyncio.to_thread(ledger.make_plan, read_target(ledger.folder).last), None
        except Problem as problem:
            return Plan(stage=ledger.recipe.stage_names[0]), problem

    def files(self, name: str) -> dict[str, Path]:
        """The files of a dataset that may be read, by their path in its folder."""
        self.require(name)
        folder = self._folder(name)
        own = (folder / file for file in (RECIPE, REPORT, PAGE, CHECKPOINTS, DATASET))
        paths = [*own, *sorted((folder / PARTS).glob("[!.]*.h5"))]
        return {str(path.relative_to(folder)): path for path in paths if path.is_file()}

    async def read_page(self, name: str) -> bytes:
        """The page of a dataset: the one made at its end, or one of the parts there are now."""
        self.require(name)
        return await self._pages.read(self._folder(name))

    async def events(self, name: str, after: int) -> AsyncIterator[dict[str, Any]]:
        """Events with an id over `after`, until the dataset's task ends."""
        job = self._jobs.get(name)
        while job is not None:
            news, ended = job.events.news, not job.is_working
            for event in job.events.since(after):
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
        before = self._jobs.get(name)
        events = Events(before.events.last if before else 0)
        run = Run(folder, recipe, text, self._clients, self._settings, events.emit, read_target(folder))
        self._jobs[name] = job = Job(run, events)
        job.task = asyncio.create_task(self._make(name, job), name=f"make {name}")

    async def _make(self, name: str, job: Job) -> None:
        job.events.emit("state", {"state": "running"})
        try:
            await job.run.make()
            job.run.release()
            self._ledgers.release(self._folder(name))
        except Problem as problem:
            job.problem = problem
        except OSError as error:
            job.problem = Unavailable(f"{type(error).__name__} in {self._folder(name)}: {error}; mend that, then resume")
        except Exception as error:
            _log.exception("making %s failed", name)
            job.problem = Internal(f"{type(error).__name__}: {error}; the gateway's log has the cause")
        if job.problem is not None:
            _log.warning("%s stopped: %s", name, job.problem.detail)
            job.events.emit("failed", job.problem.body())

    def _state(self, name: str, report: dict[str, Any] | None, problem: Problem | None) -> str:
        wanted = read_target(self._folder(name)).wanted
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
        return name in self._jobs and self._jobs[name].is_working

    def _folder(self, name: str) -> Path:
        return self._settings.data / name

    def require(self, name: str) -> None:
        """NotFound, naming those that are there, if there is no such dataset."""
        if name not in self.names():
            raise NotFound(f"there is no dataset {name!r} in {self._settings.data}; there are: {', '.join(self.names()) or 'none'}")

    def _read_recipe(self, name: str) -> Recipe:
        return read_recipe(self._folder(name) / RECIPE)[0]

    def _put(self, name: str, text: str, target: Target) -> None:
        """Write target and recipe. The recipe comes last: with it the dataset is there, and a restart must then find how far it is to go.

        The report comes off first where it is on another text, with other gates perhaps, or on another stage: a restart takes up
        what has none.
        """
        folder, own = self._folder(name), self._folder(name) / RECIPE
        is_another = not own.exists() or own.read_text(encoding="utf-8") != text
        if is_another or read_target(folder).last != target.last:
            forget_report(folder)
        self._write(name, TARGET, target.as_text())
        if is_another:
            self._write(name, RECIPE, text)

    def _want(self, name: str, wanted: Wanted) -> None:
        self._write(name, TARGET, read_target(self._folder(name)).model_copy(update={"wanted": wanted}).as_text())

    def _write(self, name: str, file: str, text: str) -> None:
        """Write a small file whole or not at all."""
        folder = self._folder(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_text_whole(folder / file, text)
        except OSError as error:
            raise Unavailable(f"can't write {folder / file}: {error}; make the data folder writable and free some space") from error
