"""Lengths of another unit and hydrogens missing anywhere are found; real molecules and solids pass."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.cluster import Icosahedron
from ase.collections import dcdft, g2, s22
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from ase.spacegroup import crystal

from distillery.generators.compounds import read_compounds
from distillery.structures.checks import find_fault
from distillery.structures.structure import Structure, System, from_ase, to_ase
from distillery.structures.valences import _is_organic

ODD = "H2COH C3H9C CH3CO HCO CN C2H3 PH2 SiH3 NH2 CH CH3S OH CH3O CH3CH2O C3H7 CH3 C2H5 ClO CCH SH BeH"
"""Of g2: radicals with an odd electron."""
BARE = "SiH2_s3B1d SiH2_s1A1d NH CH2_s3B1d CH2_s1A1d"
"""With two, or a pair that nothing shares."""
RADICALS = frozenset(f"{ODD} {BARE}".split())


def quartz() -> Atoms:
    return crystal(["Si", "O"], [(0.4697, 0, 0), (0.4135, 0.2669, 0.1191)], spacegroup=152, cellpar=[4.916, 4.916, 5.405, 90, 90, 120])


SOLIDS: dict[str, Atoms] = {
    "quartz": quartz(),
    "diamond": bulk("C", cubic=True),
    "silicon": bulk("Si", cubic=True),
    "SiC": bulk("SiC", "zincblende", a=4.36, cubic=True),
    "NaCl": bulk("NaCl", "rocksalt", a=5.64, cubic=True),
    "CsCl": bulk("CsCl", "cesiumchloride", a=4.12),
    "copper": bulk("Cu", cubic=True),
    "sodium": bulk("Na", cubic=True),
    "argon": bulk("Ar", "fcc", a=5.26, cubic=True),
    "MgO": bulk("MgO", "rocksalt", a=4.21, cubic=True),
    "SrTiO3": crystal(["Sr", "Ti", "O"], [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], spacegroup=221, cellpar=[3.905] * 3 + [90] * 3),
}


def of(atoms: Atoms, system: System) -> Structure:
    return from_ase(atoms, id="full-a-00000/0000", system=system)


def scaled(structure: Structure, factor: float) -> Structure:
    return replace(structure, positions=factor * structure.positions, cell=factor * structure.cell)


def reason(structure: Structure) -> str | None:
    fault = find_fault(structure, None, None)
    return None if fault is None else fault.reason


@pytest.mark.parametrize("metal", ["Cu", "Ag", "Al"])
def test_a_piece_of_metal_with_an_odd_number_of_electrons_lacks_no_hydrogen(metal: str) -> None:
    piece = Icosahedron(metal, 2)
    assert int(piece.numbers.sum()) % 2 == 1
    assert reason(of(piece, "molecule")) is None


@pytest.mark.parametrize("name", [name for name in g2.names if len(molecule(name)) > 1])
def test_molecules_of_g2_pass_unless_they_are_radicals(name: str) -> None:
    assert (reason(of(molecule(name), "molecule")) is None) == (name not in RADICALS), name


@pytest.mark.parametrize("name", SOLIDS)
def test_solids_pass_as_they_are_and_not_in_another_unit(name: str) -> None:
    structure = of(SOLIDS[name], "crystal")
    assert reason(structure) is None
    if name != "argon":  # whose atoms touch nothing, and may be nearer
        assert reason(scaled(structure, 0.529177)) is not None
        assert reason(scaled(structure, 1.889726)) == ("bare_carbon" if name in {"diamond", "SiC"} else "isolated_atom")


@pytest.mark.parametrize("name", ["CH3CH2OH", "C6H6", "CH3CONH2", "SiH4", "NH3", "PH3", "CH3SCH3"])
def test_molecules_in_another_unit_are_found(name: str) -> None:
    assert reason(scaled(of(molecule(name), "molecule"), 1.889726)) is not None
    assert reason(scaled(of(molecule(name), "molecule"), 0.529177)) is not None


@pytest.mark.parametrize("name", [name for name in g2.names if "H" in name and name not in RADICALS and len(molecule(name)) > 2])
def test_one_hydrogen_that_is_missing_is_found_wherever_it_was(name: str) -> None:
    whole = of(molecule(name), "molecule")
    for k in np.flatnonzero(whole.numbers == 1):
        keep = np.arange(len(whole)) != k
        assert reason(replace(whole, numbers=whole.numbers[keep], positions=whole.positions[keep])) in {"missing_hydrogen", "bare_carbon"}


@pytest.mark.parametrize("name", ["H2O2", "NH3", "SiH4", "Si2H6", "N2H4", "CH3SiH3"])
def test_two_hydrogens_missing_from_atoms_other_than_carbon_are_found(name: str) -> None:
    whole = of(molecule(name), "molecule")
    others = np.flatnonzero((whole.numbers != 1) & (whole.numbers != 6))
    near = np.linalg.norm(whole.positions[:, None] - whole.positions[others][None], axis=-1).min(axis=1) < 1.7
    gone = np.flatnonzero((whole.numbers == 1) & near)[:2]
    keep = ~np.isin(np.arange(len(whole)), gone)
    assert reason(replace(whole, numbers=whole.numbers[keep], positions=whole.positions[keep])) in {"missing_hydrogen", "fragments"}


@pytest.mark.parametrize("name", ["C2H6", "isobutane", "cyclobutane", "trans-butane", "CH3CH2Cl"])
def test_two_carbons_that_lost_a_hydrogen_each_are_found(name: str) -> None:
    """An even number of electrons, and every carbon has three neighbours, yet not in its plane, as those of a double bond are."""
    atoms = molecule(name)
    hydrogens = np.flatnonzero(atoms.numbers == 1)
    owners = atoms.get_all_distances()[hydrogens][:, atoms.numbers == 6].argmin(axis=1)
    first, second = hydrogens[owners == 0][0], hydrogens[owners == 1][0]
    damaged = of(atoms[[k for k in range(len(atoms)) if k not in (first, second)]], "molecule")
    fault = find_fault(damaged, None, None)
    assert fault is not None
    assert fault.reason == "missing_hydrogen"
    assert "has three single bonds, at angles that add up to 3" in fault.detail


def test_carbons_out_of_their_plane_pass_where_they_have_a_double_bond() -> None:
    """Buckminsterfullerene, and a molecule shaken as recipes shake it."""
    assert reason(of(molecule("C60"), "molecule")) is None
    for k in range(80):
        atoms = molecule(("C6H6", "butadiene", "C2H4", "isobutene")[k % 4])
        atoms.rattle(0.05, rng=np.random.default_rng(k))
        fault = find_fault(of(atoms, "molecule"), None, None)
        assert fault is None or "three single bonds" not in fault.detail


def test_a_smiles_tells_how_many_hydrogens_there_are() -> None:
    whole = replace(of(molecule("CH3CH2OH"), "molecule"), origin={"smiles": "CCO"})
    assert reason(whole) is None
    fault = find_fault(replace(whole, origin={"smiles": "CCOC"}), None, None)
    assert fault is not None
    assert "2 C where it has 3" in fault.detail


def test_ions_and_radicals_pass_where_their_source_tells() -> None:
    radical, ion = of(molecule("PH2"), "molecule"), of(Atoms("OH", [(0, 0, 0), (0, 0, 0.97)]), "molecule")
    assert reason(radical) == reason(ion) == "missing_hydrogen"
    assert reason(replace(radical, origin={"radical_electrons": 1})) is None
    assert reason(replace(ion, origin={"charge": -1})) is None


@pytest.mark.parametrize("name", [name for name in SOLIDS if name != "argon"])
def test_a_cell_of_042_times_the_volume_is_found(name: str) -> None:
    assert reason(scaled(of(SOLIDS[name], "crystal"), 0.42 ** (1 / 3))) in {"compressed", "too_dense", "atoms_too_close"}


SALTS = {
    "rocksalt": "NaF 4.632 KF 5.347 KBr 6.600 RbF 5.652 RbCl 6.581 RbI 7.342 CsF 6.014 RbH 6.037 ScN 4.5",
    "fluorite": "CaF2 5.463 BaF2 6.200 CeO2 5.411 TiH2 4.45 OK2 6.436 ORb2 6.74 SRb2 7.65",
    "cesiumchloride": "CsCl 4.123 CsBr 4.286 CsI 4.567",
}
"""Measured lattice constants, Å; the oxides and the sulfide have their anions where fluorite has its cations."""


@pytest.mark.parametrize("kind", SALTS)
def test_salts_pass_as_measured_and_four_percent_shorter_and_not_in_a_cell_of_042_times_the_volume(kind: str) -> None:
    words = SALTS[kind].split()
    for name, a in zip(words[::2], words[1::2], strict=True):
        salt = of(bulk(name, kind, a=float(a), cubic=True), "crystal")
        assert reason(salt) is None, name
        assert reason(scaled(salt, 0.96)) is None, name
        assert reason(scaled(salt, 0.42 ** (1 / 3))) in {"compressed", "too_dense", "atoms_too_close"}, name


def test_nitrogen_in_bohr_is_stretched_though_its_atoms_are_near() -> None:
    assert reason(scaled(of(molecule("N2"), "cluster"), 1.889726)) in {"stretched", "isolated_atom"}
    (nitrogen,) = [c.structure for c in read_compounds() if c.label == "A_cP8_198_2a" and c.formula == "N2"]
    assert reason(scaled(nitrogen, 1.889726)) == "stretched"


def test_bonds_that_are_too_strong_in_sum_are_told() -> None:
    """Silicon's own bonds are 1.06 times the sum of radii: each by itself may be so short."""
    fault = find_fault(scaled(of(SOLIDS["silicon"], "crystal"), 0.76), None, None)
    assert fault is not None
    assert fault.reason == "compressed"
    assert "times as strong as in real matter" in fault.detail


