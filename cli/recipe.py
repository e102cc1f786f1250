"""`distillery recipe`."""

import json
import shlex
from collections.abc import Iterator, Mapping
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli.app import Data, Dataset, app
from cli.places import find_file
from distillery.dataset.folder import DATASET

if TYPE_CHECKING:
    from distillery.dataset.derivation import Derivation, GivenDataset

_NEEDED = ("recipe", "recipe_sha256", "versions", "structures_sha256", "num_structures", "total_atoms", "teacher_model", "weights_sha256")


@app.command()
def recipe(dataset: Dataset, data: Data = Path("data")) -> None:
    """Print the recipe of a dataset and the versions that made it: the dataset in its compact form.

    `distillery recipe x > x.yaml; distillery run x.yaml --data elsewhere` makes it again. It is written in UTF-8. Of a dataset that was
    made of others these are the commands that make it again, one after another, with what they must be given.
    """
    from distillery.dataset.layout import open_dataset

    path = find_file(dataset, data)
    with open_dataset(path) as file:
        commands = write_commands(path, file)
    typer.echo((commands or write_recipe(path)).encode(), nl=False)


def write_commands(path: Path, file: Any) -> str | None:
    """The commands that make an open dataset again of others, each below comments that name these with their sha256.

    None if a recipe made it.

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
    head = f"{len(file['labels/energy']):,} structures, made of other datasets; of the same files the same versions make the same bytes by:"
    return f"{_MARK}{head}\n" + "".join(_write_steps(derivation, Path(path.name), {Path(path.name): ""}))


def _write_steps(derivation: "Derivation", out: Path, made: dict[Path, str]) -> Iterator[str]:
    """The commands that make a dataset, those that make its inputs before it; `made` are the files so far, with their sha256."""
    places = list[Path]()
    for one in derivation.inputs:
        place = _place(one, made)
        places.append(place)
        if one.derivation is not None and place not in made:
            made[place] = one.sha256
            yield from _write_steps(one.derivation, place, made)
    for one, place in zip(derivation.inputs, places, strict=True):
        yield f"{_MARK}of {place}: {one.n_taken:,} of {one.n_structures:,} structures, sha256 {one.sha256}\n"
    yield f"{_MARK}by {', '.join(f'{what} {found}' for what, found in derivation.versions.items())}\n"
    if out.parent != Path():
        yield shlex.join(["mkdir", "-p", str(out.parent)]) + "\n"
    yield shlex.join(derivation.write_command(str(out), map(str, places))) + "\n"


def _place(one: "GivenDataset", made: Mapping[Path, str]) -> Path:
    """Where the commands find a dataset: as it was called, a derived one in a folder of its own if another one has its name."""
    if one.derivation is None:
        return Path(one.argument)
    own = Path(one.name) / one.file if one.file == DATASET else Path(one.file)
    folders = chain([Path()], (Path(str(k)) for k in count(2)))
    return next(place for folder in folders if made.get(place := folder / own, one.sha256) == one.sha256)


_MARK = "#: "
"""Begins the lines that this module wrote; they are comments to everybody else."""


def write_recipe(dataset: Path) -> str:
    """The recipe of a dataset.h5, valid as it is, below comments that name every version that made the dataset.

    InvalidRequest if the file is no dataset, or holds a recipe that does not have the sha256 it was made from.
    """
    from distillery.dataset.layout import name_damage, open_dataset
    from distillery.errors import InvalidRequest
    from distillery.recipe.reading import parse_recipe

    with open_dataset(dataset) as file, name_damage(dataset):
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
