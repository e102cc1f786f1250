"""Preflight: teacher and services are asked what they can do before anything is made."""

from collections.abc import Callable, Iterator

from distillery.errors import Conflict, NotFound, Problem, Unavailable, Unsupported
from distillery.planning.made_parts import MadePart, MadeParts
from distillery.planning.plan import Plan
from distillery.planning.recipe_checks import ask_service, find_charge_faults, find_source_faults, find_teacher_faults
from distillery.recipe.recipe import Recipe
from distillery.recipe.requests import has_fallback, list_makers
from distillery.recipe.source import Source
from distillery.schema.dataset import EventData, EventKind, MissingServiceEvent
from distillery.schema.generate import GenerateRequest, RequestCheck
from distillery.schema.label import TeacherCard, TeacherOutline
from gateway.clients import Clients
from gateway.concurrency import run_all

Emit = Callable[[EventKind, EventData], None]
TRIES_AT_THE_START = 4
"""Some seven seconds: enough for a container that is being started again."""


class DeployedMakers:
    """The running services and labeller as `distillery.planning.recipe_checks.Makers`."""

    def __init__(self, clients: Clients, tries: int | None) -> None:
        """`tries` of each that is away, as many as the settings say if absent."""
        self._clients, self._tries = clients, tries

    async def check_request(self, service: str, request: GenerateRequest) -> RequestCheck:
        """See `Makers`."""
        return await self._clients.check(service, request, self._tries)

    async def outline_teacher(self, teacher: str) -> TeacherOutline:
        """See `Makers`."""
        there = await self._clients.peek_teacher()
        require_teacher(there, teacher)
        return there.outline


def require_teacher(there: TeacherCard, wanted: str) -> None:
    """Unsupported if the labeller has another teacher."""
    if there.name != wanted:
        raise Unsupported(
            f"the recipe wants the teacher {wanted}, the labeller has {there.name}; start the labeller with "
            f"DISTILLERY_LABELLER_TEACHER={wanted}"
        )


class Preflight:
    """Whether teacher and services are there for a recipe.

    missing_services  those that the dataset does without, and why: all of their sources have a fallback
    """

    def __init__(self, recipe: Recipe, made_parts: MadeParts, clients: Clients, emit: Emit) -> None:
        self.missing_services: dict[str, str] = {}
        self._recipe, self._made_parts, self._clients, self._emit = recipe, made_parts, clients, emit
        self._makers = DeployedMakers(clients, None)
        self._teacher: TeacherOutline | None = None

    async def check_teacher(self, tries: int | None = None) -> None:
        """Unsupported if the labeller has another teacher than the recipe's, or one that can't do what it asks for.

        Conflict if the parts that are there have labels of other weights.
        """
        teacher = await self._clients.describe_teacher(tries)
        require_teacher(teacher, self._recipe.teacher)
        self._teacher = teacher.outline
        if faults := find_teacher_faults(self._recipe, teacher.outline):
            raise Unsupported("; ".join(detail for _, detail in faults))
        known = self._made_parts.teacher
        if known is not None and known.identity != teacher.identity:
            raise Conflict(
                f"the parts in {self._made_parts.folder} were labelled by {known.describe()}, the labeller has {teacher.describe()}; "
                "a dataset has one teacher: start the labeller with the first, or give the recipe another name"
            )

    async def check_sources(self, plan: Plan) -> None:
        """Ask every service that owes something, or may have to step in, whether it can do its part.

        Unavailable or NotFound if one is not there that nobody stands in for, or that has begun; Unsupported if it can't do it. Where
        only its options are refused, as a model's checkpoint may do, a fallback will step in.
        """
        await run_all(self._check_source(name, self._recipe.sources[name], plan) for name in list_makers(self._recipe))

    async def _check_source(self, name: str, source: Source, plan: Plan) -> None:
        entries = list(self._find_made(source.service, plan))
        if outage := next((entry.note for entry in entries if entry.is_outage), None):
            self._give_up_service(source, Unavailable(outage))
            return
        has_begun = any(not entry.note for entry in entries)
        is_needed = has_begun or not has_fallback(self._recipe, source.service)
        try:
            # One that others stand in for is not waited for as long as one that the run can't do without.
            await self._clients.describe_service(source.service, None if is_needed else TRIES_AT_THE_START)
            check = await ask_service(self._recipe, name, self._makers)
        except (Unavailable, NotFound) as problem:
            if is_needed:
                raise
            self._give_up_service(source, problem)
            return
        faults = find_source_faults(self._recipe, name, check)
        refused = [message for at, message in faults if source.fallback is None or "options" not in at]
        refused += [message for _, message in find_charge_faults(self._recipe, name, check, self._teacher)]
        if refused:
            raise Unsupported(f"source {name}: {'; '.join(refused)}")

    def _find_made(self, service: str, plan: Plan) -> Iterator[MadePart]:
        """What the parts say that this service was to make: an outage after it has begun is waited for, or it would change the result."""
        for shard in plan.shards():
            if self._recipe.sources[shard.maker].service == service and (entry := self._made_parts.peek(shard.name)) is not None:
                yield entry

    def _give_up_service(self, source: Source, problem: Problem) -> None:
        if source.service not in self.missing_services:
            self.missing_services[source.service] = problem.detail
            self._emit("missing_service", MissingServiceEvent(service=source.service, detail=problem.detail))
