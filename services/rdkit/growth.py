"""Fragment growth: a molecular graph of a wanted size, built from a palette one bond at a time."""

import numpy as np
from rdkit import Chem

from services.rdkit.fragments import Fragment, count_atoms
from services.rdkit.palette import Palette
from services.rdkit.rules import find_flaw, may_bond

_RING_FROM = 16
"""Molecules of at least so many atoms start from a ring, smaller ones from anything."""
_FINISH = 4
"""With room for at most so many atoms, halogens (which add none) are drawn no more."""
_GAP = 3
"""Atoms that a molecule may fall short of its size."""
_TRIES = 12
"""Fragments tried at one step before the molecule is taken as it is."""
_OPEN_SITE = 4
"""How many times likelier a carbon, silicon or phosphorus with at most two heavy neighbours is bonded to than a crowded atom."""
_AMINE_SITE = 2
"""The same for a nitrogen; for OH and SH it is 1, so that acids and alcohols are left."""


def grow_molecule(palette: Palette, n_atoms: int, rng: np.random.Generator, least: int | None = None) -> Chem.Mol | None:
    """A sanitised molecule of at most `n_atoms`, hydrogens included (usually exactly); None if it came out flawed.

    It has up to three atoms less where `least` is given and met: only nitriles, thiols and alkynes fit a last gap.
    """
    seeds = palette.rings if n_atoms >= _RING_FROM else palette.seeds
    seed = seeds.draw(0, n_atoms - 2, rng)
    if seed is None:
        return None
    mol = seed.mol
    while (room := n_atoms - count_atoms(mol)) > 0 and not (least is not None and room <= _GAP and n_atoms - room >= least):
        grown = _extend(mol, palette, room, rng)
        if grown is None:
            break
        mol = grown
    return _finish(mol)


def _extend(mol: Chem.Mol, palette: Palette, room: int, rng: np.random.Generator) -> Chem.Mol | None:
    """The molecule with one more fragment that adds at most `room` atoms; None if none of those tried would do."""
    sites = _find_sites(mol)
    if not sites:
        return None
    for _ in range(_TRIES):
        fragment = palette.draw(0 if room > _FINISH else 1, room, rng)
        if fragment is None:
            return None
        own, other = sites[rng.integers(len(sites))], _draw_site(fragment, rng)
        if may_bond(_symbol_at(mol, own), _symbol_at(fragment.mol, other)):
            joined = join(mol, own, fragment.mol, other)
            if find_flaw(joined) is None:
                return joined
    return None


def _draw_site(fragment: Fragment, rng: np.random.Generator) -> int:
    sites = _find_sites(fragment.mol)
    return sites[rng.integers(len(sites))]


def _find_sites(mol: Chem.Mol) -> list[int]:
    """Indices of the dummies, or if there is none, of the atoms with hydrogens; those with room around them several times."""
    dummies = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0]
    return dummies or [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetTotalNumHs() for _ in range(_preference(atom))]


def _preference(atom: Chem.Atom) -> int:
    if atom.GetDegree() >= 3 or atom.GetAtomicNum() in (8, 16):
        return 1
    return _AMINE_SITE if atom.GetAtomicNum() == 7 else _OPEN_SITE


def _symbol_at(mol: Chem.Mol, site: int) -> str:
    atom = mol.GetAtomWithIdx(site)
    return str((atom if atom.GetAtomicNum() else atom.GetNeighbors()[0]).GetSymbol())


def join(mol: Chem.Mol, own: int, fragment: Chem.Mol, other: int) -> Chem.Mol:
    """Both molecules with a single bond between two sites; a site is a dummy, which goes, or an atom, which loses a hydrogen."""
    joined = Chem.RWMol(Chem.CombineMols(mol, fragment))
    sites = (own, other + mol.GetNumAtoms())
    joined.AddBond(_free_valence(joined, sites[0]), _free_valence(joined, sites[1]), Chem.BondType.SINGLE)
    for site in sorted(sites, reverse=True):
        if joined.GetAtomWithIdx(site).GetAtomicNum() == 0:
            joined.RemoveAtom(site)
    Chem.SanitizeMol(joined)
    return joined.GetMol()


def _free_valence(mol: Chem.RWMol, site: int) -> int:
    atom = mol.GetAtomWithIdx(site)
    if atom.GetAtomicNum() == 0:
        return int(atom.GetNeighbors()[0].GetIdx())
    if atom.GetNumExplicitHs():
        atom.SetNumExplicitHs(atom.GetNumExplicitHs() - 1)
    return site


def _finish(mol: Chem.Mol) -> Chem.Mol | None:
    """The molecule with hydrogens for dummies; None if that left a flaw."""
    closed = Chem.RWMol(mol)
    for atom in closed.GetAtoms():
        if atom.GetAtomicNum() == 0:
            atom.SetAtomicNum(1)
    finished = Chem.RemoveHs(closed)
    return finished if find_flaw(finished) is None else None
