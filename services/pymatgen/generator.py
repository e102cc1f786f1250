"""The crystal source: prototypes and symmetric random crystals, at estimated volumes, expanded to the wanted size."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np
from pymatgen.core.composition import Composition

from distillery.errors import InvalidRequest, Unsupported
from distillery.generators.generator import Task
from distillery.generators.perturb import perturb_structure
from distillery.generators.proposals import Proposal, ProposalGenerator, Rejected, propose_in_workers
from distillery.generators.supercell import expand_to
from distillery.runtime.versions import name_versions
from distillery.schema.base import Message
from distillery.schema.explain import suggest
from distillery.schema.generate import Metadata, SystemCard
from distillery.structures.checks import SHORTEST_DISTANCE, find_chemistry_fault, find_input_fault
from distillery.structures.identity import structure_hash
from distillery.structures.structure import Structure, System
from services.pymatgen.options import CrystalOptions
from services.pymatgen.prototypes import Prototype, known_names, select_prototypes
from services.pymatgen.symmetric import N_SPACE_GROUPS, draw_crystal
from services.pymatgen.symmetry import find_symmetry
from services.pymatgen.volume import known_elements, settle

TRIES = 10
"""Crystals tried with the same elements before a proposal is given up."""


class CrystalProposer:
    """Proposes one crystal at a time; see the README for the method."""

    def __init__(self) -> None:
        self._metadata = Metadata(
            service="pymatgen",
            version="1.1",
            method="AFLOW prototypes and symmetric random crystals (PyXtal) at bond-valence volumes, as near-cubic supercells",
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
            if name not in known_names():
                raise InvalidRequest(f"options.prototypes: unknown prototype {name!r}{suggest(name, known_names())}")
        foreign = [e for e in options.element_weights if e not in task.elements]
        if foreign:
            raise InvalidRequest(f"options.element_weights: {' '.join(foreign)} not among the request's {' '.join(task.elements)}")
        if options.min_elements > len(task.elements):
            raise Unsupported(f"min_elements is {options.min_elements}, yet only {' '.join(task.elements)} are allowed")
        if options.min_elements > task.max_atoms:
            raise Unsupported(f"min_elements is {options.min_elements}, yet at most {task.max_atoms} atoms are allowed")
        if options.prototype_share > 0 and not _fitting_prototypes(task, options, (options.min_elements, _most_elements(task, options))):
            raise Unsupported(
                f"no prototype asked for has {options.min_elements}-{_most_elements(task, options)} elements and a supercell of"
                f" {task.min_atoms}-{task.max_atoms} atoms; widen these ranges or set prototype_share to 0"
            )

    def propose(self, task: Task, rng: np.random.Generator) -> Proposal:
        """A crystal, its key the hash of what is repeated in the supercell.

        The elements are drawn once and kept through the tries: were they drawn anew, those that are hard to place
        (carbon) would become rare.
        """
        options = cast(CrystalOptions, task.options)
        from_prototype = bool(rng.random() < options.prototype_share)
        elements = _draw_elements(task, options, _draw_n_elements(task, options, from_prototype, rng), rng)
        reason = ""
        for _ in range(TRIES):
            ordered = tuple(elements[int(k)] for k in rng.permutation(len(elements)))
            try:
                cell = _draw_cell(task, options, ordered, from_prototype, rng)
                return Proposal((_expand_safely(cell, task, rng),), key=structure_hash(cell))
            except Rejected as rejected:
                reason = rejected.reason
        raise Rejected(reason)


def _most_elements(task: Task, options: CrystalOptions) -> int:
    return min(options.max_elements, len(task.elements), task.max_atoms)


def _fitting_prototypes(task: Task, options: CrystalOptions, n_elements: tuple[int, int]) -> tuple[Prototype, ...]:
    return select_prototypes(options.prototypes, n_elements, (task.min_atoms, task.max_atoms))


def _draw_n_elements(task: Task, options: CrystalOptions, from_prototype: bool, rng: np.random.Generator) -> int:
    """As often as prototypes have that many, or uniform."""
    fewest, most = options.min_elements, _most_elements(task, options)
    if from_prototype:
        prototypes = _fitting_prototypes(task, options, (fewest, most))
        return prototypes[int(rng.integers(len(prototypes)))].n_species
    return int(rng.integers(fewest, most + 1))


def _draw_elements(task: Task, options: CrystalOptions, n_elements: int, rng: np.random.Generator) -> tuple[str, ...]:
    weights = np.array([options.element_weights.get(e, 1.0) for e in task.elements])
    drawn = rng.choice(len(task.elements), n_elements, replace=False, p=weights / weights.sum())
    return tuple(task.elements[int(k)] for k in drawn)


def _draw_cell(task: Task, options: CrystalOptions, elements: tuple[str, ...], from_prototype: bool, rng: np.random.Generator) -> Structure:
    """A primitive cell of the elements at a sensible volume."""
    if from_prototype:
        prototypes = _fitting_prototypes(task, options, (len(elements), len(elements)))
        drawn = prototypes[int(rng.integers(len(prototypes)))].decorate(elements)
    else:
        groups = options.space_groups or range(1, N_SPACE_GROUPS + 1)
        number = int(groups[int(rng.integers(len(groups)))])
        drawn = draw_crystal(number, elements, min(options.largest_random_cell, task.max_atoms), rng)
    scale = float(rng.uniform(*options.volume_scale))
    cell = settle(find_symmetry(drawn), scale)
    formula = str(Composition("".join(cell.symbols)).reduced_formula)
    return replace(cell, origin={**cell.origin, "formula": formula, "volume_scale": scale})


def _expand_safely(cell: Structure, task: Task, rng: np.random.Generator) -> Structure:
    """The supercell; Rejected if it fails the contract's checks under a perturbation like the one it will get."""
    larger = expand_to(cell, task.min_atoms, task.max_atoms, rng)
    likely = task.perturb.model_copy(update={"share": float(task.perturb.share > 0)})
    moved = perturb_structure(larger, likely, rng.spawn(1)[0])
    fault = find_input_fault(moved) or find_chemistry_fault(moved)
    if fault is not None:
        raise Rejected(fault.reason)
    return larger


_MEMORY_PER_WORKER = 256 * 2**20
"""Bytes; a worker of its own needs 73 MB after 120 structures of all sizes, beside the fork server."""


def build() -> ProposalGenerator:
    """The service's generator, set up from the environment."""
    return propose_in_workers(CrystalProposer, _MEMORY_PER_WORKER)
