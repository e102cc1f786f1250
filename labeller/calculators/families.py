"""Families of teachers that are ASE calculators: any by `ase:`, and well-known ones by short names. Nothing heavy is imported here."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from ase.data import chemical_symbols

from distillery.errors import Unavailable
from distillery.schema.label import Abilities
from distillery.schema.teacher_name import ASE_PREFIX, CalculatorName, parse_calculator
from labeller.calculators.factory import find_factory, require_package
from labeller.calculators.probe import probe_factory
from labeller.settings import LabellerSettings
from labeller.teachers.teacher import Teacher, TeacherFamily

_PACKAGES = "labeller.calculators.packages"
XTB_ELEMENTS = tuple(chemical_symbols[1:87])
"""H to Rn: Bannwarth, Ehlert & Grimme, J. Chem. Theory Comput. 15, 1652 (2019)."""
_XTB: Mapping[str, Mapping[str, Any]] = {
    "gfn2-xtb": {"method": "GFN2-xTB"},
    "gfn1-xtb": {"method": "GFN1-xTB"},
    "spgfn2-xtb": {"method": "GFN2-xTB", "spin_polarization": 1.0},
}
"""The last one tells spins apart: Neugebauer, Bädorf, Ehlert, Hansen & Grimme, J. Comput. Chem. 44, 2120 (2023)."""
_MATTERSIM = {f"mattersim-v1-{size.lower()}": f"MatterSim-v1.0.0-{size}.pth" for size in ("1M", "5M")}
_MODELS = frozenset({"chgnet", "mace", "matgl", "mattersim", "nequip", "orb_models", "sevenn"})
"""Packages that take seconds to import. Their calculators do not say that they know of charge (`labeller.calculators.worker`)."""
_UMA_TASKS = ("omol", "omat", "oc20", "odac", "omc")


def _create_any(name: str, settings: LabellerSettings) -> Teacher:
    from labeller.calculators.teacher import CalculatorTeacher

    return CalculatorTeacher(name, parse_calculator(name), settings)


def _offer(factory: str, package: str, read: Callable[[str], Mapping[str, Any]], *, on_device: bool = True) -> Callable[..., Teacher]:
    """What makes the teachers of a family: `read` makes the factory's options of a name."""

    def create(name: str, settings: LabellerSettings) -> Teacher:
        from labeller.calculators.teacher import CalculatorTeacher

        device = {"device": "cuda" if settings.device == "cuda" else "cpu"} if on_device else {}
        return CalculatorTeacher(name, CalculatorName(_PACKAGES, factory, {**read(name), **device}), settings, package)

    return create


def _read_foundation(name: str) -> dict[str, str]:
    """mace-mp-small is the family mp's model small, mace-mp-small-0b its small-0b."""
    _, family, *model = name.split("-")
    if family not in {"mp", "off"} or not model:
        raise Unavailable(f"{name}: MACE models are mace-mp-MODEL and mace-off-MODEL, as mace-mp-small, or mace:PATH of a file of yours")
    return {"family": family, "model": "-".join(model)}


def _read_path(name: str) -> dict[str, str]:
    return {"model": name.split(":", 1)[1]}


def _read_uma(name: str) -> dict[str, str]:
    model, _, task = name.partition(":")
    if task not in _UMA_TASKS:
        raise Unavailable(f"{name}: a UMA model is named with its task, as {model}:omol; tasks are {', '.join(_UMA_TASKS)}")
    return {"model": model, "task": task}


def _find_abilities(name: str) -> Abilities:
    """What a calculator can do shows once it is made, and until then nothing is refused for it; but ASE's own and models know no charge.

    Unavailable if there is no such package, or what is named makes no calculator as far as that shows soon.
    """
    calculator = parse_calculator(name)
    package = calculator.module.partition(".")[0]
    if package == "ase" or package in sys.stdlib_module_names:
        find_factory(calculator)
    else:
        require_package(calculator, package)
        if package not in _MODELS:
            probe_factory(calculator)
    may_know = package != "ase" and package not in _MODELS
    return Abilities(charge=may_know, spin=may_know, atomic_energies=True)


ASE = TeacherFamily((), _create_any, prefix=ASE_PREFIX, find_abilities=_find_abilities)

XTB = TeacherFamily(
    tuple(_XTB),
    _offer("make_xtb", "tblite", lambda name: _XTB[name], on_device=False),
    needs=("tblite",),
    extra="xtb",
    find_elements=lambda name: XTB_ELEMENTS,
    find_abilities=lambda name: Abilities(stress=False, periodic=False, charge=True, spin=True, atomic_energies=True),
)

MACE = TeacherFamily((), _offer("make_mace", "mace-torch", _read_path), prefix="mace:", needs=("mace",), extra="mace")

MACE_FOUNDATION = TeacherFamily(
    (), _offer("make_mace_foundation", "mace-torch", _read_foundation), prefix="mace-", needs=("mace",), extra="mace"
)

MATTERSIM = TeacherFamily(
    tuple(_MATTERSIM),
    _offer("make_mattersim", "mattersim", lambda name: {"model": _MATTERSIM[name]}),
    needs=("mattersim",),
    extra="mattersim",
)

UMA = TeacherFamily(
    (),
    _offer("make_uma", "fairchem-core", _read_uma),
    prefix="uma-",
    needs=("fairchem",),
    extra="uma",
    find_abilities=lambda name: Abilities(charge=name.endswith(":omol"), spin=name.endswith(":omol")),
)

NEQUIP = TeacherFamily((), _offer("make_nequip", "nequip", _read_path), prefix="nequip:", needs=("nequip",), extra="nequip")
