"""Services by name: entry points of the group `distillery.services`, this repository's own and those of other packages alike.

An entry point names a function without arguments that returns a `distillery.generators.generator.Generator`.
"""

import importlib.util
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from distillery.errors import NotFound, Unavailable
from distillery.schema.explain import suggest

if TYPE_CHECKING:
    from fastapi import FastAPI

    from distillery.generators.generator import Generator

GROUP = "distillery.services"


def list_services() -> list[str]:
    """The names of all services that are installed here, sorted; whether what they need is there too shows when one is built."""
    return sorted(_find_entries())


def build_generator(name: str) -> "Generator":
    """A service's generator, set up from the environment.

    NotFound names the nearest service if there is none of this name, Unavailable says which package is missing.
    """
    entry = _find_entry(name)
    try:
        generator: Generator = entry.load()()
    except ImportError as error:
        raise Unavailable(
            f"{name} needs a package that is not installed here: {error}; `pip install 'distillery[{name}]'`, or run it as a container"
        ) from error
    return generator


def build_service(name: str) -> "FastAPI":
    """A service's app, set up from the environment; errors as of `build_generator`."""
    from distillery.generators.service import create_app
    from distillery.generators.settings import ServiceSettings

    return create_app(build_generator(name), ServiceSettings())


def find_folder(name: str) -> Path:
    """The folder of a service's package, where its weights.yaml lies if it has weights; nothing heavy is imported."""
    spec = importlib.util.find_spec(_find_entry(name).module)
    if spec is None or spec.origin is None:
        raise Unavailable(f"{name} is registered as {_find_entry(name).value}, but there is no such module; install its package again")
    return Path(spec.origin).parent


def _find_entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _find_entry(name: str) -> EntryPoint:
    entries = _find_entries()
    if name not in entries:
        raise NotFound(f"there is no service {name!r}{suggest(name, entries)}")
    return entries[name]
