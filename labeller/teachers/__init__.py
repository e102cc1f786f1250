"""Teachers by name: families found by entry points of the group `distillery.teachers`, this repository's own and other packages' alike.

An entry point names a `labeller.teachers.teacher.TeacherFamily`.
"""

import logging
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec

from distillery.errors import Unavailable
from distillery.schema.explain import suggest
from distillery.schema.label import TeacherOutline
from labeller.settings import LabellerSettings
from labeller.teachers.teacher import Teacher, TeacherFamily

GROUP = "distillery.teachers"
_log = logging.getLogger("distillery")


def create_teacher(settings: LabellerSettings) -> Teacher:
    """The teacher the settings name, not yet loaded.

    Unavailable names the nearest known one if there is none of this name, and says what is missing if its family can't make it.
    """
    name = settings.teacher
    entry, family = _choose_family(name)
    try:
        return family.create(name, settings)
    except ImportError as error:
        raise Unavailable(f"{name} needs a package that is not installed here: {error}; {_explain_installing(entry)}") from error


def outline_teacher(name: str) -> TeacherOutline:
    """What a teacher knows and can do, as far as that is known before it is loaded; nothing heavy is imported.

    Unavailable as of `create_teacher`.
    """
    entry, family = _choose_family(name)
    missing = [package for package in family.needs if find_spec(package) is None]
    if missing:
        raise Unavailable(f"{name} needs a package that is not installed here: {', '.join(missing)}; {_explain_installing(entry)}")
    return TeacherOutline(elements=family.find_elements(name), abilities=family.find_abilities(name))


def _explain_installing(entry: str) -> str:
    return (
        f"install what the teachers of {entry} need (Distillery's own: `pip install 'distillery[labeller]'`), "
        "or run the labeller as a container"
    )


def _choose_family(name: str) -> tuple[str, TeacherFamily]:
    families = _load_families()
    if not families:
        raise Unavailable(
            "no teachers are registered here, not even Distillery's own: install it with pip, a checkout with `pip install -e .`"
        )
    exact = {entry: family for entry, family in families.items() if name in family.names}
    found = exact or {entry: family for entry, family in families.items() if family.prefix and name.startswith(family.prefix)}
    if not found:
        raise Unavailable(f"unknown teacher {name!r}{suggest(name, list_teachers())}")
    if len(found) > 1:
        raise Unavailable(f"teacher {name!r} is offered by {' and '.join(sorted(found))}; uninstall all packages of these but one")
    return next(iter(found.items()))


def list_teachers() -> list[str]:
    """The names of all teachers that are installed here, sorted; of an open family `<prefix>…`. Nothing heavy is imported."""
    families = _load_families().values()
    return sorted({*(name for family in families for name in family.names), *(f"{f.prefix}…" for f in families if f.prefix)})


def _load_families() -> Mapping[str, TeacherFamily]:
    """Every family that can be imported, by the name of its entry point; a warning for each that can't."""
    families: dict[str, TeacherFamily] = {}
    for entry in entry_points(group=GROUP):
        try:
            families[entry.name] = _load_family(entry)
        except (ImportError, AttributeError, TypeError) as error:
            _log.warning("the teachers of %s = %s are left out: %s", entry.name, entry.value, error)
    return families


def _load_family(entry: EntryPoint) -> TeacherFamily:
    family = entry.load()
    if not isinstance(family, TeacherFamily):
        raise TypeError(f"it must name a TeacherFamily, it is {type(family).__name__}")
    return family
