"""The factory: what every replica of the services and of the labeller does now, and how much disk is left."""

import asyncio
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from distillery.errors import Problem
from distillery.schema.factory import FactoryRecord, ReplicaRecord, WorkRecord
from gateway.clients import Clients
from gateway.job import Job
from gateway.manager import Manager
from gateway.settings import LABELLER

_LOOK_AGAIN_SECONDS = 2.0
_WAITING = {LABELLER: "distillery_waiting_structures"}
Figures = dict[str, float]


class Factory:
    """Looks at all replicas, at most once in 2 s however many ask."""

    def __init__(self, clients: Clients, manager: Manager, data: Path) -> None:
        self._clients, self._manager, self._data = clients, manager, data
        self._looking = asyncio.Lock()
        self._last: tuple[float, FactoryRecord] | None = None
        self._busy: dict[str, tuple[float, float]] = {}
        """When a labeller was looked at, and how long its teacher had computed then, s."""

    async def look(self) -> FactoryRecord:
        """What is the case now."""
        async with self._looking:
            if self._last is None or time.monotonic() - self._last[0] > _LOOK_AGAIN_SECONDS:
                self._last = time.monotonic(), await self._look()
            return self._last[1]

    async def _look(self) -> FactoryRecord:
        jobs = self._manager.list_jobs()
        found = await asyncio.gather(*(self._look_at_service(name, jobs) for name in self._clients.names))
        wanted = (
            {LABELLER, *(source.service for job in jobs for source in job.run.made_parts.recipe.sources.values())} if jobs else set[str]()
        )
        disk = shutil.disk_usage(_find_existing(self._data))
        return FactoryRecord(
            replicas=[replica for group in found for replica in group],
            missing=sorted(wanted - {replica.service for group in found for replica in group}),
            retries=self._clients.list_retries(),
            disk_free_bytes=disk.free,
            disk_total_bytes=disk.total,
        )

    async def _look_at_service(self, name: str, jobs: Iterable[Job]) -> list[ReplicaRecord]:
        addresses = await self._clients.list_replicas(name)
        return list(await asyncio.gather(*(self._look_at(name, address, jobs) for address in addresses)))

    async def _look_at(self, name: str, address: str, jobs: Iterable[Job]) -> ReplicaRecord:
        work = self._list_work(name, address, jobs)
        try:
            figures = _read_figures(await self._clients.look_at(name, address, "/metrics"))
            await self._clients.look_at(name, address, "/v1/health/ready")
            problem = None
        except Problem as caught:
            figures, problem = {}, caught
        waiting = figures.get(_WAITING.get(name, "distillery_waiting_requests"), 0.0)
        return ReplicaRecord(
            service=name,
            address=address,
            is_ready=problem is None,
            detail="" if problem is None else problem.detail,
            at_work=work,
            waiting=int(waiting),
            busy_share=self._find_share(f"{name} {address}", figures),
            gpu_used_bytes=_whole(figures.get("distillery_gpu_used_bytes")),
            gpu_total_bytes=_whole(figures.get("distillery_gpu_total_bytes")),
        )

    def _list_work(self, name: str, address: str, jobs: Iterable[Job]) -> list[str]:
        """The shards that a replica is asked for; of apps in this process all that their service is asked for."""
        works = [(job.run.made_parts.recipe.name, work) for job in jobs for work in job.run.shard_maker.at_work.values()]
        traces = None if address == "here" else {request.trace for request in self._clients.list_under_way(name, address)}
        return [f"{dataset}/{work.shard}" for dataset, work in works if work.service == name and _is_of(work, traces)]

    def _find_share(self, replica: str, figures: Figures) -> float | None:
        """The share of the time since the last look that a teacher computed; None of what is no labeller, and at the first look."""
        busy, workers, now = (
            figures.get("distillery_teacher_busy_seconds_total"),
            figures.get("distillery_teacher_workers"),
            time.monotonic(),
        )
        if busy is None or not workers:
            return None
        before = self._busy.get(replica)
        self._busy[replica] = now, busy
        if before is None or busy < before[1]:
            return None
        return min((busy - before[1]) / ((now - before[0]) * workers), 1.0)


def _is_of(work: WorkRecord, traces: set[str] | None) -> bool:
    return traces is None or work.trace in traces


def _read_figures(text: str) -> Figures:
    """The samples of a /metrics answer that have no labels."""
    families = text_string_to_metric_families(text)
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _find_existing(folder: Path) -> Path:
    """The folder, or where it is not there yet the nearest above it."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
