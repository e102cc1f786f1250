"""Elements of CIFs and POSCARs: what a file says, however it writes it, and no guess where it says nothing."""

from pathlib import Path

import pytest

from distillery.structures.structure import Structure
from services.structures.cif import parse_cif_text
from tests.unit.test_own_structures import CELL, SITES, make, refuse


@pytest.mark.parametrize(
    ("formula", "sites", "symbols"),
    [
        ("", "CL1 Cl1- 0 0 0\nNA1 NA1+ .5 .5 .5\n", ["Cl", "Na"]),
        ("", "x mg 0 0 0\ny o .5 .5 .5\n", ["Mg", "O"]),
        ("", "Ow1 . 0 0 0\nT1 T .3 0 0\n", ["O", "H"]),
        ("Na Cl", "CL1 ? 0 0 0\nNA1 ? .5 .5 .5\n", ["Cl", "Na"]),
        ("C2 D", "CA1 ? 0 0 0\nCB1 ? .5 0 .5\nD1 D .5 .5 .5\n", ["C", "C", "H"]),
    ],
)
def test_symbols_of_a_cif_are_told_by_types_then_by_labels(formula: str, sites: str, symbols: list[str]) -> None:
    told = f"_chemical_formula_sum '{formula}'\n" if formula else ""
    types = SITES.replace("_label", "_label\n_atom_site_type_symbol")
    (structure,) = parse_cif_text(f"data_x\n{told}{CELL}{types}{sites}")
    assert isinstance(structure, Structure), structure
    assert structure.symbols == symbols


def test_comments_of_a_cif_are_no_values() -> None:
    sites = "Na 0 0 0 # at the corner\nCl .5 .5 .5\n"
    kept = "_publ_section_comment 'a # b'\n_title\n;\nx # 'y\n;\n_chemical_name a#b\n"
    operations = "loop_\n_symmetry_equiv_pos_as_xyz #<--must include 'x,y,z'\nx,y,z\n"
    (structure,) = parse_cif_text(f"# by hand\ndata_x # 1\n{kept}{operations}{CELL}{SITES}{sites}")
    assert isinstance(structure, Structure), structure
    assert structure.symbols == ["Na", "Cl"]


POSCAR = "{}\n1.0\n9 0 0\n0 9 0\n0 0 9\n{}{}\nDirect\n0 0 0\n.3 .3 .3\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Si\n1.0\n3 0 0\n", "at least 8 lines"),
        (POSCAR.format("x", "Na Cl\n", "1 2"), "it has 3 atoms by its line 7, and lines of 2"),
        (POSCAR.format("x", "Na Cl\n", "1"), "line 7 wants the number of atoms of each element, 2 of them; got '1'"),
        (POSCAR.format("x", "Na\n", "two"), "line 7 wants the number of atoms of each element"),
        (POSCAR.format("x", "Na Q\n", "1 1"), "'Q' is no element"),
        (POSCAR.format("C60 in NaCl", "", "1 1"), "names no elements, as VASP 4 wrote it"),
        (POSCAR.format("x", "Na Cl\n", "1 1").replace(".3 .3 .3", ".3 .3 a"), "line 10 wants a position, three numbers; got '.3 .3 a'"),
        (POSCAR.format("x", "Na Cl\n", "1 1").replace("0 9 0", "0 9"), "line 4 wants a vector of the cell"),
        (POSCAR.format("x", "Na Cl\n", "1 1").replace("1.0", "one"), "line 2 wants one factor or three; got 'one'"),
    ],
)
def test_a_poscar_that_makes_no_sense_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "POSCAR").write_text(text)
    assert said in refuse(tmp_path, "crystal", options={"files": ["POSCAR"]})


def test_comments_of_a_poscar_are_no_values(tmp_path: Path) -> None:
    text = POSCAR.format("x", "Na Cl # kinds\n", "1 1 ! of each").replace("9", "5").replace("1.0", "1.0 scale")
    (tmp_path / "POSCAR").write_text(text)
    (structure,) = make(tmp_path, "crystal", elements=["Na", "Cl"]).structures
    assert structure.symbols == ["Na", "Cl"]


@pytest.mark.parametrize("comment", ["Na Cl conventional", "Na1 Cl1", "NaCl rocksalt"])
def test_a_poscar_of_vasp_4_is_read_where_its_comment_begins_with_its_elements(tmp_path: Path, comment: str) -> None:
    (tmp_path / "POSCAR").write_text(POSCAR.format(comment, "", "1 1").replace("9", "5"))
    (structure,) = make(tmp_path, "crystal", elements=["Na", "Cl"]).structures
    assert structure.symbols == ["Na", "Cl"]
