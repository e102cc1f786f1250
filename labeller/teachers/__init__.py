"""Teachers by name: families found by entry points of the group `distillery.teachers`, this repository's own and other packages' alike.

An entry point names a `labeller.teachers.teacher.TeacherFamily`.
"""

import logging
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec

from distillery.errors import Problem, Unavailable
from distillery.generators.plugins import name_package
from distillery.schema.explain import suggest
from distillery.schema.label import TeacherOutline
from labeller.settings import LabellerSettings
from labeller.teachers.teacher import Teacher, TeacherFamily

GROUP = "distillery.teachers"
_log = logging.getLogger("distillery")


def create_teacher(settings: LabellerSettings) -> Teacher:
    """The teacher the settings name, not yet loaded.

    Unavailable names the nearest known one if there is none of this name, and says what is missing if its family can't make it, or
    what the family's package does wrong.
    """
    name = settings.teacher
    entry, family = _choose_family(name)
    try:
        return family.create(name, settings)
    except Problem:
        raise
    except ImportError as error:
        raise Unavailable(f"{name} needs a package that is not installed here: {error}; {_explain_installing(entry, family)}") from error
    except (Exception, SystemExit) as error:  # another package's code: whatever is wrong with it
        raise Unavailable(
            f"{name} can't be made: {entry.name} of {name_package(entry)} fails: {type(error).__name__}: {error}; mend or uninstall it"
        ) from error


def outline_teacher(name: str) -> TeacherOutline:
    """What a teacher knows and can do, as far as that is known before it is loaded; nothing heavy is imported.

    Unavailable as of `create_teacher`.
    """
    entry, family = _choose_family(name)
    missing = [package for package in family.needs if find_spec(package) is None]
    if missing:
        raise Unavailable(f"{name} needs a package that is not installed here: {', '.join(missing)}; {_explain_installing(entry, family)}")
    return TeacherOutline(elements=family.find_elements(name), abilities=family.find_abilities(name))


def _explain_installing(entry: EntryPoint, family: TeacherFamily) -> str:
    how = f"`pip install '{name_package(entry)}[{family.extra}]'`" if family.extra else f"install what {name_package(entry)} asks for"
    return f"{how}, or run the labeller as a container"


def _choose_family(name: str) -> tuple[EntryPoint, TeacherFamily]:
    families = _load_families()
    if not families:
        raise Unavailable(
            "no teachers are registered here, not even Distillery's own: install it with pip, a checkout with `pip install -e .`"
        )
    exact = [(entry, family) for entry, family in families if name in family.names]
    found = exact or [(entry, family) for entry, family in families if family.prefix and name.startswith(family.prefix)]
    if not found:
        raise Unavailable(f"unknown teacher {name!r}{suggest(name, list_teachers())}")
    if len(found) > 1:
        offers = " and ".join(sorted(f"{entry.name} of {name_package(entry)}" for entry, _ in found))
        raise Unavailable(f"teacher {name!r} is offered by {offers}; uninstall all packages of these but one")
    return found[0]


def list_teachers() -> list[str]:
    """The names of all teachers that are installed here, sorted; of an open family `<prefix>…`. Nothing heavy is imported."""
    families = [family for _, family in _load_families()]
    return sorted({*(name for family in families for name in family.names), *(f"{f.prefix}…" for f in families if f.prefix)})


def _load_families() -> list[tuple[EntryPoint, TeacherFamily]]:
    """Every family that can be imported, and its entry point; a warning for each that can't."""
    families: list[tuple[EntryPoint, TeacherFamily]] = []
    for entry in entry_points(group=GROUP):
        try:
            families.append((entry, _load_family(entry)))
        except (Exception, SystemExit) as error:  # another package's code: whatever is wrong with it, others are not
            _log.warning("the teachers of %s = %s are left out: %s: %s", entry.name, entry.value, type(error).__name__, error)
    return families


def _load_family(entry: EntryPoint) -> TeacherFamily:
    family = entry.load()
    if not isinstance(family, TeacherFamily):
        raise TypeError(f"it must name a TeacherFamily, it is {type(family).__name__}")
    return family
