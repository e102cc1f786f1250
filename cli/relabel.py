"""`distillery relabel`."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cli.app import Data, Dataset, app
from cli.completion import complete_teacher
from cli.exit_codes import STOPPED
from cli.label import Request, label_files
from cli.places import find_file
from cli.terminal import Console, under_way

if TYPE_CHECKING:
    from distillery.schema.disagreement import Disagreement


@app.command()
def relabel(
    dataset: Dataset,
    teacher: Annotated[str, typer.Option("--teacher", help="The model that labels.", autocompletion=complete_teacher)],
    out: Annotated[str, typer.Option("--out", metavar="NAME", help="Name of the new dataset.")],
    seed: Annotated[int, typer.Option("--seed", help="Order of the structures.")] = 0,
    data: Data = Path("data"),
    neutral: Annotated[bool, typer.Option("--neutral", help="Leave out what has a charge or more than the lowest spin.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the recipe that this makes; start nothing.")] = False,
) -> None:
    """Label all structures of a dataset with another teacher: a dataset with a verdict, and where the two disagree.

    Parents stay what they are, so that both datasets are split alike. Stopped or killed, the same command goes on.
    """
    from distillery.errors import InvalidRequest

    file = find_file(dataset, data)
    if (data / out).resolve() == file.resolve().parent:
        raise InvalidRequest(f"--out must be another name than that of the dataset that is read, {out}")
    flags = ["--seed", str(seed)] if seed else []
    flags += ["--neutral"] if neutral else []
    flags += ["--data", str(data)] if data != Path("data") else []
    again = shlex.join(["distillery", "relabel", str(dataset), "--teacher", teacher, "--out", out, *flags])
    code = label_files(Request((file,), out, teacher, seed, data, again, parents="kept", neutral=neutral), dry_run=dry_run)
    if code is None:
        return
    if code != STOPPED and (data / out / "dataset.h5").is_file():
        tell_disagreement(data / out, Console())
    raise typer.Exit(code)


def tell_disagreement(folder: Path, console: Console) -> None:
    """Compare the labels of a finished dataset with those its structures had before; write, show and put it into report and page."""
    from distillery.dataset.folder import DATASET, DISAGREEMENT
    from distillery.report.disagreement import measure_disagreement
    from distillery.runtime.atomic_files import write_text_whole

    with under_way("comparing the labels"):
        found = measure_disagreement(folder / DATASET)
    if found is None:
        console.print("no structure had labels to compare with", highlight=False)
        return
    write_text_whole(folder / DISAGREEMENT, json.dumps(found.as_json(), allow_nan=False) + "\n")
    with under_way("making the page"):
        _add_to_report(folder, found)
    _show(found, console)
    console.print(f"compared {folder / DISAGREEMENT}", markup=False, highlight=False, soft_wrap=True)


def _add_to_report(folder: Path, found: "Disagreement") -> None:
    from distillery.dataset.folder import PAGE
    from distillery.report.files import read_report, write_report
    from distillery.report.page.page import write_page

    report = read_report(folder)
    if report is not None and report.structures_sha256 == found.structures_sha256:
        write_report(folder, report.model_copy(update={"disagreement": found}))
    if (folder / PAGE).is_file():
        write_page(folder, folder / PAGE)


def _show(found: "Disagreement", console: Console) -> None:
    heads = ("source", "structures", "energy meV/atom", "largest", "forces meV/Å", "their size")
    table = Table(*heads, title=f"{found.after} against {found.before}")
    for name, own in found.sources.items():
        figures = (f"{own.energy:.1f}", f"{own.energy_worst:.1f}", f"{own.forces:.0f}", f"{own.forces_size:.0f}")
        table.add_row(name, str(own.n_structures), *figures)
    console.print(table)
    if found.n_moved:
        console.print(f"not compared: {found.n_moved} without labels of their own", highlight=False)
