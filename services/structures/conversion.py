"""What a reader found, as a Structure: labels of its own kept aside, and which systems it may be."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms

from distillery.generators.files.contents import ANY_SYSTEM, Item, RowRefused, require_atoms
from distillery.generators.files.units import find_wrong_unit
from distillery.structures.checks import LEAST_VACUUM, count_detached, find_plain_fault, find_vacuum
from distillery.structures.electrons import read_state
from distillery.structures.geometry import Neighbours
from distillery.structures.structure import SYSTEMS, Structure, System, from_ase

HEAVY_HYDROGENS = {"D": "H", "T": "H"}
"""Symbols that files have for isotopes."""
VACUUM = 20.0
"""Å; what a slab without a third vector gets between itself and its image."""
_OWN_LABELS = ("energy", "free_energy", "forces", "stress", "magmom", "magmoms", "charges", "dipole")
_LABEL = re.compile("energ|force|stress|virial|dipole|magmom|charges", re.IGNORECASE)
_NO_LABEL = re.compile("weight|^initial_", re.IGNORECASE)
_SYMBOL = re.compile(r"[A-Z]\S{0,7}")
"""What ASE looks up as one; names of columns and keys are longer or begin small."""
_MOST_KEYS = 50
_LONGEST_TEXT = 200


def attempt(read: Callable[[], Structure | RowRefused], place: str = "") -> Structure | RowRefused:
    """What a row is, or why it is none, whatever ASE and others make of its content; `place` says where it stands, before a colon."""
    try:
        return read()
    except RowRefused as refusal:
        return refusal
    except Exception as error:
        return refuse(error, place)


def refuse(error: Exception, place: str = "") -> RowRefused:
    """A row that can't be read, for what that led to; an error that says no more than a symbol is of one that ASE does not know."""
    told = str(error)[:200] if type(error) is ValueError else f"{type(error).__name__}: {str(error)[:200]}"
    if isinstance(error, KeyError) and error.args and (unknown := _SYMBOL.fullmatch(str(error.args[0]))):
        told = f"{unknown[0]!r} is no element"
    return RowRefused("unreadable", f"{place}: {told}" if place else told)


def read_atoms(atoms: Atoms, known: Mapping[str, Any]) -> Structure:
    """A structure of ASE's atoms, periodic as they are, as system molecule or crystal until it is settled.

    Charge and spin are those that are known of it. `origin` has `info` (what else is known: names, ids), and `own` (its own labels,
    eV, eV/Å, eV/Å³). RowRefused: empty, no element, or a charge or spin that is none.
    """
    require_atoms(np.asarray(atoms.numbers, dtype=np.int64))
    known = {**atoms.info, **known}
    if (fault := find_wrong_unit(known)) is not None:
        raise RowRefused("wrong_unit", fault)
    try:
        charge, multiplicity = read_state(known)
    except ValueError as error:
        raise RowRefused("unreadable", str(error)) from error
    own = _read_labels(atoms)
    origin = {"info": _choose_info({key: value for key, value in known.items() if key not in own}), "own": own}
    system: System = "crystal" if any(atoms.pbc) else "molecule"
    found = from_ase(atoms, id="", system=system, origin={k: v for k, v in origin.items() if v}, charge=charge, multiplicity=multiplicity)
    is_said_lowest = multiplicity == found.lowest_multiplicity == 1
    return replace(found, multiplicity=0) if is_said_lowest else found


def _choose_info(known: Mapping[str, Any]) -> dict[str, Any]:
    """Names, ids and numbers, as far as they are short; no labels."""
    chosen = {
        str(key): value for key, value in known.items() if key not in _OWN_LABELS and isinstance(value, str | int | float | np.number)
    }
    return {key: value for key, value in list(chosen.items())[:_MOST_KEYS] if len(str(value)) <= _LONGEST_TEXT}


