"""`distillery assess`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cli.app import Data, Dataset, app
from cli.exit_codes import STOPPED
from cli.places import find_file
from cli.terminal import Console, choose_console, under_way

if TYPE_CHECKING:
    from distillery.schema.assess import Assessment


@app.command()
def assess(
    dataset: Dataset,
    data: Data = Path("data"),
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file to write; if absent assess.json beside a dataset.h5, NAME-assess.json beside a NAME.h5."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out if it is there already.")] = False,
    budget: Annotated[
        int | None,
        typer.Option("--budget", min=1, metavar="STEPS", help="Steps of training, for each of three students; six passes if absent."),
    ] = None,
    dynamics: Annotated[
        int, typer.Option("--dynamics", min=0, metavar="FS", help="Length of the student's trajectories, fs; 0: none.")
    ] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of shares, students and dynamics; the split is always that of seed 0.")] = 0,
    probe: Annotated[
        Path | None, typer.Option("--probe", help="A dataset.h5 to ask the students about, in place of the probe set that is made once.")
    ] = None,
) -> None:
    """Measure what a dataset teaches: a small student learns from growing shares of it and is asked about real matter.

    Errors of forces and energies by source, system and family, learning curves, how long its dynamics stay sound, and a verdict in
    words. It takes the packages of `distillery[assess]` and, to make the probe set, services and teacher in this process.
    """
    from distillery.assess.student import require_student

    require_student()
    from distillery.assess.assessment import Budget, assess_dataset
    from distillery.dataset.folder import ASSESSMENT, DATASET
    from distillery.dataset.output_file import require_target
    from distillery.runtime.atomic_files import write_text_whole

    file, console = find_file(dataset, data), Console()
    given = None if probe is None else find_file(probe, data)
    default = file.with_name(ASSESSMENT if file.name == DATASET else f"{file.stem}-{ASSESSMENT}")
    target = require_target(out or default, inputs=[file] if given is None else [file, given], overwrite=force or out is None)
    asked = given or _find_probe(file, console)
    spent = Budget(steps=budget, femtoseconds=dynamics)
    with under_way("reading", choose_console(console)) as tell:
        found = assess_dataset(file, asked, budget=spent, seed=seed, tell=tell)
    write_text_whole(target, json.dumps(found.as_json(), indent=2, allow_nan=False) + "\n")
    _show(found, console)
    told = [target, *(_tell_report(file.parent, found) if target == file.with_name(ASSESSMENT).resolve() else [])]
    console.print(f"written  {', '.join(map(str, told))}", markup=False, highlight=False, soft_wrap=True)


def _tell_report(folder: Path, found: "Assessment") -> list[Path]:
    """Put it into the report and the page that lie beside the dataset; which of them there are."""
    from distillery.dataset.folder import PAGE, REPORT
    from distillery.report.files import read_report, write_report

    report = read_report(folder)
    if report is None or report.structures_sha256 != found.structures_sha256:
        return []
    write_report(folder, report.model_copy(update={"assessment": found}))
    if not (folder / PAGE).is_file():
        return [folder / REPORT]
    from distillery.report.page.page import write_page

    write_page(folder, folder / PAGE)
    return [folder / REPORT, folder / PAGE]


def _find_probe(dataset: Path, console: Console) -> Path:
    """The probe set of the dataset's teacher, made now if it is not there yet."""
    import asyncio

    from cli.probe import make_probe
    from distillery.assess.probe import find_probe, make_probe_recipe

    recipe = make_probe_recipe(dataset)
    path = find_probe(dataset, recipe)
    if not path.is_file():
        try:
            make_probe(path.parents[1], recipe, console)
        except asyncio.CancelledError:
            print("\nStopped. The same command goes on with the probe set.", file=sys.stderr)
            raise typer.Exit(STOPPED) from None
    return path


def _show(found: "Assessment", console: Console) -> None:
    table = Table(
        "", *[f"{point.n_structures} structures" for point in found.curve], "predict F = 0", title="forces meV/Å, energy meV/atom"
    )
    rows = [("of its own", "source"), ("family", "family"), ("unseen", "unseen")]
    for what, group in rows:
        for name in getattr(found.curve[-1], group):
            errors = [getattr(point, group)[name] for point in found.curve]
            table.add_row(f"{what}: {name}", *[f"{one.forces:.0f}  {one.energy:.0f}" for one in errors], f"{errors[-1].zero_forces:.0f}")
    console.print(table)
    for name, own in found.dynamics.items():
        console.print(f"dynamics of {name}: {own.n_sound} of {own.n_structures} sound for {own.length:.0f} fs", highlight=False)
    console.print(found.verdict, highlight=False, soft_wrap=True)
