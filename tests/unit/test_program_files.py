"""Files of other programs: what ASE and pymatgen write comes back, what would have to be guessed is refused, labels are kept aside."""

import json
from collections.abc import Callable
from pathlib import Path

import ase
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from pymatgen.core import Molecule, Species
from pymatgen.core import Structure as Crystal
from pymatgen.io.ase import AseAtomsAdaptor

from distillery.generators.files.contents import ForeignFile, RowRefused, key_of, scan_file
from distillery.structures.structure import Structure
from services.structures.formats import find_reader
from services.structures.options import FileOptions
from services.structures.shelf import open_files
from tests.input_files import crystals

TESTDATA = Path(ase.__file__).parent / "test" / "testdata"
"""What ASE ships of real outputs."""
DUMP = """ITEM: UNITS
{units}
ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 5
0 5
0 5
ITEM: ATOMS id type {element} x y z fx fy fz
2 2 C 1 1 1 -.1 -.2 -.3
1 1 Si 0 0 0 .1 .2 .3
"""


def read_all(path: Path) -> list[Structure | RowRefused]:
    """Every row, as the service reads it."""
    reader = find_reader(path)
    assert reader is not None, path.name
    contents = scan_file(path, reader, key_of(path, reader))
    return [*reader.read(path, contents, range(len(contents.at)))]


def labelled(n: int = 2) -> list[Atoms]:
    frames = crystals(n)
    for k, atoms in enumerate(frames):
        atoms.calc = SinglePointCalculator(atoms, energy=-5.0 - k, forces=np.full((len(atoms), 3), 0.1 * k))
    return frames


@pytest.mark.parametrize(
    ("name", "format", "n", "own"),
    [
        ("XDATCAR_1", "vasp-xdatcar", 2, set()),
        ("a.traj", "traj", 2, {"energy", "forces"}),
        ("a.xsf", "xsf", 2, {"forces"}),
        ("a.lmp", "lammps-data", 1, set()),
        ("a.pwi", "espresso-in", 1, set()),
    ],
)
def test_what_ase_writes_comes_back_with_its_labels_aside(tmp_path: Path, name: str, format: str, n: int, own: set[str]) -> None:
    frames = labelled()[:n]
    options = {"lammps-data": {"masses": True}, "espresso-in": {"pseudopotentials": {"Si": "x", "C": "y"}}}.get(format, {})
    write(tmp_path / name, frames if n > 1 else frames[0], format=format, **options)
    found = read_all(tmp_path / name)
    assert len(found) == n
    for atoms, structure in zip(frames, found, strict=True):
        assert isinstance(structure, Structure), structure
        assert structure.symbols == atoms.get_chemical_symbols()
        np.testing.assert_allclose(structure.positions, atoms.positions, atol=1e-6)
        np.testing.assert_allclose(structure.cell, atoms.cell.array, atol=1e-6)
        assert set(structure.origin.get("own", {})) == own


@pytest.mark.parametrize(
    ("example", "name", "n_atoms", "energy"),
    [
        ("vasp/OUTCAR_example_1", "OUTCAR", 18, -68.23102426),
        ("vasp/vasprun_pstress.xml", "vasprun.xml", 2, -20.247200953169394),
        ("aims/issue_3345_spin_md_light.out", "aims.out", 1, -13.0174218930995),
        ("gpaw_expected_text_output", "gpaw.out", 2, -6.70731),
    ],
)
def test_real_outputs_are_read_with_their_energy_aside(tmp_path: Path, example: str, name: str, n_atoms: int, energy: float) -> None:
    (tmp_path / name).write_bytes((TESTDATA / example).read_bytes())
    structure = read_all(tmp_path / name)[0]
    assert isinstance(structure, Structure), structure
    assert len(structure) == n_atoms
    assert structure.origin["own"]["energy"] == pytest.approx(energy)


def test_an_outcar_is_read_alone_whatever_lies_in_the_folder_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "CONTCAR").write_text("no structure")
    (tmp_path / "OUTCAR").write_bytes((TESTDATA / "vasp/OUTCAR_example_1").read_bytes())
    assert isinstance(read_all(tmp_path / "OUTCAR")[0], Structure)


