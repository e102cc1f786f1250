"""Services by name: entry points of the group `distillery.services`, this repository's own and those of other packages alike.

An entry point names a function without arguments that returns a `distillery.generators.generator.Generator`.
"""

import importlib.util
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from distillery.errors import NotFound, Problem, Unavailable
from distillery.schema.explain import suggest

if TYPE_CHECKING:
    from fastapi import FastAPI

    from distillery.generators.generator import Generator

GROUP = "distillery.services"


def list_services() -> list[str]:
    """The names of all services that are installed here, sorted; whether what they need is there too shows when one is built."""
    return sorted(entry_points(group=GROUP).names)


def build_generator(name: str) -> "Generator":
    """A service's generator, set up from the environment.

    NotFound names the nearest service if there is none of this name, Unavailable says which package is missing, or what its package
    does wrong.
    """
    entry = _find_entry(name)
    try:
        generator: Generator = entry.load()()
        _check_card(name, generator)
    except Problem:
        raise
    except ImportError as error:
        raise Unavailable(
            f"{name} needs a package that is not installed here: {error}; `pip install 'distillery[{name}]'`, or run it as a container"
        ) from error
    except (Exception, SystemExit) as error:  # another package's code: whatever is wrong with it
        raise Unavailable(
            f"{name} can't be used: {entry.value} fails with {type(error).__name__}: {error}; {entry.value} must be a function without "
            f"arguments that returns a Generator; mend its package, {name_package(entry)}, or uninstall it"
        ) from error
    return generator


def name_package(entry: EntryPoint) -> str:
    """The package that an entry point comes from."""
    return entry.dist.name if entry.dist else "of no name"


def _check_card(name: str, generator: "Generator") -> None:
    """TypeError if what an entry point made is no generator, or one of another name."""
    from distillery.schema.generate import Metadata

    card = getattr(generator, "metadata", None)
    if not isinstance(card, Metadata) or not callable(getattr(generator, "generate", None)):
        raise TypeError(f"it made {type(generator).__name__}, which has no `metadata` or no `generate`")
    if card.service != name:
        raise TypeError(f"its metadata says service={card.service!r}, its entry point {name!r}")


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


def _find_entry(name: str) -> EntryPoint:
    found = entry_points(group=GROUP, name=name)
    if not found:
        raise NotFound(f"there is no service {name!r}{suggest(name, list_services())}")
    if len(found) > 1:
        packages = " and ".join(sorted(name_package(entry) for entry in found))
        raise Unavailable(f"service {name!r} is offered by {packages}; uninstall all packages of these but one")
    return next(iter(found))
