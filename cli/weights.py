"""`distillery weights`: list, pull and verify the weights of models and teachers."""

from pathlib import Path
from typing import Annotated

import typer

from cli.app import app
from cli.completion import complete_service
from cli.exit_codes import ERROR, GO, NO_GO
from cli.terminal import Console, under_way

weights = typer.Typer(no_args_is_help=True, help="Show, fetch and check the weights of models and teachers.")
app.add_typer(weights, name="weights")

Folder = Annotated[Path, typer.Option("--weights", envvar="DISTILLERY_WEIGHTS", help="Folder of the weights.")]


@weights.command("list")
def list_weights(
    service: Annotated[
        str | None, typer.Argument(help="Show the sets of one service, and what is known of them.", autocompletion=complete_service)
    ] = None,
    folder: Folder = Path("weights"),
) -> None:
    """Show every set of weights: its size, whether it is there and right, its licence and who publishes it."""
    from rich.table import Column, Table

    from cli.weights_folder import describe_size, find_catalogues, judge
    from distillery.errors import NotFound
    from distillery.schema.explain import suggest

    catalogues = {place: catalogue for place, catalogue in find_catalogues().items() if service in {None, place.name}}
    if not catalogues:
        raise NotFound(f"no weights are known for {service!r}{suggest(str(service), [place.name for place in find_catalogues()])}")
    console, table = Console(), Table(Column("set", no_wrap=True), "size", "state", *([] if service is None else ["note"]))
    for place, catalogue in catalogues.items():
        for name, one in catalogue.sets.items():
            verdicts = dict.fromkeys(judge(source, folder / place.name / name / file)[0] for file, source in one.files.items())
            size = describe_size(list(one.files.values()))
            table.add_row(f"{place.name}/{name}", size, ", ".join(verdicts), *([] if service is None else [one.note]))
    console.print(table)
    for place, catalogue in catalogues.items():
        text = f"{place.name}: {catalogue.licence}, {catalogue.source}  {catalogue.note}".rstrip()
        console.print(text, markup=False, highlight=False, soft_wrap=True)


@weights.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(metavar="SERVICE[/SET]...", help="All sets of a service, or one.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Fetch all sets of all services.")] = False,
    folder: Folder = Path("weights"),
) -> None:
    """Fetch weights into the folder; what is there is checked and stays, what was broken off goes on."""
    from cli.weights_folder import choose_sets, describe_size
    from cli.weights_pull import Pull
    from distillery.weights.catalogue import read_weights_file

    chosen = list(choose_sets(names or [], everything))
    sources = [source for service, name in chosen for source in read_weights_file(service).sets[name].files.values()]
    console = Console()
    console.print(f"{len(chosen)} sets, size {describe_size(sources)}, into {folder.absolute()}", highlight=False, soft_wrap=True)
    pull = Pull(folder, console, is_alone=len(chosen) == 1)
    for service, name in chosen:
        pull.take(service, name)
    pull.conclude()
    raise typer.Exit(ERROR if pull.has_failed else GO)


@weights.command()
def verify(folder: Folder = Path("weights")) -> None:
    """Compare the sha256 of every file that is there with the published one, or else with the one recorded on first use; exit code 3
    if one differs.
    """
    from rich.table import Table

    from cli.weights_folder import find_present, judge

    console, table, faults = Console(), Table("file", "state"), list[str]()
    with under_way("reading the weights") as tell:
        for path, source in find_present(folder):
            tell(f"reading {path}")
            verdict, fault = judge(source, path)
            table.add_row(path.relative_to(folder).as_posix(), verdict)
            faults += [] if fault is None else [f"{path} {fault}"]
    console.print(table if table.row_count else f"there are no weights in {folder.absolute()}", highlight=False, soft_wrap=True)
    for fault in faults:
        console.print(fault, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(NO_GO if faults else GO)