def test_an_input_of_castep_is_read_without_starting_castep(tmp_path: Path) -> None:
    """ASE would start it for a list of its keywords, and warn; a warning is an error here."""
    cell = "%BLOCK LATTICE_CART\nbohr\n6 0 0\n0 6 0\n0 0 6\n%ENDBLOCK LATTICE_CART\n"
    (tmp_path / "a.cell").write_text(f"{cell}%BLOCK POSITIONS_FRAC\nSi 0 0 0\nC 0.5 0.5 0.5\n%ENDBLOCK POSITIONS_FRAC\n")
    (structure,) = read_all(tmp_path / "a.cell")
    assert isinstance(structure, Structure), structure
    assert (structure.symbols, structure.cell[0, 0]) == (["Si", "C"], pytest.approx(3.17506, abs=1e-4))


def test_a_geometry_of_fhi_aims_is_read(tmp_path: Path) -> None:
    (tmp_path / "geometry.in").write_text("lattice_vector 3 0 0\nlattice_vector 0 3 0\nlattice_vector 0 0 3\natom_frac 0.5 0.5 0.5 Si\n")
    (structure,) = read_all(tmp_path / "geometry.in")
    assert isinstance(structure, Structure), structure
    assert (structure.symbols, structure.positions.tolist()) == (["Si"], [[1.5, 1.5, 1.5]])


def test_a_structure_of_airss_has_its_enthalpy_aside(tmp_path: Path) -> None:
    lines = "TITL SiC-1 0.0 42.9 -123.5 0 0 2 (Fm-3m) n - 1\nCELL 1.54180 3.5 3.5 3.5 90 90 90\nLATT -1\nSFAC Si C\n"
    (tmp_path / "a.res").write_text(f"{lines}Si 1 0 0 0 1.0\nC 2 0.5 0.5 0.5 1.0\nEND\n")
    (structure,) = read_all(tmp_path / "a.res")
    assert isinstance(structure, Structure)
    assert (structure.symbols, structure.origin["own"]) == (["Si", "C"], {"energy": -123.5})


CELL = (
    "%BLOCK LATTICE_ABC\n{}5 5 5\n90 90 90\n%ENDBLOCK LATTICE_ABC\n%BLOCK POSITIONS_FRAC\nSi 0 0 0\nO .3 0 0{}\n%ENDBLOCK POSITIONS_FRAC\n"
)


@pytest.mark.parametrize(("unit", "more", "said"), [("a0\n", "", "invalid unit specifier"), ("", " MIXTURE:( 1 0.5)", "disordered")])
def test_units_and_mixtures_of_castep_that_ase_does_not_know_are_refused(tmp_path: Path, unit: str, more: str, said: str) -> None:
    (tmp_path / "a.cell").write_text(CELL.format(unit, more))
    (refused,) = read_all(tmp_path / "a.cell")
    assert said in str(refused)
    (tmp_path / "b.cell").write_text(CELL.format("", ""))
    (structure,) = read_all(tmp_path / "b.cell")
    assert isinstance(structure, Structure), structure
    assert structure.symbols == ["Si", "O"]


@pytest.mark.parametrize("n_missing", [3, 40, 150])
@pytest.mark.parametrize("growth", [1.0, 1.01], ids=["one cell", "a cell each"])
def test_the_last_step_of_a_run_of_vasp_that_was_stopped_is_refused_alone(tmp_path: Path, growth: float, n_missing: int) -> None:
    frames = [bulk("NaCl", "rocksalt", 5.6 * growth**k, cubic=True) for k in range(3)]
    write(tmp_path / "whole", frames, format="vasp-xdatcar")
    text = (tmp_path / "whole").read_text().rstrip()
    (tmp_path / "XDATCAR").write_text(text[:-n_missing])
    found = read_all(tmp_path / "XDATCAR")
    assert [isinstance(one, Structure) for one in found] == [True, True, False]
    assert "its last configuration" in str(found[2])


