"""MolDiff as a `generative.sampling.Model`: heavy atoms and bonds from the networks, hydrogens and charges from chemistry."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import rdkit
import torch
from ase.data import atomic_numbers
from rdkit import Chem, rdBase

from contract.checks import SHORTEST_DISTANCE, find_input_fault
from contract.device import choose_device, release_cuda_memory
from contract.generator import Task
from contract.messages import Message, Metadata, SystemCard
from contract.problems import Unavailable, Unsupported
from contract.proposals import Proposal, Rejected
from contract.structures import Structure, System
from contract.weights import ensure_checkpoint
from generative.molecules import add_hydrogens, to_structure, verify_geometry, verify_graph
from generative.sampling import Report
from services.moldiff.networks import Networks, read_networks
from services.moldiff.options import MolDiffOptions
from services.moldiff.reconstruction import reconstruct
from services.moldiff.settings import MolDiffSettings
from services.moldiff.sizes import ATOMS_PER_HEAVY, Sizes, weigh_sizes
from services.moldiff.sketch import Sketch
from services.moldiff.upstream import import_upstream

FOLDER = Path(__file__).parent
ELEMENTS = ("H", "C", "N", "O", "F", "P", "S", "Cl")


@dataclass(frozen=True)
class _Loaded:
    """What `load` brought, and what metadata says of it."""

    networks: Networks
    checkpoint: str
    sha256: str
    upstream: str


class MolDiff:
    """See the README for the method."""

    def __init__(self, settings: MolDiffSettings) -> None:
        self._settings = settings
        self._loaded: _Loaded | None = None
        self._closing = threading.Event()

    @property
    def batch(self) -> int:
        return self._settings.batch

    @property
    def threads(self) -> int:
        return self._settings.threads

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return {"molecule": MolDiffOptions}

    @property
    def metadata(self) -> Metadata:
        return Metadata(
            service="moldiff",
            version="1.0",
            method="MolDiff (ICML 2023): heavy atoms and bonds by diffusion; hydrogens placed by RDKit and relaxed by MMFF94 or else UFF.",
            licence="MIT (MolDiff's code and checkpoints); RDKit: BSD-3-Clause",
            systems={
                "molecule": SystemCard(
                    min_atoms=5,
                    max_atoms=200,
                    default_min_atoms=10,
                    default_max_atoms=100,
                    elements=ELEMENTS,
                    options_schema=MolDiffOptions.model_json_schema(),
                )
            },
            n_max=1000,
            minimum_distance=SHORTEST_DISTANCE,
            generative=True,
            versions=self._versions(),
            weights_sha256=None if self._loaded is None else self._loaded.sha256,
        )

    def load(self) -> None:
        """See `generative.sampling.Model`."""
        settings = self._settings
        upstream = import_upstream()
        device = choose_device(settings.device, "DISTILLERY_MOLDIFF_DEVICE")
        checkpoint = ensure_checkpoint(FOLDER, settings.checkpoint, settings.weights, download=settings.download, stop=self._closing)
        networks = read_networks(checkpoint, settings.weights / FOLDER.name / "converted", upstream, device)
        self._loaded = _Loaded(networks, checkpoint.name, checkpoint.sha256, upstream.version)

    def check(self, task: Task) -> None:
        """Unsupported without H or C, for guidance without a bond predictor, and for heavy atoms that can't give the wanted size."""
        options = cast(MolDiffOptions, task.options)
        missing = [element for element in ("H", "C") if element not in task.elements]
        if missing:
            raise Unsupported(f"moldiff makes organic molecules: elements must include H and C; {' and '.join(missing)} missing")
        loaded = self._require()
        if options.bond_guidance and loaded.networks.predictor is None:
            raise Unsupported(
                f"options.bond_guidance needs a bond predictor, and {loaded.checkpoint} has none: name the set MolDiff in "
                "DISTILLERY_MOLDIFF_CHECKPOINT, or a folder with bond_predictor.pt beside the model"
            )
        if not self._sizes(task).n_heavy.size:
            low, high = options.heavy_range
            raise Unsupported(
                f"options: {low}-{high} heavy atoms give {low * ATOMS_PER_HEAVY:.0f}-{high * ATOMS_PER_HEAVY:.0f} atoms or so with "
                f"hydrogens, asked for {task.min_atoms}-{task.max_atoms}"
            )

    def draw(self, task: Task, n: int, seed: int, report: Report) -> Sequence[Proposal | str]:
        """See `generative.sampling.Model`."""
        options, loaded = cast(MolDiffOptions, task.options), self._require()
        sizes = self._sizes(task).draw(n, np.random.default_rng(seed))
        numbers = frozenset(atomic_numbers[element] for element in task.elements)
        scale = options.guidance_scale if options.bond_guidance else None
        common = {"model": "moldiff", "checkpoint": loaded.checkpoint, "seed": seed, "batch": n}
        outcomes: list[Proposal | str] = []
        for place, sketch in enumerate(loaded.networks.sample(sizes, numbers, scale, report)):
            report(1.0)
            outcomes.append(propose(sketch, {**common, "place": place}, may_be_charged=options.allow_charged))
        return outcomes

    def close(self) -> None:
        """See `generative.sampling.Model`."""
        self._closing.set()
        self._loaded = None
        release_cuda_memory()

    def _sizes(self, task: Task) -> Sizes:
        options = cast(MolDiffOptions, task.options)
        return weigh_sizes((task.min_atoms, task.max_atoms), options.heavy_range, self._require().networks.trained)

    def _require(self) -> _Loaded:
        if self._loaded is None:
            raise Unavailable("moldiff is not loaded")
        return self._loaded

    def _versions(self) -> dict[str, str]:
        settings, loaded = self._settings, self._loaded
        versions = {"torch": torch.__version__, "rdkit": rdkit.__version__, "threads": str(settings.threads), "batch": str(settings.batch)}
        if loaded is None:
            return versions
        return {**versions, "upstream": loaded.upstream, "device": loaded.networks.device, "checkpoint": loaded.checkpoint}


def propose(sketch: Sketch, origin: Mapping[str, Any], *, may_be_charged: bool) -> Proposal | str:
    """The molecule with its hydrogens, its key the SMILES; or why there is none."""
    fault = find_input_fault(Structure("", sketch.numbers, sketch.positions))
    if fault is not None:
        return fault.reason
    try:
        with rdBase.BlockLogs():
            mol = add_hydrogens(reconstruct(sketch, may_be_charged=may_be_charged))
            verify_graph(mol, may_be_charged=may_be_charged)
            charge = Chem.GetFormalCharge(mol)
            structure = to_structure(mol, {**origin, "charge": charge} if charge else origin)
            verify_geometry(structure, mol)
    except Rejected as rejected:
        return rejected.reason
    return Proposal((structure,), key=structure.origin["smiles"])
