"""Files of VASP, read by ASE once they tell elements, counts and positions: POSCAR, XDATCAR, OUTCAR, vasprun.xml."""

import io
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile

from ase.data import atomic_numbers
from ase.formula import Formula

from distillery.generators.files.contents import RowRefused
from services.structures.conversion import refuse
from services.structures.program_files import convert, is_number, name_missing_charge, read_frames
from services.structures.whole_files import Found

_ISOTOPES = re.compile(r"(?<!\S)[DT](?!\w)")
_POSITIONS = 7
"""Of a POSCAR: before its eighth line, with how positions are meant, what stands behind ! or # is a comment."""
_XDATCAR_HEAD = 7
_NELECT = re.compile(r"^\s*NELECT\s*=\s*([\d.]+)", re.MULTILINE)
_ION_COUNTS = re.compile(r"^\s*ions per type\s*=\s*((?:\d+[ ]*)+)$", re.MULTILINE)
_ZVAL = re.compile(r"^\s*ZVAL\s*=\s*((?:\d+\.\d+[ ]*)+)$", re.MULTILINE)
_XML_NELECT = re.compile(r'name="NELECT">\s*([\d.]+)')
_XML_TYPES = re.compile(r"<rc><c>\s*(\d+)\s*</c><c>\s*\w+\s*</c><c>[^<]*</c><c>\s*([\d.]+)\s*</c><c>")


class _Outcar(io.StringIO):
    """ASE looks for a CONTCAR beside an OUTCAR; beside this one there is none."""

    name = f"{os.devnull}/OUTCAR"


def parse_poscar(text: str) -> Sequence[Found]:
    """The one structure of a POSCAR or CONTCAR; its first line is kept as comment. Deuterium and tritium are hydrogen."""
    lines = text.rstrip().split("\n")
    lines[1:_POSITIONS] = [re.split("[!#]", line)[0] for line in lines[1:_POSITIONS]]
    lines[1:2] = [" ".join(takewhile(is_number, line.split())) or line for line in lines[1:2]]
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
    if len(lines[1].split()) not in {1, 3} or not all(is_number(word) for word in lines[1].split()):
        raise ValueError(f"its line 2 wants one factor or three; got {lines[1][:50]!r}")
    place = 6 if _names_elements(lines[5]) else 5
    counts, n_wanted = lines[place].split(), len(lines[5].split())
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
    if len(words) != 3 or not all(is_number(word) for word in words):
        raise ValueError(f"its line {place + 1} wants {what}, three numbers; got {lines[place][:50]!r}")


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
    if fault := _find_excess(text):
        return [RowRefused("unreadable", fault)]
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


def _find_excess(text: str) -> str | None:
    """What an XDATCAR claims beyond its lines: of each atom ASE makes a symbol before it reads its place."""
    lines = text.split("\n")
    n_atoms = sum(int(word[:20]) for line in lines[5:7] for word in line.split() if word.isdecimal())
    return f"it has {n_atoms} atoms by its lines 6 and 7, and {len(lines)} lines" if n_atoms > len(lines) else None


def _require_last_digits(text: str) -> None:
    """As many decimals in the last line as in the one before: 0.25 that was cut off in the middle would be 0."""
    *_, before, last = ("", *(line.split() for line in text.rstrip().split("\n")))
    if before and last and len(last[-1].partition(".")[2]) < len(before[-1].partition(".")[2]):
        raise ValueError(f"it ends in the middle of a number, {last[-1]}")


def parse_outcar(text: str) -> Sequence[Found]:
    """The steps of VASP's OUTCAR."""
    n_electrons, counts, valences = _NELECT.search(text), _ION_COUNTS.search(text), _ZVAL.search(text)
    told: dict[str, float] = {}
    if n_electrons and counts and valences and len(counts[1].split()) == len(valences[1].split()):
        n_valence = sum(int(n) * float(valence) for n, valence in zip(counts[1].split(), valences[1].split(), strict=True))
        told = name_missing_charge(n_valence, n_electrons[1])
    return convert(read_frames(_Outcar(text), "vasp-out"), told)


def parse_vasprun(text: str) -> Sequence[Found]:
    """The steps of VASP's vasprun.xml."""
    n_electrons, types = _XML_NELECT.search(text), _XML_TYPES.findall(text)
    told = name_missing_charge(sum(int(n) * float(valence) for n, valence in types), n_electrons[1]) if n_electrons and types else {}
    return convert(read_frames(io.StringIO(text), "vasp-xml"), told)
