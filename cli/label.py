"""`distillery label`."""

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.app import Data, app
from cli.completion import complete_teacher
from cli.terminal import Console, under_way
from cli.yaml_value import write_value
from distillery.runtime.visible_text import make_visible

if TYPE_CHECKING:
    from services.structures.survey import Survey

_PLURALS = {"molecule": "molecules", "crystal": "crystals", "cluster": "clusters", "surface": "surfaces"}


@app.command()
def label(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES…", help="Files, folders: extxyz, CIF, POSCAR, ASE databases, dataset.h5, …")
    ],
    out: Annotated[str, typer.Option("--out", metavar="NAME", help="Name of the dataset.")],
    teacher: Annotated[str, typer.Option("--teacher", help="The model that labels.", autocompletion=complete_teacher)] = "7net-0",
    rattle: Annotated[float, typer.Option("--rattle", metavar="Å", help="Displace all atoms, standard deviation.")] = 0.0,
    strain: Annotated[float, typer.Option("--strain", help="Strain what is periodic, at most so much.")] = 0.0,
    copies: Annotated[int, typer.Option("--copies", help="Structures made of each row; with --rattle or --strain.")] = 1,
    relax: Annotated[int, typer.Option("--relax", metavar="STEPS", help="Let the teacher relax each so many steps first.")] = 0,
    licence: Annotated[str, typer.Option("--licence", help="Of the files; kept with every structure.")] = "",
    neutral: Annotated[
        bool, typer.Option("--neutral", help="Leave out what has a charge or more than the lowest spin, though the teacher knows of them.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Order and displacements.")] = 0,
    data: Data = Path("data"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the recipe that this makes; start nothing.")] = False,
) -> None:
    """Label your own structures: a dataset with a verdict, as `distillery run` makes it of a recipe, which is written for you.

    Rows that can't be used are counted and named. Stopped or killed, the same command goes on.
    """
    flags = _repeat_flags(locals())
    again = shlex.join(["distillery", "label", *map(str, files), *flags])
    changes = _describe_changes(rattle, strain, relax)
    request = Request(tuple(files), out, teacher, seed, data, again, copies=copies, licence=licence, neutral=neutral, changes=changes)
    if (code := label_files(request, dry_run=dry_run)) is not None:
        raise typer.Exit(code)


@dataclass(frozen=True)
class Request:
    """Files to be labelled.

    again    the command that goes on with it
    parents  what is on one side of a split, as the service's options have it
    changes  keys of the recipe that say what is done with structures first
    prefix   of the names of the sources
    neutral  whether charged rows are left out though the teacher knows of charge
    """

    files: tuple[Path, ...]
    out: str
    teacher: str
    seed: int
    data: Path
    again: str
    copies: int = 1
    licence: str = ""
    parents: str = "composition"
    changes: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    neutral: bool = False


def label_files(request: Request, *, dry_run: bool) -> int | None:
    """Make a dataset of files, in this process; the exit code. None if only the recipe was to be printed."""
    from cli.run import make_here
    from distillery.recipe.reading import parse_recipe

    root, names = _find_root(request.files)
    os.environ["DISTILLERY_SERVICE_INPUTS"] = str(root)
    with under_way(f"reading {len(names)} file{'s' if len(names) > 1 else ''} or folders"):
        survey = _survey(names, root, request.teacher, request.neutral)
    text = _write_text({**_write_content(request, names, survey), **request.changes}, request.again, root)
    recipe = parse_recipe(text, "the recipe of these files")
    if dry_run:
        print(text, end="")
        return None
    _tell(survey, Console(stderr=True))
    return make_here(recipe, text, request.data, request.again)


def _find_root(files: Iterable[Path]) -> tuple[Path, list[str]]:
    """The folder that all files lie below, and their names from there."""
    from distillery.errors import InvalidRequest

    paths = [_resolve(path) for path in files]
    if missing := [str(given) for given, path in zip(files, paths, strict=True) if not path.exists()]:
        raise InvalidRequest(f"there is no file or folder {', '.join(missing)}")
    root = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in paths]))
    return root, sorted({path.relative_to(root).as_posix() for path in paths})


