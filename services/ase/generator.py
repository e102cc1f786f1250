"""The proposer of the ase service: one cluster or slab at a time."""

from collections.abc import Mapping
from typing import cast

import numpy as np
from ase import Atoms

from distillery.errors import Unsupported
from distillery.generators.generator import Task
from distillery.generators.proposals import Proposal, ProposalGenerator, propose_in_workers
from distillery.runtime.versions import name_versions
from distillery.schema.base import Message
from distillery.schema.generate import Metadata, SystemCard
from distillery.structures.checks import SHORTEST_DISTANCE
from distillery.structures.structure import System, from_ase
from services.ase.clusters import build_cluster, possible_kinds, why_not
from services.ase.molecules import symbols_of
from services.ase.options import ClusterOptions, SurfaceOptions
from services.ase.radii import ELEMENTS
from services.ase.surfaces import build_surface, usable_prototypes

OPTIONS: Mapping[System, type[Message]] = {"cluster": ClusterOptions, "surface": SurfaceOptions}


class ClusterSurfaceProposer:
    """Clusters of all kinds, and slabs of general Miller indices."""

    def __init__(self) -> None:
        self._metadata = Metadata(
            service="ase",
            version="2.2",
            method="clusters (cut from real compounds, packed, of molecules; atoms, dimers, trimers) and slabs of real compounds, with ASE",
            licence="ASE: LGPL-2.1-or-later",
            systems={
                "cluster": _card(1, 500, 20, 200, ClusterOptions),
                "surface": _card(8, 600, 50, 300, SurfaceOptions),
            },
            n_max=500,
            minimum_distance=SHORTEST_DISTANCE,
            versions=name_versions("ase", "scipy"),
        )

    @property
    def metadata(self) -> Metadata:
        return self._metadata

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return OPTIONS

    def check(self, task: Task) -> None:
        """Raise Unsupported where the elements or sizes allow nothing of what the options ask for."""
        if task.system == "cluster":
            _check_cluster(task, cast(ClusterOptions, task.options))
        else:
            _check_surface(task, cast(SurfaceOptions, task.options))

    def propose(self, task: Task, rng: np.random.Generator) -> Proposal:
        """One cluster or slab; Rejected if it came to nothing."""
        atoms = self._build(task, rng)
        only_one = str(atoms.symbols) if len(atoms) == 1 else None
        return Proposal((from_ase(atoms, id="", system=task.system, origin=atoms.info),), key=only_one)

    def _build(self, task: Task, rng: np.random.Generator) -> Atoms:
        if task.system == "cluster":
            return build_cluster(task, cast(ClusterOptions, task.options), rng)
        return build_surface(task, cast(SurfaceOptions, task.options), rng)


def _card(least: int, most: int, default_least: int, default_most: int, options: type[Message]) -> SystemCard:
    return SystemCard(
        min_atoms=least,
        max_atoms=most,
        default_min_atoms=default_least,
        default_max_atoms=default_most,
        elements=ELEMENTS,
        options_schema=options.model_json_schema(),
    )


def _check_cluster(task: Task, options: ClusterOptions) -> None:
    _refuse_foreign(options.molecules, task, "molecule")
    for kind in options.kinds or {}:
        reason = why_not(kind, task, options)
        if options.kinds and options.kinds[kind] > 0 and reason is not None:
            raise Unsupported(
                f"ase cannot make {kind} clusters of {' '.join(task.elements)}: {reason}; allow other elements, sizes or kinds"
            )
    if not possible_kinds(task, options):
        raise Unsupported(f"ase can make no cluster of {' '.join(task.elements)} with {task.min_atoms}-{task.max_atoms} atoms; allow more")


def _check_surface(task: Task, options: SurfaceOptions) -> None:
    _refuse_foreign(options.species, task, "adsorbate")
    usable = usable_prototypes(task.elements, options)
    missing = [p for p in options.prototypes or () if p not in usable]
    if missing:
        raise Unsupported(f"ase cannot make {' '.join(missing)} of {' '.join(task.elements)}; allow more elements or other prototypes")
    if not usable:
        enough = [e for e in ELEMENTS if usable_prototypes((e,), options)]
        raise Unsupported(
            f"ase knows no bulk crystal of {' '.join(task.elements)} alone to cut a surface from; "
            f"allow more elements, of which one of these is enough: {' '.join(enough)}"
        )


def _refuse_foreign(names: tuple[str, ...] | None, task: Task, what: str) -> None:
    for name in names or ():
        foreign = sorted(symbols_of(name) - set(task.elements))
        if foreign:
            raise Unsupported(f"{what} {name} needs {' '.join(foreign)}, not among {' '.join(task.elements)}; allow it or leave {name} out")


_MEMORY_PER_WORKER = 128 * 2**20
"""Bytes; a worker of its own needs 33 MB after 120 structures of all sizes, beside the fork server."""


def build() -> ProposalGenerator:
    """The service's generator, set up from the environment."""
    return propose_in_workers(ClusterSurfaceProposer, _MEMORY_PER_WORKER)