@pytest.mark.parametrize("name", ["NO", "NO2", "SiO", "Si2"])
def test_gases_that_last_pass(name: str) -> None:
    assert reason(of(molecule(name), "molecule")) is None


@pytest.mark.parametrize("name", ["ClO", "SiH2_s1A1d", "NH"])
def test_fragments_do_not_pass(name: str) -> None:
    assert reason(of(molecule(name), "molecule")) == "missing_hydrogen"


def test_nitrous_acid_without_its_hydrogen_is_no_nitrogen_dioxide() -> None:
    atoms = Atoms("NOO", [(0, 0, 0), (1.17, 0, 0), (-0.5, 1.34, 0)])
    assert reason(of(atoms, "molecule")) == "missing_hydrogen"


def test_an_ion_among_hydrogens_is_not_alone() -> None:
    """Ammonium chloride: the nearest hydrogens of Cl are 2.3 Å away, 1.7 times the sum of covalent radii."""
    (salt,) = [compound.structure for compound in read_compounds() if compound.formula == "H4NCl"]
    assert reason(salt) is None
    assert reason(scaled(salt, 1.889726)) == "isolated_atom"


@pytest.mark.parametrize(("symbol", "is_sound"), [("U", True), ("W", False)])
def test_actinides_may_be_nearer_than_their_covalent_radii_say(symbol: str, is_sound: bool) -> None:
    radius = covalent_radii[atomic_numbers[symbol]]
    cubic = of(bulk(symbol, "sc", a=0.68 * 2 * radius, cubic=True), "crystal")
    assert (reason(cubic) is None) == is_sound


