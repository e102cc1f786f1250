"""How often grown molecules have what real ones have: `python -m services.rdkit.compare FILE …` prints a table of groups and sizes.

A file is a CSV with a column `smiles`, an SDF, or SMILES, one a line; of it count molecules of the default elements with 10-60 atoms, salts
without their counter-ions.
"""

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from distillery.generators.generator import resolve_task
from distillery.generators.proposals import Rejected
from distillery.schema.generate import GenerateRequest
from distillery.structures.structure import DEFAULT_ELEMENTS
from services.rdkit.fragments import count_atoms
from services.rdkit.generator import build, grow_graph

MIN_ATOMS, MAX_ATOMS, N_GROWN = 10, 60, 1000
_NITRO = "$([NX3+](=O)[O-])"
GROUPS: Mapping[str, str] = {
    "nitro": "[NX3+](=O)[O-]",
    "N-O, others": f"[#7;!{_NITRO};!$([#7+][O-])]~[OX2,oX2]",
    "N-oxide": f"[#7+;!{_NITRO}][O-]",
    "N-N, not in an aromatic ring": f"[#7;!{_NITRO}]-,=;!:[#7]",
    "aromatic N-N": "n:n",
    "S-S": "[SX2]-[SX2]",
    "peroxide": "[OX2]-[OX2]",
    "three-membered ring": "[r3]",
    "four-membered ring": "[r4]",
    "charged atom, not nitro or N-oxide": f"[!#0;+,-;!{_NITRO};!$([#7+][O-]);!$([O-][#7+]);!$([N-]=[N+]);!$([N+]=[N-])]",
    "benzene ring": "c1ccccc1",
    "aromatic heterocycle": "[n,o,s,p]",
    "amide": "[#7][CX3](=O)[#6]",
    "carboxylic acid": "[CX3](=O)[OX2H]",
    "ester": "[#6][CX3](=O)[OX2][#6]",
    "ketone": "[#6][CX3](=O)[#6]",
    "aldehyde": "[CX3H1](=O)[#6]",
    "alcohol": "[CX4][OX2H]",
    "phenol": "c[OX2H]",
    "ether": "[#6;!$(C=O)][OX2][#6;!$(C=O)]",
    "primary amine": "[NX3H2][#6;!$(C=[O,S,N])]",
    "tertiary amine": "[NX3;H0]([CX4])([CX4])[CX4]",
    "nitrile": "[CX2]#N",
    "alkyne": "[CX2]#[CX2]",
    "alkene": "[CX3]=[CX3]",
    "sulfide": "[#6][SX2][#6]",
    "thiol": "[SX2H]",
    "sulfonyl": "S(=O)(=O)",
    "C-F": "[#6]F",
    "C-Cl": "[#6]Cl",
    "P": "[#15]",
    "Si": "[#14]",
}


def main(paths: Sequence[Path]) -> None:
    """Print the table: shares of molecules in percent, then sizes."""
    sets = {"grown": list(grow_molecules(N_GROWN)), **{path.name: list(read_molecules(path)) for path in paths}}
    print(f"{'percent of molecules with':36s}" + "".join(f"{name[:20]:>22s}" for name in sets))
    for group, pattern in _patterns().items():
        print(f"{group:36s}" + "".join(f"{100 * share_with(mols, pattern):22.1f}" for mols in sets.values()))
    print(f"{'molecules':36s}" + "".join(f"{len(mols):22d}" for mols in sets.values()))
    for name, q in (("atoms, 10 %", 10), ("atoms, median", 50), ("atoms, 90 %", 90)):
        print(f"{name:36s}" + "".join(f"{np.percentile([count_atoms(m) for m in mols], q):22.0f}" for mols in sets.values()))


@cache
def _patterns() -> Mapping[str, Chem.Mol]:
    return {name: Chem.MolFromSmarts(smarts) for name, smarts in GROUPS.items()}


def share_with(mols: Sequence[Chem.Mol], pattern: Chem.Mol) -> float:
    """The share of molecules that have the pattern."""
    return sum(mol.HasSubstructMatch(pattern) for mol in mols) / len(mols)


def grow_molecules(n: int, options: Mapping[str, object] | None = None) -> Iterator[Chem.Mol]:
    """The graphs of `n` proposals of a request with seed 1, without those that came to nothing."""
    request = GenerateRequest(n=1, seed=1, min_atoms=MIN_ATOMS, max_atoms=MAX_ATOMS, options=dict(options or {}))
    task = resolve_task(request, build())
    for attempt in range(n):
        try:
            yield grow_graph(task, np.random.default_rng([1, attempt]))[0]
        except Rejected:
            continue


def read_molecules(path: Path) -> Iterator[Chem.Mol]:
    """The molecules of a file that are like what is asked of growth: one piece, the default elements, 10-60 atoms."""
    for mol in _read_file(path):
        pieces = Chem.GetMolFrags(mol, asMols=True) if mol is not None else ()
        if not pieces:
            continue
        largest = Chem.RemoveHs(max(pieces, key=lambda piece: int(piece.GetNumHeavyAtoms())))
        symbols = {atom.GetSymbol() for atom in largest.GetAtoms()}
        if symbols <= set(DEFAULT_ELEMENTS) and MIN_ATOMS <= count_atoms(largest) <= MAX_ATOMS:
            yield largest


def _read_file(path: Path) -> Iterable[Chem.Mol]:
    if path.suffix == ".sdf":
        yield from Chem.SDMolSupplier(str(path))
        return
    with path.open(encoding="utf-8", newline="") as file:
        texts = (row["smiles"] for row in csv.DictReader(file)) if path.suffix == ".csv" else (line.split()[0] for line in file)
        yield from map(Chem.MolFromSmiles, texts)


if __name__ == "__main__":
    with rdBase.BlockLogs():
        main([Path(name) for name in sys.argv[1:]])
