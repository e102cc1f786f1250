"""Sound structures pass the checks however they are described, and what lacks hydrogens still does not."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.collections import g2
from ase.spacegroup import crystal
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from distillery.structures.carbons import find_bare_carbon
from distillery.structures.cells import restate
from distillery.structures.checks import find_chemistry_fault, find_fault, find_input_fault
from distillery.structures.geometry import Neighbours
from distillery.structures.identity import structure_hash
from distillery.structures.smiles import count_atoms
from distillery.structures.structure import Structure, System, from_ase
from gateway.curate import curate
from services.geodiff.pool import BUILT_IN
from tests.structures import copper_slab, methane, silicon, water


def reason(atoms: Atoms, system: System = "molecule", **origin: str) -> str | None:
    fault = find_fault(from_ase(atoms, id="x", system=system, origin=origin), None, None)
    return fault.reason if fault else None


def without_hydrogens(atoms: Atoms) -> Atoms:
    return atoms[[atom.index for atom in atoms if atom.symbol != "H"]]


RADICALS = {"CH3CO", "HCO", "CN", "C2H3", "CH", "C", "CH2_s1A1d", "CH2_s3B1d", "CCH"}
FEW_NEIGHBOURS = {"SiH2_s1A1d", "SiH2_s3B1d", "Si", "S", "O", "NH"}
"""An even number of electrons, and too few neighbours."""


@pytest.mark.parametrize("name", g2.names)
def test_of_the_g2_set_only_radicals_and_carbenes_are_refused(name: str) -> None:
    is_open = name not in {"NO", "NO2"} and (sum(molecule(name).numbers) % 2 or name in FEW_NEIGHBOURS)
    assert reason(molecule(name)) == ("bare_carbon" if name in RADICALS else "missing_hydrogen" if is_open else None)


SEEN = [name for name in g2.names if {"C", "H"} <= set(molecule(name).symbols) and name not in {"HCO", "H2CO", "HCCl3", "HCF3"}]
"""Without their hydrogens the others are carbon monoxide, and carbons with three neighbours."""


@pytest.mark.parametrize("name", SEEN)
def test_hydrogens_that_were_forgotten_are_noticed(name: str) -> None:
    assert reason(without_hydrogens(molecule(name))) == "bare_carbon"


def embed(smiles: str) -> Atoms:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=7, useRandomCoords=True) == 0
    rdForceFieldHelpers.MMFFOptimizeMolecule(mol)
    return Atoms([atom.GetAtomicNum() for atom in mol.GetAtoms()], mol.GetConformer().GetPositions())


@pytest.mark.parametrize("smiles", ["C[N+]#[C-]", "CC(C)(C)[N+]#[C-]", "[C-]#[N+]c1ccccc1", "[C-]#[N+]C=C", "[H][N+]#[C-]"])
def test_isocyanides_are_sound_and_without_hydrogens_they_are_not(smiles: str) -> None:
    atoms = embed(smiles)
    assert reason(atoms) is None
    assert reason(without_hydrogens(atoms), smiles=smiles) == "bare_carbon"


@pytest.mark.parametrize("smiles", ["C1CC=C=CC1", "C1CCC=C=CC1", "C1CC=C=CCC1"])
def test_where_the_graph_is_known_a_bent_allene_is_sound(smiles: str) -> None:
    assert reason(embed(smiles), smiles=smiles) is None
    assert reason(without_hydrogens(embed(smiles)), smiles=smiles) == "bare_carbon"


def test_a_graph_of_other_atoms_says_nothing() -> None:
    assert reason(embed("C1CC=C=CC1"), smiles="C1CCCCC1") == "bare_carbon"
    assert reason(embed("C1CC=C=CC1"), smiles="nonsense") == "bare_carbon"


@pytest.mark.parametrize("angle", [175, 158, 145, 127])
def test_strained_alkynes_are_sound(angle: float) -> None:
    """2-Butyne bent at both carbons, as in a ring: C≡C of 1.21 Å."""
    carbons = 0.605 * np.array([[-1.0, 0, 0], [1.0, 0, 0]])
    turn = np.radians(180 - angle)
    out = 1.46 * np.array([[-np.cos(turn), np.sin(turn), 0], [np.cos(turn), np.sin(turn), 0]])
    ends = carbons + out
    atoms = Atoms("C4", np.concatenate([ends, carbons]))
    for k, end in enumerate(ends):
        axis = out[k] / 1.46
        side, up = np.cross(axis, [0, 0, 1]), np.array([0, 0, 1.0])
        for phi in (0, 2 * np.pi / 3, 4 * np.pi / 3):
            atoms += Atoms("H", [end + 0.36 * axis + 1.03 * (np.cos(phi) * side + np.sin(phi) * up)])
    assert reason(atoms) is None
    assert reason(without_hydrogens(atoms)) == "bare_carbon"


ADSORBATES = {
    "CO": ("CO", 1.14),
    "CO upside down": ("OC", 1.14),
    "CN": ("CN", 1.17),
    "NC": ("NC", 1.17),
    "C2": ("CC", 1.25),
    "CS": ("CS", 1.54),
}


@pytest.mark.parametrize("tilt", [0, 20, 40])
@pytest.mark.parametrize("site", ["ontop", "bridge", "fcc"])
@pytest.mark.parametrize("height", [1.9, 2.6, 3.5])
@pytest.mark.parametrize("name", ADSORBATES)
def test_diatomics_above_a_surface_are_sound_either_way_up(name: str, height: float, site: str, tilt: float) -> None:
    symbols, length = ADSORBATES[name]
    for metal in ("Pt", "Cu"):
        slab = fcc111(metal, (2, 2, 3), vacuum=11.0)
        slab.pbc = True
        diatomic = Atoms(symbols, [[0, 0, 0], [0, 0, length]])
        diatomic.rotate(tilt, "x")
        add_adsorbate(slab, diatomic, height, site)
        assert reason(slab, "surface") is None


@pytest.mark.parametrize("name", ["CH3", "CH3O", "CH3CH2OH", "C6H6", "CH3CN"])
def test_adsorbates_that_lost_their_hydrogens_are_refused(name: str) -> None:
    slab = fcc111("Pt", (3, 3, 3), vacuum=11.0)
    slab.pbc = True
    add_adsorbate(slab, without_hydrogens(molecule(name)), 3.4, "ontop")
    assert reason(slab, "surface") == "bare_carbon"


HEXAGONAL, CUBIC = [90, 90, 120], [90, 90, 90]
CRYSTALS = {
    "quartz": crystal(["Si", "O"], [(0.4697, 0, 0), (0.4135, 0.2669, 0.1191)], spacegroup=154, cellpar=[4.916, 4.916, 5.405, *HEXAGONAL]),
    "ice": crystal(
        ["O", "H", "H"],
        [(0, 0.6667, 0.0625), (0, 0.6667, 0.1989), (0, 0.5363, 0.018)],
        spacegroup=185,
        cellpar=[7.82, 7.82, 7.36, *HEXAGONAL],
    ),
    "TiC": bulk("TiC", "rocksalt", 4.33),
    "SiC": bulk("SiC", "zincblende", 4.36),
    "diamond": bulk("C", "diamond", 3.567),
    "Fe3C": crystal(
        ["Fe", "Fe", "C"],
        [(0.036, 0.25, 0.852), (0.186, 0.063, 0.328), (0.89, 0.25, 0.45)],
        spacegroup=62,
        cellpar=[5.09, 6.74, 4.52, *CUBIC],
    ),
    "CaC2": crystal(["Ca", "C"], [(0, 0, 0), (0, 0, 0.406)], spacegroup=139, cellpar=[3.89, 3.89, 6.38, *CUBIC]),
    "dry ice": crystal(["C", "O"], [(0, 0, 0), (0.118, 0.118, 0.118)], spacegroup=205, cellpar=[5.62, 5.62, 5.62, *CUBIC]),
    "solid CO": crystal(["C", "O"], [(0.04, 0.04, 0.04), (-0.075, -0.075, -0.075)], spacegroup=198, cellpar=[5.65, 5.65, 5.65, *CUBIC]),
    "NaCl": bulk("NaCl", "rocksalt", 5.64, cubic=True),
}


@pytest.mark.parametrize("name", CRYSTALS)
def test_crystals_are_sound(name: str) -> None:
    assert reason(CRYSTALS[name], "crystal") is None


def skewed(structure: Structure, matrix: np.ndarray) -> Structure:
    """The same structure by another cell of its lattice."""
    return replace(structure, cell=matrix.astype(float) @ structure.cell)


NACL = from_ase(CRYSTALS["NaCl"], id="x", system="crystal")


@pytest.mark.parametrize("k", [25, -25, 300, 10_000])
@pytest.mark.parametrize(("row", "by"), [(1, 0), (2, 1), (0, 2)])
def test_a_skewed_description_of_a_good_cell_is_judged_and_kept_by_its_reduced_one(row: int, by: int, k: int) -> None:
    matrix = np.eye(3)
    matrix[row, by] = k
    given = skewed(NACL, matrix)
    assert find_input_fault(given) is None
    curated = curate([given], ["Na", "Cl"], (8, 8))
    assert curated.rejected == []
    (kept,) = curated.kept
    assert np.allclose(np.sort(np.linalg.norm(kept.cell, axis=1)), 5.64)
    assert structure_hash(kept) == structure_hash(NACL)


def test_a_skewed_surface_keeps_its_plane_and_height() -> None:
    slab = copper_slab()
    given = skewed(slab, np.array([[1, 0, 0], [40, 1, 0], [30, -70, 1]]))
    kept = restate(given)
    assert find_fault(given, None, None) is None
    assert np.allclose(kept.cell[:2, 2], 0)
    assert kept.cell[2, 2] == pytest.approx(slab.cell[2, 2])
    assert np.linalg.norm(kept.cell[2, :2]) < 5
    assert structure_hash(kept) == structure_hash(slab)


def test_atoms_cells_apart_are_wrapped() -> None:
    shifts = np.random.default_rng(0).integers(-400, 400, (8, 3))
    given = replace(NACL, positions=NACL.positions + shifts @ NACL.cell)
    assert np.ptp(given.positions) > 1000
    assert find_input_fault(given) is None
    (kept,) = curate([given], ["Na", "Cl"], None).kept
    assert np.array_equal(kept.cell, NACL.cell)
    assert np.ptp(kept.positions) < 6
    assert structure_hash(kept) == structure_hash(NACL)


@pytest.mark.parametrize("structure", [water(), methane(), silicon(), copper_slab(), NACL], ids=lambda s: s.id)
def test_what_passes_as_it_is_stays_as_it_is(structure: Structure) -> None:
    moved = replace(structure, positions=structure.positions + 7 * structure.cell[0])
    assert restate(structure) is structure
    assert restate(moved) is moved


def test_no_description_mends_what_is_bad() -> None:
    singular = replace(NACL, cell=np.array([[5.64, 0, 0], [11.28, 0, 0], [0, 0, 5.64]]))
    assert restate(singular) is singular
    thin = replace(NACL, cell=np.diag([5.64, 5.64, 0.01]))
    long = replace(NACL, cell=np.diag([5.64, 5.64, 2000.0]))
    empty = replace(NACL, numbers=NACL.numbers[:0], positions=NACL.positions[:0])
    apart = replace(water(), positions=water().positions * 2000)
    faults = [find_input_fault(structure) for structure in (singular, thin, long, empty, apart)]
    assert [fault and fault.reason for fault in faults] == ["bad_cell", "bad_cell", "too_large", "empty", "too_large"]


@pytest.mark.parametrize(
    "smiles",
    [
        *BUILT_IN.read_text(encoding="utf-8").split()[:200],
        "[H][H]", "[2H]C", "C[N+](=O)[O-]", "[O-][n+]1ccccc1", "O=c1cc[nH]cc1", "C[C@@H](N)C(=O)O", "F/C=C/F", "C=1CCCCC1", "C1CCCCC=1",
        "C1CC%11CC1CC%11", "[C-]#[O+]", "CS(=O)(=O)O", "OP(=O)(O)O", "CN(=O)=O", "[se]1cccc1", "B(O)O", "FS(F)(F)(F)(F)F", "CC.O", "[Fe+2]",
        "c1ccc2c(c1)[nH]c1ccccc12", "p1ccccc1", "ClC(Br)I", "C[Si](C)(C)C",
    ],
)  # fmt: skip
def test_atoms_of_a_smiles_are_counted_as_rdkit_counts_them(smiles: str) -> None:
    wanted = Counter(atom.GetSymbol() for atom in Chem.AddHs(Chem.MolFromSmiles(smiles)).GetAtoms())
    assert count_atoms(smiles) == wanted


@pytest.mark.parametrize("text", ["", "C((", "C1C", "C)", "*C", "1C", "name of it", "[Qqq]", "C[", "é"])
def test_what_is_no_smiles_counts_nothing(text: str) -> None:
    assert count_atoms(text) is None


def test_chemistry_is_judged_by_one_list_of_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    from distillery.structures import geometry

    calls = []
    monkeypatch.setattr(geometry, "find_pairs", lambda *a, _own=geometry.find_pairs: calls.append(a) or _own(*a))
    assert find_fault(from_ase(molecule("C6H6"), id="x", system="molecule"), None, None) is None
    assert len(calls) == 1
    assert find_chemistry_fault(silicon()) is None
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("symbols", "length", "system", "is_sound"),
    [
        ("CO", 1.29, "molecule", True),
        ("CO", 1.31, "molecule", False),
        ("CS", 1.61, "molecule", True),
        ("CS", 1.63, "molecule", False),
        ("CN", 1.17, "molecule", False),  # radicals on their own
        ("CN", 1.26, "cluster", True),
        ("CN", 1.28, "cluster", False),
        ("C2", 1.31, "cluster", True),
        ("C2", 1.33, "cluster", False),
        ("CP", 1.61, "cluster", True),
        ("CP", 1.63, "cluster", False),
        ("CF", 1.0, "cluster", False),
    ],
)
def test_a_carbon_at_an_end_is_sound_where_its_bond_is_short(symbols: str, length: float, system: System, is_sound: bool) -> None:
    assert (reason(Atoms(symbols, [(0, 0, 0), (0, 0, length)]), system) != "bare_carbon") is is_sound


def bent(angle: float, length: float = 1.2) -> Atoms:
    """Two alkyne carbons, one of them with its neighbour at an angle, degrees."""
    a, b = np.radians(180 - angle), 1.45
    turn = np.array([np.cos(a), np.sin(a), 0.0])
    methyl = np.array([[0.36, 1.03, 0], [0.36, -0.51, 0.89], [0.36, -0.51, -0.89]])
    ends = [length * np.array([1.0, 0, 0]) + b * turn, np.array([-b, 0, 0])]
    hydrogens = [ends[1] - np.abs(row) * [1, 0, 0] + row * [0, 1, 1] for row in methyl]
    frame = np.stack([turn, np.cross([0, 0, 1], turn), [0, 0, 1]])
    hydrogens += [ends[0] + row @ frame for row in methyl]
    return Atoms("C4H6", [(0, 0, 0), (length, 0, 0), *ends, *hydrogens])


@pytest.mark.parametrize(
    ("angle", "length", "wanted"), [(151, 1.4, None), (149, 1.4, "bare_carbon"), (111, 1.26, None), (109, 1.26, "bare_carbon")]
)
def test_two_neighbours_are_in_line_or_of_a_strained_alkyne(angle: float, length: float, wanted: str | None) -> None:
    fault = find_bare_carbon(structure := from_ase(bent(angle, length), id="x", system="molecule"), Neighbours(structure))
    assert (fault is None) is (wanted is None), fault
    assert fault is None or f"two neighbours at {angle}°" in fault


@pytest.mark.parametrize(("n_metals", "host", "is_sound"), [(3, "Fe", True), (2, "Fe", False), (3, "Si", False)])
def test_a_carbide_has_three_metals_near_its_carbon(n_metals: int, host: str, is_sound: bool) -> None:
    around = 1.9 * np.array([(1, 0, 0), (0.5, 0.87, 0), (0.5, 0.43, 0.87)])
    around[1:] *= 1.26  # two of them within a bond's reach at most
    atoms = Atoms("C" + host * n_metals, [(0, 0, 0), *around[:n_metals]])
    structure = from_ase(atoms, id="x", system="cluster")
    assert (find_bare_carbon(structure, Neighbours(structure)) is None) is is_sound
    as_molecule = replace(structure, system="molecule")
    assert find_bare_carbon(as_molecule, Neighbours(as_molecule)) is not None


@pytest.mark.parametrize(("gap", "wanted"), [(7.5, None), (8.5, "fragments")])
def test_a_cluster_in_far_pieces_and_an_adsorbate_that_left_are_in_pieces(gap: float, wanted: str | None) -> None:
    first, second = molecule("C6H6"), molecule("C6H6")
    second.translate([0, 0, gap])
    assert reason(first + second, "cluster") == wanted
    slab = fcc111("Pt", (2, 2, 3), vacuum=20.0)
    slab.pbc = True
    add_adsorbate(slab, Atoms("CO", [[0, 0, 0], [0, 0, 1.14]]), gap, "ontop")
    assert reason(slab, "surface") == wanted
