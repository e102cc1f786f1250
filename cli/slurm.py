"""`distillery slurm`."""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from cli.app import Data, app
from cli.completion import complete_recipe
from cli.terminal import say

if TYPE_CHECKING:
    from cli.slurm_scripts import Resources
    from distillery.recipe.recipe import Recipe

_COUNTS = "distillery.replicas"


class _CountsServices(TyperCommand):
    """Takes `--rdkit 8`, or so many of any service, out of the arguments: which services there are is known when it is called."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        from distillery.errors import InvalidRequest
        from distillery.generators.plugins import list_services

        counts: dict[str, int] = {}
        rest, known, waiting = [], set(list_services()), list(args)
        while waiting:
            word = waiting.pop(0)
            name, has_value, value = word.removeprefix("--").partition("=")
            if not word.startswith("--") or name not in known:
                rest.append(word)
                continue
            value = value if has_value else (waiting.pop(0) if waiting else "")
            if not value.isdigit() or int(value) < 1:
                raise InvalidRequest(f"--{name} takes the number of its replicas, at least 1; got {value or 'nothing'!r}")
            counts[name] = int(value)
        ctx.meta[_COUNTS] = counts
        return super().parse_args(ctx, rest)


@app.command(cls=_CountsServices)
def slurm(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML.", autocompletion=complete_recipe)],
    data: Data = Path("data"),
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where scripts, logs, key and address lie; slurm/NAME if absent. On a shared disk.")
    ] = None,
    labellers: Annotated[int, typer.Option("--labellers", min=1, help="Jobs that label.")] = 1,
    time: Annotated[str, typer.Option("--time", help="Of every job; it is requeued before that is over.")] = "04:00:00",
    partition: Annotated[str | None, typer.Option("--partition", help="Of all jobs.")] = None,
    account: Annotated[str | None, typer.Option("--account", help="Of all jobs.")] = None,
    cpus: Annotated[int, typer.Option("--cpus", min=1, help="Of every job but the gateway's, which has 2.")] = 4,
    memory: Annotated[str, typer.Option("--memory", help="Of every job but the gateway's, which has 4G.")] = "8G",
    gpus: Annotated[int, typer.Option("--gpus", min=0, help="Of every labeller and generative model.")] = 0,
    apptainer: Annotated[
        Path | None,
        typer.Option("--apptainer", metavar="FOLDER", help="Run distillery-NAME.sif of this folder; else this environment."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write scripts anew that somebody edited, or that are of something else.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write the scripts and submit nothing.")] = False,
) -> None:
    """Make the dataset of a recipe on a cluster with Slurm, or go on with it: writes sbatch scripts and submits them.

    One job has the gateway, and an array each the labellers and the services. `--rdkit 8` starts eight jobs of rdkit, and so for every
    service of the recipe; one of each if absent. The scripts can be read and edited: `FOLDER/submit.sh` submits them again.
    """
    from cli.check import require_sound
    from cli.slurm_scripts import Resources, write_scripts
    from distillery.recipe.reading import read_recipe

    parsed, text = read_recipe(recipe)
    require_sound(recipe, parsed, text, None)
    counts = _count_replicas(parsed, context.meta[_COUNTS], labellers)
    resources = Resources(time, partition, account, cpus, memory, gpus)
    folder = (folder or Path("slurm") / parsed.name).resolve()
    images = apptainer.resolve() if apptainer else None
    write_scripts(folder, recipe.resolve(), data.resolve(), parsed, counts, resources, images, overwrite=force)
    _show(folder, parsed, counts, resources)
    if not dry_run:
        _submit(folder)


def _count_replicas(recipe: "Recipe", counts: dict[str, int], labellers: int) -> dict[str, int]:
    """Jobs by name; InvalidRequest for a service that the recipe does not use."""
    from distillery.errors import InvalidRequest

    wanted = {source.service for source in recipe.sources.values()}
    if strangers := sorted(counts.keys() - wanted):
        raise InvalidRequest(f"the recipe asks nothing of {', '.join(strangers)}; its services are {', '.join(sorted(wanted))}")
    return {"labeller": labellers, **{name: counts.get(name, 1) for name in sorted(wanted)}}


def _show(folder: Path, recipe: "Recipe", counts: dict[str, int], resources: "Resources") -> None:
    jobs = ", ".join(f"{n} of {name}" for name, n in counts.items())
    print(f"jobs     one of the gateway, {jobs}; {resources.time} each, requeued until {recipe.name} is finished")
    print(f"scripts  {folder}/submit.sh and those it names; logs in {folder}/log")
    print(f"status   distillery status {recipe.name} --gateway {folder}/address, or --data FOLDER at any time")
    print(f"stop     {folder}/stop.sh; the same command goes on")


def _submit(folder: Path) -> None:
    from distillery.errors import Unavailable

    try:
        done = subprocess.run([folder / "submit.sh"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise Unavailable(f"{folder}/submit.sh can't be run here: {error}") from error
    if done.returncode:
        raise Unavailable(f"{folder}/submit.sh ended with {done.returncode}: {done.stderr.strip()}; edit the scripts or the options")
    say(f"jobs     {' '.join(done.stdout.split())}")