TYPES = "by hand\n\n2 atoms\n2 atom types\n\n0 5 xlo xhi\n0 5 ylo yhi\n0 5 zlo zhi\n\n{}Atoms # atomic\n\n1 1 0 0 0\n2 2 1.6 0 0\n"
LABELS = "Atom Type Labels\n\n1 {}\n2 {}\n\n"


@pytest.mark.parametrize(
    ("told", "symbols"),
    [
        ("Masses\n\n1 28.085\n2 15.9994 # O\n\n", ["Si", "O"]),
        ("Masses\n\n1 65.409\n2 32\n\n", ["Zn", "S"]),
        ("Masses\n\n1 1.0\n2 2.014\n\n", ["H", "H"]),
        (LABELS.format("Si", "C"), ["Si", "C"]),
        (LABELS.format("Si", "C") + "Masses\n\n1 1.0\n2 1.0\n\n", ["Si", "C"]),
        (LABELS.format("c3", "oh") + "Masses\n\n1 12.01\n2 16.0\n\n", ["C", "O"]),
    ],
)
def test_elements_of_lammps_are_told_by_labels_that_are_symbols_or_by_masses(tmp_path: Path, told: str, symbols: list[str]) -> None:
    (tmp_path / "a.lmp").write_text(TYPES.format(told))
    (structure,) = read_all(tmp_path / "a.lmp")
    assert isinstance(structure, Structure), structure
    assert structure.symbols == symbols


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("Masses\n\n1 14.027\n2 16\n\n", "mass of 14.027 g/mol, which no element has"),
        ("Masses\n\n1 59\n2 16\n\n", "mass of 59 g/mol, which several elements have"),
        ("Masses\n\n1 heavy\n2 16\n\n", "'heavy', which is no number"),
        (LABELS.format("c3", "oh"), "or Atom Type Labels that are symbols"),
    ],
)
def test_elements_of_lammps_are_not_guessed(tmp_path: Path, told: str, said: str) -> None:
    (tmp_path / "a.lmp").write_text(TYPES.format(told))
    (refused,) = read_all(tmp_path / "a.lmp")
    assert said in str(refused)


def test_a_frame_of_lammps_that_was_cut_off_is_refused_and_the_rest_is_read(tmp_path: Path) -> None:
    whole = DUMP.format(units="metal", element="element")
    (tmp_path / "a.dump").write_text(whole + whole[: whole.rstrip().rindex("\n")])
    first, second = read_all(tmp_path / "a.dump")
    assert isinstance(first, Structure)
    assert "2 atoms by its ITEM: NUMBER OF ATOMS, and lines of 1" in str(second)


QE = """
     Program PWSCF v.7.3 starts on  1Jan2026
     lattice parameter (alat)  =      10.2000  a.u.
     number of atoms/cell      =            2
     number of atomic types    =            2
     number of electrons       =         {n}
     celldm(1)=  10.200000  celldm(2)=   0.000000  celldm(3)=   0.000000
     crystal axes: (cart. coord. in units of alat)
               a(1) = (   1.000000   0.000000   0.000000 )
               a(2) = (   0.000000   1.000000   0.000000 )
               a(3) = (   0.000000   0.000000   1.000000 )

     atomic species   valence    mass     pseudopotential
        Na1            9.00    22.98977     Na( 1.00)
        Cl             7.00    35.45300     Cl( 1.00)

     site n.     atom                  positions (alat units)
         1           Na1 tau(   1) = (   0.0000000   0.0000000   0.0000000  )
         2           Cl  tau(   2) = (   0.5000000   0.0000000   0.0000000  )

!    total energy              =     -10.00000000 Ry
"""


