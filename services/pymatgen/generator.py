"""The crystal source: real compounds, decorated prototypes and symmetric random crystals, expanded to the wanted size."""

from collections.abc import Mapping
from functools import cache
from typing import cast

import numpy as np

from distillery.errors import InvalidRequest, Unsupported
from distillery.generators.compounds import read_compounds
from distillery.generators.generator import Task
from distillery.generators.perturb import perturb_structure
from distillery.generators.proposals import Proposal, ProposalGenerator, Rejected, propose_in_workers
from distillery.generators.supercell import expand_to
from distillery.runtime.versions import name_versions
from distillery.schema.base import Message
from distillery.schema.explain import suggest
from distillery.schema.generate import Metadata, Perturb, SystemCard
from distillery.structures.checks import SHORTEST_DISTANCE, find_chemistry_fault, find_input_fault, find_size_fault
from distillery.structures.identity import structure_hash
from distillery.structures.structure import Structure, System
from services.pymatgen.defects import add_defects
from services.pymatgen.kinds import possible_kinds, prepare_kind, why_not
from services.pymatgen.options import CrystalOptions
from services.pymatgen.prototypes import known_names
from services.pymatgen.volume import known_elements

TRIES = 10
"""Crystals of one kind, and the invented ones of the same elements, tried before a proposal is given up."""


class CrystalProposer:
    """Proposes one crystal at a time; see the README for the method."""

    def __init__(self) -> None:
        self._metadata = Metadata(
            service="pymatgen",
            version="2.1",
            method="real compounds, charge-balanced AFLOW prototypes and symmetric random crystals (PyXtal), as near-cubic supercells",
            licence="MIT (pymatgen, PyXtal); AFLOW library: cite Mehl et al., Comput. Mater. Sci. 136, S1 (2017)",
            systems={
                "crystal": SystemCard(
                    min_atoms=1,
                    max_atoms=1000,
                    default_min_atoms=50,
                    default_max_atoms=500,
                    elements=known_elements(),
                    options_schema=CrystalOptions.model_json_schema(),
                )
            },
            n_max=500,
            minimum_distance=SHORTEST_DISTANCE,
            versions=name_versions("pymatgen", "pymatgen-core", "pyxtal", "spglib", "scipy"),
        )

    @property
    def metadata(self) -> Metadata:
        return self._metadata

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return {"crystal": CrystalOptions}

    def check(self, task: Task) -> None:
        """InvalidRequest names an unknown prototype or weighted element; Unsupported says which range nothing fits."""
        options = cast(CrystalOptions, task.options)
        for name in options.prototypes:
            if name not in _list_names():
                raise InvalidRequest(f"options.prototypes: unknown prototype {name!r}{suggest(name, _list_names())}")
        foreign = [e for e in options.element_weights if e not in task.elements]
        if foreign:
            raise InvalidRequest(f"options.element_weights: {' '.join(foreign)} not among the request's {' '.join(task.elements)}")
        if options.min_elements > len(task.elements):
            raise Unsupported(f"min_elements is {options.min_elements}, yet only {' '.join(task.elements)} are allowed")
        if options.min_elements > task.max_atoms:
            raise Unsupported(f"min_elements is {options.min_elements}, yet at most {task.max_atoms} atoms are allowed")
        for kind, share in (options.kinds or {}).items():
            if share > 0 and (reason := why_not(kind, task)) is not None:
                raise Unsupported(f"pymatgen can make no {kind} crystal: {reason}; widen these ranges or leave {kind} out of kinds")

    def propose(self, task: Task, rng: np.random.Generator) -> Proposal:
        """A crystal. Its key, if it is invented or nothing moves its atoms, is the hash of what is repeated in the supercell."""
        kinds = possible_kinds(task)
        chances = np.array(list(kinds.values()))
        kind = list(kinds)[int(rng.choice(len(kinds), p=chances / chances.sum()))]
        draw_cell, reason = prepare_kind(kind, task, rng), ""
        for _ in range(TRIES):
            try:
                cell = draw_cell(rng)
                larger = _expand_safely(cell, task, rng)
            except Rejected as rejected:
                reason = rejected.reason
            else:
                may_repeat = "defects" in larger.origin or (kind == "real" and _is_moved(task.perturb))
                return Proposal((larger,), key=None if may_repeat else structure_hash(cell))
        raise Rejected(reason)


@cache
def _list_names() -> frozenset[str]:
    """Everything a crystal can be asked for by."""
    return known_names() | {name for compound in read_compounds() for name in compound.names}


def _is_moved(perturb: Perturb) -> bool:
    return perturb.share > 0 and max(perturb.rattle, perturb.strain) > 0


def _expand_safely(cell: Structure, task: Task, rng: np.random.Generator) -> Structure:
    """The supercell with its defects; Rejected if it fails the contract's checks under a perturbation like the one it will get."""
    options = cast(CrystalOptions, task.options)
    larger = add_defects(expand_to(cell, task.min_atoms, task.max_atoms, rng), options.defects, task.elements, rng)
    likely = task.perturb.model_copy(update={"share": float(task.perturb.share > 0)})
    moved = perturb_structure(larger, likely, rng.spawn(1)[0])
    fault = find_size_fault(moved, task.min_atoms, task.max_atoms) or find_input_fault(moved) or find_chemistry_fault(moved)
    if fault is not None:
        raise Rejected(fault.reason)
    return larger


_MEMORY_PER_WORKER = 256 * 2**20
"""Bytes; a worker of its own needs 73 MB after 120 structures of all sizes, beside the fork server."""


def build() -> ProposalGenerator:
    """The service's generator, set up from the environment."""
    return propose_in_workers(CrystalProposer, _MEMORY_PER_WORKER)
