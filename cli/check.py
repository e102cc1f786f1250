"""`distillery check`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.app import Gateway, app, run_until_signal
from cli.completion import complete_recipe
from cli.exit_codes import STOPPED
from cli.terminal import Console, under_way

if TYPE_CHECKING:
    from distillery.generators.generator import Generator
    from distillery.recipe.recipe import Recipe
    from distillery.schema.dataset import RecipeCheck
    from distillery.schema.generate import GenerateRequest, RequestCheck
    from distillery.schema.label import TeacherOutline


@app.command()
def check(
    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML.", autocompletion=complete_recipe)],
    gateway: Gateway = None,
) -> None:
    """Check whether a recipe can be made: its services, teacher, elements, sizes and options; starts and writes nothing.

    Every fault has its line. `distillery run` does the same before it starts anything.
    """
    from distillery.recipe.reading import read_recipe

    parsed, text = read_recipe(recipe)
    require_sound(recipe, parsed, text, gateway)
    n_sources = len(parsed.sources)
    Console().print(
        f"{recipe} can be made: {parsed.size} structures of {n_sources} source{'s' if n_sources > 1 else ''}, teacher {parsed.teacher}",
        highlight=False,
        soft_wrap=True,
    )


def require_sound(path: Path, recipe: "Recipe", text: str, gateway: str | None) -> None:
    """InvalidRequest with every fault at its line; what may pass, or can't come out GO, is printed to standard error."""
    import asyncio

    from distillery.recipe.reading import make_refusal

    use_inputs(path.parent)
    with under_way(f"checking {path}") as tell:
        try:
            found = run_until_signal(_ask_gateway(gateway, text) if gateway else _ask_here(recipe, text), lambda: tell("stopping …"))
        except asyncio.CancelledError:
            raise typer.Exit(STOPPED) from None
    for note in found.notes:
        Console(stderr=True).print(f"{path}: {note}", markup=False, highlight=False, soft_wrap=True)
    if found.faults:
        raise make_refusal(str(path), found.faults)


def use_inputs(folder: Path) -> None:
    """Services in this process find the files that a recipe names beside it, unless the environment says where they are."""
    os.environ.setdefault("DISTILLERY_SERVICE_INPUTS", str(folder.resolve()))


async def _ask_gateway(gateway: str, text: str) -> "RecipeCheck":
    from cli.remote import open_remote
    from distillery.schema.dataset import RecipeCheck

    async with open_remote(gateway) as client:
        return await client.ask(RecipeCheck, "POST", "/v1/datasets/check", content=text.encode())


async def _ask_here(recipe: "Recipe", text: str) -> "RecipeCheck":
    from distillery.planning.recipe_checks import check_recipe

    return await check_recipe(recipe, text, InstalledMakers())


class InstalledMakers:
    """The services and teachers that are installed here, as `distillery.planning.recipe_checks.Makers`; none is loaded."""

    def __init__(self) -> None:
        self._generators: dict[str, Generator] = {}

    async def check_request(self, service: str, request: "GenerateRequest") -> "RequestCheck":
        """See `Makers`."""
        from distillery.generators.generator import check_request
        from distillery.generators.plugins import build_generator

        if service not in self._generators:
            self._generators[service] = build_generator(service)
        return check_request(request, self._generators[service])

    async def outline_teacher(self, teacher: str) -> "TeacherOutline":
        """See `Makers`; what is not installed here does not come by itself, so it is Unsupported too."""
        from distillery.errors import Unavailable, Unsupported
        from labeller.teachers import outline_teacher

        try:
            return outline_teacher(teacher)
        except Unavailable as problem:
            raise Unsupported(problem.detail) from problem