@pytest.mark.parametrize(("n", "charge"), [("16.00", 0), ("17.00", -1), ("15.00", 1)])
def test_an_output_of_espresso_has_the_charge_of_its_electrons(tmp_path: Path, n: str, charge: int) -> None:
    (tmp_path / "a.pwo").write_text(QE.format(n=n))
    (structure,) = read_all(tmp_path / "a.pwo")
    assert isinstance(structure, Structure), structure
    assert (structure.symbols, structure.charge) == (["Na", "Cl"], charge)
    assert structure.origin["own"]["energy"] == pytest.approx(-136.057, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "as_name", "n"), [("vasp/OUTCAR_example_1", "OUTCAR", "180.0000"), ("vasp/vasprun_pstress.xml", "vasprun.xml", "8.00000000")]
)
def test_outputs_of_vasp_have_the_charge_of_their_electrons(tmp_path: Path, name: str, as_name: str, n: str) -> None:
    text = (TESTDATA / name).read_text()
    for n_more in (0, 1, 0.5):
        (tmp_path / as_name).write_text(text.replace(n, f"{float(n) - n_more:.8f}"))
        found = read_all(tmp_path / as_name)[0]
        if n_more == 0.5:
            assert "charge 0.5; a whole number" in str(found)
        else:
            assert isinstance(found, Structure), found
            assert found.charge == n_more


RES = (
    "TITL {}\nCELL 1.5 5 5 5 90 90 90\nLATT -1\nSFAC Si O\nSi1 1 0 0 0 11.0\nO1 2 0.3E+0 0 0 1.0\nO2 2 -.3 0 0 1.0 0.5\nEND\nQ1 1 0 0 0 1\n"
)


def test_elements_of_shelx_are_those_of_their_types_and_no_line_is_lost(tmp_path: Path) -> None:
    (tmp_path / "a.res").write_text(RES.format("quartz in P1 by hand, again and again"))
    (structure,) = read_all(tmp_path / "a.res")
    assert isinstance(structure, Structure), structure
    assert structure.symbols == ["Si", "O", "O"]
    assert structure.positions[1].tolist() == pytest.approx([1.5, 0, 0])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("LATT -1", "LATT 1", "convert it to CIF"),
        ("LATT -1\n", "", "convert it to CIF"),
        ("LATT -1", "LATT -1\nSYMM -X, Y, Z", "convert it to CIF"),
        ("11.0", "10.5", "disordered: the atom Si1 has an occupancy of 10.5"),
        ("O1 2", "O1 3", "a line of an atom wants name, type"),
        ("0.3E+0 0 0 1.0", "0.3", "a line of an atom wants name, type"),
        ("CELL 1.5 5", "CELL 5", "a line CELL with a wavelength"),
    ],
)
def test_a_file_of_shelx_that_does_not_tell_all_atoms_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    (tmp_path / "a.res").write_text(RES.format("x").replace(old, new))
    (refused,) = read_all(tmp_path / "a.res")
    assert said in str(refused)


def test_a_dump_of_lammps_has_its_forces_aside_and_no_energy(tmp_path: Path) -> None:
    (tmp_path / "a.dump").write_text(DUMP.format(units="metal", element="element"))
    (structure,) = read_all(tmp_path / "a.dump")
    assert isinstance(structure, Structure)
    assert structure.symbols == ["Si", "C"]
    assert structure.origin["own"].keys() == {"forces"}


DATA = "{head}\n\n1 atoms\n1 atom types\n0 5 xlo xhi\n0 5 ylo yhi\n0 5 zlo zhi\n{masses}\nAtoms{style}\n\n1 1 0.0 0.0 0.0\n"
MASSES = "\nMasses\n\n1 28.085\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.dump", DUMP.format(units="metal", element="mol"), "unreadable: its atoms have types, not elements"),
        ("a.dump", DUMP.format(units="nano", element="element"), "wrong_unit: its units are LAMMPS' nano"),
        ("a.lmp", DATA.format(head="made", masses="", style=" # atomic"), "unreadable: its atoms have types, not elements"),
        ("a.lmp", DATA.format(head="made", masses=MASSES, style=""), "unreadable: it does not say its atom style"),
        ("a.data", DATA.format(head="by write_data, units = si", masses=MASSES, style=" # atomic"), "wrong_unit: its units are LAMMPS' si"),
        ("OUTCAR", "vasp.6.3 and then nothing", "unreadable: "),
        ("vasprun.xml", "<modeling><calculation>", "unreadable: "),
        ("a.traj", "no trajectory", "unreadable: "),
        ("a.xsf", "CRYSTAL\nPRIMVEC\n1 0", "unreadable: "),
    ],
)
def test_what_would_have_to_be_guessed_or_is_cut_off_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    (refused,) = read_all(tmp_path / name)
    assert isinstance(refused, RowRefused)
    assert str(refused).startswith(said)


