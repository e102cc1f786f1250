"""Files of other programs, read whole by ASE: trajectories, inputs and outputs. Labels in them are their own, as in all files."""

import io
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import ase.io
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers
from ase.formula import Formula
from ase.io.aims import read_aims, read_aims_output
from ase.io.res import Res

from distillery.generators.files.contents import ForeignFile, RowRefused
from services.structures.conversion import attempt, read_atoms, refuse
from services.structures.whole_files import Found

_ISOTOPES = re.compile(r"(?<!\S)[DT](?!\w)")
_XDATCAR_HEAD = 7
_RES_OTHERS = frozenset({"UNIT", "FVAR", "ZERR", "REM"})
"""What may stand among the atoms of a SHELX file."""
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
        return convert(read_frames(io.StringIO(text), format))

    return parse


def parse_poscar(text: str) -> Sequence[Found]:
    """The one structure of a POSCAR or CONTCAR; its first line is kept as comment. Deuterium and tritium are hydrogen."""
    lines = text.rstrip().split("\n")
    _require_poscar(lines)
    species = 5 if _names_elements(lines[5]) else 0
    lines[species] = _ISOTOPES.sub("H", lines[species])
    return convert(read_frames(io.StringIO("\n".join([*lines, ""])), "vasp"), {"comment": text.split("\n", 1)[0].strip()})


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


def parse_xdatcar(text: str) -> Sequence[Found]:
    """The steps of VASP's XDATCAR; the last one of a run that was stopped may be cut off, and is then a refused row."""
    try:
        _require_last_digits(text)
        return convert(read_frames(io.StringIO(text), "vasp-xdatcar"))
    except (ValueError, IndexError) as error:
        whole, _, _ = text.rpartition("Direct configuration")
        if "Direct configuration" not in whole:
            raise
        cut = refuse(error, "its last configuration")
    with suppress(ValueError, IndexError):
        return [*convert(read_frames(io.StringIO(whole), "vasp-xdatcar")), cut]
    without_head = "\n".join(whole.rstrip("\n").split("\n")[:-_XDATCAR_HEAD]) + "\n"  # where the cell varies each has one
    return [*convert(read_frames(io.StringIO(without_head), "vasp-xdatcar")), cut]


def _require_last_digits(text: str) -> None:
    """As many decimals in the last line as in the one before: 0.25 that was cut off in the middle would be 0."""
    *_, before, last = ("", *(line.split() for line in text.rstrip().split("\n")))
    if before and last and len(last[-1].partition(".")[2]) < len(before[-1].partition(".")[2]):
        raise ValueError(f"it ends in the middle of a number, {last[-1]}")


def parse_outcar(text: str) -> Sequence[Found]:
    """The steps of VASP's OUTCAR."""
    return convert(read_frames(_Outcar(text), "vasp-out"))


def read_frames(file: io.StringIO | io.BytesIO, format: str, **options: Any) -> list[Atoms]:
    """All that ASE's reader of this format finds."""
    found = ase.io.read(file, index=":", format=format, **options)
    return [found] if isinstance(found, Atoms) else found


def convert(frames: Sequence[Atoms], known: Mapping[str, Any] | None = None) -> Sequence[Found]:
    """A row of each; a file without any is one refused row."""
    if not frames:
        return [RowRefused("empty", "it holds no structure")]
    return [attempt(lambda atoms=atoms: read_atoms(atoms, known or {})) for atoms in frames]  # type: ignore[misc]


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
    if len(words) < 6 or not all(_is_number(word) for word in words[1:6]) or not 1 <= float(words[1]) <= len(elements):
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
    if format != "aims-output":
        return convert(read_frames(io.StringIO(text), format))
    return convert(read_aims_output(io.StringIO(text), index=slice(None)), _name_charge(_AIMS_CHARGE, text))


def parse_espresso_input(text: str) -> Sequence[Found]:
    """The structure of an input of Quantum ESPRESSO's pw.x, with its charge."""
    return convert(read_frames(io.StringIO(text), "espresso-in"), _name_charge(_QE_CHARGE, text))


def _name_charge(pattern: re.Pattern[str], text: str) -> dict[str, float]:
    found = pattern.search(text)
    return {} if found is None else {"charge": float(found[1].lower().replace("d", "e"))}
