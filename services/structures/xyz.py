"""XYZ files, extended or plain: any number of frames, each read by ASE on its own."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io.extxyz import key_val_str_to_dict

from distillery.generators.files.contents import Contents, Item, RowRefused
from distillery.generators.files.extxyz import parse_extended
from distillery.generators.files.frames import Frame, read_frames
from distillery.structures.structure import Structure
from services.structures.conversion import attempt, describe_row, read_atoms
from services.structures.packed import open_packed

_EXPONENT = re.compile(r"(?<=[\d.])[Dd](?=[+-]?\d+(\s|$))")
"""Of numbers as Fortran writes them, 0.11D+01."""
_DEUTERIUM = re.compile(r"^(\s*)[DT](?=\s)", re.MULTILINE)


class XyzReader:
    """A `contents.Reader`; the place of a structure is its first byte in the unpacked file."""

    def list_files(self, path: Path) -> Sequence[Path]:
        """The file alone."""
        return [path]

    def scan(self, path: Path) -> Iterator[Item]:
        """Frames, read as far as tells their elements and periodicity."""
        with open_packed(path) as file:
            for frame in read_frames(file):
                yield describe_row(frame.at, _read_frame(frame))

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Structure | RowRefused]:
        """The rows wanted; a packed file is unpacked from its start to the last of them."""
        with open_packed(path) as file:
            for row in rows:
                file.seek(int(contents.at[row]))
                yield _read_frame(next(read_frames(file)))


def _read_frame(frame: Frame) -> Structure | RowRefused:
    if frame.fault is not None:
        return RowRefused("unreadable", f"at byte {frame.at}: {frame.fault}")
    if len(frame.lines) == 2:
        return RowRefused("empty", "it has no atoms")
    return attempt(lambda: read_atoms(_parse(b"".join(frame.lines).decode(errors="replace")), {}), f"at byte {frame.at}")


def _parse(text: str) -> Atoms:
    """The atoms of one frame: extended, or plain with any comment."""
    head, comment, rest = text.split("\n", 2)
    rest = _EXPONENT.sub("e", _DEUTERIUM.sub(r"\1H", rest))
    if "lattice" not in comment.lower() and "properties" not in comment.lower():
        return _parse_plain(comment, rest)
    return parse_extended(f"{head}\n{comment}\n{rest}")


def _parse_plain(comment: str, rest: str) -> Atoms:
    """Element and three numbers a line; what else stands in a line is left out."""
    words = [line.split() for line in rest.splitlines()]
    atoms = Atoms(
        numbers=[int(word[0]) if word[0].isdecimal() else atomic_numbers[word[0].capitalize()] for word in words],
        positions=np.array([word[1:4] for word in words], dtype=np.float64),
    )
    if comment.strip():
        atoms.info["comment"] = comment.strip()
    atoms.info.update({key: value for key, value in key_val_str_to_dict(comment).items() if "=" in comment and value is not True})
    return atoms
