"""`distillery report`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.app import Data, Dataset, app
from cli.exit_codes import NO_GO
from cli.places import find_derived, find_folder
from cli.terminal import Console, under_way


@app.command()
def report(
    dataset: Dataset,
    data: Data = Path("data"),
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file to write; if absent report.html in the dataset's folder, NAME-report.html beside a NAME.h5."),
    ] = None,
    structures: Annotated[
        int | None,
        typer.Option("--structures", min=0, max=5000, help="Structures drawn at random that the page carries; 200 if absent."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out if it is there already.")] = False,
) -> None:
    """Make the page report.html of a dataset, finished or not, from its parts.

    Of one that merge, filter or select made, from its file, with the gates that this can be judged by; 3 is the exit code of a NO-GO.
    """
    from distillery.dataset.folder import PAGE
    from distillery.dataset.output_file import require_target
    from distillery.report.page.carried import CARRIED
    from distillery.report.page.page import write_page

    if (derived := find_derived(dataset, data)) is not None:
        _report_derived(derived, out, structures, force)
        return
    folder = find_folder(dataset, data)
    path = out or folder / PAGE
    own = [file for file in folder.rglob("*") if file.is_file() and file != folder / PAGE]
    target = require_target(path, inputs=own, overwrite=force or out is None)
    with under_way(f"making {path}"):
        write_page(folder, target, CARRIED if structures is None else structures)
    Console().print(f"{path}  {path.stat().st_size / 1e6:.1f} MB", markup=False, highlight=False, soft_wrap=True)


def _report_derived(path: Path, out: Path | None, structures: int | None, force: bool) -> None:
    """The page and the verdict of a dataset that was made of others."""
    from distillery.dataset.folder import DATASET, PAGE
    from distillery.dataset.output_file import require_target
    from distillery.report.derived import NOT_JUDGED
    from distillery.report.page.carried import CARRIED
    from distillery.report.page.derived_page import write_derived_page
    from distillery.report.page.gate_table import describe_failed

    page = out or path.with_name(PAGE if path.name == DATASET else f"{path.stem}-{PAGE}")
    target = require_target(page, inputs=[path], overwrite=force or out is None)
    with under_way(f"making {page}"):
        done = write_derived_page(path, target, CARRIED if structures is None else structures)
    lines = [f"{done.verdict}  {done.n_structures} structures"]
    lines += [f"  failed: {gate}" for gate in describe_failed(v for v in done.verdicts if v.required and not v.passed)]
    lines += [f"  not judged: {', '.join(gate.replace('_', ' ') for gate in NOT_JUDGED)}"]
    for line in (*lines, f"report   {page}"):
        Console().print(line, highlight=False, markup=False, soft_wrap=True)
    if done.verdict == "NO-GO":
        raise typer.Exit(NO_GO)
