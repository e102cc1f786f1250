"""Rates of sources that have made nothing yet: a few structures of each, made and labelled on this machine and thrown away."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cli.app import run_until_signal
from cli.terminal import Console

if TYPE_CHECKING:
    from distillery.planning.forecast import Trial
    from distillery.recipe.recipe import Recipe
    from distillery.schema.dataset import Status

STRUCTURES = 5
"""Of every source."""


def try_sources(recipe: "Recipe") -> "Trial":
    """What five structures of every source took; asyncio.CancelledError when stopped, a Problem if none could be made."""
    from cli.live import raise_if_failed
    from distillery.planning.forecast import measure_trial
    from distillery.planning.made_parts import MadeParts

    small = shrink(recipe)
    with tempfile.TemporaryDirectory(prefix="distillery-") as folder:
        raise_if_failed(run_until_signal(_make(small, Path(folder)), lambda: None))
        return measure_trial(MadeParts(Path(folder) / small.name, small), STRUCTURES)


def shrink(recipe: "Recipe") -> "Recipe":
    """The same sources with five structures each, made at once and in one shard."""
    from distillery.recipe.recipe import Recipe

    content = recipe.model_dump(mode="json", exclude_unset=True)
    for name in ("total", "generative_fraction", "stages", "rebalance", "gates", "grown_from"):
        content.pop(name, None)
    for source in content["sources"].values():
        source.pop("share", None)
        source["count"] = STRUCTURES
    return Recipe.model_validate({**content, "shard_size": STRUCTURES})


async def _make(recipe: "Recipe", folder: Path) -> "Status":
    from cli.live import choose_view, follow
    from cli.local import run_embedded
    from cli.sessions import settings_here
    from distillery.runtime.canonical_json import canonical_json

    settings = settings_here(folder).model_copy(update={"page": False})
    wanted = {source.service for source in recipe.sources.values()}
    async with run_embedded(settings, recipe.teacher, wanted) as client:
        with choose_view(Console(stderr=True)) as view:
            return await follow(client, canonical_json(recipe.model_dump(mode="json", exclude_unset=True)), view, {})
