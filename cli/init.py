"""`distillery init`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cli.app import app
from cli.completion import complete_teacher
from cli.terminal import Console
from cli.yaml_value import write_value
from distillery.errors import InvalidRequest
from distillery.recipe.shares import apportion

_NAME, _TEACHER, _N, _LEAST = "my-dataset", "7net-0", 1000, 4
_ELEMENTS = "H,C,N,O"


@dataclass(frozen=True)
class Kind:
    """A kind of structures: who makes it, and how much of a dataset it is to be."""

    source: str
    service: str
    system: str
    share: int


_KINDS = (
    Kind("molecules", "rdkit", "molecule", 4),
    Kind("crystals", "pymatgen", "crystal", 3),
    Kind("clusters", "ase", "cluster", 2),
    Kind("surfaces", "ase", "surface", 1),
)


@app.command()
def init(
    elements: Annotated[
        str | None, typer.Option("--elements", metavar="Fe,O", help="Chemical symbols; asked for if absent, as the rest.")
    ] = None,
    n: Annotated[int | None, typer.Option("--n", min=_LEAST, help="How many structures.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The dataset's name.")] = None,
    teacher: Annotated[
        str | None, typer.Option("--teacher", help="Who labels it: 7net-0, orb-v2, …", autocompletion=complete_teacher)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; <name>.yaml if absent.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there already.")] = False,
) -> None:
    """Write a recipe for some elements, by questions or without any: `distillery init --elements Fe,O --n 5000`."""
    from distillery.dataset.output_file import require_target
    from distillery.recipe.reading import parse_recipe
    from distillery.runtime.atomic_files import write_text_whole

    asks = elements is None
    elements = elements or typer.prompt("Elements", default=_ELEMENTS, value_proc=_take_elements)
    n = n if n is not None else typer.prompt("Structures", default=_N, value_proc=_take_number) if asks else _N
    name = name or (typer.prompt("Name of the dataset", default=_NAME) if asks else _name_after(elements))
    teacher = teacher or (typer.prompt("Teacher", default=_TEACHER) if asks else _TEACHER)
    text = write_recipe(name, _split(elements), n, teacher)
    parse_recipe(text)
    path = out or Path(f"{name}.yaml")
    write_text_whole(require_target(path, inputs=(), overwrite=force), text)
    done = f"{path} is written; `distillery check {path}` says whether it can be made here, `distillery run {path}` makes it"
    Console().print(done, highlight=False, soft_wrap=True)


def _take_elements(answer: str) -> str:
    """An answer that can be used; else the question is asked again."""
    try:
        _require_elements(_split(answer))
    except InvalidRequest as problem:
        raise typer.BadParameter(problem.detail) from problem
    return answer


def _take_number(answer: str | int) -> int:
    if not str(answer).isdecimal() or int(answer) < _LEAST:
        raise typer.BadParameter(f"a number of at least {_LEAST} is wanted, {answer} came")
    return int(answer)


def _split(elements: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in elements.replace(",", " ").split() if part))


def _name_after(elements: str) -> str:
    return "-".join(symbol.lower() for symbol in _split(elements))


def write_recipe(name: str, elements: Sequence[str], n: int, teacher: str) -> str:
    """A recipe of `n` structures of these elements: of every kind that some of them can be made into, and that the teacher labels.

    A kind whose share of few structures is none is left out. InvalidRequest if no kind is left.
    """
    _require_elements(elements)
    chosen = [(kind, own) for kind in _list_kinds(teacher) if (own := _find_elements(kind, elements))]
    if not chosen:
        raise InvalidRequest(
            f"none of {', '.join(dict.fromkeys(kind.service for kind in _KINDS))} makes anything of {' '.join(elements) or 'no elements'}"
        )
    counts = apportion(n, {kind.source: kind.share for kind, _ in chosen})
    lines = [_write_source(kind, own, counts[kind.source], elements) for kind, own in chosen if counts[kind.source]]
    head = f"name: {write_value(name)}\nseed: 1\nelements: [{', '.join(elements)}]\nteacher: {teacher}\n"
    perturb = "perturb: {rattle: 0.05, strain: 0.03, share: 0.8}   # labels at perfect equilibrium teach no forces\n"
    return head + perturb + "sources:\n" + "".join(lines)


def _require_elements(elements: Sequence[str]) -> None:
    from ase.data import chemical_symbols

    from distillery.schema.explain import suggest

    for element in elements:
        if element not in chemical_symbols[1:]:
            raise InvalidRequest(f"{element!r} is no element{suggest(element, chemical_symbols[1:])}")


def _list_kinds(teacher: str) -> list[Kind]:
    """Those that a teacher labels; all where it is not known here which."""
    from distillery.errors import Problem
    from distillery.structures.structure import PERIODIC_SYSTEMS
    from labeller.teachers import outline_teacher

    try:
        is_for_periodic = outline_teacher(teacher).abilities.periodic
    except Problem:
        is_for_periodic = True
    return [kind for kind in _KINDS if is_for_periodic or kind.system not in PERIODIC_SYSTEMS]


def _find_elements(kind: Kind, elements: Sequence[str]) -> tuple[str, ...]:
    """Those of the elements that a service can use for its system; none if that is too little to make anything, or it is not here."""
    from distillery.errors import NotFound, Unavailable
    from distillery.generators.plugins import build_generator

    try:
        card = build_generator(kind.service).metadata.systems[kind.system]  # type: ignore[index]
    except (NotFound, Unavailable):
        return ()
    own = tuple(element for element in elements if element in card.elements)
    return () if kind.system == "molecule" and "C" not in own else own


def _write_source(kind: Kind, own: Sequence[str], count: int, elements: Sequence[str]) -> str:
    less = f", elements: [{', '.join(own)}]" if len(own) < len(elements) else ""
    return f"  {kind.source}: {{service: {kind.service}, system: {kind.system}, count: {count}{less}}}\n"
