"""Crystallographic information files (CIF): any number of blocks, of which those with atoms are structures."""

import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.io.cif import CIFBlock, parse_cif

from distillery.generators.files.contents import RowRefused
from distillery.structures.structure import Structure
from services.structures.conversion import HEAVY_HYDROGENS, attempt, read_atoms
from services.structures.space_groups import Named, find_settings
from services.structures.whole_files import Found

_WHOLE = 1e-3
"""An occupancy so near to 1 is 1, as 0.9999 of a refinement and 3 × 0.3333 are; `.` stands for the 1 that CIF has where none is given."""
_UNEVEN = re.compile(r"Wrong number \d+ of tokens, expected (\d+)")
"""What ASE warns of, where it leaves a row of a table out."""
_WORDS = re.compile(r"""(?<!\S)(?:'.*?'(?!\S)|".*?"(?!\S)|#.*|[^\s#]\S*)""")
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
_TYPES, _LABELS = "_atom_site_type_symbol", "_atom_site_label"
_SYMBOLS = {*chemical_symbols[1:], *HEAVY_HYDROGENS}
_LETTERS = re.compile("[A-Za-z]+")
_COUNTED = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*)")
_ALIKE = 0.02
"""Share by which counts of sites and of a formula may differ."""
_NO_VALUE = {"", "?", "."}
_IDS = ("_cod_database_code", "_database_code_icsd", "_database_code_csd", "_database_code_amcsd")


def parse_cif_text(text: str) -> Sequence[Found]:
    """The structures of a CIF; blocks without atoms are none, and a file of such blocks alone is one refused row."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = list(parse_cif(io.StringIO(_drop_comments(text))))
    uneven = {int(wanted[1]) for one in told if (wanted := _UNEVEN.match(str(one.message)))}
    blocks = [block for block in found if block.get(_LABELS) or block.get(_TYPES)]
    if not blocks:
        return [RowRefused("empty", "no block of it lists atoms (_atom_site_label)")]
    return [attempt(lambda block=block: _read_block(block, uneven)) for block in blocks]  # type: ignore[misc]


def _drop_comments(text: str) -> str:
    """Without what stands behind # in a line, which ASE takes for a value; # in quotes and in texts between semicolons is no comment."""
    is_text, lines = False, text.split("\n")
    for row, line in enumerate(lines):
        is_text ^= line.startswith(";")
        if "#" in line and not is_text:
            lines[row] = _WORDS.sub(lambda word: "" if word[0].startswith("#") else word[0], line)
    return "\n".join(lines)


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
    formula = _read_formula(block)
    block = CIFBlock(block.name, {**block, _TYPES: [HEAVY_HYDROGENS.get(one, one) for one in _find_elements(block, formula)]})
    atoms, setting = _apply_symmetry(block, formula)
    _require_own_places(block, atoms)
    _require_formula(Counter(atoms.get_chemical_symbols()), formula)
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


def _find_elements(block: CIFBlock, formula: Mapping[str, float]) -> list[str]:
    """The symbol of each site, of its type or, without one, of its label. ValueError where it can't be told: ASE takes CL1 for carbon."""
    types = [str(one).strip() for one in block.get(_TYPES) or []]
    labels = [str(one).strip() for one in block.get(_LABELS) or types]
    return [
        _find_element(kind, formula) if kind not in _NO_VALUE else _find_element(label, formula, is_label=True)
        for kind, label in zip(types or [""] * len(labels), labels, strict=True)
    ]


def _find_element(text: str, formula: Mapping[str, float], *, is_label: bool = False) -> str:
    """The symbol that a text begins with, as Si4+, CL1, Ow2: of two that are possible the one of the formula, else the longer one.

    Of a label of one case, as CA1, that is a guess, and none is made.
    """
    match = _LETTERS.match(text)
    letters = str(match[0]) if match else ""
    found = [one for n in (2, 1) if len(letters) >= n and (one := letters[:n].capitalize()) in _SYMBOLS]
    found = [one for one in found if one in formula] or [one for one in found if one != "T" or not is_label]  # T1 is a site of a zeolite
    is_of_one_case = letters.isupper() or letters.islower()
    if len(found) > 1 and is_label and is_of_one_case:
        raise ValueError(f"its site {text!r} may be {' or '.join(found)}; say which by {_TYPES}")
    if not found or (len(found[0]) == 1 and len(letters) > 2 and not is_of_one_case and not formula):
        raise ValueError(f"its site {text!r} is of no element")
    return found[0]


def _read_formula(block: CIFBlock) -> dict[str, float]:
    """Elements and numbers of atoms of `_chemical_formula_sum`, empty where it tells none; heavy hydrogens are hydrogen."""
    words = str(block.get("_chemical_formula_sum") or "").replace(",", " ").split()
    counts: dict[str, float] = {}
    for word in words:
        if (part := _COUNTED.fullmatch(word)) is None or part[1] not in _SYMBOLS:
            return {}
        element = HEAVY_HYDROGENS.get(part[1], part[1])
        counts[element] = counts.get(element, 0.0) + float(part[2] or 1)
    return counts


def _require_formula(found: Mapping[str, int], formula: Mapping[str, float]) -> None:
    """Sites of all elements of the formula and of no others, and all hydrogens: a file of X-rays often lists those of some atoms only."""
    if not formula:
        return
    if foreign := sorted(found.keys() - formula.keys()):
        raise ValueError(f"its sites have {', '.join(foreign)}, its formula {_write_formula(formula)} has none")
    n_units = sum(n for one, n in found.items() if one != "H") / max(sum(n for one, n in formula.items() if one != "H"), 1e-9)
    is_of_formula = all(abs(found[one] - n_units * formula[one]) < _ALIKE * n_units * formula[one] for one in found if one != "H")
    if "H" in formula and is_of_formula and found.get("H", 0) < (1 - _ALIKE) * n_units * formula["H"]:
        of_sites = f"{found.get('H', 0) / n_units:.3g}"
        raise RowRefused("missing_hydrogen", f"its formula {_write_formula(formula)} has H{formula['H']:g}, its sites have {of_sites}")
    if lacking := sorted(formula.keys() - found.keys()):
        raise ValueError(f"its formula {_write_formula(formula)} has {', '.join(lacking)}, its sites have none")


def _write_formula(formula: Mapping[str, float]) -> str:
    return " ".join(f"{one}{'' if n == 1 else f'{n:g}'}" for one, n in formula.items())


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


def _apply_symmetry(block: CIFBlock, formula: Mapping[str, float]) -> tuple[Atoms, str]:
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


def _has_formula(atoms: Atoms, formula: Mapping[str, float]) -> bool:
    """Whether the atoms are a multiple of the formula."""
    n_units = len(atoms) / max(sum(formula.values()), 1e-9)
    found = Counter(atoms.get_chemical_symbols())
    return found.keys() == formula.keys() and all(math.isclose(n, n_units * formula[one], rel_tol=1e-6) for one, n in found.items())


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
