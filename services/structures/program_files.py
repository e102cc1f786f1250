"""Files of other programs, read whole by ASE: trajectories, inputs and outputs. Labels in them are their own, as in all files."""

import io
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import ase.io
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.aims import read_aims, read_aims_output
from ase.io.res import Res

from distillery.generators.files.contents import ForeignFile, RowRefused
from services.structures.conversion import attempt, read_atoms
from services.structures.whole_files import Found

_RES_OTHERS = frozenset({"UNIT", "FVAR", "ZERR", "REM"})
"""What may stand among the atoms of a SHELX file."""
_AIMS_CHARGE = re.compile(r"^\s*\|?\s*Charge\s*=\s*([-+\d.Ee]+)", re.MULTILINE)
_QE_CHARGE = re.compile(r"^\s*tot_charge\s*=\s*([-+\d.EeDd]+)", re.MULTILINE)
_QE_ELECTRONS = re.compile(r"^\s*number of electrons\s*=\s*([\d.]+)", re.MULTILINE)
_QE_SPECIES = re.compile(r"^\s*atomic species\s+valence[^\n]*\n((?:[^\n]*\S[^\n]*\n)+)", re.MULTILINE)
_QE_SITES = re.compile(r"^\s*\d+\s+(\S+)\s+tau\(", re.MULTILINE)
_OUTPUTS: Mapping[str, str] = {"Program PWSCF": "espresso-out", "Invoking FHI-aims ...": "aims-output", " ___ ___ ___ _ _ _": "gpaw-out"}
"""What stands near the beginning of an output, and the format that it then has."""
_BEGINNING = 5000


def parse_as(format: str) -> Callable[[str], Sequence[Found]]:
    """Makes rows of a text by ASE's reader of this format."""

    def parse(text: str) -> Sequence[Found]:
        return convert(read_frames(io.StringIO(text), format))

    return parse


def read_frames(file: io.StringIO | io.BytesIO, format: str, **options: Any) -> list[Atoms]:
    """All that ASE's reader of this format finds."""
    found = ase.io.read(file, index=":", format=format, **options)
    return [found] if isinstance(found, Atoms) else found


def convert(frames: Sequence[Atoms], known: Mapping[str, Any] | None = None) -> Sequence[Found]:
    """A row of each; a file without any is one refused row."""
    if not frames:
        return [RowRefused("empty", "it holds no structure")]
    return [attempt(lambda atoms=atoms: read_atoms(atoms, known or {})) for atoms in frames]  # type: ignore[misc]


def name_missing_charge(n_valence: float, n_electrons: str) -> dict[str, float]:
    """The charge, e, of so many electrons where so many are neutral; nothing where it is none."""
    charge = round(n_valence - float(n_electrons), 3)
    return {"charge": charge} if charge else {}