def _read_labels(atoms: Atoms) -> dict[str, Any]:
    """What the file says of energy, forces, … itself, under names like REF_forces too; these are never the dataset's labels."""
    found = dict(getattr(atoms.calc, "results", {})) if atoms.calc is not None else {}
    labels = {name: found[name] for name in _OWN_LABELS if found.get(name) is not None}
    others = {name: value for name, value in (*atoms.info.items(), *atoms.arrays.items()) if _is_label(name, value)}
    return labels | {name: value for name, value in others.items() if name not in labels}


def _is_label(name: str, value: Any) -> bool:
    """Numbers that are called like a label, and neither weights nor what a calculation begins with."""
    return bool(_LABEL.search(name) and not _NO_LABEL.search(name)) and np.asarray(value).dtype.kind in "fi"


def describe_row(at: int, found: Structure | RowRefused) -> Item:
    """What a scan tells of a row; one that no teacher should see, whatever it is taken for, is refused, and so is a wire."""
    if isinstance(found, RowRefused):
        return Item(at, refusal=found)
    if sum(found.pbc) == 1:
        return Item(at, refusal=RowRefused("partial_periodicity", f"pbc {found.pbc}: one direction only; put it into a box"))
    elements = require_atoms(found.numbers.astype(np.int64))
    try:
        whole = found if sum(found.pbc) != 2 else settle(found, "surface")
    except RowRefused as refusal:
        return Item(at, refusal=refusal)
    if (fault := find_plain_fault(whole)) is not None:
        return Item(at, refusal=RowRefused(fault.reason, fault.detail))
    return Item(at, len(found), elements, list_systems(found), is_charged=not found.is_plain)


def list_systems(structure: Structure) -> int:
    """Which systems a row may be by its periodicity, as bits in the order of SYSTEMS; only the one that its file names, if it does."""
    if not structure.is_periodic:
        possible: tuple[System, ...] = ("molecule", "cluster")
    else:
        possible = ("crystal", "surface") if all(structure.pbc) else ("surface",)
    named = structure.origin.get("info", {}).get("system")
    return to_bits([named] if named in possible else possible)


def to_bits(systems: "tuple[System, ...] | list[System]") -> int:
    """Systems as bits in the order of SYSTEMS."""
    return sum(1 << SYSTEMS.index(system) for system in systems) & ANY_SYSTEM


def settle(structure: Structure, system: System) -> Structure:
    """The structure as this system, a slab without a third vector with one."""
    if system != "surface" or all(structure.pbc):
        return replace(structure, system=system)
    return _close_slab(replace(structure, system=system))


def _close_slab(slab: Structure) -> Structure:
    """A slab that is periodic in two directions, with a third one along c: its normal, as long as its thickness and 20 Å of vacuum.

    The axes are turned over in a circle until the open one is c; its atoms are moved to the middle.
    """
    turn = (slab.pbc.index(False) + 1) % 3
    a, b = np.roll(slab.cell, -turn, axis=0)[:2]
    normal = np.cross(a, b)
    area = float(np.linalg.norm(normal))
    if area < 1e-6:
        raise RowRefused("bad_cell", f"it is periodic along two vectors that span nothing: {a.tolist()} and {b.tolist()}")
    normal = normal / area
    heights = slab.positions @ normal
    length = float(np.ptp(heights)) + VACUUM
    shift = length / 2 - (float(heights.max()) + float(heights.min())) / 2
    return replace(
        slab,
        cell=np.stack([a, b, length * normal]),
        positions=slab.positions + shift * normal,
        pbc=(True, True, True),
        origin={**slab.origin, "vacuum": VACUUM},
    )


def guess_system(structure: Structure) -> System:
    """What a row looks like: a slab has 15 Å of vacuum along c; a molecule is in one piece. What is refused anyway looks like neither."""
    if find_plain_fault(structure if sum(structure.pbc) != 2 else settle(structure, "surface")) is not None:
        return "crystal" if structure.is_periodic else "cluster"
    if structure.is_periodic:
        whole = settle(structure, "surface")
        return "surface" if find_vacuum(whole) >= LEAST_VACUUM - 1e-6 else "crystal"
    return "cluster" if count_detached(structure, Neighbours(structure)) else "molecule"
