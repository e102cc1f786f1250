"""Files that are read as a whole, as CIF, with any number of structures, and POSCAR, with one."""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.io.cif import CIFBlock, parse_cif
from ase.spacegroup.spacegroup import SpacegroupNotFoundError

from distillery.generators.files.contents import Contents, ForeignFile, Item, RowRefused
from distillery.structures.structure import Structure
from services.structures.conversion import describe_row, read_atoms
from services.structures.packed import read_text

_ISOTOPES = re.compile(r"(?<!\S)[DT](?!\w)")
_SPECIES_LINES = (0, 5)
"""Of a POSCAR: the sixth, and where that has numbers, as VASP 4 wrote it, the first."""
_WHOLE = 1e-3
"""An occupancy so near to 1 is 1, as 0.9999 of a refinement and 3 × 0.3333 are; `.` stands for the 1 that CIF has where none is given."""
_KEPT_FILES = 4096
_GROUPS = (
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_space_group_it_number",
    "_symmetry_int_tables_number",
)
_OPERATIONS = ("_space_group_symop_operation_xyz", "_space_group_symop.operation_xyz", "_symmetry_equiv_pos_as_xyz")
"""The tags by which a CIF names its space group, and lists its operations."""
_HALL = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_NO_VALUE = {"", "?", "."}
_IDS = ("_cod_database_code", "_database_code_icsd", "_database_code_csd", "_database_code_amcsd")
Found = Structure | RowRefused


class WholeFileReader:
    """A `contents.Reader` of files that one function reads; what came of them last is kept."""

    def __init__(self, parse: Callable[[Any], Sequence[Found]], open_file: Callable[[Path], Any] = read_text) -> None:
        """`parse` makes rows of what `open_file` reads, a text or bytes; ForeignFile where it is of another program."""
        self._parse, self._open_file = parse, open_file

    def list_files(self, path: Path) -> Sequence[Path]:
        """The file alone."""
        return [path]

    def scan(self, path: Path) -> Iterator[Item]:
        """Every row."""
        for row, found in enumerate(self._read(path)):
            yield describe_row(row, found)

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Found]:
        """The rows wanted."""
        found = self._read(path)
        for row in rows:
            yield found[row]

    def _read(self, path: Path) -> Sequence[Found]:
        stat = path.stat()
        return _read_file(self._parse, self._open_file, path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=_KEPT_FILES)
def _read_file(parse: Callable[[Any], Sequence[Found]], open_file: Callable[[Path], Any], path: Path, *stat: int) -> Sequence[Found]:
    content = open_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tables of symmetry that a file lacks, and of labels
        try:
            return parse(content)
        except ForeignFile:
            raise
        except Exception as error:  # ASE: whatever a damaged file leads to
            return [_refuse(error)]


def parse_cif_text(text: str) -> Sequence[Found]:
    """The structures of a CIF; blocks without atoms are none, and a file of such blocks alone is one refused row."""
    blocks = [block for block in parse_cif(io.StringIO(text)) if block.get("_atom_site_label") or block.get("_atom_site_type_symbol")]
    if not blocks:
        return [RowRefused("empty", "no block of it lists atoms (_atom_site_label)")]
    return [attempt(lambda block=block: _read_block(block)) for block in blocks]  # type: ignore[misc]


def _read_block(block: CIFBlock) -> Structure:
    shares = block.get("_atom_site_occupancy") or []
    partial = [share for share in shares if share != "." and (not isinstance(share, int | float) or abs(share - 1) > _WHOLE)]
    if partial:
        raise RowRefused("disordered", f"{len(partial)} of its sites are not wholly one element: occupancy {partial[0]}")
    if any(str(group) not in {".", "?", "0"} for group in block.get("_atom_site_disorder_group") or []):
        raise RowRefused("disordered", "sites of it stand in for one another (_atom_site_disorder_group)")
    _require_cell(block)
    atoms = _apply_symmetry(_name_symmetry(block))
    _require_own_places(block, atoms)
    return read_atoms(atoms, _name_block(block))


