"""Teachers by name: adding one is a line here and a module beside it."""

import warnings
from collections.abc import Callable, Mapping

from distillery.errors import Unavailable
from distillery.schema.explain import suggest
from labeller.settings import LabellerSettings
from labeller.teachers.teacher import Teacher

ORB_NAMES = (
    "orb-v2",
    "orb-d3-v2",
    *(
        f"orb-v3-{kind}-{neighbours}-{data}"
        for kind in ("conservative", "direct")
        for neighbours in ("20", "inf")
        for data in ("omat", "mpa")
    ),
    "orb-v3-conservative-omol",
    "orb-v3-direct-omol",
)


def _create_sevennet(name: str, settings: LabellerSettings) -> Teacher:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # e3nn and torch_geometric still use torch.jit
        from labeller.teachers.sevennet import SevenNetTeacher

    return SevenNetTeacher(name, settings)


def _create_orb(name: str, settings: LabellerSettings) -> Teacher:
    from labeller.teachers.orb import OrbTeacher

    return OrbTeacher(name, settings)


TEACHERS: Mapping[str, Callable[[str, LabellerSettings], Teacher]] = {
    "7net-0": _create_sevennet,
    **dict.fromkeys(ORB_NAMES, _create_orb),
}


def create_teacher(settings: LabellerSettings) -> Teacher:
    """The teacher the settings name, not yet loaded; Unavailable names the nearest known one."""
    if settings.teacher not in TEACHERS:
        raise Unavailable(f"unknown teacher {settings.teacher!r}{suggest(settings.teacher, TEACHERS)}")
    return TEACHERS[settings.teacher](settings.teacher, settings)
