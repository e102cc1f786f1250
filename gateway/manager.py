"""The manager: the datasets that this process makes, and the status of all."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from distillery.errors import Conflict, Internal, Problem, Unavailable
from distillery.planning.forecast import describe_forecast
from distillery.planning.ledger import Ledger, Ledgers
from distillery.planning.plan import Plan
from distillery.planning.recipe_checks import check_recipe
from distillery.recipe.recipe import Recipe, parse_recipe
from distillery.recipe.target import Target
from distillery.report.summary import describe_progress
from distillery.schema.dataset import Event, FileEntry, Forecast, RecipeCheck, State, StateEvent, Status
from distillery.schema.problem import ProblemDocument
from gateway.clients import Clients
from gateway.job import Events, Job
from gateway.page_jobs import PageJobs
from gateway.preflight import DeployedMakers
from gateway.run import Run
from gateway.settings import GatewaySettings
from gateway.store import Store, StoredDataset

_log = logging.getLogger("distillery.gateway")


class Manager:
    """The jobs of this process, and what can be told of every dataset below the data folder."""

    def __init__(self, settings: GatewaySettings, clients: Clients) -> None:
        self._settings, self._clients = settings, clients
        self._store = Store(settings.data)
        self._jobs: dict[str, Job] = {}
        self._ledgers = Ledgers()
        """Of the datasets that this process does not make."""
        self._reading = asyncio.Lock()
        self._pages = PageJobs()

    async def take_up_unfinished(self) -> None:
        """Go on with every dataset that is wanted running and is not finished."""
        for dataset in map(self._store.at, await asyncio.to_thread(self._store.list_names)):
            try:
                if await asyncio.to_thread(self._is_owed, dataset):
                    self._start(dataset)
            except Problem as problem:
                _log.error("can't go on with %s: %s", dataset.name, problem.detail)

    def _is_owed(self, dataset: StoredDataset) -> bool:
        """True if a dataset is wanted running and is not finished; of one that is, what is told is known from now on."""
        return dataset.read_target().wanted == "running" and self._store.tell_finished(dataset) is None

    async def close(self) -> None:
        """Abandon what is in work; nothing is lost, parts in the making are made again."""
        await self._pages.close()
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def create(self, text: str, target: Target) -> str:
        """Begin a dataset, or go on with it if the recipe is the same; its name. Conflict if the recipe is another."""
        recipe = await asyncio.to_thread(parse_recipe, text)
        recipe.stages_until(target.last)
        dataset, job = self._store.at(recipe.name), self._find_working(recipe.name)
        self._refuse_another(dataset, recipe)
        self._refuse_other_process(dataset)
        target.refuse_cutting_back(recipe, dataset.list_parts())
        if job is not None:
            dataset.refuse_change(job.run.ledger.recipe, recipe, target)
            dataset.want(target.wanted)
        else:
            dataset.put(text, target)
        await self._go_on(dataset)
        return recipe.name

    def _refuse_another(self, dataset: StoredDataset, recipe: Recipe) -> None:
        """Conflict if the name is another recipe's of which something is there: one that was refused, for a typo perhaps, gives way."""
        is_begun = self._find_working(dataset.name) is not None or dataset.is_begun
        if is_begun and dataset.exists and (own := dataset.read_recipe()).sha256 != recipe.sha256:
            raise Conflict(
                f"there is a dataset {recipe.name!r} from another recipe ({own.sha256[:12]}, not {recipe.sha256[:12]}); "
                f"give this one another name or move {dataset.folder} away"
            )

    def _refuse_other_process(self, dataset: StoredDataset) -> None:
        """Conflict, before anything is written, if another process makes the dataset."""
        if self._find_working(dataset.name) is None:
            dataset.refuse_other_process()

    async def resume(self, name: str) -> bool:
        """Go on as far as was wanted, whatever stopped it; a cancel at work is let end first. False if it is finished already."""
        dataset = self._store.find(name)
        self._refuse_other_process(dataset)
        dataset.refuse_renamed(dataset.read_recipe())
        is_finished = await self._is_finished(dataset)
        dataset.want("running")
        if not is_finished:
            await self._go_on(dataset)
        return not is_finished

    async def _go_on(self, dataset: StoredDataset) -> None:
        job = self._jobs.get(dataset.name)
        if job is not None and job.is_cancelling:
            await job.wait()
        if (working := self._find_working(dataset.name)) is not None:
            working.run.go_on()
            working.events.emit("state", StateEvent(state="running"))
        else:
            self._start(dataset)

    async def pause(self, name: str) -> None:
        """Finish the shards in work, begin no others; Conflict if it is finished."""
        dataset = await self._find_unfinished(name)
        dataset.want("paused")
        if (job := self._find_working(name)) is not None:
            job.run.pause()
            job.events.emit("state", StateEvent(state="paused"))

    async def cancel(self, name: str) -> None:
        """Abandon the shards in work; what is finished stays, `resume` goes on from there. Conflict if it is finished."""
        dataset = await self._find_unfinished(name)
        dataset.want("cancelled")
        if (job := self._find_working(name)) is not None and job.task is not None:
            job.is_cancelling = True
            job.task.cancel()
            await job.wait()
            job.events.emit("state", StateEvent(state="cancelled"))

    async def _find_unfinished(self, name: str) -> StoredDataset:
        dataset = self._store.find(name)
        self._refuse_other_process(dataset)
        if await self._is_finished(dataset):
            raise Conflict(f"{name!r} is finished: there is nothing to pause or cancel")
        return dataset

    async def check(self, text: str) -> RecipeCheck:
        """What keeps a recipe from being made by these services and this labeller, which are asked once; starts nothing."""
        recipe = await asyncio.to_thread(parse_recipe, text)
        self._refuse_another(self._store.at(recipe.name), recipe)
        return await check_recipe(recipe, text, DeployedMakers(self._clients))

    async def forecast(self, text: str, target: Target) -> Forecast:
        """What making this recipe would take, by what its parts show so far; starts nothing."""
        recipe = await asyncio.to_thread(parse_recipe, text)
        recipe.stages_until(target.last)
        dataset = self._store.at(recipe.name)
        self._refuse_another(dataset, recipe)
        async with self._reading:
            return await asyncio.to_thread(describe_forecast, self._ledgers.find(dataset.folder, recipe), target.last)

    async def forecast_rest(self, name: str) -> Forecast:
        """What the rest of a dataset would take, as far as it is wanted."""
        dataset = self._store.find(name)
        return await self.forecast(dataset.read_text(), dataset.read_target())

    async def list_statuses(self, after: str, limit: int) -> tuple[list[Status], bool]:
        """At most `limit` datasets with names behind `after`, and whether there are more; those at rest are looked at in one go."""
        names = await asyncio.to_thread(self._store.list_names)
        names = [name for name in names if name > after]
        told = await asyncio.to_thread(self._tell_resting, names[:limit])
        return [told.get(name) or await self._tell_whatever(name) for name in names[:limit]], len(names) > limit

    async def list_all(self) -> list[Status]:
        """All datasets by name."""
        return (await self.list_statuses("", sys.maxsize))[0]

    def _tell_resting(self, names: Sequence[str]) -> dict[str, Status]:
        """The status of those that are finished and at rest."""
        told = {}
        for name in names:
            try:
                status = None if name in self._jobs else self._store.tell_finished(self._store.at(name))
            except Problem:
                continue
            if status is not None:
                told[name] = status
        return told

    async def _tell_whatever(self, name: str) -> Status:
        """The status, or what keeps it from being read: one bad folder does not hide the others."""
        try:
            return await self.tell(name)
        except Problem as problem:
            return Status(name=name, state="failed", problem=_document(problem))

    async def tell(self, name: str) -> Status:
        """Where a dataset stands, from its parts, or once it is finished from its report."""
        dataset, job = self._store.find(name), self._jobs.get(name)
        is_at_rest = job is None or (job.problem is None and not job.is_working)
        known, started = (job.run.ledger.recipe, job.started) if job else (None, None)
        if is_at_rest and (status := await asyncio.to_thread(self._store.tell_finished, dataset, known, started)) is not None:
            return status
        recipe = known if known is not None else await asyncio.to_thread(dataset.read_recipe)
        ledger = self._ledgers.find(dataset.folder, recipe) if job is None or is_at_rest else job.run.ledger
        plan, problem = await self._look_at(job, ledger)
        progress = describe_progress(ledger, plan, job.run.shard_maker.in_work if job else {})
        return Status(
            **dict(progress),
            **dataset.describe(recipe, started),
            state=self._find_state(dataset, problem),
            doing=job.run.doing if job and job.is_working else "",
            problem=_document(problem) if problem else None,
        )

    async def _is_finished(self, dataset: StoredDataset) -> bool:
        """True if it is made as far as is wanted; of one at work this is known at once, so that a cancel and a resume keep their order."""
        job = self._jobs.get(dataset.name)
        if job is not None and (job.is_working or job.problem is not None):
            return False
        return await asyncio.to_thread(self._store.tell_finished, dataset) is not None

    async def _look_at(self, job: Job | None, ledger: Ledger) -> tuple[Plan, Problem | None]:
        """The plan as far as the parts allow, and what is wrong with the dataset."""
        if job is not None and (job.is_working or job.problem is not None):
            return job.run.plan, job.problem
        try:
            async with self._reading:
                return await asyncio.to_thread(ledger.make_plan, self._store.at(ledger.folder.name).read_target().last), None
        except Problem as problem:
            return Plan(stage=ledger.recipe.stage_names[0]), problem

    def _find_state(self, dataset: StoredDataset, problem: Problem | None) -> State:
        """The state of a dataset that is not finished."""
        wanted = dataset.read_target().wanted
        if self._find_working(dataset.name) is not None:
            return wanted
        if problem is not None:
            return "failed"
        if wanted == "running":
            return "running" if dataset.is_locked else "stopped"
        return wanted

    def list_files(self, name: str) -> list[FileEntry]:
        """The files of a dataset that may be read."""
        return self._store.find(name).list_files()

    def find_file(self, name: str, path: str) -> Path:
        """One of them; NotFound if there is no such dataset or file."""
        return self._store.find(name).find_file(path)

    async def read_page(self, name: str) -> bytes:
        """The page of a dataset: the one made at its end, or one of the parts there are now."""
        return await self._pages.read(self._store.find(name).folder)

    def follow(self, name: str, after: int) -> AsyncIterator[Event]:
        """Events with an id over `after`, until the dataset's task ends; none if this process never worked on it."""
        self._store.find(name)
        job = self._jobs.get(name)
        return _follow_nothing() if job is None else job.follow(after)

    def _start(self, dataset: StoredDataset) -> None:
        recipe = dataset.read_recipe()
        dataset.refuse_renamed(recipe)
        before = self._jobs.get(dataset.name)
        events = Events(before.events.last if before else 0)
        run = Run(dataset.folder, recipe, dataset.read_text(), self._clients, self._settings, events.emit, dataset.read_target())
        self._jobs[dataset.name] = job = Job(run, events)
        job.task = asyncio.create_task(self._make(dataset, job), name=f"make {dataset.name}")

    async def _make(self, dataset: StoredDataset, job: Job) -> None:
        job.events.emit("state", StateEvent(state="running"))
        try:
            await job.run.make()
            job.run.release()
            self._ledgers.release(dataset.folder)
        except Problem as problem:
            job.problem = problem
        except OSError as error:
            job.problem = Unavailable(f"{type(error).__name__} in {dataset.folder}: {error}; correct that, then resume")
        except Exception as error:
            _log.exception("making %s failed", dataset.name)
            job.problem = Internal(f"{type(error).__name__}: {error}; the gateway's log has the cause")
        if job.problem is not None:
            _log.warning("%s stopped: %s", dataset.name, job.problem.detail)
            job.events.emit("failed", _document(job.problem))

    def _find_working(self, name: str) -> Job | None:
        job = self._jobs.get(name)
        return job if job is not None and job.is_working else None


def _document(problem: Problem) -> ProblemDocument:
    return ProblemDocument.model_validate(problem.body())


async def _follow_nothing() -> AsyncIterator[Event]:
    nothing: tuple[Event, ...] = ()
    for event in nothing:
        yield event
