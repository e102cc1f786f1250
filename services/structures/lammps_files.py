"""Files of LAMMPS, dumps and data, read by ASE once they tell elements, units and all of their atoms: ASE guesses, or reads fewer."""

import io
import re
from collections.abc import Sequence

from ase.data import atomic_masses, atomic_numbers

from distillery.generators.files.contents import ForeignFile, RowRefused
from distillery.structures.structure import Structure
from services.structures.conversion import attempt, read_atoms
from services.structures.program_files import convert, read_frames
from services.structures.whole_files import Found

_UNITS_OF_ANGSTROM = ("metal", "real")
"""Those in which lengths are Å and masses g/mol."""
_N_ATOMS = re.compile(r"^\s*(\d+)\s+atoms\b", re.MULTILINE)
_UNITS = re.compile(r"units\s*=?\s*(\w+)")
_HEAVY_HYDROGENS = (2.0141, 3.0160)
_SAME_MASS, _SAME_HEAVY_MASS, _HEAVY = 0.006, 0.04, 30.0
"""g/mol: by so much the standard masses of elements have changed over the editions of the table (Zn 65.409, 65.39, 65.38)."""


def parse_lammps_dump(text: str) -> Sequence[Found]:
    """The frames of a dump; RowRefused where elements or units would have to be guessed, or where lines are missing."""
    columns = re.search(r"^ITEM: ATOMS (.*)$", text, re.MULTILINE)
    if columns is None:
        raise ForeignFile("it is no dump of LAMMPS: it has no line ITEM: ATOMS")
    if "element" not in columns[1].split():
        return [RowRefused("unreadable", "its atoms have types, not elements: write a column `element` (dump_modify … element Si O)")]
    if (fault := _find_unit_fault(re.search(r"^ITEM: UNITS\s+(\w+)", text, re.MULTILINE))) is not None:
        return [fault]
    frames = [frame for frame in re.split(r"(?m)^(?=ITEM: TIMESTEP)", text) if frame.startswith("ITEM: TIMESTEP")]
    return [attempt(lambda frame=frame: _read_frame(frame)) for frame in frames]  # type: ignore[misc]


def _read_frame(frame: str) -> Structure:
    told = re.search(r"^ITEM: NUMBER OF ATOMS\s+(\d+)", frame, re.MULTILINE)
    rows = frame.partition("ITEM: ATOMS")[2].partition("ITEM:")[0]
    n_lines = len(rows.strip().split("\n")) - 1
    if told is None or int(told[1]) != n_lines:
        raise ValueError(f"it has {told[1] if told else 'no number of'} atoms by its ITEM: NUMBER OF ATOMS, and lines of {n_lines}")
    (atoms,) = read_frames(io.StringIO(frame), "lammps-dump-text")
    if atoms.calc is not None:
        atoms.calc.results.pop("energy", None)  # zero, whatever it was
    return read_atoms(atoms, {})


def parse_lammps_data(text: str) -> Sequence[Found]:
    """The structure of a data file; RowRefused where elements, units or the style would have to be guessed."""
    if re.search(r"^.*\bxlo\s+xhi\b|^.*\bavec\b", text, re.MULTILINE) is None:
        raise ForeignFile("it is no data file of LAMMPS: it has no line xlo xhi")
    if re.search(r"^\s*Atoms\s*#\s*\w+", text, re.MULTILINE) is None:
        return [RowRefused("unreadable", "it does not say its atom style: write it behind Atoms, as in `Atoms # atomic`")]
    if (fault := _find_unit_fault(_UNITS.search(text.split("\n", 1)[0]))) is not None:
        return [fault]
    n_atoms, n_lines = _N_ATOMS.search(text), text.count("\n")
    if n_atoms is not None and int(n_atoms[1][:20]) > n_lines:
        return [RowRefused("unreadable", f"it claims {n_atoms[1][:20]} atoms in {n_lines} lines")]
    return convert(read_frames(io.StringIO(text), "lammps-data", Z_of_type=_find_elements(text)))


def _find_elements(text: str) -> dict[int, int]:
    """The atomic number of each type, by labels that are symbols, else by masses. ValueError where neither tells it."""
    labels, masses = _read_section(text, "Atom Type Labels"), _read_section(text, "Masses")
    if labels and all(label in atomic_numbers for label in labels.values()):
        return {int(type): atomic_numbers[label] for type, label in labels.items()}
    if not masses:
        raise ValueError("its atoms have types, not elements: it needs the section Masses, or Atom Type Labels that are symbols")
    types = {label: int(type) for type, label in labels.items()}
    return {types.get(type) or int(type): _find_element(type, mass) for type, mass in masses.items()}


def _find_element(type: str, mass: str) -> int:
    """The one element that has this mass, as far as it is written out: 16 is oxygen, 14.027 (a CH2) and 59 (Co or Ni) are none."""
    if re.fullmatch(r"\d+\.?\d*", mass) is None:
        raise ValueError(f"its type {type} has a mass of {mass!r}, which is no number")
    last_place = 10.0 ** -len(mass.partition(".")[2])
    slack = last_place / 2 + (_SAME_MASS if float(mass) < _HEAVY else _SAME_HEAVY_MASS)
    found = [z for z in range(1, len(atomic_masses)) if abs(atomic_masses[z] - float(mass)) <= slack]
    if not found and any(abs(heavy - float(mass)) <= slack for heavy in _HEAVY_HYDROGENS):
        return 1
    if len(found) != 1:
        raise ValueError(f"its type {type} has a mass of {mass} g/mol, which {'several elements have' if found else 'no element has'}")
    return found[0]


def _read_section(text: str, name: str) -> dict[str, str]:
    """The first two words of each line of a section."""
    found = re.search(rf"^\s*{name}[^\n]*\n\s*\n((?:[^\n]*\S[^\n]*(?:\n|$))*)", text, re.MULTILINE)
    lines = [line.split("#")[0].split() for line in found[1].split("\n")] if found else []
    return {words[0]: words[1] for words in lines if len(words) > 1}


def _find_unit_fault(units: re.Match[str] | None) -> RowRefused | None:
    """None where nothing is said: LAMMPS' own default has no elements, and who writes them means Å."""
    if units is None or units[1] in _UNITS_OF_ANGSTROM:
        return None
    return RowRefused("wrong_unit", f"its units are LAMMPS' {units[1]}; {' and '.join(_UNITS_OF_ANGSTROM)} have Å")
