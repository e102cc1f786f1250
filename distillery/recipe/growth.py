"""Growth: a dataset goes on with a recipe that asks for more. What is there stays; a change that would spoil it is refused by name."""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from distillery.dataset.folder import split_part_name
from distillery.errors import Conflict
from distillery.recipe.reading import parse_recipe
from distillery.recipe.recipe import GrowthStep, Recipe
from distillery.recipe.requests import make_request
from distillery.runtime.canonical_json import canonical_json
from distillery.runtime.yaml import read_lines

_KEY = "grown_from"


def grow_recipe(text: str, stored_text: str, parts: Collection[str]) -> str:
    """The text of a recipe that goes on from the one stored with a dataset, whose parts these are.

    That is `stored_text`'s own history behind `text` where both ask for the same, and a step more where `text` asks for more.
    Conflict names what would spoil parts.
    """
    recipe, stored = parse_recipe(text), parse_recipe(stored_text)
    if recipe.grown_from and recipe.sha256 != stored.sha256:
        raise Conflict(f"{recipe.name!r} grew in another way than this recipe's {_KEY} says; leave {_KEY} out to go on from what is there")
    if recipe.grown_from or recipe.is_same_as(stored):
        return text if recipe.grown_from else _append(text, stored.grown_from)
    if not parts:
        raise Conflict(f"{stored.name!r} is a dataset from another recipe whose parts are gone; give this recipe another name")
    made = {split_part_name(part)[1] for part in parts} | _find_makers(parts)
    if differences := list(find_differences(recipe, stored, made)):
        raise Conflict(
            f"{stored.name!r} has {len(parts)} parts, and they would not be of this recipe: {'; '.join(differences)}. Counts may rise, and "
            "sources and stages be added; for another change put the old value back and add a source of another name beside it, or give "
            "the recipe another name"
        )
    step = GrowthStep(recipe=_strip(stored_text), until=_find_last_stage(stored, parts), without=tuple(sorted(set(stored.sources) - made)))
    return _append(text, (*stored.grown_from, step))


def _find_makers(parts: Collection[str]) -> set[str]:
    """The sources that made parts in the place of others."""
    stems = [split_part_name(part)[2] for part in parts]
    return {stem.split("-via-")[1] for stem in stems if "-via-" in stem}


def find_differences(recipe: Recipe, stored: Recipe, made: Collection[str]) -> Iterator[str]:
    """What of a recipe is not as the parts of the sources `made` need it, key by key."""
    for key in ("seed", "teacher", "labels", "hessians"):
        if (ours := getattr(recipe, key)) != (theirs := getattr(stored, key)):
            yield f"{key} is {_tell(ours)}, it was {_tell(theirs)}"
    counts, before = recipe.counts(), stored.counts()
    for name in (name for name in stored.sources if name in made):
        if name not in recipe.sources:
            yield f"sources.{name} is gone"
            continue
        for key, theirs in _describe_source(stored, name).items():
            if (ours := _describe_source(recipe, name)[key]) != theirs:
                yield f"sources.{name}.{key} is {_show(ours)}, it was {_show(theirs)}"
        if counts[name] < before[name]:
            yield f"sources.{name} would have {counts[name]} structures, it has up to {before[name]}"


def _describe_source(recipe: Recipe, name: str) -> Mapping[str, Any]:
    """All that a part of a source depends on, but seed and number: what it is asked for, and what is done with that."""
    request = make_request(recipe, name, n=1, seed=0).model_dump(mode="json")
    sample = recipe.find_sample(name)
    return {
        "service": recipe.sources[name].service,
        "atoms": [request.pop("min_atoms"), request.pop("max_atoms")],
        **{key: request[key] for key in ("system", "elements", "perturb", "options")},
        "sample": None if sample is None else sample.model_dump(mode="json"),
        "limits": recipe.find_limits(name).model_dump(mode="json"),
    }


def _tell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _show(value: Any) -> str:
    return canonical_json(value)


def _find_last_stage(stored: Recipe, parts: Collection[str]) -> str:
    """The last stage that parts are of: so far the dataset was made."""
    begun = {split_part_name(part)[0] for part in parts}
    return [stage for stage in stored.stage_names if stage in begun][-1]


def _strip(text: str) -> dict[str, Any]:
    """The keys of a recipe's text, without those of its history."""
    content = dict(read_lines(text)[0])
    content.pop(_KEY, None)
    return content


def _append(text: str, steps: Collection[GrowthStep]) -> str:
    """The text with its history as one more key, a line a step: JSON is YAML, and a recipe that is JSON stays so."""
    if not steps:
        return text
    history = [step.model_dump(mode="json") for step in steps]
    if text.lstrip("\ufeff").lstrip().startswith("{"):
        return _write(_strip(text) | {_KEY: history}) + "\n"
    note = "# written by Distillery: what this dataset grew from; leave it as it is (docs/grow.md)"
    return text.rstrip("\n") + f"\n\n{note}\n{_KEY}:\n" + "".join(f"- {_write(step)}\n" for step in history)


def _write(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
