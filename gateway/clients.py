"""The gateway's requests to services and labeller."""

import asyncio
import time
from collections.abc import Awaitable, Collection
from dataclasses import dataclass
from pathlib import Path

import httpx

from distillery.errors import NotFound, Problem, Unavailable
from distillery.generators.plugins import list_services
from distillery.http.access import AccessSettings
from distillery.http.api_key import carry_key
from distillery.http.client import Client, NetworkServers, Retry, RetryPolicy, Servers
from distillery.http.leases import Leases
from distillery.http.replicas import UnderWay
from distillery.runtime.atomic_files import is_visible
from distillery.schema.factory import RetryRecord
from distillery.schema.generate import Generated, GenerateRequest, Metadata, RequestCheck
from distillery.schema.label import FinaliseReceipt, FinaliseRequest, LabelledBatch, LabellerCard, Receipt, ShardRecord, TeacherCard
from distillery.structures.arrow import ARROW_TYPE, to_arrow
from distillery.structures.structure import Structure
from gateway.settings import LABELLER, GatewaySettings

_LOOK_SECONDS = 0.5
_GLANCE_SECONDS = 2.0


@dataclass(frozen=True)
class Batch:
    """What a service made of a request, and how long that took, s."""

    structures: list[Structure]
    generated: Generated
    seconds: float


