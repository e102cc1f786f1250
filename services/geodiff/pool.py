"""The pool: molecules whose conformers are asked for, from the request, from molecules.smi or, by `rdkit_pool`, from an rdkit service."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from rdkit import Chem, rdBase

from distillery.errors import InvalidRequest, Unsupported
from distillery.generators.generator import Task
from distillery.generators.models.model import ReportProgress
from distillery.structures.smiles import LINE_END
from distillery.weights.checksums import sha256_of

BUILT_IN = Path(__file__).parent / "molecules.smi"
"""One SMILES a line, constitution only, made by the rdkit service: `python -m services.geodiff.small.molecules`."""


@dataclass(frozen=True)
class Wanted:
    """One molecule of the pool: its SMILES as given, and where that came from."""

    smiles: str
    pool: str

    @cached_property
    def mol(self) -> Chem.Mol:
        """With explicit hydrogens, not to be changed; InvalidRequest if RDKit can't read it."""
        with rdBase.BlockLogs():
            mol = None if LINE_END.search(self.smiles) else Chem.MolFromSmiles(self.smiles.removeprefix("\ufeff"))
        if mol is None or mol.GetNumAtoms() == 0:
            raise InvalidRequest(f"options.smiles: {self.smiles!r} is not a SMILES that RDKit can read")
        return Chem.AddHs(mol)

    @cached_property
    def elements(self) -> frozenset[str]:
        """The symbols of its atoms."""
        return frozenset(atom.GetSymbol() for atom in self.mol.GetAtoms())

    @cached_property
    def fault(self) -> str | None:
        """Why nobody can have conformers of it; None if it is one neutral molecule."""
        if self.mol.GetNumBonds() == 0 or len(Chem.GetMolFrags(self.mol)) > 1:
            return "is not one molecule of bonded atoms"
        if Chem.GetFormalCharge(self.mol) or any(atom.GetNumRadicalElectrons() for atom in self.mol.GetAtoms()):
            return "is an ion or a radical"
        return None


class MoleculePool(Protocol):
    """Where molecules come from if a request names none."""

    @property
    def version(self) -> str:
        """What the molecules depend on besides task and seed."""

    def check(self, task: Task) -> None:
        """Unsupported, saying what to do, if it is known to have no molecule for a task."""

    def find(self, task: Task, n: int, seed: int, report: ReportProgress) -> Sequence[Wanted]:
        """Molecules that fit the task, at least one: n if it makes them by `seed`, else all it has; `report` is called while it waits."""


class BuiltInPool:
    """The molecules of molecules.smi."""

    @cached_property
    def version(self) -> str:
        """By the file's sha256."""
        return f"built-in {sha256_of(BUILT_IN)[:12]}"

    def check(self, task: Task) -> None:
        """See `MoleculePool`."""
        if not list_suitable(read_built_in(), task):
            raise Unsupported(
                f"geodiff's own pool has no molecule of {task.min_atoms}-{task.max_atoms} atoms of {' '.join(task.elements)}; "
                "give options.smiles, or set DISTILLERY_GEODIFF_POOL to an rdkit service"
            )

    def find(self, task: Task, n: int, seed: int, report: ReportProgress) -> Sequence[Wanted]:
        """See `MoleculePool`."""
        return list_suitable(read_built_in(), task)


def list_suitable(pool: Sequence[Wanted], task: Task) -> tuple[Wanted, ...]:
    """The molecules that fit the task's sizes and elements."""
    return tuple(wanted for wanted in pool if explain_unsuitable(wanted, task) is None)


def require_given(smiles: Sequence[str], task: Task) -> None:
    """InvalidRequest for a SMILES that can't be read, Unsupported for a molecule that does not fit; each is named."""
    for text in smiles:
        reason = explain_unsuitable(Wanted(text, "request"), task)
        if reason is not None:
            raise Unsupported(f"options.smiles: {text} {reason}")


def explain_unsuitable(wanted: Wanted, task: Task) -> str | None:
    """Why a molecule does not fit a task; None if it does."""
    foreign = sorted(wanted.elements - set(task.elements))
    if foreign:
        return f"holds {' '.join(foreign)}; allowed are {' '.join(task.elements)}"
    n_atoms = wanted.mol.GetNumAtoms()
    if not task.min_atoms <= n_atoms <= task.max_atoms:
        return f"has {n_atoms} atoms, asked for {task.min_atoms}-{task.max_atoms}"
    return wanted.fault


@lru_cache(maxsize=1)
def read_built_in() -> tuple[Wanted, ...]:
    """The molecules of molecules.smi, each parsed but once."""
    return tuple(Wanted(smiles, "built-in") for smiles in BUILT_IN.read_text(encoding="utf-8").split())


def drop_stereo(smiles: str) -> str:
    """The constitution alone: which isomer comes out is the sampler's choice."""
    mol = Chem.MolFromSmiles(smiles)
    Chem.RemoveStereochemistry(mol)
    return str(Chem.MolToSmiles(mol))


def choose(pool: Sequence[Wanted], n: int, conformers: int, seed: int) -> list[Wanted]:
    """n molecules, each `conformers` times in a row; all of the pool come before any comes again."""
    n_molecules = -(-n // conformers)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(pool)) for _ in range(-(-n_molecules // len(pool)))])
    return [pool[k] for k in order[:n_molecules] for _ in range(conformers)][:n]
