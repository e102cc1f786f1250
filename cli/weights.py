"""`distillery weights`: list, pull and verify the weights of models and teachers."""

from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column, Table

from cli.app import ERROR, GO, NO_GO, app
from distillery.errors import InvalidRequest, NotFound, Unavailable
from distillery.generators.plugins import find_folder, list_services
from distillery.schema.explain import suggest
from distillery.weights.catalogue import CATALOGUE, Catalogue, ensure_checkpoint, read_weights_file
from distillery.weights.checksums import examine, read_record
from distillery.weights.fetch import FileSource
from distillery.weights.http_download import ReportBytes

weights = typer.Typer(no_args_is_help=True, help="Show, fetch and check the weights of models and teachers.")
app.add_typer(weights, name="weights")

Folder = Annotated[Path, typer.Option("--weights", envvar="DISTILLERY_WEIGHTS", help="Folder of the weights.")]
Verdict = Literal["missing", "partly there", "as published", "as recorded", "not recorded", "WRONG"]


@weights.command("list")
def list_weights(
    service: Annotated[str | None, typer.Argument(help="Show the sets of one service, and what is known of them.")] = None,
    folder: Folder = Path("weights"),
) -> None:
    """Show every set of weights: its size, whether it is there and right, its licence and who publishes it."""
    catalogues = {place: catalogue for place, catalogue in find_catalogues().items() if service in {None, place.name}}
    if not catalogues:
        raise NotFound(f"no weights are known for {service!r}{suggest(str(service), [place.name for place in find_catalogues()])}")
    console, table = Console(), Table(Column("set", no_wrap=True), "size", "state", *([] if service is None else ["note"]))
    for place, catalogue in catalogues.items():
        for name, one in catalogue.sets.items():
            verdicts = dict.fromkeys(_judge(source, folder / place.name / name / file)[0] for file, source in one.files.items())
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
    chosen = list(_choose(names or [], everything))
    console, failures = Console(), 0
    sources = [source for service, name in chosen for source in read_weights_file(service).sets[name].files.values()]
    console.print(f"{len(chosen)} sets, size {describe_size(sources)}, into {folder.absolute()}", highlight=False, soft_wrap=True)
    for service, name in chosen:
        try:
            with _bars(console) as bars:
                made = ensure_checkpoint(service, name, folder, download=True, show=partial(_show, bars))
        except Unavailable as problem:
            console.print(f"[red]{service.name}/{name}[/red]", highlight=False)
            console.print(problem.detail, markup=False, highlight=False, soft_wrap=True)
            failures += 1
        else:
            console.print(f"{service.name}/{name}  sha256 {made.sha256}", highlight=False, soft_wrap=True)
    raise typer.Exit(ERROR if failures else GO)


@weights.command()
def verify(folder: Folder = Path("weights")) -> None:
    """Compare the sha256 of every file that is there with the published one, or else with the one recorded on first use; exit code 3
    if one differs.
    """
    console, table, faults = Console(), Table("file", "state"), list[str]()
    for path, source in _find_present(folder):
        verdict, fault = _judge(source, path)
        table.add_row(path.relative_to(folder).as_posix(), verdict)
        faults += [] if fault is None else [f"{path} {fault}"]
    console.print(table if table.row_count else f"there are no weights in {folder.absolute()}", highlight=False, soft_wrap=True)
    for fault in faults:
        console.print(fault, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(NO_GO if faults else GO)


def find_catalogues() -> dict[Path, Catalogue]:
    """What each weights.yaml says, by the folder it is in: the services', and the labeller's for the teachers."""
    labeller = find_spec("labeller")  # not imported: other commands, which load this module too, work where it is not installed
    folders = [find_folder(service) for service in list_services()]
    folders += [Path(labeller.origin).parent] if labeller is not None and labeller.origin is not None else []
    return {folder: read_weights_file(folder) for folder in folders if (folder / CATALOGUE).is_file()}


def describe_size(sources: Sequence[FileSource]) -> str:
    """`440 MiB`, `at least 440 MiB` or `unknown`."""
    known = [source.bytes for source in sources if source.bytes is not None]
    if not known:
        return "unknown"
    return ("" if len(known) == len(sources) else "at least ") + f"{sum(known) / 2**20:.1f} MiB"


def _choose(names: Sequence[str], everything: bool) -> Iterator[tuple[Path, str]]:
    """(folder of the service, set), in the order asked for."""
    catalogues = find_catalogues()
    by_service = {folder.name: folder for folder in catalogues}
    if everything == bool(names):
        raise InvalidRequest(f"name what to pull (SERVICE or SERVICE/SET), or give --all; there are {', '.join(by_service)}")
    if everything:
        yield from ((folder, one) for folder, catalogue in catalogues.items() for one in catalogue.sets)
    for name in names:
        service, _, wanted = name.partition("/")
        if service not in by_service:
            raise NotFound(f"no weights are known for {service!r}{suggest(service, by_service)}")
        catalogue = catalogues[by_service[service]]
        if wanted not in {"", *catalogue.sets} or not catalogue.sets:
            raise NotFound(f"{service} has no set {wanted!r}{suggest(wanted, catalogue.sets)}{catalogue.note and f' ({catalogue.note})'}")
        yield from ((by_service[service], one) for one in ([wanted] if wanted else catalogue.sets))


def _find_present(folder: Path) -> Iterator[tuple[Path, FileSource | None]]:
    """Files that are there: those of the catalogues, then those that were recorded for other reasons (a user's URL)."""
    known = {
        folder / service.name / name / file: source
        for service, catalogue in find_catalogues().items()
        for name, files in catalogue.sets.items()
        for file, source in files.files.items()
    }
    yield from ((path, source) for path, source in known.items() if path.is_file())
    yield from (
        (path, None) for record in sorted(folder.rglob("*.sha256")) if (path := record.with_suffix("")) not in known and path.is_file()
    )


def _judge(source: FileSource | None, path: Path) -> tuple[Verdict, str | None]:
    if not path.is_file():
        return ("partly there" if any(path.parent.glob(f"{path.name}.*part*")) else "missing"), None
    published = None if source is None else source.sha256
    fault = examine(path, published)[1]
    if fault is not None:
        return "WRONG", fault
    if published is not None:
        return "as published", None
    return ("as recorded" if read_record(path) is not None else "not recorded"), None


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), console=console
    )


def _show(bars: Progress, file: str) -> ReportBytes:
    task = bars.add_task(file, total=None)
    return lambda at, total: bars.update(task, completed=at, total=total)
