"""`distillery merge`, `filter` and `select`: datasets made of datasets."""

from pathlib import Path
from typing import Annotated

import typer

from cli.app import Data, Dataset, app
from cli.completion import complete_dataset
from cli.places import find_file
from cli.selecting import Elements, MaxAtoms, MaxForce, MaxResidual, MinAtoms, Source, System, Where, WithStress, make_selection
from cli.terminal import Console, under_way

Out = Annotated[Path, typer.Option("--out", metavar="NAME.h5", help="The dataset to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there already; never one that is read.")]


@app.command()
def merge(
    datasets: Annotated[
        list[Path],
        typer.Argument(metavar="DATASETS…", help="Two or more, each by its name, folder or file.", autocompletion=complete_dataset),
    ],
    out: Out,
    data: Data = Path("data"),
    force: Force = False,
) -> None:
    """Several datasets of one teacher as one: every structure once, what must be on one side of a split together.

    The file says what it was made of; the same datasets give the same bytes.
    """
    from distillery.derive.merge import merge_datasets

    files = [find_file(one, data) for one in datasets]
    with under_way(f"writing {out}"):
        done = merge_datasets(files, out, overwrite=force)
    counts = " + ".join(f"{n} of {file}" for n, file in zip(done.n_taken, files, strict=True))
    lines = [f"{done.n_structures} structures written to {out}: {counts}"]
    if done.n_twice:
        lines.append(
            f"left out: {done.n_twice} structures that were there already; the two labels of one differ by at most "
            f"{1000 * done.farthest:.2g} meV/atom"
        )
    if done.n_joined:
        lines.append(f"{done.n_joined} parents are on the side of another one now, which has the same matter: docs/dataset.md")
    _tell(lines)


@app.command(name="filter")
def filter_command(
    dataset: Dataset,
    out: Out,
    data: Data = Path("data"),
    source: Source = None,
    system: System = None,
    elements: Elements = None,
    min_atoms: MinAtoms = None,
    max_atoms: MaxAtoms = None,
    max_force: MaxForce = None,
    max_residual: MaxResidual = None,
    with_stress: WithStress = False,
    where: Where = None,
    force: Force = False,
) -> None:
    """Some structures of a dataset as a dataset, by source, system, elements, size, forces, outlying energy or a condition."""
    from distillery.derive.filter import filter_dataset

    selection = make_selection(source, system, elements, min_atoms, max_atoms, max_force, max_residual, with_stress, where)
    file = find_file(dataset, data)
    with under_way(f"writing {out}"):
        done = filter_dataset(file, out, selection, overwrite=force)
    left_out = ", ".join(f"{n} {reason}" for reason, n in done.left_out.items())
    _tell([f"{done.n_structures} structures written to {out}", *([f"left out: {left_out}"] if left_out else [])])


@app.command()
def select(
    dataset: Dataset,
    out: Out,
    n: Annotated[int, typer.Option("--n", min=1, help="How many structures.")],
    by: Annotated[
        str, typer.Option("--by", help="diversity: each the farthest from those before it; random, to compare with.")
    ] = "diversity",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of --by random.")] = 0,
    data: Data = Path("data"),
    force: Force = False,
) -> None:
    """The n most different structures of a dataset as a dataset: a small set that holds what the large one has."""
    from distillery.derive.select import select_structures

    file = find_file(dataset, data)
    with under_way(f"reading {file}") as tell:
        done = select_structures(file, out, n, by=by, seed=seed, overwrite=force, tell=tell)
    _tell([f"{done.n_structures} of {done.n_given} structures written to {out}"])


def _tell(lines: list[str]) -> None:
    for line in lines:
        Console().print(line, highlight=False, markup=False, soft_wrap=True)
