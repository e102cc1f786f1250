"""From a molecular graph to relaxed coordinates: ETKDGv3, then MMFF94 or UFF."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from distillery.generators.proposals import Rejected
from distillery.structures.geometry import is_bonded_as
from distillery.structures.structure import Numbers, Structure, Vectors

_EMBEDDINGS = 30
"""Attempts to embed one conformer before random coordinates are tried, and again as many with them."""
_ITERATIONS = 1000
"""Steps of one relaxation at most; a long chain that still creeps is taken where it is."""
_SAME = 0.1
"""Conformers whose sorted interatomic distances differ by less, Å, are one."""


@dataclass(frozen=True, eq=False)
class Conformer:
    """One relaxed geometry.

    smiles       canonical, isomeric, of this geometry
    numbers      atomic numbers, shape (n_atoms,)
    positions    Å, shape (n_atoms, 3)
    force_field  MMFF94 or UFF
    graph        the molecule, its hydrogens atoms, in the same order
    turned       bonds whose torsions were turned after the relaxation: both atoms and the angle, degrees
    """

    smiles: str
    numbers: Numbers
    positions: Vectors
    force_field: str
    graph: Chem.Mol
    turned: tuple[tuple[int, int, float], ...] = ()


def make_conformers(mol: Chem.Mol, n: int, seed: int) -> list[Conformer]:
    """At most `n` different conformers of one stereoisomer; Rejected if it can't be embedded or no force field knows it.

    Stereocentres that the graph leaves open are settled by the first embedding. `seed` lies in 1..2**31 - 1; the same
    graph and seed give the same coordinates with the same RDKit.
    """
    full = _embed(Chem.AddHs(mol), 1, seed)
    if n > 1:
        full = _embed(Chem.AddHs(Chem.MolFromSmiles(_write_smiles(full, 0))), n, seed)
    name = _choose_force_field(full)
    relaxed = [_relax(full, conformer.GetId(), name) for conformer in full.GetConformers()]
    intact = [conformer for conformer in relaxed if is_intact(conformer, full)]
    faithful = [conformer for conformer in intact if has_stereo_of(conformer, mol)]
    if not faithful:
        raise Rejected("stereo_lost" if intact else "distorted")
    return _drop_repeats(faithful)


def _embed(mol: Chem.Mol, n: int, seed: int) -> Chem.Mol:
    embedded = Chem.Mol(mol)
    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed
    parameters.numThreads = 1
    parameters.maxIterations = _EMBEDDINGS
    for random_start in (False, True):
        parameters.useRandomCoords = random_start
        try:
            if len(rdDistGeom.EmbedMultipleConfs(embedded, n, parameters)):
                return embedded
        except RuntimeError as error:  # a broken invariant inside RDKit, for graphs that no geometry can satisfy
            raise Rejected("embedding") from error
    raise Rejected("embedding")


def _choose_force_field(mol: Chem.Mol) -> str:
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        return "MMFF94"
    if rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
        return "UFF"
    raise Rejected("no_force_field")


def _relax(mol: Chem.Mol, conformer: int, name: str) -> Conformer:
    field = _make_field(mol, conformer, name)
    field.Initialize()
    field.Minimize(maxIts=_ITERATIONS)
    return _read(mol, conformer, name)


def _make_field(mol: Chem.Mol, conformer: int, name: str) -> Any:
    if name == "UFF":
        return rdForceFieldHelpers.UFFGetMoleculeForceField(mol, confId=conformer)
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, mmffVariant="MMFF94")
    return rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties, confId=conformer)


def _read(mol: Chem.Mol, conformer: int, name: str) -> Conformer:
    return Conformer(
        smiles=_write_smiles(mol, conformer),
        numbers=np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.uint8),
        positions=np.array(mol.GetConformer(conformer).GetPositions(), dtype=np.float64),
        force_field=name,
        graph=mol,
    )


def _write_smiles(mol: Chem.Mol, conformer: int) -> str:
    """Canonical isomeric SMILES with the stereochemistry of one conformer."""
    isomer = Chem.Mol(mol)
    Chem.AssignStereochemistryFrom3D(isomer, conformer)
    parameters: Any = Chem.RemoveHsParameters()
    parameters.removeDefiningBondStereo = True
    return str(Chem.MolToSmiles(Chem.RemoveHs(isomer, parameters)))


def _drop_repeats(conformers: list[Conformer]) -> list[Conformer]:
    kept: list[tuple[Conformer, Vectors]] = []
    for conformer in conformers:
        own = _sorted_distances(conformer)
        if all(np.abs(own - other).max() >= _SAME for _, other in kept):
            kept.append((conformer, own))
    return [conformer for conformer, _ in kept]


def _sorted_distances(conformer: Conformer) -> Vectors:
    i, j = np.triu_indices(len(conformer.numbers), 1)
    return np.sort(np.linalg.norm(conformer.positions[i] - conformer.positions[j], axis=1))


def has_stereo_of(conformer: Conformer, mol: Chem.Mol) -> bool:
    """True if every stereocentre that the graph specifies is so in the geometry."""
    return bool(Chem.MolFromSmiles(conformer.smiles).HasSubstructMatch(Chem.RemoveHs(mol), useChirality=True))


def is_intact(conformer: Conformer, mol: Chem.Mol) -> bool:
    """True if the distances tell the same bonds as the graph: none broken, none made."""
    if not np.isfinite(conformer.positions).all():
        return False
    structure = Structure(id="", numbers=conformer.numbers, positions=conformer.positions)
    return is_bonded_as(structure, ((b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()))
