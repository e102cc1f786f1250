"""OC20 S2EF: `*.extxyz.xz` as ASE writes it, beside each a `*.txt.xz` with `system,frame,reference energy` a line."""

import io
import lzma
from collections.abc import Iterator, Sequence
from pathlib import Path

import ase.io
from ase import Atoms
from ase.data import atomic_numbers

from distillery.structures.structure import Structure, from_ase
from services.benchmarks.contents import Contents, Item


class OC20Reader:
    """A `contents.Reader`; the place of a structure is its first byte in the unpacked file."""

    def scan(self, path: Path) -> Iterator[Item]:
        """Frames, their coordinates left unread."""
        n_frames = 0
        try:
            with lzma.open(path) as file:
                while lines := _read_frame(file, at := file.tell()):
                    yield _scan_frame(lines, at)
                    n_frames += 1
        except (lzma.LZMAError, EOFError) as error:
            raise ValueError(f"it can't be unpacked: {error}") from error
        n_lines = len(_read_lines(path))
        if n_lines != n_frames:
            raise ValueError(f"it holds {n_frames} structures, but {_lines_of(path).name} has {n_lines} lines")

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Structure]:
        """The rows wanted; the file is unpacked from its start to the last of them."""
        lines = _read_lines(path)
        with lzma.open(path) as file:
            for row in rows:
                start = int(contents.at[row])
                file.seek(start)
                yield _to_structure(b"".join(_read_frame(file, start)).decode(), lines[row])


def _read_frame(file: lzma.LZMAFile, at: int) -> list[bytes]:
    """The lines of the frame that begins here; none at the end of the file."""
    first = file.readline()
    if not first.strip():
        return []
    if not first.strip().isdigit():
        raise ValueError(f"a number of atoms should stand at byte {at}, not {first[:40]!r}")
    lines = [first, *(file.readline() for _ in range(int(first) + 1))]
    if not lines[-1]:
        raise ValueError(f"the structure at byte {at} is cut off")
    return lines


def _scan_frame(lines: Sequence[bytes], at: int) -> Item:
    if b"Properties=species:S:1:" not in lines[1]:
        raise ValueError(f"the structure at byte {at} is not extended XYZ with the species first: {lines[1][:80]!r}")
    symbols = {line.split(None, 1)[0].decode() for line in lines[2:]}
    unknown = sorted(symbols - atomic_numbers.keys())
    if unknown:
        raise ValueError(f"the structure at byte {at} has unknown elements: {' '.join(unknown)}")
    return Item(at, len(lines) - 2, sorted(atomic_numbers[symbol] for symbol in symbols))


def _lines_of(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".extxyz.xz") + ".txt.xz")


def _read_lines(path: Path) -> list[str]:
    try:
        with lzma.open(_lines_of(path), "rt") as file:
            return [line.strip() for line in file if line.strip()]
    except FileNotFoundError as error:
        raise ValueError(
            f"{_lines_of(path).name} should lie beside it, with system, frame and reference energy of every structure"
        ) from error
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{_lines_of(path).name} can't be unpacked: {error}") from error


def _to_structure(text: str, line: str) -> Structure:
    """One frame; the energy in the file is the total one of DFT (RPBE)."""
    atoms = ase.io.read(io.StringIO(text), format="extxyz")
    assert isinstance(atoms, Atoms)
    sid, fid, reference = line.split(",")
    energy = atoms.calc.results.get("energy") if atoms.calc is not None else None
    original = {"property": "energy", "value": energy, "unit": "eV", "reference_energy": float(reference)}
    return from_ase(atoms, id="", system="surface", origin={"sid": sid, "frame": fid, "original": original})