class Clients:
    """HTTP clients of all services and of the labeller; each is asked for what it is there for."""

    def __init__(self, settings: GatewaySettings, servers: Servers | None = None, leases: Leases | None = None) -> None:
        """`servers`, such as apps in this process, take the place of those that the settings name or that have `leases`."""
        self._settings = settings
        self._servers: Servers = servers or _find_servers(settings, leases or Leases())
        self._patience = RetryPolicy(settings.tries, settings.patience, settings.busy_seconds)
        self._clients: dict[str, Client] = {}

    async def close(self) -> None:
        """Close all connections."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()

    async def describe_service(self, service: str, tries: int | None) -> Metadata:
        """A ready service's metadata; retried while it is loading, and while it is away as often as the settings say, or `tries`."""
        return await self._find_service(service).retry(lambda: self.peek(service), tries)

    async def peek(self, service: str) -> Metadata:
        """A ready service's metadata; one try."""
        client = self._find_service(service)
        await client.send("GET", "/v1/health/ready")
        return await client.ask(Metadata, "GET", "/v1/metadata")

    async def check(self, service: str, request: GenerateRequest, tries: int | None) -> RequestCheck:
        """What keeps a service from a request, loaded or not; retried while it is away as often as the settings say, or `tries`.

        With one try it is not waited for either until it announces itself, which may be never.
        """
        client, body = self._find_service(service), request.model_dump(mode="json")

        def ask() -> Awaitable[RequestCheck]:
            return client.ask(RequestCheck, "POST", "/check", json=body)

        return await (ask() if tries == 1 else client.retry(ask, tries))

    async def describe_teacher(self, tries: int | None) -> TeacherCard:
        """The ready labeller's teacher; retried while it is loading, and while it is away as often as the settings say, or `tries`."""
        return await self._find(LABELLER).retry(self.peek_teacher, tries)

    async def peek_teacher(self) -> TeacherCard:
        """The ready labeller's teacher; one try."""
        labeller = self._find(LABELLER)
        await labeller.send("GET", "/v1/health/ready")
        teacher = (await labeller.ask(LabellerCard, "GET", "/v1/metadata")).teacher
        if teacher is None:
            raise Unavailable("the labeller is ready, but names no teacher; ask again soon", retry_after=2)
        return teacher

    async def generate(self, service: str, request: GenerateRequest) -> Batch:
        """Structures of a service."""
        client, body = self._find_service(service), request.model_dump(mode="json")
        timeout = self._timeout(self._settings.longest_generate(request.n))

        async def ask() -> Batch:
            start = time.perf_counter()
            answer = await client.send("POST", "/generate", json=body, headers={"Accept": ARROW_TYPE}, timeout=timeout)
            return Batch(*client.parse_structures(answer), _working_seconds(answer, time.perf_counter() - start))

        return await client.retry(ask)

    async def label(
        self, dataset: str, part: str, structures: list[Structure], record: ShardRecord, hashes: list[str] | None = None
    ) -> Receipt:
        """Have a part labelled and written; the receipt of the existing part if there is one. `hashes` spare the labeller making them."""
        labeller, body = self._find(LABELLER), to_arrow(structures, record.model_dump(mode="json"), hashes)
        query, headers = {"dataset": dataset, "part": part}, {"Content-Type": ARROW_TYPE}
        return await labeller.retry(lambda: labeller.ask(Receipt, "POST", "/label", params=query, content=body, headers=headers))

    async def label_alone(self, structures: list[Structure]) -> LabelledBatch:
        """Labels of structures that are of no dataset; one try."""
        labeller, headers = self._find(LABELLER), {"Content-Type": ARROW_TYPE}
        return await labeller.ask(LabelledBatch, "POST", "/labels", content=to_arrow(structures), headers=headers)

    async def finalise(self, request: FinaliseRequest) -> FinaliseReceipt:
        """Have the parts merged into dataset.h5; a labeller that does not see one yet, which another wrote, is asked again."""
        labeller, body = self._find(LABELLER), request.model_dump(mode="json")
        end = time.monotonic() + self._settings.visible_seconds
        while True:
            try:
                return await labeller.retry(lambda: labeller.ask(FinaliseReceipt, "POST", "/finalise", json=body))
            except NotFound:
                if time.monotonic() >= end:
                    raise
            await asyncio.sleep(min(_LOOK_SECONDS, self._settings.visible_seconds))

    async def wait_for_file(self, path: Path) -> bool:
        """Whether a file that the labeller wrote is seen here, by the time that a network file system may take to show it."""
        end = time.monotonic() + self._settings.visible_seconds
        while not await asyncio.to_thread(is_visible, path):
            if time.monotonic() >= end:
                return False
            await asyncio.sleep(min(_LOOK_SECONDS, self._settings.visible_seconds))
        return True

    @property
    def names(self) -> list[str]:
        """All that can be asked: the labeller and the services."""
        return self._servers.names

    def list_retries(self, names: Collection[str] | None = None) -> list[RetryRecord]:
        """What is asked again of these, or of all, one a problem; the oldest first."""
        found = dict[tuple[str, str], RetryRecord]()
        for name, client in self._clients.items():
            for retry in client.retries if names is None or name in names else ():
                record = describe_retry(name, retry)
                if (known := found.get((name, record.detail))) is None or record.since < known.since:
                    found[name, record.detail] = record
        return sorted(found.values(), key=lambda record: record.since)

    def count_retries(self) -> dict[str, int]:
        """Tries after a failure so far, by whom was asked."""
        return {name: client.n_retries for name, client in self._clients.items()}

    async def list_replicas(self, name: str) -> list[str]:
        """The addresses that answer to a name now."""
        return await self._servers.list_replicas(name)

    def list_under_way(self, name: str, replica: str) -> list[UnderWay]:
        """What a replica is asked for and has not answered yet."""
        return self._servers.list_under_way(name, replica)

    async def look_at(self, name: str, replica: str, path: str) -> str:
        """What a replica answers to a short GET; one try."""
        answer = await self._find(name).send("GET", path, timeout=_GLANCE_SECONDS, extensions={"replica": replica})
        return answer.text

    async def find_absence(self, name: str) -> Problem | None:
        """Why none of a name's replicas can do anything now; None if one is ready, or too busy to say."""
        problem: Problem | None = None
        try:
            client = self._find(name)
            for _ in range(await self._servers.count_replicas(name)):  # one that failed is avoided the next time
                problem = await _glance(client)
                if problem is None:
                    return None
        except NotFound as unknown:
            return unknown
        return problem

    async def count_replicas(self, service: str) -> int:
        """How many processes answer to a service's name now, or as labellers if those are more; at least 1."""
        return max(await self._servers.count_replicas(service), await self._servers.count_replicas(LABELLER))

    def _find_service(self, name: str) -> Client:
        if name == LABELLER:
            raise NotFound(f"there is no service {name!r} that makes structures: it labels them (POST /v1/label)")
        return self._find(name)

    def _find(self, name: str) -> Client:
        if name not in self._clients:
            longest = self._settings.label_seconds if name == LABELLER else self._settings.generate_seconds
            self._clients[name] = Client(name, self._servers.open(name, self._timeout(longest)), self._patience)
        return self._clients[name]

    def _timeout(self, longest: float) -> httpx.Timeout:
        return httpx.Timeout(longest, connect=self._settings.connect_seconds)


async def _glance(client: Client) -> Problem | None:
    try:
        await client.send("GET", "/v1/health/ready", timeout=_GLANCE_SECONDS)
    except Problem as problem:
        return None if isinstance(problem.__cause__, httpx.ReadTimeout) else problem
    return None


def _find_servers(settings: GatewaySettings, leases: Leases) -> NetworkServers:
    names = {LABELLER, *list_services()}
    return NetworkServers(settings.urls, leases, names, carry_key(settings.key), AccessSettings().trust())


def _working_seconds(answer: httpx.Response, elapsed: float) -> float:
    """The time the service itself worked (Server-Timing, its queue left out), else the time the answer took, s."""
    for entry in answer.headers.get("Server-Timing", "").split(","):
        name, _, duration = entry.strip().partition(";dur=")
        if name == "generate" and duration:
            return float(duration) / 1000
    return elapsed


def describe_retry(name: str, retry: Retry) -> RetryRecord:
    """A retry as it is told."""
    problem = retry.problem
    return RetryRecord(service=name, kind=problem.kind, detail=problem.detail, tries=retry.tries, since=retry.since, next_try=retry.at)
