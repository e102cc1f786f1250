"""Files of other programs, read whole by ASE: trajectories, inputs and outputs. Labels in them are their own, as in all files."""

import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ase.io
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers
from ase.formula import Formula
from ase.io.aims import read_aims, read_aims_output
from ase.io.res import Res

from distillery.generators.files.contents import ForeignFile, RowRefused
from services.structures.conversion import attempt, read_atoms
from services.structures.whole_files import Found

_ISOTOPES = re.compile(r"(?<!\S)[DT](?!\w)")
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


def parse_poscar(text: str) -> Sequence[Found]:
    """The one structure of a POSCAR or CONTCAR; its first line is kept as comment. Deuterium and tritium are hydrogen."""
    lines = text.rstrip().split("\n")
    _require_poscar(lines)
    species = 5 if _names_elements(lines[5]) else 0
    lines[species] = _ISOTOPES.sub("H", lines[species])
    return convert(_read(io.StringIO("\n".join([*lines, ""])), "vasp"), {"comment": text.split("\n", 1)[0].strip()})


def _require_poscar(lines: Sequence[str]) -> None:
    """Lines that are there, numbers where numbers are wanted, and symbols of elements: ASE takes them from any words of the first line."""
    if len(lines) < 8:
        raise ValueError(f"a POSCAR has at least 8 lines: comment, factor, three vectors, elements, counts, …; it has {len(lines)}")
    for place in (2, 3, 4):
        _require_numbers(lines, place, "a vector of the cell")
    if len(lines[1].split()) not in {1, 3} or not all(_is_number(word) for word in lines[1].split()):
        raise ValueError(f"its line 2 wants one factor or three; got {lines[1][:50]!r}")
    place = 6 if _names_elements(lines[5]) else 5
    counts = lines[place].split("!")[0].split()
    n_wanted = len(lines[5].split("!")[0].split())
    if len(counts) != n_wanted or not all(count.isdecimal() for count in counts):
        raise ValueError(f"its line {place + 1} wants the number of atoms of each element, {n_wanted} of them; got {lines[place][:50]!r}")
    if place == 5 and not _is_named_by(lines[0], len(counts)):
        raise ValueError(
            f"it names no elements, as VASP 4 wrote it; write the symbols of its {len(counts)} into a line of their own before their counts"
        )
    first = place + (3 if lines[place + 1].strip()[:1] in {"s", "S"} else 2)
    n_atoms = sum(map(int, counts))
    if len(lines) < first + n_atoms:
        raise ValueError(f"it has {n_atoms} atoms by its line {place + 1}, and lines of {max(len(lines) - first, 0)}")
    for row in range(first, first + n_atoms):
        _require_numbers(lines, row, "a position")


def _names_elements(line: str) -> bool:
    """Whether a POSCAR's sixth line has words, as VASP 5 writes it, or numbers."""
    return bool(line.strip()) and not line.split()[0].isdecimal()


def _require_numbers(lines: Sequence[str], place: int, what: str) -> None:
    """Three numbers, or more words behind them."""
    words = lines[place].split()[:3]
    if len(words) != 3 or not all(_is_number(word) for word in words):
        raise ValueError(f"its line {place + 1} wants {what}, three numbers; got {lines[place][:50]!r}")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _is_named_by(comment: str, n: int) -> bool:
    """Whether a comment begins with n symbols of elements, counted or not, or with a formula of n elements."""
    words = [re.sub(r"[-_,.=\d]", "", word) for word in _ISOTOPES.sub("H", comment).split()]
    if len(words) >= n and all(word in atomic_numbers for word in words[:n]):
        return True
    try:
        return bool(words) and len(list(Formula(words[0]))) == n
    except ValueError:
        return False


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