@pytest.mark.parametrize("kind", ["dimer", "trimer"])
def test_what_is_made_for_the_short_range_may_be_close_or_apart(kind: str) -> None:
    def pair(distance: float) -> Structure:
        return replace(of(Atoms("Si2", [(0, 0, 0), (0, 0, distance)]), "cluster"), origin={"kind": kind})

    assert reason(pair(0.65 * 2.22)) is None
    assert reason(pair(5.0)) is None
    assert reason(replace(pair(5.0), origin={})) == "isolated_atom"
    assert reason(replace(pair(0.65 * 2.22), origin={})) == "atoms_too_close"


@pytest.mark.parametrize("symbol", ["He", "Ne", "Ar", "Kr", "Xe", "Rn"])
def test_noble_gases_may_have_nothing_near_them(symbol: str) -> None:
    assert reason(of(Atoms([symbol, symbol], [(0, 0, 0), (0, 0, 7)]), "cluster")) is None
    neighbour = chemical_symbols[atomic_numbers[symbol] + 1]
    assert reason(of(Atoms([neighbour, neighbour], [(0, 0, 0), (0, 0, 12)]), "cluster")) == "isolated_atom"


def test_atoms_with_nothing_near_them_are_counted_and_the_first_is_named() -> None:
    atoms = of(Atoms("Cu2He2Cu", [(0, 0, 0), (0, 0, 2.5), (20, 0, 0), (30, 0, 0), (40, 0, 0)]), "cluster")
    assert find_fault(atoms, None, None).detail == "1 of 5 atoms have nothing near them, the first is Cu 4: lengths in another unit?"


