"""Files that are read as a whole, as CIF, with any number of structures, and POSCAR, with one."""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.formula import Formula
from ase.io.cif import CIFBlock, parse_cif

from distillery.generators.files.contents import Contents, ForeignFile, Item, RowRefused
from distillery.structures.structure import Structure
from services.structures.conversion import attempt, describe_row, read_atoms, refuse
from services.structures.packed import read_text
from services.structures.space_groups import Named, find_settings

_ISOTOPES = re.compile(r"(?<!\S)[DT](?!\w)")
_SPECIES_LINES = (0, 5)
"""Of a POSCAR: the sixth, and where that has numbers, as VASP 4 wrote it, the first."""
_WHOLE = 1e-3
"""An occupancy so near to 1 is 1, as 0.9999 of a refinement and 3 × 0.3333 are; `.` stands for the 1 that CIF has where none is given."""
_KEPT_FILES = 4096
_UNEVEN = re.compile(r"Wrong number \d+ of tokens, expected (\d+)")
"""What ASE warns of, where it leaves a row of a table out."""
_OPERATION = re.compile(r"\s*[-+xyz\d./\s]*[xyz][-+xyz\d./\s]*(,[-+xyz\d./\s]*[xyz][-+xyz\d./\s]*){2}", re.IGNORECASE)
_NAMES = (
    *("_space_group_name_h-m_alt", "_symmetry_space_group_name_h-m", "_space_group_name_h-m_full", "_space_group_name_h-m_ref"),
    "_space_group_name_schoenflies",
)
_NUMBERS = ("_space_group_it_number", "_symmetry_int_tables_number", "_space_group.it_number")
_HALL = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_CHOICES = ("_space_group_it_coordinate_system_code",)
_CELLS = ("_symmetry_cell_setting", "_space_group_crystal_system", "_symmetry_space_group_setting")
_OPERATIONS = ("_space_group_symop_operation_xyz", "_space_group_symop.operation_xyz", "_symmetry_equiv_pos_as_xyz")
"""The tags by which a CIF tells of its space group: by names, numbers and choices of axes, and by its operations."""
_FRACTIONS = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
_ROUNDED = 4e-4
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
            return [refuse(error)]


