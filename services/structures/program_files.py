"""Files of other programs, read whole by ASE: trajectories, inputs and outputs. Labels in them are their own, as in all files."""

import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ase.io
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.aims import read_aims, read_aims_output
from ase.io.res import Res

from distillery.generators.files.contents import ForeignFile, RowRefused
from services.structures.conversion import attempt, read_atoms
from services.structures.whole_files import Found

_LAMMPS_UNITS = ("metal", "real")
"""Those in which lengths are Å and masses g/mol."""
_UNITS = re.compile(r"units\s*=?\s*(\w+)")
_AIMS_CHARGE = re.compile(r"^\s*\|?\s*Charge\s*=\s*([-+\d.Ee]+)", re.MULTILINE)
_QE_CHARGE = re.compile(r"^\s*tot_charge\s*=\s*([-+\d.EeDd]+)", re.MULTILINE)
_OUTPUTS: Mapping[str, str] = {"Program PWSCF": "espresso-out", "Invoking FHI-aims ...": "aims-output", " ___ ___ ___ _ _ _": "gpaw-out"}
"""What stands near the beginning of an output, and the format that it then has."""
_BEGINNING = 5000


class _Outcar(io.StringIO):
    """ASE looks for a CONTCAR beside an OUTCAR; beside this one there is none."""

    name = f"{os.devnull}/OUTCAR"


def parse_as(format: str) -> Callable[[str], Sequence[Found]]:
    """Makes rows of a text by ASE's reader of this format."""

    def parse(text: str) -> Sequence[Found]:
        return convert(_read(io.StringIO(text), format))

    return parse


def parse_outcar(text: str) -> Sequence[Found]:
    """The steps of VASP's OUTCAR."""
    return convert(_read(_Outcar(text), "vasp-out"))


def _read(file: io.StringIO | io.BytesIO, format: str, **options: Any) -> list[Atoms]:
    found = ase.io.read(file, index=":", format=format, **options)
    return [found] if isinstance(found, Atoms) else found


def convert(frames: Sequence[Atoms], known: Mapping[str, Any] | None = None) -> Sequence[Found]:
    """A row of each; a file without any is one refused row."""
    if not frames:
        return [RowRefused("empty", "it holds no structure")]
    return [attempt(lambda atoms=atoms: read_atoms(atoms, known or {})) for atoms in frames]  # type: ignore[misc]


def parse_trajectory(content: bytes) -> Sequence[Found]:
    """The frames of an ASE trajectory."""
    return convert(_read(io.BytesIO(content), "traj"))


def parse_castep_cell(text: str) -> Sequence[Found]:
    """The structure of CASTEP's input; its keywords are not looked up, for which ASE would start CASTEP."""
    return convert(_read(io.StringIO(text), "castep-cell", calculator_args={"keyword_tolerance": 3}))


def parse_res(text: str) -> Sequence[Found]:
    """The structure of a SHELX file as AIRSS writes them, with its enthalpy as own energy."""
    found = Res.from_string(text)
    if found.energy is not None:
        found.atoms.calc = SinglePointCalculator(found.atoms, energy=found.energy)
    return convert([found.atoms])


def parse_aims_geometry(text: str) -> Sequence[Found]:
    """The structure of FHI-aims' `geometry.in`."""
    return convert([read_aims(io.StringIO(text))])


def parse_output(text: str) -> Sequence[Found]:
    """The structures of an output of Quantum ESPRESSO, FHI-aims or GPAW, by what it begins with; ForeignFile of any other program."""
    begins = text[:_BEGINNING]
    format = next((format for sign, format in _OUTPUTS.items() if sign in begins), None)
    if format is None:
        raise ForeignFile("it is no output of Quantum ESPRESSO, FHI-aims or GPAW")
    if format != "aims-output":
        return convert(_read(io.StringIO(text), format))
    return convert(read_aims_output(io.StringIO(text), index=slice(None)), _name_charge(_AIMS_CHARGE, text))


def parse_espresso_input(text: str) -> Sequence[Found]:
    """The structure of an input of Quantum ESPRESSO's pw.x, with its charge."""
    return convert(_read(io.StringIO(text), "espresso-in"), _name_charge(_QE_CHARGE, text))


def _name_charge(pattern: re.Pattern[str], text: str) -> dict[str, float]:
    found = pattern.search(text)
    return {} if found is None else {"charge": float(found[1].lower().replace("d", "e"))}


def parse_lammps_dump(text: str) -> Sequence[Found]:
    """The frames of a LAMMPS dump; RowRefused where elements or units would have to be guessed."""
    columns = re.search(r"^ITEM: ATOMS (.*)$", text, re.MULTILINE)
    if columns is None:
        raise ForeignFile("it is no dump of LAMMPS: it has no line ITEM: ATOMS")
    if "element" not in columns[1].split():
        return [RowRefused("unreadable", "its atoms have types, not elements: write a column `element` (dump_modify … element Si O)")]
    units = re.search(r"^ITEM: UNITS\s+(\w+)", text, re.MULTILINE)
    if (fault := _find_unit_fault(units)) is not None:
        return [fault]
    frames = _read(io.StringIO(text), "lammps-dump-text")
    for atoms in frames:
        if atoms.calc is not None:
            atoms.calc.results.pop("energy", None)  # zero, whatever it was
    return convert(frames)


def parse_lammps_data(text: str) -> Sequence[Found]:
    """The structure of a LAMMPS data file; RowRefused where elements, units or the style would have to be guessed."""
    if re.search(r"^.*\bxlo\s+xhi\b|^.*\bavec\b", text, re.MULTILINE) is None:
        raise ForeignFile("it is no data file of LAMMPS: it has no line xlo xhi")
    if re.search(r"^\s*(Masses|Atom Type Labels)\b", text, re.MULTILINE) is None:
        return [RowRefused("unreadable", "its atoms have types, not elements: it needs the section Masses")]
    if re.search(r"^\s*Atoms\s*#\s*\w+", text, re.MULTILINE) is None:
        return [RowRefused("unreadable", "it does not say its atom style: write it behind Atoms, as in `Atoms # atomic`")]
    if (fault := _find_unit_fault(_UNITS.search(text.split("\n", 1)[0]))) is not None:
        return [fault]
    return convert(_read(io.StringIO(text), "lammps-data"))


def _find_unit_fault(units: re.Match[str] | None) -> RowRefused | None:
    """None where nothing is said: LAMMPS' own default has no elements, and who writes them means Å."""
    if units is None or units[1] in _LAMMPS_UNITS:
        return None
    return RowRefused("wrong_unit", f"its units are LAMMPS' {units[1]}; {' and '.join(_LAMMPS_UNITS)} have Å")