def _require_cell(block: CIFBlock) -> None:
    """A cell with lengths and angles that are some; none is needed where the atoms have Cartesian coordinates."""
    lengths_and_angles = block.get_cellpar()
    if lengths_and_angles is None and "_atom_site_cartn_x" not in block:
        raise ValueError("it has fractional coordinates, but not all six of _cell_length_a … _cell_angle_gamma")
    if lengths_and_angles is not None and not all(length > 0 for length in lengths_and_angles[:3]):
        raise ValueError(f"lengths of a cell are more than 0 Å; got {lengths_and_angles[:3]}")
    if lengths_and_angles is not None and not all(0 < angle < 180 for angle in lengths_and_angles[3:]):
        raise ValueError(f"angles of a cell lie between 0 and 180 degrees; got {lengths_and_angles[3:]}")


def _name_symmetry(block: CIFBlock) -> CIFBlock:
    """The block with a group that all crystals have where it lists operations and names none: ASE takes those only beside a name.

    ValueError where it has Hall's symbol alone, which ASE does not know: it would count as no symmetry.
    """
    named = {name: tag for name, tag in block.items() if not (name in _GROUPS and tag in _NO_VALUE)}
    if named.keys() & set(_GROUPS):
        return CIFBlock(block.name, named)
    if named.keys() & set(_OPERATIONS):
        return _name_by_operations(CIFBlock(block.name, named))
    hall = next((str(tag) for name in _HALL if (tag := named.get(name, "?")) not in _NO_VALUE), "P 1")
    if hall.replace(" ", "").upper() != "P1":
        raise ValueError(f"it names its symmetry by Hall's symbol alone ({hall}): name the group, or list its operations")
    return CIFBlock(block.name, named)


def _name_by_operations(block: CIFBlock) -> CIFBlock:
    return CIFBlock(block.name, {**{name: tag for name, tag in block.items() if name not in _GROUPS}, _GROUPS[0]: "P 1"})


def _apply_symmetry(block: CIFBlock) -> Atoms:
    """All atoms of the cell; by the operations alone where they are listed beside a name that ASE does not know, as `R -3 m :H`."""
    try:
        return block.get_atoms()
    except SpacegroupNotFoundError:
        if not block.keys() & set(_OPERATIONS):
            raise
        return _name_by_operations(block).get_atoms()


def _require_own_places(block: CIFBlock, atoms: Atoms) -> None:
    """No site lies where the symmetry puts one of another element: ASE leaves out the later one of two, without a word."""
    listed = block.get_unsymmetrized_structure()
    kept = atoms.arrays.get("spacegroup_kinds", np.arange(len(listed)))
    for site in sorted(set(range(len(listed))) - set(kept.tolist())):
        apart = atoms.get_scaled_positions() - listed.get_scaled_positions()[site]
        twin = int(np.linalg.norm(apart - np.rint(apart), axis=1).argmin())
        if atoms.numbers[twin] != listed.numbers[site]:
            raise RowRefused("disordered", f"{atoms.symbols[twin]} and {listed.symbols[site]} lie in one place")


def _name_block(block: CIFBlock) -> Mapping[str, Any]:
    """The name of a block and the number that a database gave it."""
    known = {"block": block.name, **{name.lstrip("_"): block.get(name) for name in _IDS if block.get(name) is not None}}
    return {key: str(value) for key, value in known.items()}


def parse_poscar_text(text: str) -> Sequence[Found]:
    """The one structure of a POSCAR or CONTCAR; its first line is kept as comment. Deuterium and tritium are hydrogen."""
    lines = text.split("\n")
    for place in _SPECIES_LINES:
        lines[place : place + 1] = [_ISOTOPES.sub("H", line) for line in lines[place : place + 1]]
    atoms = ase.io.read(io.StringIO("\n".join(lines)), format="vasp")
    assert isinstance(atoms, Atoms)
    return [attempt(lambda: read_atoms(atoms, {"comment": text.split("\n", 1)[0].strip()}))]


def attempt(read: Callable[[], Structure]) -> Found:
    """What a row is, or why it is none."""
    try:
        return read()
    except RowRefused as refusal:
        return refusal
    except Exception as error:  # ASE: whatever a damaged block leads to
        return _refuse(error)


def _refuse(error: Exception) -> RowRefused:
    return RowRefused("unreadable", f"{type(error).__name__}: {str(error)[:200]}")