def test_one_atom_may_be_alone_but_not_in_a_crystal() -> None:
    assert reason(of(Atoms("Cu"), "cluster")) is None
    assert reason(of(Atoms("Cu", cell=[9, 9, 9], pbc=True), "crystal")) == "isolated_atom"


def test_free_atoms_that_are_meant_so_pass() -> None:
    pair = of(Atoms("Si2", [(0, 0, 0), (0, 0, 5.0)]), "cluster")
    assert reason(replace(pair, origin={"kind": "atom"})) is None


@pytest.mark.parametrize(("share", "is_compressed"), [(0.795, False), (0.782, True)])
def test_bonds_are_too_short_below_079_of_the_covalent_radii(share: float, is_compressed: bool) -> None:
    """Europium, whose bonds are not added up, on a simple cubic lattice: they are as long as the cell."""
    europium = of(bulk("Eu", "sc", a=share * 2 * 1.98, cubic=True), "crystal")
    fault = find_fault(europium, None, None)
    assert (fault.reason if fault else None) == ("compressed" if is_compressed else None)
    assert fault is None or fault.detail.startswith("bonds have 0.78 of")


@pytest.mark.parametrize(("n_short", "is_compressed"), [(1, False), (2, True)])
def test_a_structure_is_compressed_where_most_of_its_atoms_with_three_bonds_are(n_short: int, is_compressed: bool) -> None:
    """Tetrahedra of europium, whose bonds are not added up, far from one another: all four atoms of one have three bonds each."""
    tetrahedron = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]) / np.sqrt(8) * 2 * 1.98
    scales = [0.75] * n_short + [1.0] * (3 - n_short)
    positions = np.concatenate([scale * tetrahedron + [10.0 * k, 0, 0] for k, scale in enumerate(scales)])
    assert reason(of(Atoms("Eu12", positions), "cluster")) == ("compressed" if is_compressed else None)


def organic() -> dict[str, Structure]:
    """Measured crystals with carbon and without metals."""
    found = {compound.formula: compound.structure for compound in read_compounds() if _is_organic(compound.structure)}
    return {formula: structure for formula, structure in found.items() if find_fault(structure, None, None) is None}


def without_hydrogens(structure: Structure, of: tuple[str, ...]) -> Structure:
    """The structure without the hydrogens that are nearest to these elements."""
    atoms = to_ase(structure)
    distances = atoms.get_all_distances(mic=True) + 10 * np.eye(len(atoms))
    lost = [a.index for a in atoms if a.symbol == "H" and atoms[int(distances[a.index].argmin())].symbol in of]
    kept = np.setdiff1d(np.arange(len(atoms)), lost)
    return replace(structure, numbers=structure.numbers[kept], positions=structure.positions[kept])