def parse_cif_text(text: str) -> Sequence[Found]:
    """The structures of a CIF; blocks without atoms are none, and a file of such blocks alone is one refused row."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = list(parse_cif(io.StringIO(text)))
    uneven = {int(wanted[1]) for one in told if (wanted := _UNEVEN.match(str(one.message)))}
    blocks = [block for block in found if block.get("_atom_site_label") or block.get("_atom_site_type_symbol")]
    if not blocks:
        return [RowRefused("empty", "no block of it lists atoms (_atom_site_label)")]
    return [attempt(lambda block=block: _read_block(block, uneven)) for block in blocks]  # type: ignore[misc]


def _read_block(block: CIFBlock, uneven: Set[int]) -> Structure:
    """`uneven` are the widths of tables of the file of which ASE left out rows, as they are of another width."""
    _require_tables(block, uneven)
    shares = block.get("_atom_site_occupancy") or []
    partial = [share for share in shares if share != "." and (not isinstance(share, int | float) or abs(share - 1) > _WHOLE)]
    if partial:
        raise RowRefused("disordered", f"{len(partial)} of its sites are not wholly one element: occupancy {partial[0]}")
    if any(str(group) not in {".", "?", "0"} for group in block.get("_atom_site_disorder_group") or []):
        raise RowRefused("disordered", "sites of it stand in for one another (_atom_site_disorder_group)")
    _require_cell(block)
    atoms, setting = _apply_symmetry(block)
    _require_own_places(block, atoms)
    return read_atoms(atoms, {**_name_block(block), **({"space_group": setting} if setting else {})})


def _require_tables(block: CIFBlock, uneven: Set[int]) -> None:
    """Whole tables of atoms and operations, with coordinates that are numbers."""
    for prefixes in (("_atom_site_",), ("_symmetry_equiv_", "_space_group_symop")):
        width = sum(tag.startswith(prefixes) and not tag.startswith("_atom_site_aniso") for tag in block)
        if width in uneven:
            raise ValueError(f"rows of its table {prefixes[0]}… have more or fewer than {width} values")
    for tag in _FRACTIONS:
        if strange := [value for value in block.get(tag) or [] if not isinstance(value, int | float)]:
            raise ValueError(f"a coordinate in {tag} is no number: {strange[0]!r}")


def _require_cell(block: CIFBlock) -> None:
    """A cell with lengths and angles that are some; none is needed where the atoms have Cartesian coordinates."""
    lengths_and_angles = block.get_cellpar()
    if lengths_and_angles is None and "_atom_site_cartn_x" not in block:
        raise ValueError("it has fractional coordinates, but not all six of _cell_length_a … _cell_angle_gamma")
    if lengths_and_angles is not None and not all(isinstance(one, int | float) for one in lengths_and_angles):
        raise ValueError(f"lengths and angles of a cell are numbers; got {lengths_and_angles}")
    if lengths_and_angles is not None and not all(length > 0 for length in lengths_and_angles[:3]):
        raise ValueError(f"lengths of a cell are more than 0 Å; got {lengths_and_angles[:3]}")
    if lengths_and_angles is not None and not all(0 < angle < 180 for angle in lengths_and_angles[3:]):
        raise ValueError(f"angles of a cell lie between 0 and 180 degrees; got {lengths_and_angles[3:]}")
    if lengths_and_angles is not None and not 2 * max(lengths_and_angles[3:]) < sum(lengths_and_angles[3:]) < 360:
        raise ValueError(f"no three vectors have the angles {lengths_and_angles[3:]}")


def _apply_symmetry(block: CIFBlock) -> tuple[Atoms, str]:
    """All atoms of the cell, and the setting of the space group where the file names it and lists no operations.

    Of several settings that the name may mean it is the first that gives the composition that the file tells, or the usual one.
    """
    if operations := _read_tags(block, _OPERATIONS):
        if strange := [one for one in operations if not _OPERATION.fullmatch(one)]:
            raise ValueError(f"{strange[0][:50]!r} is no operation such as -x,y+1/2,-z")
        return _place_atoms(block, None), ""
    settings = list(find_settings(_read_group(block), np.asarray(block.get_cell())))
    if not settings:
        return _place_atoms(block, ()), ""
    formula = str(block.get("_chemical_formula_sum", ""))
    found = [(_place_atoms(block, setting.operations), setting.name) for setting in (settings if formula else settings[:1])]
    return next((one for one in found if _has_formula(one[0], formula)), found[0])


def _read_group(block: CIFBlock) -> Named:
    number = next(iter(_read_tags(block, _NUMBERS)), None)
    return Named(
        names=_read_tags(block, _NAMES),
        number=None if number is None else _read_number(number),
        hall=next(iter(_read_tags(block, _HALL)), ""),
        choice=next(iter(_read_tags(block, _CHOICES)), ""),
    )


def _read_tags(block: CIFBlock, tags: Sequence[str]) -> list[str]:
    """The values, of a table all of them, without those that say nothing."""
    found = [block.get(tag) for tag in tags if tag in block]
    values = [str(value).strip() for one in found for value in (one if isinstance(one, list) else [one])]
    return [value for value in values if value not in _NO_VALUE]


def _read_number(text: str) -> int:
    number = float(text) if re.fullmatch(r"\d+(\.0*)?", text) else 0
    if not 1 <= number <= 230:
        raise ValueError(f"the number of a space group lies in 1..230; got {text}")
    return int(number)


def _place_atoms(block: CIFBlock, operations: Sequence[str] | None) -> Atoms:
    """The atoms of the cell by these operations, or the block's own; ASE takes them only beside the name of a group, whichever it is."""
    others = {tag: value for tag, value in block.items() if tag not in {*_NAMES, *_NUMBERS, *_CELLS}}
    if operations is not None:
        others = {tag: value for tag, value in others.items() if tag not in _OPERATIONS}
        others |= {_OPERATIONS[0]: list(operations)} if operations else {}
    others |= {tag: [_restore_fraction(value) for value in others[tag]] for tag in _FRACTIONS if tag in others}
    return CIFBlock(block.name, {**others, _NAMES[0]: "P 1"}).get_atoms()


def _restore_fraction(value: float) -> float:
    """Thirds and sixths that were written with three or four decimals: as .333 an atom would lie beside its axis, and be there thrice."""
    nearest = round(value * 6) / 6
    return nearest if round(value, 4) == value and abs(value - nearest) < _ROUNDED else value


def _has_formula(atoms: Atoms, formula: str) -> bool:
    try:
        return bool(Formula(formula.replace(" ", "")).reduce()[0] == atoms.symbols.formula.reduce()[0])
    except ValueError:
        return False


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
    if not re.search("[A-Za-z]", "".join(lines[place] for place in _SPECIES_LINES if place < len(lines))):
        raise ValueError("it names no elements, as VASP 4 wrote it; write their symbols into a line before their counts")
    for place in _SPECIES_LINES:
        lines[place : place + 1] = [_ISOTOPES.sub("H", line) for line in lines[place : place + 1]]
    atoms = ase.io.read(io.StringIO("\n".join(lines)), format="vasp")
    assert isinstance(atoms, Atoms)
    return [attempt(lambda: read_atoms(atoms, {"comment": text.split("\n", 1)[0].strip()}))]
