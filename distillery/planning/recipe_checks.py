"""What keeps a recipe from being made, as far as it can be known before anything is: asked of those who are to make it."""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from distillery.errors import NotFound, Problem, Unavailable, Unsupported
from distillery.planning.gates import find_hopeless
from distillery.recipe.reading import place_faults
from distillery.recipe.recipe import Recipe
from distillery.recipe.requests import find_largest, has_fallback, list_makers, make_request
from distillery.runtime.yaml import Location
from distillery.schema.dataset import RecipeCheck
from distillery.schema.generate import GenerateRequest, RequestCheck, RequestFault
from distillery.schema.label import TeacherOutline
from distillery.structures.structure import PERIODIC_SYSTEMS

_KEYS = {"n": ("shard_size",)}
"""Keys of a request that are the whole recipe's."""


class Makers(Protocol):
    """Those who are to make a dataset, here or elsewhere."""

    async def check_request(self, service: str, request: GenerateRequest) -> RequestCheck:
        """What keeps a service from a request, and whether it needs a teacher that knows of charge.

        NotFound if there is no such service, Unavailable if it is not there now.
        """

    async def outline_teacher(self, teacher: str) -> TeacherOutline:
        """What a teacher knows and can do; Unsupported if there is no such teacher, Unavailable if it is not there now."""


@dataclass
class _Findings:
    faults: list[tuple[Location, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def check_recipe(recipe: Recipe, text: str, makers: Makers) -> RecipeCheck:
    """Every fault, at its line in the recipe's `text`; what can pass until it is made is a note."""
    found = _Findings(notes=find_hopeless(recipe))
    teacher = await _check_teacher(recipe, makers, found)
    for maker in list_makers(recipe):
        await _check_source(recipe, maker, makers, teacher, found)
    return RecipeCheck(faults=await asyncio.to_thread(place_faults, text, found.faults), notes=found.notes)


async def _check_teacher(recipe: Recipe, makers: Makers, found: _Findings) -> TeacherOutline | None:
    """What is known of the teacher; None if nothing is."""
    try:
        outline = await makers.outline_teacher(recipe.teacher)
    except Unsupported as problem:
        found.faults.append((("teacher",), problem.detail))
        return None
    except Unavailable as problem:
        found.notes.append(f"teacher {recipe.teacher}: {problem.detail}")
        return None
    found.faults += find_teacher_faults(recipe, outline)
    return outline


def find_teacher_faults(recipe: Recipe, teacher: TeacherOutline) -> list[tuple[Location, str]]:
    """What a recipe asks of its teacher that it does not know or can't do, each at the key to change."""
    faults: list[tuple[Location, str]] = []
    if foreign := [element for element in recipe.elements if teacher.elements and element not in teacher.elements]:
        at = ("elements",) if "elements" in recipe.model_fields_set else ("teacher",)
        faults.append((at, f"teacher {recipe.teacher} does not know {' '.join(foreign)}; it knows {' '.join(teacher.elements)}"))
    if "atomic_energies" in recipe.labels and not teacher.abilities.atomic_energies:
        faults.append((("labels",), f"teacher {recipe.teacher} has no atomic_energies; leave them out, or take a teacher that has"))
    for name, source in recipe.sources.items():
        if source.system in PERIODIC_SYSTEMS and not teacher.abilities.periodic:
            detail = (
                f"teacher {recipe.teacher} labels molecules and clusters alone, nothing periodic; source {name} makes a {source.system}"
            )
            faults.append((("sources", name, "system"), detail))
    return faults


async def _check_source(recipe: Recipe, maker: str, makers: Makers, teacher: TeacherOutline | None, found: _Findings) -> None:
    source, at = recipe.sources[maker], ("sources", maker)
    try:
        check = await ask_service(recipe, maker, makers)
        found.faults += [*find_source_faults(recipe, maker, check), *find_charge_faults(recipe, maker, check, teacher)]
    except (NotFound, Unavailable) as problem:
        if isinstance(problem, NotFound) or not has_fallback(recipe, source.service):
            found.faults.append(((*at, "service"), problem.detail))
        else:
            found.notes.append(f"source {maker}: {problem.detail}; {source.fallback} will stand in")
    except Problem as problem:
        found.faults.append(((*at, "service"), problem.detail))


async def ask_service(recipe: Recipe, maker: str, makers: Makers) -> RequestCheck:
    """What the service of the source `maker` says of the largest request that it can come to."""
    return await makers.check_request(recipe.sources[maker].service, make_request(recipe, maker, find_largest(recipe, maker), recipe.seed))


def find_source_faults(recipe: Recipe, maker: str, check: RequestCheck) -> list[tuple[Location, str]]:
    """What keeps the service of a source from that request, by the recipe's keys."""
    return [(_KEYS.get(str(fault.key[0])) or ("sources", maker, *fault.key), _name_size(fault)) for fault in check.faults]


def find_charge_faults(recipe: Recipe, maker: str, check: RequestCheck, teacher: TeacherOutline | None) -> list[tuple[Location, str]]:
    """That a source would make ions, and the teacher, if anything is known of it, knows of no charge: no fallback mends that."""
    if not check.may_be_charged or teacher is None or teacher.abilities.charge:
        return []
    advice = "leave `charges` out (`distillery label`, relabel: --neutral)"
    return [(("sources", maker, "options"), f"ask for ions, and teacher {recipe.teacher} knows of no charge; {advice}")]


def _name_size(fault: RequestFault) -> str:
    return f"{fault.message}; set shard_size, or the source's count, to that at most" if fault.key == ("n",) else fault.message