def test_hydrogens_that_x_rays_did_not_see_are_missed_in_organic_crystals() -> None:
    urea = organic()["H4CN2O"]
    assert reason(without_hydrogens(urea, ("N",))) == "missing_hydrogen"
    assert reason(replace(without_hydrogens(urea, ("N",)), multiplicity=3)) is None
    for origin in ({"method": "symmetric"}, {"info": {"origin": {"method": "decorated"}}}):
        assert reason(replace(without_hydrogens(urea, ("N",)), origin=origin)) is None, "invented crystals may be anything"


def test_organic_crystals_pass_shaken_too() -> None:
    rng = np.random.default_rng(0)
    assert len(organic()) == 9
    for structure in organic().values():
        shaken = replace(structure, positions=structure.positions + rng.normal(scale=0.03, size=structure.positions.shape))
        assert reason(shaken) is None, structure.id


@pytest.mark.parametrize("name", ["Adenine-thymine_Watson-Crick_complex", "Formic_acid_dimer", "Water_dimer"])
def test_a_cluster_of_molecules_that_lost_a_hydrogen_is_found_unless_its_source_tells(name: str) -> None:
    whole = of(s22[name], "cluster")
    assert reason(whole) is None
    lost = int(np.flatnonzero(whole.numbers == 1)[-1])
    kept = np.arange(len(whole)) != lost
    open_shell = replace(whole, numbers=whole.numbers[kept], positions=whole.positions[kept])
    assert reason(open_shell) == "missing_hydrogen"
    assert reason(replace(open_shell, multiplicity=2)) is None
    assert reason(replace(open_shell, origin={"info": {"origin": {"kind": "random"}}})) is None, "invented clusters may be anything"


def test_a_pair_of_bases_without_the_hydrogens_of_its_nitrogens_is_found() -> None:
    assert reason(without_hydrogens(of(s22["Adenine-thymine_complex_stack"], "cluster"), ("N",))) == "missing_hydrogen"


TETRAHEDRON = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]
OXIDES = {
    "OsO4": ("Os", ["O"] * 4, [1.712] * 4),
    "CrO2Cl2": ("Cr", ["O", "O", "Cl", "Cl"], [1.577, 1.577, 2.122, 2.122]),
    "WSCl2O": ("W", ["O", "S", "Cl", "Cl"], [1.68, 2.10, 2.28, 2.28]),
    "SeO2F2": ("Se", ["O", "O", "F", "F"], [1.575, 1.575, 1.685, 1.685]),
    "BrO3F": ("Br", ["O", "O", "O", "F"], [1.582, 1.582, 1.582, 1.708]),
    "XeO4": ("Xe", ["O"] * 4, [1.736] * 4),
    "GeH2O": ("Ge", ["H", "H", "O"], [1.53, 1.53, 1.634]),
}
"""Middle, what is around it, and how far, Å; as measured or, of tungsten and germanium, as in their like."""


def around(middle: str, others: list[str], distances: list[float]) -> Structure:
    directions = np.array(TETRAHEDRON[: len(others)]) / np.sqrt(3)
    return of(Atoms([middle, *others], [(0, 0, 0), *(directions * np.array(distances)[:, None])]), "molecule")


@pytest.mark.parametrize("name", OXIDES)
def test_oxygen_and_sulfur_at_the_end_of_a_short_bond_lack_no_hydrogen(name: str) -> None:
    assert reason(around(*OXIDES[name])) is None


def test_oxygen_at_the_end_of_a_long_bond_lacks_one() -> None:
    assert reason(around("Se", ["O"] * 4, [1.61, 1.61, 1.75, 1.75])) == "missing_hydrogen"
    assert reason(around("Ge", ["H", "H", "O", "O"], [1.53, 1.53, 1.76, 1.76])) == "missing_hydrogen"
    assert reason(around("B", ["F", "O", "O"], [1.32, 1.36, 1.36])) == "missing_hydrogen"


