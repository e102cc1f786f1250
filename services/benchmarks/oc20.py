"""OC20 S2EF: `*.extxyz.xz` as ASE writes it, beside each a `*.txt.xz` with `system,frame,reference energy` a line."""

import io
import lzma
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from distillery.generators.files.contents import Contents, Item, RowRefused, require_atoms
from distillery.generators.files.frames import LONGEST_LINE, Frame, read_frames
from distillery.structures.structure import Structure, from_ase

_PROPERTIES = re.compile(rb'Properties="?species:S:1:pos:R:3[:"\s]')
_DEUTERIUM = re.compile(r"^[DT](?=\s)", re.MULTILINE)


class OC20Reader:
    """A `contents.Reader`; the place of a structure is its first byte in the unpacked file."""

    def list_files(self, path: Path) -> Sequence[Path]:
        """The file and the one with its lines."""
        return [path, _lines_of(path)]

    def scan(self, path: Path) -> Iterator[Item]:
        """Frames, made into structures only as far as tells whether that can be done."""
        lines = _read_lines(path)
        items: list[Item] = []
        try:
            with lzma.open(path) as file:
                for frame in read_frames(file):
                    if frame.is_stray and items:
                        items[-1] = Item(items[-1].at, refusal=RowRefused("unreadable", f"at byte {frame.at}: {frame.fault}"))
                    else:
                        items.append(_scan_frame(frame, lines[len(items)] if len(items) < len(lines) else ""))
        except (lzma.LZMAError, EOFError) as error:
            raise ValueError(f"it can't be unpacked: {error}") from error
        if len(lines) != len(items):
            raise ValueError(f"it holds {len(items)} structures, but {_lines_of(path).name} has {len(lines)} lines")
        yield from items

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Structure | RowRefused]:
        """The rows wanted; the file is unpacked from its start to the last of them."""
        lines = _read_lines(path)
        if len(lines) != len(contents.at):
            raise ValueError(f"{_lines_of(path).name} has {len(lines)} lines, {len(contents.at)} when it was indexed")
        with lzma.open(path) as file:
            for row in rows:
                file.seek(int(contents.at[row]))
                yield _to_structure(next(read_frames(file)), lines[row])


def _scan_frame(frame: Frame, line: str) -> Item:
    try:
        numbers = _check(frame)
        _parse_line(line)
        return Item(frame.at, len(numbers), require_atoms(numbers))
    except RowRefused as refusal:
        return Item(frame.at, refusal=refusal)


def _check(frame: Frame) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """The atomic numbers of a frame; RowRefused unless it is UTF-8 with a cell, known elements and three numbers for every atom."""
    if frame.fault is not None:
        raise RowRefused("unreadable", f"at byte {frame.at}: {frame.fault}")
    if len(frame.lines) == 2:
        raise RowRefused("empty", "it has no atoms")
    if not _PROPERTIES.search(frame.lines[1]):
        raise RowRefused("unreadable", f"at byte {frame.at}: not extended XYZ with species and positions first: {frame.lines[1][:80]!r}")
    try:
        atoms = [_clean(line.decode()).split() for line in frame.lines[2:]]
        frame.lines[1].decode()
        numbers = np.array([atomic_numbers[words[0]] for words in atoms], dtype=np.int64)
        positions = np.array([words[1:4] for words in atoms], dtype=np.float64)
    except (ValueError, KeyError, IndexError) as error:
        raise RowRefused("unreadable", f"at byte {frame.at}: {type(error).__name__}: {str(error)[:200]}") from error
    if positions.shape != (len(numbers), 3) or not np.isfinite(positions).all():
        raise RowRefused("unreadable", f"at byte {frame.at}: every atom has three finite numbers after its element")
    return numbers


def _clean(text: str) -> str:
    """Isotopes of hydrogen are hydrogen, and ASE knows none."""
    return _DEUTERIUM.sub("H", text)


def _lines_of(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".extxyz.xz") + ".txt.xz")


def _read_lines(path: Path) -> list[str]:
    """The lines beside a file; what is not UTF-8 in them stands for itself, so that only its own row is refused."""
    try:
        with lzma.open(_lines_of(path), "rt", encoding="utf-8", errors="surrogateescape") as file:
            found = []
            while line := file.readline(LONGEST_LINE):
                if line.strip():
                    found.append(line.strip())
            return found
    except FileNotFoundError as error:
        raise ValueError(
            f"{_lines_of(path).name} should lie beside it, with system, frame and reference energy of every structure"
        ) from error
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{_lines_of(path).name} can't be unpacked: {error}") from error


def _parse_line(line: str) -> tuple[str, str, float]:
    words = line.split(",")
    try:
        line.encode()
        sid, frame, reference = words
        return sid, frame, float(reference)
    except ValueError as error:
        raise RowRefused("unreadable", f"system,frame,reference energy were wanted beside it, not {line[:80]!r}") from error


def _to_structure(frame: Frame, line: str) -> Structure | RowRefused:
    """One frame; the energy in the file is the total one of DFT (RPBE)."""
    try:
        _check(frame)
        sid, fid, reference = _parse_line(line)
        atoms = ase.io.read(io.StringIO(_clean(b"".join(frame.lines).decode())), format="extxyz")
        assert isinstance(atoms, Atoms)
        energy = atoms.calc.results.get("energy") if atoms.calc is not None else None
        original = {"property": "energy", "value": energy, "unit": "eV", "reference_energy": reference}
        return from_ase(atoms, id="", system="surface", origin={"sid": sid, "frame": fid, "original": original})
    except RowRefused as refusal:
        return refusal
    except Exception as error:  # ASE: whatever a comment line leads to
        return RowRefused("unreadable", f"at byte {frame.at}: {type(error).__name__}: {str(error)[:200]}")
