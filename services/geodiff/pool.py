"""The pool: molecules whose conformers are asked for, from the request, from an rdkit service or from molecules.smi."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import httpx
import numpy as np
from rdkit import Chem, rdBase

from contract.arrow import ARROW_TYPE, from_arrow
from contract.generator import Task
from contract.identity import derive_seed
from contract.problems import InvalidRequest, Unavailable, Unsupported

BUILT_IN = Path(__file__).parent / "molecules.smi"
"""One SMILES a line, constitution only, made by the rdkit service: `python -m services.geodiff.small.molecules`."""
_TIMEOUT = httpx.Timeout(300, connect=10)


@dataclass(frozen=True)
class Wanted:
    """One molecule of the pool: its SMILES as given, and where that came from."""

    smiles: str
    pool: str

    @cached_property
    def mol(self) -> Chem.Mol:
        """With explicit hydrogens, not to be changed; InvalidRequest if RDKit can't read it."""
        with rdBase.BlockLogs():
            mol = Chem.MolFromSmiles(self.smiles)
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


def ask_rdkit(url: str, task: Task, n: int, seed: int) -> tuple[Wanted, ...]:
    """n new molecules of an rdkit service, constitution only; Unavailable if it can't be asked, its own problem if it refuses."""
    request = {
        "n": n,
        "seed": derive_seed(seed, "pool", 0),
        "system": "molecule",
        "elements": list(task.elements),
        "min_atoms": task.min_atoms,
        "max_atoms": task.max_atoms,
    }
    try:
        answer = httpx.post(f"{url.rstrip('/')}/generate", json=request, headers={"Accept": ARROW_TYPE}, timeout=_TIMEOUT)
    except httpx.HTTPError as error:
        raise Unavailable(
            f"the pool of geodiff, {url} (DISTILLERY_GEODIFF_POOL), can't be asked: {type(error).__name__}: {error}"
        ) from error
    if answer.status_code != httpx.codes.OK:
        raise Unavailable(f"the pool of geodiff, {url} (DISTILLERY_GEODIFF_POOL), answered {answer.status_code}: {answer.text[:300]}")
    structures, _ = from_arrow(answer.content)
    if not structures:
        raise Unsupported(f"the pool of geodiff, {url}, made no molecule of {task.min_atoms}-{task.max_atoms} atoms")
    return tuple(Wanted(drop_stereo(str(s.origin["smiles"])), "rdkit") for s in structures)


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
