"""Regeneration: some shards of a dataset are made again, by the code that made them, and compared with the file."""

import random
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import h5py

from distillery.dataset.folder import part_path
from distillery.dataset.layout import Arrays
from distillery.dataset.parts import read_part
from distillery.dataset.sections import Section, read_section
from distillery.errors import NotFound, Unavailable
from distillery.http.client import Servers
from distillery.planning.made_parts import MadeParts
from distillery.planning.plan import Plan, Shard
from distillery.recipe.recipe import Recipe
from distillery.runtime.locks import hold_lock
from distillery.schema.dataset import EventData, EventKind
from distillery.schema.label import Receipt
from distillery.verify.comparison import compare_part, compare_versions
from distillery.verify.file_checks import Check
from distillery.verify.verification import Verification
from gateway.clients import Clients
from gateway.curators import Curators
from gateway.preflight import TRIES_AT_THE_START, Preflight
from gateway.settings import GatewaySettings
from gateway.shard_maker import ShardMaker


def choose_shards(plan: Plan, n: int, seed: int) -> list[Shard]:
    """`n` shards at random, in plan order, of those that a service made; all if there are fewer."""
    made = [shard for shard in plan.shards() if not plan.planned_parts[shard.name].note]
    return [made[k] for k in sorted(random.Random(seed).sample(range(len(made)), min(n, len(made))))]


def needed_services(recipe: Recipe, shards: list[Shard]) -> set[str]:
    """Who must be there to make these shards."""
    return {recipe.sources[shard.maker].service for shard in shards}


async def regenerate(
    verified: Verification, shards: list[Shard], settings: GatewaySettings, servers: Servers | None = None
) -> AsyncIterator[Check]:
    """Make shards again and compare each; at the end, whether other versions made them.

    Before the first is made: Unavailable or NotFound if a service is not there, Unsupported if the labeller has another teacher.

    verified  whose plan proved right
    settings  say where services are and below which folder the labeller writes; nothing stays there
    servers   take the place of those that the settings name
    """
    recipe, plan, known = verified.recipe, verified.plan, verified.made_parts
    assert recipe is not None
    assert plan is not None
    assert known is not None
    sections = {section.name: section for section in verified.sections}
    pairs: list[tuple[Receipt, Receipt]] = []
    with hold_scratch(settings.data) as folder:
        clients = Clients(settings, servers)
        try:
            made_parts = MadeParts(folder, recipe.model_copy(update={"name": folder.name}))
            await Preflight(made_parts.recipe, made_parts, clients, _ignore).check_teacher(TRIES_AT_THE_START)
            await _require_services(clients, recipe, shards)
            maker = ShardMaker(made_parts, clients, Curators(1), _ignore, missing_services={})
            for shard in shards:
                section = sections[shard.name]
                await maker.make(shard)
                again = read_part(part_path(folder, shard.name))
                pairs.append((section.part.receipt, again.receipt))
                facts = known.look_up(shard)
                assert facts is not None
                yield compare_part(section, plan.planned_parts[shard.name], facts, _read(verified.path, section), again)
        finally:
            await clients.close()
    yield compare_versions(pairs)


async def _require_services(clients: Clients, recipe: Recipe, shards: list[Shard]) -> None:
    for service in sorted(needed_services(recipe, shards)):
        try:
            await clients.describe_service(service, TRIES_AT_THE_START)
        except (Unavailable, NotFound) as problem:
            names = [shard.name for shard in shards if recipe.sources[shard.maker].service == service]
            raise type(problem)(
                f"{problem.detail}; without {service} {', '.join(names)} can't be made again (another --seed chooses other shards)"
            ) from problem


def _ignore(kind: EventKind, data: EventData) -> None:
    """Nobody listens to the events of a regeneration."""


def _read(path: Path, section: Section) -> Arrays:
    with h5py.File(path, "r") as file:
        return read_section(file, section.structures, section.atoms, section.part.receipt.optional_columns)


_PREFIX = "verify-"


_ANY = _PREFIX + 32 * "[0-9a-f]"


@contextmanager
def hold_scratch(data: Path) -> Iterator[Path]:
    """An empty dataset folder below `data`, removed at the end; Conflict while another process has one there.

    It has no recipe, so that a gateway neither lists it nor takes it up at a restart. What a killed process left, or a
    labeller wrote after the end, the next one removes. Unavailable if `data` is not there or can't be written to.
    """
    folder = data / f"{_PREFIX}{uuid.uuid4().hex}"
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(data))
            for leftover in data.glob(_ANY):
                shutil.rmtree(leftover)
            folder.mkdir()
        except OSError as error:
            raise Unavailable(f"no scratch folder can be made in {data}: {error}; it must be the labeller's data folder") from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
