"""Regeneration: some shards of a dataset are made again, by the code that made them, and compared with the file."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import h5py

from contract.layout import Arrays
from contract.messages import Receipt
from contract.parts import Part, part_path, read_part
from contract.problems import Conflict, NotFound, Unavailable
from gateway.attendance import TRIES_AT_THE_START
from gateway.clients import Clients, Connect
from gateway.comparison import compare_part, compare_versions
from gateway.merged import Section, read_section
from gateway.plan import Plan, Shard
from gateway.recipe import Recipe
from gateway.run import Run
from gateway.scratch import hold_scratch
from gateway.settings import GatewaySettings
from gateway.shape import Check
from gateway.verify import Verification
from gateway.wish import Wish


def choose_shards(plan: Plan, n: int, seed: int) -> list[Shard]:
    """`n` shards at random, in plan order, of those that a service made; all if there are fewer."""
    made = [shard for shard in plan.shards() if not plan.drawn[shard.name].facts.note]
    return [made[k] for k in sorted(random.Random(seed).sample(range(len(made)), min(n, len(made))))]


def list_services(recipe: Recipe, shards: list[Shard]) -> set[str]:
    """Who must be there to make these shards."""
    return {recipe.sources[shard.maker].service for shard in shards}


async def regenerate(
    verified: Verification, shards: list[Shard], settings: GatewaySettings, connect: Connect | None = None
) -> AsyncIterator[Check]:
    """Make shards again and compare each; at the end, whether other versions made them.

    Before the first is made: Unavailable or NotFound if a service is not there, Unsupported if the labeller has another teacher.

    verified  whose plan proved right
    settings  say where services are and below which folder the labeller writes; nothing stays there
    connect   replaces the network by apps in this process
    """
    recipe, plan = verified.recipe, verified.plan
    assert recipe is not None
    assert plan is not None
    sections = {section.name: section for section in verified.sections}
    pairs: list[tuple[Receipt, Receipt]] = []
    with hold_scratch(settings.data) as folder:
        clients = Clients(settings, connect)
        try:
            run = Run(folder, recipe.model_copy(update={"name": folder.name}), "", clients, settings, lambda kind, data: None, Wish())
            await run.attendance.check_teacher(TRIES_AT_THE_START)
            await _require_services(clients, recipe, shards)
            for shard in shards:
                section = sections[shard.name]
                again = await _make_part(run, shard, folder)
                pairs.append((section.part.receipt, again.receipt))
                yield compare_part(section, plan.drawn[shard.name], _read(verified.path, section), again)
        finally:
            await clients.close()
    yield compare_versions(pairs)


async def _require_services(clients: Clients, recipe: Recipe, shards: list[Shard]) -> None:
    for service in sorted(list_services(recipe, shards)):
        try:
            await clients.describe_service(service, TRIES_AT_THE_START)
        except (Unavailable, NotFound) as problem:
            names = [shard.name for shard in shards if recipe.sources[shard.maker].service == service]
            raise type(problem)(
                f"{problem.detail}; without {service} {', '.join(names)} can't be made again (another --seed chooses other shards)"
            ) from problem


async def _make_part(run: Run, shard: Shard, folder: Path) -> Part:
    await run.make_shard(shard)
    path = part_path(folder, shard.name)
    if not path.exists():
        raise Conflict(f"the labeller says that it wrote {shard.name}, but {path} is not there: it must write to the same data folder")
    return read_part(path)


def _read(path: Path, section: Section) -> Arrays:
    with h5py.File(path, "r") as file:
        return read_section(file, section.structures, section.atoms)