def is_number(word: str) -> bool:
    """Whether a word is one, as Python writes it."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def parse_trajectory(content: bytes) -> Sequence[Found]:
    """The frames of an ASE trajectory."""
    return convert(read_frames(io.BytesIO(content), "traj"))


def parse_castep_cell(text: str) -> Sequence[Found]:
    """The structure of CASTEP's input; its keywords are not looked up, for which ASE would start CASTEP.

    A unit that ASE does not know (a0) it takes for Å, and of a mixture of elements in one place it takes the one that is named there.
    """
    if re.search(r"^[^#!\n]*\bMIXTURE\b", text, re.MULTILINE | re.IGNORECASE):
        return [RowRefused("disordered", "a place of it holds a mixture of elements (MIXTURE)")]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "(?s).*invalid unit")
        return convert(read_frames(io.StringIO(text), "castep-cell", calculator_args={"keyword_tolerance": 3}))


def parse_res(text: str) -> Sequence[Found]:
    """The structure of a SHELX file as AIRSS writes them, with its enthalpy as own energy; RowRefused of one of a refinement.

    ASE takes of its reader the title alone: it applies no symmetry, knows no occupancy, and leaves lines out that it can't read.
    """
    return [attempt(lambda: read_atoms(_read_res([line.split() for line in text.split("\n") if line.strip()]), {}))]


def _read_res(lines: Sequence[Sequence[str]]) -> Atoms:
    """The atoms of lines of words, every one of the cell in a line of its own, wholly there."""
    found = {words[0].upper(): words for words in reversed(lines)}  # of each instruction the first
    if "SYMM" in found or found.get("LATT", [])[1:] != ["-1"]:
        raise RowRefused("unreadable", "atoms by symmetry are not in it, as it has not LATT -1 alone, without SYMM; convert it to CIF")
    if len(found.get("CELL", ())) != 8 or "SFAC" not in found:
        raise ValueError("it wants a line CELL with a wavelength and six numbers, and a line SFAC with elements")
    elements = [word.capitalize() for word in found["SFAC"][1:]]
    first = next(k for k, words in enumerate(lines) if words is found["SFAC"]) + 1
    last = next((k for k, words in enumerate(lines) if words is found.get("END")), len(lines))
    sites = [_read_site(words, elements) for words in lines[first:last] if words[0].upper() not in _RES_OTHERS]
    title: dict[str, Any] = {}
    with suppress(ValueError, IndexError):  # that of a refinement has other words
        title = Res.parse_title(" ".join(found.get("TITL", ())))
    atoms = Atoms(
        [symbol for symbol, _ in sites],
        cell=[float(word) for word in found["CELL"][2:]],
        scaled_positions=[place for _, place in sites],
        pbc=True,
        info={key: value for key, value in title.items() if key != "energy"},
    )
    if "energy" in title:
        atoms.calc = SinglePointCalculator(atoms, energy=title["energy"])
    return atoms


def _read_site(words: Sequence[str], elements: Sequence[str]) -> tuple[str, list[float]]:
    """Element and fractions of an atom's line: name, type, three fractions and an occupancy."""
    if len(words) < 6 or not all(is_number(word) for word in words[1:6]) or not 1 <= float(words[1]) <= len(elements):
        raise ValueError(f"a line of an atom wants name, type, three fractions and an occupancy; got {' '.join(words)[:50]!r}")
    if float(words[5]) not in {1.0, 11.0}:  # 11: it is 1, and was held there
        raise RowRefused("disordered", f"the atom {words[0]} has an occupancy of {words[5]}")
    return elements[int(float(words[1])) - 1], [float(word) for word in words[2:5]]


def parse_aims_geometry(text: str) -> Sequence[Found]:
    """The structure of FHI-aims' `geometry.in`."""
    return convert([read_aims(io.StringIO(text))])


def parse_output(text: str) -> Sequence[Found]:
    """The structures of an output of Quantum ESPRESSO, FHI-aims or GPAW, by what it begins with; ForeignFile of any other program."""
    begins = text[:_BEGINNING]
    format = next((format for sign, format in _OUTPUTS.items() if sign in begins), None)
    if format is None:
        raise ForeignFile("it is no output of Quantum ESPRESSO, FHI-aims or GPAW")
    if format == "espresso-out":
        return convert(read_frames(io.StringIO(text), format), _read_espresso_charge(text))
    if format != "aims-output":
        return convert(read_frames(io.StringIO(text), format))
    return convert(read_aims_output(io.StringIO(text), index=slice(None)), _name_charge(_AIMS_CHARGE, text))


def _read_espresso_charge(text: str) -> dict[str, float]:
    """By the electrons that it counts and the valences of its species."""
    n_electrons, table = _QE_ELECTRONS.search(text), _QE_SPECIES.search(text)
    sites = Counter(_QE_SITES.findall(text))
    valences = {words[0]: float(words[1]) for line in (table[1].split("\n") if table else ()) if len(words := line.split()) > 1}
    if n_electrons is None or not sites or not sites.keys() <= valences.keys():
        return {}
    return name_missing_charge(sum(n * valences[species] for species, n in sites.items()), n_electrons[1])


def parse_espresso_input(text: str) -> Sequence[Found]:
    """The structure of an input of Quantum ESPRESSO's pw.x, with its charge."""
    return convert(read_frames(io.StringIO(text), "espresso-in"), _name_charge(_QE_CHARGE, text))


def _name_charge(pattern: re.Pattern[str], text: str) -> dict[str, float]:
    found = pattern.search(text)
    return {} if found is None else {"charge": float(found[1].lower().replace("d", "e"))}
