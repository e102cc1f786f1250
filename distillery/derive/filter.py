"""Some structures of a dataset, by what they are."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from distillery.dataset.output_file import require_target
from distillery.dataset.selection import Selection, choose_structures
from distillery.dataset.splits import JOINED
from distillery.derive.inputs import open_input, read_json
from distillery.derive.writer import Asked, Taken, write_derived
from distillery.errors import InvalidRequest


@dataclass(frozen=True)
class Filtered:
    """What was written; `left_out` counts the others by the first reason that held."""

    n_structures: int
    left_out: Counter[str]


def filter_dataset(path: Path, target: Path, selection: Selection, *, overwrite: bool = False) -> Filtered:
    """Write the structures that a selection asks for; ids, shards and parents stay what they are.

    InvalidRequest: nothing is asked, or nothing is left.
    """
    if selection == Selection():
        raise InvalidRequest("filter needs to know what to keep: --source, --system, --elements, --max-force, --where, …")
    out = require_target(target, inputs=[path], overwrite=overwrite)
    given = open_input(path)
    chosen = choose_structures(path, selection)
    joined = {str(parent): str(root) for parent, root in read_json(given.attributes, JOINED).items()}
    asked = Asked("filter", write_arguments(selection), joined, chosen.left_out)
    return Filtered(write_derived(out, [Taken(given, chosen.indices)], asked), chosen.left_out)


def write_arguments(selection: Selection) -> tuple[str, ...]:
    """The options of the command that ask for this."""
    words: list[str] = []
    for option, values in (("--source", selection.sources), ("--system", selection.systems)):
        words += [word for value in values for word in (option, value)]
    if selection.elements:
        words += ["--elements", ",".join(selection.elements)]
    numbers = (
        ("--min-atoms", selection.min_atoms),
        ("--max-atoms", selection.max_atoms),
        ("--max-force", selection.max_force),
        ("--max-residual", selection.max_residual),
    )
    words += [word for option, value in numbers if value is not None for word in (option, f"{value!r}")]
    words += ["--with-stress"] if selection.with_stress else []
    return (*words, "--where", selection.where) if selection.where else tuple(words)
