"""`distillery grow`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cli.app import Data, Dataset, app
from cli.exit_codes import GO, NO_GO
from cli.places import find_file
from cli.rounds import Growing
from cli.terminal import Console

if TYPE_CHECKING:
    from distillery.schema.growth import GrowthRound


@app.command()
def grow(
    dataset: Dataset,
    out: Annotated[Path, typer.Option("--out", metavar="NAME.h5", help="The dataset to write; NAME.rounds beside it holds the rounds.")],
    n: Annotated[int, typer.Option("--n", min=2, help="Frames that the teacher labels in a round.")],
    student: Annotated[
        str | None,
        typer.Option(
            "--student",
            metavar="MODULE:FACTORY(…)",
            help="An ASE calculator, as `ase:` teachers are named; {dataset} in it is the dataset so far. A small NequIP, trained each "
            "round, if absent.",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often.")] = 1,
    temperature: Annotated[float, typer.Option("--temperature", min=1.0, metavar="K", help="Of the student's dynamics.")] = 300.0,
    steps: Annotated[int, typer.Option("--steps", min=10, metavar="FS", help="Length of a trajectory.")] = 200,
    budget: Annotated[int, typer.Option("--budget", min=1, metavar="STEPS", help="Steps of training of the small student.")] = 400,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of starts, velocities and choice.")] = 0,
    data: Data = Path("data"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out; never the dataset that is read.")] = False,
) -> None:
    """Grow a dataset where a student fails: frames of its own dynamics, labelled by the dataset's teacher, in rounds.

    The student's error on them is told each round. Stopped or killed, the same command goes on.
    """
    from distillery.dataset.output_file import require_target
    from distillery.errors import InvalidRequest

    file, console = find_file(dataset, data), Console()
    target = require_target(out, inputs=[file], overwrite=force)
    if (folder := target.with_suffix(".rounds")) == target or (folder.exists() and not folder.is_dir()):
        raise InvalidRequest(f"--out must be a file beside which the rounds can have the folder {folder}; name another, as NAME.h5")
    words = [str(dataset), "--out", str(out), "--n", str(n), *(["--student", student] if student else []), "--rounds", str(rounds)]
    words += ["--temperature", f"{temperature:g}", "--steps", str(steps), "--budget", str(budget), "--seed", str(seed)]
    words += ["--data", str(data)] if data != Path("data") else []
    asked = {"n": n, "temperature": temperature, "steps": steps, "budget": budget, "seed": seed, "student": student or ""}
    growing = Growing(file, folder, asked, shlex.join(["distillery", "grow", *words]))
    growing.begin()
    code = GO
    for k in range(1, rounds + 1):
        code = max(code, growing.make_round(k, lambda rounds: _show(rounds, console)))
        if code not in {GO, NO_GO}:
            raise typer.Exit(code)
    n_structures = growing.merge(target)
    console.print(f"{n_structures} structures written to {out}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def _show(rounds: "list[GrowthRound]", console: Console) -> None:
    """The error curve: the student against the teacher on the frames of each round."""
    heads = ("round", "set", "sound", "new", "labels", "energy", "forces", "random", "held")
    table = Table(*heads, title="errors of the student: energies meV/atom; forces meV/Å of its frames, of random ones, of held sides")
    for one in rounds:
        forces, energy = (_average(one, name) for name in ("forces", "energy"))
        sound, new = f"{one.n_sound}/{one.n_trajectories}", f"{one.n_new}/{one.n_candidates}"
        others = ["–" if value is None else f"{value:.0f}" for value in (one.random_forces, one.held_forces)]
        counts = (str(one.round), str(one.n_structures), sound, new, str(one.n_labelled))
        table.add_row(*counts, f"{energy:.1f}", f"{forces:.0f}", *others)
    console.print(table)


def _average(one: "GrowthRound", name: str) -> float:
    """Of all sources, by their numbers of frames."""
    return sum(own.n_frames * float(getattr(own, name)) for own in one.sources.values()) / max(one.n_labelled, 1)
