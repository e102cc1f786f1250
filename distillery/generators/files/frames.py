"""Frames of XYZ files: a line with the number of atoms, a comment, a line an atom; cut apart so that a bad one spoils no other."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

LONGEST_LINE = 1_000_000
MOST_ATOMS = 100_000
"""Of one frame; the largest of Open Catalyst has some 230."""
MOST_BLANK_LINES = 100_000
_MOST_HOLLOW = 64 << 20
_WRITTEN = 6
"""Decimals: as many as programs write, and nobody by hand in every line."""


@dataclass(frozen=True)
class Frame:
    """The lines of a frame, that with the number of atoms first; `fault` if they are none, `is_stray` if it is a line too many."""

    at: int
    lines: tuple[bytes, ...]
    fault: str | None = None
    is_stray: bool = False


class _Lines:
    """The lines of an unpacked file, each with its first byte; they can be given back, for a packed file has no way back."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._returned: list[tuple[int, bytes]] = []
        self._hollow = 0

    def take(self) -> tuple[int, bytes]:
        """The next line; b"" at the end of the file."""
        if self._returned:
            return self._returned.pop()
        at = self._file.tell()
        line = self._file.readline(LONGEST_LINE)
        self._hollow = 0 if line.strip(b"\0") else self._hollow + len(line)
        if self._hollow > _MOST_HOLLOW:
            raise ValueError(f"{self._hollow} bytes on end before byte {at + len(line)} are 0: it was drawn out, or never wholly written")
        return at, line if at else line.removeprefix(codecs.BOM_UTF8)

    def give_back(self, *lines: tuple[int, bytes]) -> None:
        """These lines, in their order, come next."""
        self._returned.extend(reversed(lines))


def read_frames(file: IO[bytes]) -> Iterator[Frame]:
    """Frames from here on; one that is followed by another is read to its last line and no further."""
    lines = _Lines(file)
    while (first := _skip_blank_lines(lines))[1]:
        frame = _read_frame(first, lines)
        yield frame
        if frame.fault is not None:
            _skip_to_next(lines)


def _skip_blank_lines(lines: _Lines) -> tuple[int, bytes]:
    """The next line that is not blank; b"" at the end of the file."""
    for _ in range(MOST_BLANK_LINES):
        line = lines.take()
        if not line[1] or line[1].strip():
            return line
    raise ValueError(f"it has more than {MOST_BLANK_LINES} blank lines on end at byte {line[0]}")


def _read_frame(first: tuple[int, bytes], lines: _Lines) -> Frame:
    """A frame of as many lines as its first one says, or fewer where a number on its own begins the next."""
    at, head = first
    if not head.strip().isdigit():
        return Frame(at, (head,), f"a number of atoms was wanted, not {head[:40]!r}", is_stray=True)
    if len(head.strip()) > len(str(MOST_ATOMS)) or int(head) > MOST_ATOMS:
        return Frame(at, (head,), f"at most {MOST_ATOMS} atoms, not {head[:40]!r}")
    taken = [first, lines.take()]
    while len(taken) < int(head) + 2 and (line := lines.take())[1]:
        if line[1].strip().isdigit():
            lines.give_back(line)
            break
        taken.append(line)
    missing, content = int(head) + 2 - len(taken), tuple(line for _, line in taken)
    if missing:
        return Frame(at, content, f"{missing} of its {int(head)} lines of atoms are missing")
    return Frame(at, content, "the file ends in the middle of its last number" if _is_cut_off(content[2:]) else None)


def _is_cut_off(rows: tuple[bytes, ...]) -> bool:
    """Whether the last line has no end, and fewer decimals at its own than all others have there, which a program wrote."""
    if len(rows) < 2 or rows[-1].endswith(b"\n"):
        return False
    *before, last = (row.split() for row in rows)
    if not last:
        return False
    decimals = {len(row[len(last) - 1].partition(b".")[2]) for row in before if len(row) >= len(last)}
    return len(decimals) == 1 and len(last[-1].partition(b".")[2]) < decimals.pop() >= _WRITTEN


def _skip_to_next(lines: _Lines) -> None:
    """Leave out what stands before the next frame: a number on its own, and then a line that is no atom's."""
    line = lines.take()
    while line[1]:
        after = lines.take()
        if line[1].strip().isdigit() and after[1] and not _is_an_atom(after[1]):
            lines.give_back(line, after)
            return
        line = after


def _is_an_atom(line: bytes) -> bool:
    """True of an element and three numbers."""
    words = line.split()
    try:
        return len(words) >= 4 and words[0].isalpha() and bool([float(word) for word in words[1:4]])
    except ValueError:
        return False
