"""Space groups of CIFs that list no operations: known by any of their names, in the setting that the cell tells."""

from collections import Counter

import numpy as np
import pytest
from ase.geometry import cellpar_to_cell
from ase.spacegroup import Spacegroup
from ase.spacegroup.spacegroup import parse_sitesym

from distillery.structures.structure import Structure
from services.structures.cif import parse_cif_text
from services.structures.space_groups import Named, find_settings
from tests.unit.test_own_structures import CELL, SITES

HEXAGONAL = CELL.replace("gamma 90", "gamma 120").replace("length_c 4.2", "length_c 6.8")
RHOMBOHEDRAL = CELL.replace("90", "60")
MONOCLINIC = CELL.replace("beta 90", "beta 95")
UNIQUE_C = CELL.replace("gamma 90", "gamma 95")


@pytest.mark.parametrize(
    ("cell", "group", "site", "n"),
    [
        (CELL, "_space_group_name_Hall '-F 4 2 3'", "0 0 0", 4),
        (CELL, "_space_group_name_Schoenflies Oh^5", "0 0 0", 4),
        (CELL, "_symmetry_space_group_name_H-M Fm3m", "0 0 0", 4),
        (CELL, "_symmetry_space_group_name_H-M 'F 4/m -3 2/m'", "0 0 0", 4),
        (CELL, "_symmetry_space_group_name_H-M 'F d -3 m'", "0 0 0", 8),
        (CELL, "_symmetry_space_group_name_H-M 'F d -3 m :2'", "0.125 0.125 0.125", 8),
        (CELL, "_symmetry_space_group_name_H-M 'F d -3 m Z'", "0.125 0.125 0.125", 8),
        (CELL, "_symmetry_space_group_name_H-M 'F d -3 m'\n_space_group_IT_coordinate_system_code 2", "0.125 0.125 0.125", 8),
        (CELL, "_symmetry_space_group_name_H-M 'C m c a'", "0 0.1 0.1", 8),
        (CELL, "_symmetry_space_group_name_H-M Cmmb", "0 0.25 0", 4),
        (CELL, "_symmetry_space_group_name_H-M Pbnm\n_symmetry_Int_Tables_number 62", "0.1 0.1 0.25", 4),
        (HEXAGONAL, "_symmetry_space_group_name_H-M P6_3/mmc", "0.3333 0.6667 0.25", 2),
        (HEXAGONAL, "_symmetry_space_group_name_H-M 'P 63/m m c'\n_symmetry_cell_setting trigonal", "0.3333 0.6667 0.25", 2),
        (HEXAGONAL, "_symmetry_space_group_name_H-M 'R -3 m'\n_symmetry_cell_setting trigonal", "0 0 0", 3),
        (HEXAGONAL, "_space_group_IT_number 166", "0 0 0", 3),
        (HEXAGONAL, "_symmetry_space_group_name_H-M P6_3/mmc", ".333 .667 .25", 2),
        (CELL, "_symmetry_Int_Tables_number 225.0", "0 0 0", 4),
        (CELL, "loop_\n_symmetry_space_group_name_H-M\n'F m -3 m'", "0 0 0", 4),
        (RHOMBOHEDRAL, "_symmetry_space_group_name_H-M 'R -3 m'", "0 0 0", 1),
        (RHOMBOHEDRAL, "_space_group_IT_number 166", "0 0 0", 1),
        (MONOCLINIC, "_symmetry_space_group_name_H-M 'P 1 21/c 1'", "0.1 0.2 0.3", 4),
        (MONOCLINIC, "_symmetry_space_group_name_H-M P21/n\n_symmetry_Int_Tables_number 14", "0.1 0.2 0.3", 4),
        (UNIQUE_C, "_space_group_IT_number 14", "0.1 0.2 0.3", 4),
    ],
)
def test_a_space_group_is_known_by_any_of_its_names(cell: str, group: str, site: str, n: int) -> None:
    (structure,) = parse_cif_text(f"data_x\n{group}\n{cell}{SITES}Cu {site}\n")
    assert isinstance(structure, Structure), structure
    assert len(structure) == n
    assert structure.origin["info"]["space_group"]


def test_operations_of_a_number_are_those_that_ase_has_in_its_own_table() -> None:
    for number in range(1, 231):
        cell = cellpar_to_cell([5, 5, 5, 90, 90, 120 if 143 <= number <= 194 else 90])
        setting = next(find_settings(Named(number=number), cell))
        assert to_set(*parse_sitesym(list(setting.operations))) == to_set(*Spacegroup(number).get_op()), number


def to_set(rotations: np.ndarray, translations: np.ndarray) -> set[tuple[int, ...]]:
    """Operations, their shifts as 24ths of the cell."""
    shifts = np.rint(np.asarray(translations) * 24).astype(int) % 24
    return {(*turn.ravel().tolist(), *shift.tolist()) for turn, shift in zip(np.asarray(rotations).astype(int), shifts, strict=True)}


@pytest.mark.parametrize(("symbol", "formula", "element"), [("Al", "Al2 Mg O4", "Al"), ("Al", "Mg0.5 Al O2", "Al"), ("D", "D2 Mg O4", "H")])
def test_a_formula_says_which_origin_is_meant(symbol: str, formula: str, element: str) -> None:
    spinel = f"{CELL.replace('4.2', '8.08')}{SITES}Mg .125 .125 .125\n{symbol} .5 .5 .5\nO .2624 .2624 .2624\n"
    named = "_symmetry_space_group_name_H-M 'F d -3 m'"
    (structure,) = parse_cif_text(f"data_x\n_chemical_formula_sum '{formula}'\n{named}\n{spinel}")
    assert isinstance(structure, Structure), structure
    assert Counter(structure.symbols) == {"Mg": 8, element: 16, "O": 32}
    assert structure.origin["info"]["space_group"] == "F d -3 m :2"
