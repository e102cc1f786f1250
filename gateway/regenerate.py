"""Regeneration: some shards of a dataset are made again, by the code that made them, and compared with the file."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import h5py

from contract.layout import Arrays
from contract.messages import Receipt
from contract.parts import part_path, read_part
from gateway.clients import Clients, Connect
from gateway.comparison import compare_part, compare_versions
from gateway.merged import Stretch, read_stretch
from gateway.plan import Plan, Shard
from gateway.recipe import Recipe
from gateway.run import Run
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


async def regenerate(verified: Verification, shards: list[Shard], connect: Connect, scratch: Path) -> AsyncIterator[Check]:
    """Make shards again and compare each; at the end, whether other versions made them.

    verified  whose plan proved right
    connect   makes the clients of services and of a labeller that writes below `scratch`
    """
    recipe, plan = verified.recipe, verified.plan
    assert recipe is not None
    assert plan is not None
    stretches = {stretch.name: stretch for stretch in verified.stretches}
    folder = scratch / recipe.name
    folder.mkdir()
    settings = GatewaySettings(data=scratch, resume=False, api_key=None, published="127.0.0.1")
    clients = Clients(settings, connect)
    run = Run(folder, recipe, "", clients, settings, lambda kind, data: None, Wish())
    pairs: list[tuple[Receipt, Receipt]] = []
    try:
        for shard in shards:
            receipt = await run.make_shard(shard)
            pairs.append((stretches[shard.name].part.receipt, receipt))
            again = read_part(part_path(folder, shard.name))
            yield compare_part(stretches[shard.name], plan.drawn[shard.name], _read(verified.path, stretches[shard.name]), again)
    finally:
        await clients.close()
    yield compare_versions(pairs)


def _read(path: Path, stretch: Stretch) -> Arrays:
    with h5py.File(path, "r") as file:
        return read_stretch(file, stretch.structures, stretch.atoms)