def test_a_complete_data_file_of_lammps_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.lmp").write_text(DATA.format(head="made", masses=MASSES, style=" # atomic"))
    (structure,) = read_all(tmp_path / "a.lmp")
    assert isinstance(structure, Structure)
    assert (structure.symbols, structure.volume) == (["Si"], pytest.approx(125))


@pytest.mark.parametrize("name", ["slurm-7.out", "notes.data", "other.dump", "settings.json"])
def test_files_of_other_programs_with_these_endings_are_passed_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"a": 1}')
    with pytest.raises(ForeignFile, match="it is no"):
        read_all(tmp_path / name)
    write(tmp_path / "a.xyz", molecule("CH4"), format="extxyz")
    assert [file.name for file in open_files(FileOptions(), tmp_path)] == ["a.xyz"]


def test_a_charge_in_an_input_of_espresso_is_one(tmp_path: Path) -> None:
    options = {"pseudopotentials": {"Si": "x", "C": "y"}, "input_data": {"system": {"tot_charge": 1}}}
    write(tmp_path / "a.pwi", labelled()[0], format="espresso-in", **options)
    (structure,) = read_all(tmp_path / "a.pwi")
    assert isinstance(structure, Structure)
    assert structure.charge == 1


def as_entry(crystal: Crystal) -> object:
    from pymatgen.entries.computed_entries import ComputedStructureEntry  # two seconds of every process that lists tests

    return ComputedStructureEntry(crystal, -5.5, entry_id="mp-8062").as_dict()


@pytest.mark.parametrize(("wrap", "own"), [(Crystal.as_dict, {}), (as_entry, {"energy": -5.5})])
@pytest.mark.parametrize("in_list", [False, True])
def test_what_pymatgen_writes_comes_back(tmp_path: Path, wrap: Callable[[Crystal], object], own: object, in_list: bool) -> None:
    (atoms,) = crystals(1)
    row = wrap(AseAtomsAdaptor.get_structure(atoms))
    (tmp_path / "a.json").write_text(json.dumps([row, row] if in_list else row))
    found = read_all(tmp_path / "a.json")
    assert len(found) == 1 + in_list
    assert isinstance(found[0], Structure), found[0]
    assert found[0].origin.get("own", {}) == own
    assert found[0].symbols == atoms.get_chemical_symbols()
    np.testing.assert_allclose(found[0].positions, atoms.positions, atol=1e-7)


def test_a_molecule_of_pymatgen_has_its_charge_and_spin(tmp_path: Path) -> None:
    ion = Molecule(["O", "H"], [[0, 0, 0], [0, 0, 0.97]], charge=-1)
    (tmp_path / "a.json").write_text(json.dumps([ion.as_dict(), {"no": "structure"}]))
    found = read_all(tmp_path / "a.json")
    assert isinstance(found[0], Structure)
    assert (found[0].charge, found[0].is_periodic) == (-1, False)
    assert isinstance(found[1], RowRefused)


def test_a_site_of_pymatgen_that_is_not_wholly_one_element_is_refused(tmp_path: Path) -> None:
    crystal = Crystal([[4, 0, 0], [0, 4, 0], [0, 0, 4]], [{"Si": 0.5, "C": 0.5}, {Species("O", -2): 1}], [[0, 0, 0], [0.5, 0.5, 0.5]])
    (tmp_path / "a.json").write_text(json.dumps(crystal.as_dict()))
    (refused,) = read_all(tmp_path / "a.json")
    assert isinstance(refused, RowRefused)
    assert refused.reason == "disordered"
