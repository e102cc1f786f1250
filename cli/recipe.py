"""`distillery recipe`."""

import json
import shlex
from pathlib import Path
from typing import Any

import typer

from cli.app import Data, Dataset, app
from cli.places import find_file

_NEEDED = ("recipe", "recipe_sha256", "versions", "structures_sha256", "num_structures", "total_atoms", "teacher_model", "weights_sha256")


@app.command()
def recipe(dataset: Dataset, data: Data = Path("data")) -> None:
    """Print the recipe of a dataset and the versions that made it: the dataset in its compact form.

    `distillery recipe x > x.yaml; distillery run x.yaml --data elsewhere` makes it again. It is written in UTF-8. Of a dataset that was
    made of others it is the command that makes it again, with what it must be given.
    """
    from distillery.dataset.layout import open_dataset

    path = find_file(dataset, data)
    with open_dataset(path) as file:
        command = write_command(path, file)
    typer.echo((command or write_recipe(path)).encode(), nl=False)


def write_command(path: Path, file: Any) -> str | None:
    """The command that makes an open dataset again of others, below comments that name each with its sha256; None if a recipe made it.

    InvalidRequest if what the dataset says of that can't be read.
    """
    from distillery.dataset.derivation import read_derivation
    from distillery.errors import InvalidRequest

    try:
        derivation = read_derivation(file)
    except ValueError as error:
        raise InvalidRequest(f"{path} does not say how it was made: {error}; `distillery verify {path}` tells more") from error
    if derivation is None:
        return None
    lines = [
        f"{len(file['labels/energy']):,} structures, made of these datasets; the command gives the same bytes of the same files by:",
        *(f"  {what} {found}" for what, found in derivation.versions.items()),
        "of:",
        *(f"  {one.argument}: {one.n_taken:,} of {one.n_structures:,} structures, sha256 {one.sha256}" for one in derivation.inputs),
    ]
    return "".join(f"{_MARK}{line}\n" for line in lines) + shlex.join(derivation.write_command(path.name)) + "\n"


_MARK = "#: "
"""Begins the lines that this module wrote; they are comments to everybody else."""


def write_recipe(dataset: Path) -> str:
    """The recipe of a dataset.h5, valid as it is, below comments that name every version that made the dataset.

    InvalidRequest if the file is no dataset, or holds a recipe that does not have the sha256 it was made from.
    """
    from distillery.dataset.layout import open_dataset
    from distillery.errors import InvalidRequest
    from distillery.recipe.reading import parse_recipe

    with open_dataset(dataset) as file:
        metadata: dict[str, Any] = dict(file["metadata"].attrs) if "metadata" in file else {}
    missing = [name for name in _NEEDED if name not in metadata]
    if missing:
        raise InvalidRequest(f"{dataset} does not say how it was made: its metadata has no {', '.join(missing)}")
    recipe = _drop_header(metadata["recipe"])
    found = parse_recipe(recipe, str(dataset)).sha256
    if found != metadata["recipe_sha256"]:
        raise InvalidRequest(
            f"{dataset} was made from a recipe with the sha256 {metadata['recipe_sha256']}, the one in it has {found} to this version of "
            f"Distillery: it is damaged or of another version; `distillery verify {dataset}` tells"
        )
    return _write_header(metadata, dataset.stat().st_size, len(recipe.encode())) + recipe.rstrip("\n") + "\n"


def _drop_header(recipe: str) -> str:
    lines = recipe.removeprefix("\ufeff").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(_MARK))


def _write_header(metadata: dict[str, Any], n_bytes: int, n_recipe_bytes: int) -> str:
    lines = [
        f"{metadata['num_structures']:,} structures, {metadata['total_atoms']:,} atoms, {_in_mb(n_bytes)}. "
        f"This recipe has {n_recipe_bytes:,} bytes, 1/{max(n_bytes // n_recipe_bytes, 1):,} of that, and makes them again:",
        "`distillery run` with this file gives the same structures if everything below is the same.",
        "made_with:",
        *(f"  {what.replace(': ', ', ')}: {found}" for what, found in json.loads(metadata["versions"]).items()),
        f"  teacher model: {metadata['teacher_model']}, weights {metadata['weights_sha256']}",
        f"  recipe_sha256: {metadata['recipe_sha256']}",
        f"  structures_sha256: {metadata['structures_sha256']}",
    ]
    return "".join(f"{_MARK}{line}\n" for line in lines)


def _in_mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB"
