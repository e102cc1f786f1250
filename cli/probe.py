"""Making the probe set of `distillery assess`: by services and teacher in this process, as any dataset is made."""

import os
from pathlib import Path
from typing import Any

from cli.app import run_until_signal
from cli.terminal import Console
from distillery.errors import Unavailable


def make_probe(folder: Path, recipe: dict[str, Any], console: Console) -> None:
    """Make the dataset of a recipe below `folder`, or go on with it; asyncio.CancelledError when stopped.

    Unavailable: a service or the teacher can't be had, or no structure could be labelled.
    """
    from distillery.runtime.canonical_json import canonical_json

    folder.mkdir(exist_ok=True)
    place = folder / recipe["name"]
    console.print(f"making the probe set {place}: some minutes, once for this teacher", highlight=False, soft_wrap=True)
    status = run_until_signal(_make(folder, canonical_json(recipe), recipe, console), lambda: console.print("stopping …"))
    if status != "finished":
        raise Unavailable(
            f"the probe set {place} could not be made ({status}); `distillery run {place / 'recipe.yaml'} --data {folder}` says why"
        )


async def _make(folder: Path, text: str, recipe: dict[str, Any], console: Console) -> str:
    from cli.live import choose_view, follow, raise_if_failed
    from cli.local import run_embedded
    from cli.sessions import settings_here

    settings = settings_here(folder).model_copy(update={"page": False})
    os.environ.setdefault("DISTILLERY_SERVICE_INPUTS", str(folder))
    wanted = {str(source["service"]) for source in recipe["sources"].values()}
    async with run_embedded(settings, str(recipe["teacher"]), wanted) as client:
        with choose_view(console) as view:
            status = await follow(client, text, view, {})
    raise_if_failed(status)
    return status.state
