"""The status of every dataset below the data folder: of those that this process makes, of others' and of those at rest."""

import asyncio
import logging
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distillery.errors import Internal, Problem
from distillery.planning.made_parts import MadeParts, PartsOfDatasets
from distillery.planning.plan import Plan
from distillery.report.summary import describe_progress
from distillery.schema.dataset import State, Status
from distillery.schema.problem import ProblemDocument
from distillery.schema.report import VerdictWord
from gateway.last_status import look_at, read_last_status, write_last_status
from gateway.store import Store
from gateway.stored_dataset import StoredDataset

if TYPE_CHECKING:
    from distillery.schema.factory import RetryRecord
    from gateway.job import Job

_log = logging.getLogger("distillery")


@dataclass(frozen=True)
class Selection:
    """Which datasets are wanted: those that agree with everything that is given.

    contains  a piece of their names
    """

    state: State | None = None
    verdict: VerdictWord | None = None
    teacher: str | None = None
    contains: str = ""

    def admits(self, status: Status) -> bool:
        """Whether a dataset is among them."""
        pairs = ((self.state, status.state), (self.verdict, status.verdict), (self.teacher, status.teacher))
        return all(wanted is None or wanted == own for wanted, own in pairs)


class DatasetStatuses:
    """What can be told of datasets; `jobs` are those of this process, by name.

    list_retries  what jobs ask again of these services
    """

    def __init__(
        self, store: Store, jobs: "Mapping[str, Job]", list_retries: "Callable[[Collection[str]], list[RetryRecord]]" = lambda names: []
    ) -> None:
        self._store, self._jobs, self._list_retries = store, jobs, list_retries
        self._reading = asyncio.Lock()
        self.parts_of_datasets = PartsOfDatasets()
        """Of the datasets that this process does not make."""

    async def list(self, after: str, limit: int, selection: Selection = Selection()) -> tuple[list[Status], bool]:
        """At most `limit` datasets with names behind `after`, and whether there may be more; those at rest are looked at in one go."""
        names = await asyncio.to_thread(self._store.list_names)
        names = [name for name in names if name > after and selection.contains in name]
        found = list[Status]()
        while names and len(found) < limit:
            n = limit - len(found)
            found += [status for status in await self._tell_all(names[:n]) if selection.admits(status)]
            names = names[n:]
        return found, bool(names)

    async def list_working(self, known: Mapping[str, Status]) -> Sequence[Status]:
        """Those that this process is making, by name; what is `known` is not told anew."""
        names = sorted(name for name, job in self._jobs.items() if job.is_working)
        told = {status.name: status for status in await self._tell_all([name for name in names if name not in known])}
        return [known.get(name) or told[name] for name in names]

    async def list_all(self) -> Sequence[Status]:
        """All datasets by name."""
        return (await self.list("", sys.maxsize))[0]

    async def _tell_all(self, names: Sequence[str]) -> Sequence[Status]:
        told = await asyncio.to_thread(self._tell_resting, names)
        return [told.get(name) or await self._tell_whatever(name) for name in names]

    def _tell_resting(self, names: Sequence[str]) -> dict[str, Status]:
        """The status of those that are finished and at rest."""
        told = {}
        for name in names:
            try:
                status = None if name in self._jobs else self._store.tell_finished(self._store.locate(name))
            except Exception:
                continue  # `_tell_whatever` says what is wrong
            if status is not None:
                told[name] = status
        return told

    async def _tell_whatever(self, name: str) -> Status:
        """The status, or what keeps it from being read: one bad folder does not hide the others."""
        try:
            return await self.tell(name)
        except Problem as problem:
            return Status(name=name, state="failed", problem=ProblemDocument.of(problem))
        except Exception as error:  # what damaged files do to their readers is not known beforehand
            _log.exception("the status of %s can't be told", name)
            detail = f"{self._store.locate(name).folder} can't be read: {type(error).__name__}: {error}; the log has the cause"
            return Status(name=name, state="failed", problem=ProblemDocument.of(Internal(detail)))

    async def tell(self, name: str) -> Status:
        """Where a dataset stands, from its parts, or once it is finished from its report."""
        dataset, job = self.find(name), self._jobs.get(name)
        is_at_rest = job is None or (job.problem is None and not job.is_working)
        known, started = (job.run.made_parts.recipe, job.started) if job else (None, None)
        if is_at_rest and (status := await asyncio.to_thread(self._store.tell_finished, dataset, known, started)) is not None:
            return status
        if job is None and (last := await asyncio.to_thread(read_last_status, dataset)) is not None:
            return last
        recipe = known if known is not None else await asyncio.to_thread(dataset.read_recipe)
        made_parts = self.parts_of_datasets.find(dataset.folder, recipe) if job is None or is_at_rest else job.run.made_parts
        seen = await asyncio.to_thread(look_at, dataset) if job is None else None
        plan, problem = await self._look_at(job, made_parts)
        was_working, in_work = job is not None and job.is_working, dict(job.run.shard_maker.in_work) if job else {}
        progress = await asyncio.to_thread(describe_progress, made_parts, plan, in_work)
        if job is not None and was_working and not job.is_working:
            return await self.tell(name)  # it ended meanwhile and let go of what is told of here
        status = Status(
            **dict(progress),
            **dataset.describe(recipe, started),
            state=self._find_state(dataset, problem),
            doing=job.run.doing if job and job.is_working else "",
            problem=ProblemDocument.of(problem) if problem else None,
            **(self._describe_moment(job) if job and job.is_working else {}),
        )
        if seen is not None and problem is None and not dataset.is_locked:
            await asyncio.to_thread(write_last_status, dataset, seen, status)
        return status

    def _describe_moment(self, job: "Job") -> dict[str, Any]:
        """What a job at work does now, and what holds it up."""
        from gateway.settings import LABELLER  # what tells of datasets at rest alone does without settings

        asked = {LABELLER, *(source.service for source in job.run.made_parts.recipe.sources.values())}
        retries = self._list_retries(asked)
        told = {retry.service for retry in retries}
        missing = [retry for retry in job.roll_call.list_missing() if retry.service not in told]
        return {"at_work": list(job.run.shard_maker.at_work.values()), "retries": [*retries, *missing]}

    def find(self, name: str) -> StoredDataset:
        """A dataset that is there, or one whose recipe was refused, which has no folder, in this process; NotFound of another."""
        job = self._jobs.get(name)
        return self._store.locate(name) if job is not None and job.run.is_refused else self._store.find(name)

    async def is_finished(self, dataset: StoredDataset) -> bool:
        """True if it is made as far as is wanted; of one at work this is known at once, so that a cancel and a resume keep their order."""
        job = self._jobs.get(dataset.name)
        if job is not None and (job.is_working or job.problem is not None):
            return False
        return await asyncio.to_thread(self._store.tell_finished, dataset) is not None

    async def _look_at(self, job: "Job | None", made_parts: MadeParts) -> tuple[Plan, Problem | None]:
        """The plan as far as the parts allow, and what is wrong with the dataset."""
        if job is not None and (job.is_working or job.problem is not None):
            return job.run.plan, job.problem
        try:
            async with self._reading:
                return await asyncio.to_thread(made_parts.make_plan, self._store.locate(made_parts.folder.name).read_target().last), None
        except Problem as problem:
            return Plan(stage=made_parts.recipe.stage_names[0]), problem

    def _find_state(self, dataset: StoredDataset, problem: Problem | None) -> State:
        """The state of a dataset that is not finished."""
        wanted = dataset.read_target().wanted
        if (job := self._jobs.get(dataset.name)) is not None and job.is_working:
            return wanted
        if problem is not None:
            return "failed"
        if wanted == "running":
            return "running" if dataset.is_locked else "stopped"
        return wanted
