"""The manager: the datasets that this process makes; it begins, pauses, cancels, resumes and deletes them."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from distillery.dataset.sealed_file import explain_disk_fault
from distillery.errors import Conflict, Internal, Problem, Unavailable
from distillery.planning.forecast import Trial, describe_forecast
from distillery.planning.recipe_checks import check_recipe
from distillery.recipe.growth import grow_recipe
from distillery.recipe.reading import parse_recipe
from distillery.recipe.recipe import Recipe
from distillery.recipe.target import Target
from distillery.schema.dataset import Event, FileEntry, Forecast, RecipeCheck, StateEvent
from distillery.schema.problem import ProblemDocument
from gateway.clients import Clients
from gateway.curators import Curators
from gateway.dataset_statuses import DatasetStatuses
from gateway.job import Events, Job
from gateway.page_jobs import PageJobs
from gateway.preflight import DeployedMakers
from gateway.roll_call import RollCall
from gateway.run import Run
from gateway.settings import GatewaySettings
from gateway.status_writer import StatusWriter
from gateway.store import Store
from gateway.stored_dataset import StoredDataset
from gateway.webhooks import Webhooks

_log = logging.getLogger("distillery.gateway")


class Manager:
    """The jobs of this process; `statuses` tells of every dataset below the data folder."""

    def __init__(self, settings: GatewaySettings, clients: Clients) -> None:
        self._settings, self._clients = settings, clients
        self._store = Store(settings.data)
        self._jobs: dict[str, Job] = {}
        self.statuses = DatasetStatuses(self._store, self._jobs, clients.list_retries)
        self._changing = defaultdict[str, asyncio.Lock](asyncio.Lock)
        """By dataset: one is begun, paused, cancelled, resumed or deleted by one request after the other, in the order they came in."""
        self._forecasting = asyncio.Lock()
        self._pages = PageJobs()
        self._webhooks = Webhooks(settings)
        self._curators = Curators(settings.n_workers)

    async def take_up_unfinished(self) -> None:
        """Go on with every dataset that is wanted running and is not finished, and with removing what is half removed."""
        await asyncio.to_thread(self._store.finish_deleting)
        for dataset in map(self._store.locate, await asyncio.to_thread(self._store.list_names)):
            try:
                if await asyncio.to_thread(self._is_owed, dataset):
                    await self._start(dataset)
            except Problem as problem:
                _log.error("can't go on with %s: %s", dataset.name, problem.detail)
            except Exception:  # of damaged files; the others go on
                _log.exception("can't go on with %s", dataset.name)

    def _is_owed(self, dataset: StoredDataset) -> bool:
        """True if a dataset is wanted running and is not finished; of one that is, what is told is known from now on."""
        return dataset.read_target().wanted == "running" and self._store.tell_finished(dataset) is None

    async def close(self) -> None:
        """Abandon what is in work; nothing is lost, parts in the making are made again."""
        await self._pages.close()
        for job in self._jobs.values():
            if job.task is not None:
                job.task.cancel()
        await asyncio.gather(*(job.wait() for job in self._jobs.values()))
        await self._webhooks.close()
        await self._curators.close()

    async def create(self, text: str, target: Target) -> str:
        """Begin a dataset, go on with it if the recipe is the same, or let it grow if that asks for more; its name.

        Conflict if the recipe would spoil what is there.
        """
        recipe = await asyncio.to_thread(parse_recipe, text)
        async with self._changing[recipe.name]:
            dataset = self._store.locate(recipe.name)
            is_new = await asyncio.to_thread(self._put, dataset, text, recipe, target)
            await self._go_on(dataset, is_new)
        return recipe.name

    def _put(self, dataset: StoredDataset, text: str, recipe: Recipe, target: Target) -> bool:
        """Write recipe and target, after all that speaks against them; whether the dataset is new."""
        text, recipe = self._grow(text, recipe)
        recipe.stages_until(target.last)
        self._refuse_other_process(dataset)
        target.refuse_cutting_back(recipe, dataset.list_parts())
        is_new, job = not dataset.exists, self._find_working(recipe.name)
        if job is not None:
            dataset.refuse_change(job.run.made_parts.recipe, recipe, target)
            dataset.set_wanted(target.wanted)
        else:
            dataset.save(text, target)
        return is_new

    def _take_recipe(self, text: str) -> tuple[str, Recipe]:
        """A recipe as it was handed in, or grown from the one of its name."""
        return self._grow(text, parse_recipe(text))

    def _grow(self, text: str, recipe: Recipe) -> tuple[str, Recipe]:
        """The recipe grown from the one of its name of which parts are there; one without any gives way."""
        dataset, is_working = self._store.locate(recipe.name), self._find_working(recipe.name) is not None
        if not dataset.exists or not (is_working or dataset.is_begun):
            return text, recipe
        if is_working:
            dataset.refuse_growth_at_work(recipe)
        grown = grow_recipe(text, dataset.read_text(), dataset.list_parts())
        return grown, parse_recipe(grown)

    def _refuse_other_process(self, dataset: StoredDataset) -> None:
        """Conflict, before anything is written, if another process makes the dataset."""
        if self._find_working(dataset.name) is None:
            dataset.refuse_other_process()

    async def resume(self, name: str) -> bool:
        """Go on as far as was wanted, whatever stopped it; a cancel at work is let end first. False if it is finished already."""
        async with self._change(name) as dataset:
            self._refuse_other_process(dataset)
            await asyncio.to_thread(dataset.load)
            is_finished = await self.statuses.is_finished(dataset)
            await asyncio.to_thread(dataset.set_wanted, "running")
            if not is_finished:
                await self._go_on(dataset)
            return not is_finished

    async def _go_on(self, dataset: StoredDataset, is_new: bool = False) -> None:
        if (working := self._find_working(dataset.name)) is not None:
            working.run.go_on()
            working.events.emit("state", StateEvent(state="running"))
        else:
            await self._start(dataset, is_new)

    async def pause(self, name: str) -> None:
        """Finish the shards in work, begin no others; Conflict if it is finished."""
        async with self._change(name) as dataset:
            await self._refuse_finished(dataset)
            await asyncio.to_thread(dataset.set_wanted, "paused")
            if (job := self._find_working(name)) is not None:
                job.run.pause()
                job.events.emit("state", StateEvent(state="paused"))

    async def cancel(self, name: str) -> None:
        """Abandon the shards in work; what is finished stays, `resume` goes on from there. Conflict if it is finished."""
        async with self._change(name) as dataset:
            await self._refuse_finished(dataset)
            await asyncio.to_thread(dataset.set_wanted, "cancelled")
            if (job := self._find_working(name)) is not None and job.task is not None:
                job.task.cancel()
                await asyncio.wait({job.task})  # its last status may read all parts, and is not waited for
                job.events.emit("state", StateEvent(state="cancelled"))

    async def delete(self, name: str) -> None:
        """Remove a dataset's folder with all that is in it; Conflict while it is being made."""
        async with self._change(name) as dataset:
            if self._find_working(name) is not None:
                raise Conflict(f"{name!r} is being made; cancel it, then delete it")
            self._refuse_other_process(dataset)
            if (job := self._jobs.pop(name, None)) is not None:
                await job.status_writer.stop()
                job.run.release()
            self.statuses.parts_of_datasets.release(dataset.folder)
            await asyncio.to_thread(dataset.delete)
        _log.info("deleted %s", name)

    @asynccontextmanager
    async def _change(self, name: str) -> AsyncIterator[StoredDataset]:
        """Have a dataset alone among the requests that change it; NotFound if there is none of this name."""
        self._store.find(name)  # no lock is made for a name that there is not
        async with self._changing[name]:
            yield self._store.find(name)

    async def _refuse_finished(self, dataset: StoredDataset) -> None:
        self._refuse_other_process(dataset)
        if await self.statuses.is_finished(dataset):
            raise Conflict(f"{dataset.name!r} is finished: there is nothing to pause or cancel")

    async def check(self, text: str) -> RecipeCheck:
        """What keeps a recipe from being made by these services and this labeller, which are asked once; starts nothing."""
        text, recipe = await asyncio.to_thread(self._take_recipe, text)
        return await check_recipe(recipe, text, DeployedMakers(self._clients, 1))

    async def forecast(self, text: str, target: Target, trial: Trial | None = None) -> Forecast:
        """What making this recipe would take, by what its parts show so far, and a trial of what has none; starts nothing."""
        text, recipe = await asyncio.to_thread(self._take_recipe, text)
        recipe.stages_until(target.last)
        dataset = self._store.locate(recipe.name)
        async with self._forecasting:
            made_parts = self.statuses.parts_of_datasets.find(dataset.folder, recipe)
            return await asyncio.to_thread(describe_forecast, made_parts, target.last, trial)

    async def forecast_rest(self, name: str) -> Forecast:
        """What the rest of a dataset would take, as far as it is wanted."""
        dataset = self._store.find(name)
        await asyncio.to_thread(dataset.read_recipe)  # a fault there is one of its file, not of this request
        return await self.forecast(dataset.read_text(), dataset.read_target())

    def list_jobs(self) -> list[Job]:
        """What this process is making now."""
        return [job for job in self._jobs.values() if job.is_working]

    def find_folder(self, name: str) -> Path:
        """Where a dataset lies; NotFound if there is none of this name."""
        return self._store.find(name).folder

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
        self.statuses.find(name)
        job = self._jobs.get(name)
        return _follow_nothing() if job is None else job.follow(after)

    async def _start(self, dataset: StoredDataset, is_new: bool = False) -> None:
        recipe, text, target = await asyncio.to_thread(dataset.load)
        if (before := self._jobs.get(dataset.name)) is not None:
            await before.status_writer.stop()
        events = Events(before.events.last if before else 0, lambda event: self._webhooks.tell(dataset.name, event))
        run = Run(dataset.folder, recipe, text, self._clients, self._curators, self._settings, events.emit, target)
        status_writer = StatusWriter(dataset, lambda: self.statuses.tell(dataset.name), events.emit)
        roll_call = RollCall(self._clients, run.list_needed)
        self._jobs[dataset.name] = job = Job(run, events, roll_call, status_writer, is_new)
        job.task = asyncio.create_task(self._make(dataset, job), name=f"make {dataset.name}")
        calling = asyncio.create_task(roll_call.keep_calling(), name=f"roll call for {dataset.name}")
        job.task.add_done_callback(lambda _: calling.cancel())
        job.writing_task = asyncio.create_task(status_writer.write_until_end(job.task), name=f"write the status of {dataset.name}")

    async def _make(self, dataset: StoredDataset, job: Job) -> None:
        job.events.emit("state", StateEvent(state="running"))
        try:
            await job.run.make()
            job.run.release()
            self.statuses.parts_of_datasets.release(dataset.folder)
        except Problem as problem:
            job.problem = problem
        except OSError as error:
            job.problem = Unavailable(f"{error.filename or dataset.folder}: {explain_disk_fault(error, 'correct that')}, then resume")
        except Exception as error:
            _log.exception("making %s failed", dataset.name)
            job.problem = Internal(f"{type(error).__name__}: {error}; the gateway's log has the cause")
        if job.problem is not None:
            if job.is_new and job.run.is_refused:
                async with self._changing[dataset.name]:  # not while a request writes into the folder
                    await job.status_writer.stop()
                    dataset.withdraw()
            _log.warning("%s stopped: %s", dataset.name, job.problem.detail)
            job.events.emit("failed", ProblemDocument.of(job.problem))

    def _find_working(self, name: str) -> Job | None:
        job = self._jobs.get(name)
        return job if job is not None and job.is_working else None


async def _follow_nothing() -> AsyncIterator[Event]:
    nothing: tuple[Event, ...] = ()
    for event in nothing:
        yield event