def _resolve(path: Path) -> Path:
    from distillery.errors import InvalidRequest

    try:
        path.exists()
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # too long, a circle of links
        raise InvalidRequest(f"{str(path)[:100]} names no file or folder: {getattr(error, 'strerror', None) or error}") from error


def _survey(names: list[str], root: Path, teacher: str, neutral: bool) -> "Survey":
    from labeller.teachers import outline_teacher
    from services.structures.survey import survey_files

    outline = outline_teacher(teacher)
    can = outline.abilities
    return survey_files(tuple(names), root, outline.elements, charges=can.charge and not neutral, periodic=can.periodic)


def _write_content(request: Request, names: list[str], survey: "Survey") -> dict[str, Any]:
    """The keys of the recipe. Gates that ask whether a generator is diverse have nothing to say of what a user chose."""
    copies = request.copies
    options = {"files": names, "sort": True, "sha256": survey.sha256}
    options |= {"copies": copies} if copies > 1 else {}
    options |= {"licence": request.licence} if request.licence else {}
    options |= {"parents": request.parents} if request.parents != "composition" else {}
    options |= {"charges": True} if survey.has_charges else {}
    common = {"attempts": 1, "atoms": list(survey.atoms), "options": options}
    sources = {
        request.prefix + _PLURALS[system]: {"service": "structures", "system": system, "count": n * copies, **common}
        for system, n in survey.counts.items()
    }
    gates = {
        gate: {"required": False}
        for gate in ("distinct_sizes", "distinct_compositions", "environment_diversity", "duplicates", "element_coverage")
    }
    return {
        "name": request.out,
        "seed": request.seed,
        "teacher": request.teacher,
        "elements": list(survey.elements),
        "sources": sources,
        "gates": {"completeness": {"threshold": 0.5}, **gates},
    }


def _describe_changes(rattle: float, strain: float, relax: int) -> dict[str, Any]:
    perturb = {key: value for key, value in (("rattle", rattle), ("strain", strain)) if value}
    return {**({"perturb": perturb} if perturb else {}), **({"sample": {"relax": {"steps": relax}}} if relax else {})}


def _repeat_flags(given: dict[str, Any]) -> list[str]:
    """The options that were not left as they are, to repeat the command."""
    defaults = {"teacher": "7net-0", "rattle": 0.0, "strain": 0.0, "copies": 1, "relax": 0, "licence": "", "seed": 0, "data": Path("data")}
    changed = [(name, given[name]) for name, default in defaults.items() if given[name] != default]
    flags = ["--neutral"] if given["neutral"] else []
    return ["--out", given["out"], *(word for name, value in changed for word in (f"--{name}", str(value))), *flags]


def _write_text(content: dict[str, Any], command: str, root: Path) -> str:
    """The recipe as YAML, below a comment that says where it came from."""
    made, place = make_visible(command, keep=""), make_visible(str(root), keep="")  # an end of line would begin a key of the recipe
    head = f"# made by: {made}\n# the files lie below {place}: DISTILLERY_SERVICE_INPUTS names it to `distillery run`\n"
    lines = [f"{key}: {write_value(value)}" for key, value in content.items() if key != "sources"]
    sources = [f"  {name}: {write_value(source)}" for name, source in content["sources"].items()]
    return head + "\n".join([*lines, "sources:", *sources]) + "\n"


def _tell(survey: "Survey", console: Console) -> None:
    """How many rows of each system there are, and which are left out."""
    found = ", ".join(f"{n} {system if n == 1 else _PLURALS[system]}" for system, n in survey.counts.items())
    least, most = survey.atoms
    console.print(
        f"{found} of {most if least == most else f'{least}-{most}'} atoms of {' '.join(survey.elements)}", highlight=False, soft_wrap=True
    )
    if survey.refused:
        counts = ", ".join(f"{n} {reason}" for reason, n in survey.refused.items())
        console.print(f"left out: {sum(survey.refused.values())} of {survey.n_rows} rows: {counts}", highlight=False, soft_wrap=True)
    for line in chain.from_iterable(survey.told.values()):
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
