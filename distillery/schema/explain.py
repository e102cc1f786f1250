"""Naming what was wrong: the key, what was wanted, what came, and the nearest known name."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from distillery.errors import InvalidRequest
from distillery.runtime.limits import MOST_FAULTS

M = TypeVar("M", bound=BaseModel)
_MOST_NAMED = 40
_MAPPINGS, _LISTS = {"model_type", "model_attributes_type", "dict_type", "mapping_type"}, {"tuple_type", "list_type"}
"""How pydantic calls it if a value is none; its own sentences speak of Python."""
_LONGEST_SHOWN = 200
"""Characters of what came, in a sentence about it."""


def find_nearest(name: str, known: Collection[str]) -> str | None:
    """The known name most like `name`, first of all one that differs by large and small letters alone, or None if nothing is."""
    same = [other for other in known if other.casefold() == name.casefold()]
    matches = same or get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def suggest(name: str, known: Collection[str]) -> str:
    """`; did you mean 'x'?` or, if nothing is near, what is known, of very many the first."""
    nearest = find_nearest(name, known)
    more = f" and {len(known) - _MOST_NAMED} others" if len(known) > _MOST_NAMED else ""
    return f"; did you mean {nearest!r}?" if nearest else f"; known: {', '.join(sorted(known)[:_MOST_NAMED]) or 'none'}{more}"


def explain(error: ValidationError, model: type[BaseModel]) -> list[tuple[tuple[str | int, ...], str]]:
    """The faults of a pydantic validation as (where, sentence); if there are very many, the first and how many more."""
    faults = error.errors(include_url=False)
    told = [(_place(tuple(e["loc"])), _sentence(dict(e), model)) for e in faults[:MOST_FAULTS]]
    more = len(faults) - len(told)
    return told + [((), f"and {more} faults more")] * (more > 0)


def _place(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Where a fault is; pydantic marks a fault of a key itself by a last step `[key]`."""
    return loc[:-1] if loc and loc[-1] == "[key]" else loc


def _sentence(fault: Mapping[str, Any], model: type[BaseModel]) -> str:
    loc = tuple(fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {str(loc[-1])!r}{suggest(str(loc[-1]), _keys_at(model, loc[:-1]))}"
    if fault["type"] == "literal_error":
        expected = [w.strip("' ") for w in str(fault["ctx"]["expected"]).replace(" or ", ", ").split(", ")]
        return f"must be one of {', '.join(expected)}; got {_show(fault['input'])}" + (
            f"; did you mean {near!r}?" if (near := find_nearest(str(fault["input"]), expected)) else ""
        )
    if fault["type"] == "missing":
        what = _find_schema(model, loc)[0].get("description")
        return f"{str(loc[-1])!r} is missing{f': {what}' if what else ''}"
    if fault["type"] in _MAPPINGS:
        keys = ", ".join(_keys_at(model, loc))
        return f"must be a mapping{f' with keys among {keys}' if keys else ''}; got {_show(fault['input'])}"
    if fault["type"] in _LISTS:
        return f"must be a list; got {_show(fault['input'])}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{message}; got {_show(fault['input'])}" if not isinstance(fault["input"], Mapping) else message


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _keys_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The field names of the model that `loc` leads to."""
    return list(_resolve(*_find_schema(model, loc)).get("properties", {}))


def _find_schema(model: type[BaseModel], loc: tuple[str | int, ...]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The schema of what `loc` leads to, and the whole one, which it may refer to."""
    schema = model.model_json_schema()
    node: Any = schema
    for step in loc:
        node = _resolve(node, schema)
        properties = node.get("properties", {})
        patterns = list(node.get("patternProperties", {}).values())
        node = properties.get(step) or (patterns and patterns[0]) or node.get("additionalProperties") or node.get("items") or {}
    return node, schema


def _resolve(node: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    for option in (*node.get("anyOf", ()), *node.get("allOf", ())):
        if "$ref" in option:
            node = option
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return dict(node)


def validate_message(model: type[M], value: Any, where: str) -> M:
    """`value` as `model`, or InvalidRequest that names every fault."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = [f"{'.'.join(str(p) for p in (where, *loc) if p != '')}: {text}" for loc, text in explain(error, model)]
        raise InvalidRequest("; ".join(faults)) from error