@pytest.mark.parametrize(
    ("middle", "n", "a"), [("I", 5, 1.86), ("I", 7, 1.83), ("Br", 5, 1.77), ("Br", 3, 1.77), ("Cl", 5, 1.62), ("S", 6, 1.56)]
)
def test_fluorides_with_many_bonds_are_not_compressed(middle: str, n: int, a: float) -> None:
    """On an octahedron, IF7 on a pentagonal bipyramid."""
    ring = [(np.cos(k * 0.4 * np.pi), np.sin(k * 0.4 * np.pi), 0) for k in range(5)]
    octahedron = [(0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)]
    directions = np.array([(0, 0, 1), (0, 0, -1), *ring] if n == 7 else octahedron[:n])
    fluoride = of(Atoms([middle, *"F" * n], [(0, 0, 0), *(a * directions)]), "molecule")
    assert reason(fluoride) is None
    assert reason(scaled(fluoride, 0.42 ** (1 / 3))) in {"compressed", "atoms_too_close"}


@pytest.mark.parametrize("name", ["Br", "I"])
def test_bromine_and_iodine_in_a_cell_of_042_times_the_volume_are_found(name: str) -> None:
    assert reason(scaled(of(dcdft[name], "crystal"), 0.42 ** (1 / 3))) == "compressed"


def test_acids_without_their_hydrogens_are_found_where_no_atom_could_be_a_cation() -> None:
    """Formic acid is paired, so an even number of hydrogens is missing, and its C-O are as long as some double bonds."""
    acids = without_hydrogens(of(s22["Formic_acid_dimer"], "cluster"), ("O",))
    assert reason(acids) == "missing_hydrogen"
    assert reason(replace(acids, charge=-2)) is None
    ammonia, far = of(molecule("NH3"), "cluster"), np.array([0, 0, 3.5])
    numbers = np.concatenate([acids.numbers, ammonia.numbers, ammonia.numbers])
    positions = np.concatenate([acids.positions, ammonia.positions + far, ammonia.positions - far])
    assert reason(replace(acids, numbers=numbers, positions=positions)) is None, "with ammonium, or as here nearly so, it is a salt"


def test_sulfuric_acid_without_both_hydrogens_is_found_and_sulfuryl_fluoride_passes() -> None:
    assert reason(around("S", ["O"] * 4, [1.43, 1.43, 1.57, 1.57])) == "missing_hydrogen"
    assert reason(around("S", ["O", "O", "F", "F"], [1.41, 1.41, 1.53, 1.53])) is None


WEAK = {
    "N2O4": ("N2O4", [(0, 0, 0.891), (0, 0, -0.891), (1.098, 0, 1.35), (-1.098, 0, 1.35), (1.098, 0, -1.35), (-1.098, 0, -1.35)]),
    "N2O3": ("N2O3", [(0, 0, 0), (0, 0, 1.864), (1.109, 0, -0.464), (-1.08, 0, -0.562), (1.103, 0, 2.161)]),
    "O2F2": ("O2F2", [(0, 0, 0), (0, 0, 1.217), (1.485, 0, -0.526), (0.065, 1.483, 1.743)]),
    "F2, shaken": ("F2", [(0, 0, 0), (0, 0, 1.46)]),
}
"""With the bonds N-N and O-F as measured, 1.78, 1.86 and 1.58 Å."""


@pytest.mark.parametrize("name", WEAK)
def test_molecules_with_a_weak_bond_are_in_one_piece(name: str) -> None:
    formula, positions = WEAK[name]
    assert reason(of(Atoms(formula, positions), "molecule")) is None


def test_oxygens_that_only_touch_are_not_bonded() -> None:
    assert reason(of(molecule("H2O2") + Atoms("O2", [(0, 0, 4.1), (0, 0, 5.3)]), "molecule")) == "fragments"
