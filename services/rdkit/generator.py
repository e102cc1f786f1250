"""MoleculeProposer: one molecule a proposal, grown or given, in one or several conformers."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictBool, StrictInt, StrictStr, model_validator
from rdkit import Chem, rdBase

from distillery.errors import InvalidRequest, Unsupported
from distillery.generators.generator import Task
from distillery.generators.inputs import InputSettings
from distillery.generators.proposals import PoolExhausted, Proposal, ProposalGenerator, Rejected, propose_in_workers
from distillery.runtime.versions import name_versions
from distillery.schema.base import Message
from distillery.schema.generate import ChargeOptions, Metadata, SystemCard
from distillery.structures.checks import SHORTEST_DISTANCE
from distillery.structures.structure import Structure, System
from services.rdkit.charges import charge_molecule
from services.rdkit.conformers import Conformer, make_conformers
from services.rdkit.fragments import count_atoms
from services.rdkit.growth import grow_molecule
from services.rdkit.palette import Palette, make_palette
from services.rdkit.torsions import turn_torsions
from services.rdkit.user_smiles import GivenSmiles, list_smiles, read_smiles_file, refuse_bad_smiles

ELEMENTS = ("H", "C", "N", "O", "F", "Si", "P", "S", "Cl", "B", "Br", "I")
Heavy = Literal["C", "N", "O", "F", "Si", "P", "S", "Cl", "B", "Br", "I"]
_WEIGHTS: Mapping[Heavy, float] = {
    "C": 2, "N": 3, "O": 4, "F": 1.5, "Si": 1.5, "P": 1.5, "S": 1.5, "Cl": 1.5, "B": 0.5, "Br": 0.5, "I": 0.5,
}  # fmt: skip
_C_H = Chem.MolFromSmarts("[C,c;!H0]")
_CHARGED = 0.5
"""Share of the molecules that are made ions or zwitterions where charges are allowed; those that can't be are grown anew."""
_GROWTHS = 20
"""Molecules grown in one proposal before it is given up."""


