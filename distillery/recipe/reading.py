"""Reading a recipe from YAML; what is wrong with it is told with its line."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from distillery.errors import InvalidRequest
from distillery.recipe.recipe import Recipe
from distillery.recipe.stages import CHECKPOINT_EVERY as CHECKPOINT_EVERY
from distillery.runtime.limits import LARGEST_TEXT
from distillery.runtime.yaml import Location, NotYaml, read_lines
from distillery.schema.explain import explain
from distillery.schema.problem import RecipeFault
from distillery.schema.report import GateName as GateName
from distillery.schema.report import StageName as StageName

_KINDS = {type(None): "nothing: it is empty", list: "a list"}
"""What stands at the top of a file that is no recipe."""


def read_recipe(path: Path) -> tuple[Recipe, str]:
    """A recipe file and its text; InvalidRequest names file, line, key and the nearest valid one."""
    text = read_recipe_text(path)
    return parse_recipe(text, str(path)), text


def read_recipe_text(path: Path) -> str:
    """What a recipe file holds, as far as is read of a recipe; InvalidRequest names it where it can't be read or is no text."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(LARGEST_TEXT + 1)
    except OSError as error:
        raise InvalidRequest(f"can't read the recipe {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"can't read the recipe {path}: {error}") from error


def parse_recipe(text: str, where: str = "recipe") -> Recipe:
    """A recipe from YAML (JSON is YAML too); InvalidRequest with one line a fault."""
    try:
        value, lines = read_lines(text)
    except NotYaml as error:
        raise InvalidRequest(f"{where} is not YAML: {error}") from error
    if not isinstance(value, dict):
        came = _KINDS.get(type(value), "a text or a number")
        raise InvalidRequest(f"{where}: a recipe is a mapping with the keys {', '.join(Recipe.model_fields)}; got {came}")
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        raise make_refusal(where, _place(lines, explain(error, Recipe))) from error


def place_faults(text: str, faults: Iterable[tuple[Location, str]]) -> list[RecipeFault]:
    """Faults of a recipe that could be read, in the order of their lines; each of them is a key's path and a sentence."""
    return _place(read_lines(text)[1], faults)


def make_refusal(where: str, faults: Sequence[RecipeFault]) -> InvalidRequest:
    """What says so: one line a fault, which begins `where:line: key`."""
    detail = "\n".join(f"{where}:{fault.line}: {fault.key + ': ' if fault.key else ''}{fault.message}" for fault in faults)
    return InvalidRequest(detail, faults=[fault.model_dump() for fault in faults])


def _place(lines: Mapping[Location, int], faults: Iterable[tuple[Location, str]]) -> list[RecipeFault]:
    """In the order of their lines."""
    found = [RecipeFault(line=_line(lines, at), key=".".join(map(str, at)), message=message) for at, message in faults]
    return sorted(found, key=lambda fault: fault.line)


def _line(lines: Mapping[Location, int], at: Location) -> int:
    while at and at not in lines:
        at = at[:-1]
    return lines.get(at, 1)
