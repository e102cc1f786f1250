"""The families of teachers that come with Distillery; what they need is imported when one is made."""

import warnings

from distillery.schema.label import Abilities
from labeller.settings import LabellerSettings
from labeller.teachers.teacher import Teacher, TeacherFamily
from labeller.teachers.training_elements import MATERIALS, OMOL


def _create_sevennet(name: str, settings: LabellerSettings) -> Teacher:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # e3nn and torch_geometric still use torch.jit
        from labeller.teachers.sevennet import SevenNetTeacher

    return SevenNetTeacher(name, settings)


def _create_orb(name: str, settings: LabellerSettings) -> Teacher:
    from labeller.teachers.orb import OrbTeacher

    return OrbTeacher(name, settings)


def _create_chgnet(name: str, settings: LabellerSettings) -> Teacher:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from labeller.teachers.chgnet import ChgnetTeacher

    return ChgnetTeacher(name, settings)


def _find_orbs_abilities(name: str) -> Abilities:
    """Those that were trained on OMol25 know of charge and spin."""
    knows = name.endswith("omol")
    return Abilities(charge=knows, spin=knows)


CHGNET = TeacherFamily(
    ("chgnet", "chgnet-r2scan"),
    _create_chgnet,
    needs=("chgnet", "pymatgen", "torch"),
    extra="chgnet",
    find_elements=lambda name: MATERIALS,
    find_abilities=lambda name: Abilities(atomic_energies=True),
)

SEVENNET = TeacherFamily(
    ("7net-0",),
    _create_sevennet,
    needs=("sevenn", "torch"),
    extra="7net",
    find_elements=lambda name: MATERIALS,
    find_abilities=lambda name: Abilities(atomic_energies=True),
)

ORB = TeacherFamily(
    (
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
    ),
    _create_orb,
    needs=("orb_models", "torch"),
    extra="orb",
    find_elements=lambda name: OMOL if name.endswith("omol") else MATERIALS,
    find_abilities=_find_orbs_abilities,
)