class MoleculeOptions(ChargeOptions):
    """The options of a molecule request."""

    torsions: float = Field(
        0.3, ge=0, le=1, description="share of the conformers with one to three torsions turned by random angles after they were relaxed"
    )
    charges: StrictBool | Annotated[tuple[Annotated[StrictInt, Field(ge=-4, le=4)], ...], Field(min_length=1)] = Field(
        False,
        description="ions: half of the grown molecules have a charged acid or amine, or both (zwitterions), given SMILES may be charged; "
        "true, or the total charges that may come, as [-1, 0, 1]. [0] is zwitterions alone; all else only for teachers that know of charge",
    )
    radicals: StrictBool = Field(
        False, description="take given SMILES with unpaired electrons, of the highest multiplicity that these allow; else they are refused"
    )
    conformers: StrictInt = Field(1, ge=1, le=100, description="most conformers of one molecule; each is a structure and counts towards n")
    smiles: tuple[Annotated[StrictStr, Field(max_length=2000)], ...] = Field(
        (), max_length=10_000, description="take molecules from these SMILES (a name may follow after a space) instead of growing them"
    )
    smiles_file: StrictStr | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="the same from a UTF-8 file, one SMILES a line, below the folder DISTILLERY_SERVICE_INPUTS on the service's machine",
    )
    element_weights: dict[Heavy, Annotated[float, Field(ge=0, le=1000)]] = Field(
        {},
        description="growth only: relative chance that the next fragment brings this element (C: is a hydrocarbon); 0: never; others keep "
        + " ".join(f"{element} {weight:g}" for element, weight in _WEIGHTS.items()),
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.smiles and self.smiles_file is not None:
            raise ValueError("give smiles or smiles_file, not both")
        if self.is_given and self.element_weights:
            raise ValueError("element_weights steers growth; it has no meaning beside smiles or smiles_file")
        return self

    @property
    def may_be_charged(self) -> bool:
        """See `ChargeOptions`."""
        return any(self.charges) if isinstance(self.charges, tuple) else self.charges

    def allows(self, charge: int) -> bool:
        """Whether molecules may have this total charge."""
        return charge == 0 or (charge in self.charges if isinstance(self.charges, tuple) else self.charges)

    @property
    def is_given(self) -> bool:
        """True if molecules come from the user's SMILES."""
        return bool(self.smiles) or self.smiles_file is not None


class MoleculeProposer:
    """A `distillery.generators.proposals.Proposer` of molecules."""

    def __init__(self) -> None:
        """Settings come from the environment."""
        self._settings = InputSettings()

    @property
    def metadata(self) -> Metadata:
        card = SystemCard(
            min_atoms=5,
            max_atoms=200,
            default_min_atoms=10,
            default_max_atoms=100,
            elements=ELEMENTS,
            options_schema=MoleculeOptions.model_json_schema(),
        )
        return Metadata(
            service="rdkit",
            version="2.2",
            method="Molecules grown from drug-like fragments (or a user's SMILES), embedded by ETKDGv3, relaxed by MMFF94 or else UFF.",
            licence="RDKit: BSD-3-Clause",
            systems={"molecule": card},
            n_max=1000,
            minimum_distance=SHORTEST_DISTANCE,
            versions=name_versions("rdkit"),
        )

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return {"molecule": MoleculeOptions}

    def check(self, task: Task) -> None:
        """Unsupported without H, C or any weight; InvalidRequest for SMILES of the request that can't be read, or a file of such alone."""
        options = _options_of(task)
        if options.is_given:
            refuse_bad_smiles(self._given(options), options.smiles_file)
            return
        missing = [element for element in ("H", "C") if element not in task.elements]
        if missing:
            raise Unsupported(f"rdkit grows organic molecules: elements must include H and C; {' and '.join(missing)} missing")
        if not any(weight > 0 for _, weight in _weights_of(task)):
            raise Unsupported("element_weights leaves no allowed element a chance; give at least one of them more than 0")

    def propose(self, task: Task, rng: np.random.Generator) -> Proposal:
        """One molecule; Rejected with what stood in the way, which RDKit's own log then need not repeat."""
        with rdBase.BlockLogs():
            return self._propose(task, _options_of(task), rng)

    def _propose(self, task: Task, options: MoleculeOptions, rng: np.random.Generator) -> Proposal:
        mol, origin, lap = self._pick(task, options) if options.is_given else (*grow_graph(task, rng), 0)
        made = make_conformers(mol, options.conformers, seed=int(rng.integers(1, 2**31 - 1)))
        conformers = [turn_torsions(c, rng) if rng.random() < options.torsions else c for c in made]
        structures = tuple(
            Structure(
                id="",
                numbers=conformer.numbers,
                positions=conformer.positions,
                system="molecule",
                origin={**origin, **_describe(conformer), "conformer": i},
                charge=Chem.GetFormalCharge(conformer.graph),
                multiplicity=_find_multiplicity(conformer.graph),
            )
            for i, conformer in enumerate(conformers)
        )
        return Proposal(structures, key=f"{conformers[0].smiles} {lap}" if lap else conformers[0].smiles)

    def _given(self, options: MoleculeOptions) -> tuple[GivenSmiles, ...]:
        if options.smiles_file is not None:
            return read_smiles_file(options.smiles_file, self._settings)
        return list_smiles(options.smiles)

    def _pick(self, task: Task, options: MoleculeOptions) -> tuple[Chem.Mol, dict[str, Any], int]:
        """The molecule, what is known of it, and in which lap through the SMILES it is taken."""
        pool = self._given(options)
        place, lap = _find_place(task, options.conformers, len(pool))
        given = pool[place]
        try:
            mol = given.parse()
        except InvalidRequest:  # a line of a file; what is given in a request was refused whole
            raise Rejected("unreadable") from None
        _refuse_unsuitable(mol, task)
        origin: dict[str, Any] = {"method": "given SMILES", "given": given.text, "line": given.line}
        return mol, origin if given.name is None else {**origin, "name": given.name}, lap


def _describe(conformer: Conformer) -> dict[str, Any]:
    charge = Chem.GetFormalCharge(conformer.graph)
    return {
        "smiles": conformer.smiles,
        "force_field": conformer.force_field,
        "embedding": "ETKDGv3",
        **({"turned": [[i, j, round(angle, 2)] for i, j, angle in conformer.turned]} if conformer.turned else {}),
        **({"charge": charge} if charge else {}),
    }


def _find_multiplicity(mol: Chem.Mol) -> int:
    """All unpaired electrons of one direction; 0, the lowest, where there is none."""
    n_unpaired = sum(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())
    return n_unpaired + 1 if n_unpaired else 0


def _options_of(task: Task) -> MoleculeOptions:
    assert isinstance(task.options, MoleculeOptions)
    return task.options


def _find_place(task: Task, conformers: int, n_given: int) -> tuple[int, int]:
    """Which of the given SMILES a proposal takes, and in which lap.

    All molecules are taken before any is taken again; PoolExhausted at the end of the task's pool_slice. A molecule stands for as
    many structures as it may have conformers, but seldom has them all: then the task goes on through all molecules, in an order of its own.
    """
    if task.pool_slice is None:
        return _find_in_own_order(task, task.attempt, n_given), 0
    first, end = (-(-k // conformers) for k in (task.pool_slice.start, task.pool_slice.start + task.n))
    beyond = first + task.attempt - end
    if beyond < 0:
        lap, place = divmod(first + task.attempt, n_given)
        return int(_shuffle(task.pool_slice.seed, n_given)[place]), lap
    if conformers == 1:
        raise PoolExhausted
    return _find_in_own_order(task, beyond, n_given), -1


def _find_in_own_order(task: Task, k: int, n_given: int) -> int:
    if k >= n_given:
        raise Rejected("smiles_used_up")
    return int(_shuffle(task.seed, n_given)[k])


@lru_cache(maxsize=16)
def _shuffle(seed: int, n: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(n)


def _refuse_unsuitable(mol: Chem.Mol, task: Task) -> None:
    """What a reader can tell before the costly part: pieces, charge, radicals, elements, size."""
    symbols = {atom.GetSymbol() for atom in mol.GetAtoms()}
    reasons = {
        "fragments": len(Chem.GetMolFrags(mol)) > 1,
        "charged": not _options_of(task).allows(Chem.GetFormalCharge(mol)),
        "radical": any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()) and not _options_of(task).radicals,
        "unknown_element": not symbols <= set(task.elements),
        "size": not task.min_atoms <= count_atoms(mol) <= task.max_atoms,
    }
    for reason, applies in reasons.items():
        if applies:
            raise Rejected(reason)


def _weights_of(task: Task) -> tuple[tuple[Heavy, float], ...]:
    weights = {**_WEIGHTS, **_options_of(task).element_weights}
    return tuple((element, weight) for element, weight in weights.items() if element in task.elements)


def grow_graph(task: Task, rng: np.random.Generator) -> tuple[Chem.Mol, dict[str, Any]]:
    """A molecule of a size drawn uniformly from the range, its atoms in the order of its canonical SMILES."""
    palette: Palette = make_palette(frozenset(task.elements), _weights_of(task))
    options = _options_of(task)
    for _ in range(_GROWTHS):
        mol = grow_molecule(palette, int(rng.integers(task.min_atoms, task.max_atoms + 1)), rng, task.min_atoms)
        if mol is not None and options.charges and rng.random() < _CHARGED:
            mol = charge_molecule(mol, rng)
        if mol is not None and not options.allows(Chem.GetFormalCharge(mol)):
            continue
        if mol is not None and task.min_atoms <= count_atoms(mol) <= task.max_atoms and mol.HasSubstructMatch(_C_H):
            return Chem.MolFromSmiles(Chem.MolToSmiles(mol)), {"method": "fragment growth"}
    raise Rejected("growth")


_MEMORY_PER_WORKER = 128 * 2**20
"""Bytes; a worker of its own needs 44 MB after 120 structures of all sizes, beside the fork server."""


def build() -> ProposalGenerator:
    """The service's generator, set up from the environment."""
    return propose_in_workers(MoleculeProposer, _MEMORY_PER_WORKER)
