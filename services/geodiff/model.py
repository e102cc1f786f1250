"""GeoDiff as a `generative.sampling.Model`: conformers of molecules from a pool."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import rdkit
import torch
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Geometry import Point3D

from contract.checks import SHORTEST_DISTANCE
from contract.device import choose_device, release_cuda_memory
from contract.generator import Task
from contract.messages import Message, Metadata, SystemCard
from contract.problems import Unavailable, Unsupported
from contract.proposals import Proposal, Rejected
from contract.structures import DEFAULT_ELEMENTS, System
from contract.weights import ensure_checkpoint
from generative.molecules import relax_hydrogens, to_structure, verify_geometry, verify_graph
from generative.sampling import Report
from services.geodiff.network import Network, read_network
from services.geodiff.options import GeoDiffOptions
from services.geodiff.pool import Wanted, ask_rdkit, choose, list_suitable, read_built_in, require_given
from services.geodiff.settings import GeoDiffSettings
from services.geodiff.upstream import open_upstream

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class _Loaded:
    """What `load` brought, and what metadata says of it."""

    network: Network
    checkpoint: str
    sha256: str
    upstream: str


class GeoDiff:
    """See the README for the method."""

    def __init__(self, settings: GeoDiffSettings) -> None:
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
        return {"molecule": GeoDiffOptions}

    @property
    def metadata(self) -> Metadata:
        return Metadata(
            service="geodiff",
            version="1.0",
            method="GeoDiff (ICLR 2022): all atoms of given molecules by diffusion; hydrogens relaxed by MMFF94 or else UFF.",
            licence="MIT (GeoDiff's code and checkpoints); RDKit: BSD-3-Clause",
            systems={
                "molecule": SystemCard(
                    min_atoms=3,
                    max_atoms=200,
                    default_min_atoms=10,
                    default_max_atoms=100,
                    elements=DEFAULT_ELEMENTS,
                    options_schema=GeoDiffOptions.model_json_schema(),
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
        upstream = open_upstream()
        device = choose_device(settings.device, "DISTILLERY_GEODIFF_DEVICE")
        checkpoint = ensure_checkpoint(FOLDER, settings.checkpoint, settings.weights, download=settings.download, stop=self._closing)
        network = read_network(checkpoint, settings.weights / FOLDER.name / "converted", upstream, device)
        self._loaded = _Loaded(network, checkpoint.name, checkpoint.sha256, upstream.version)

    def check(self, task: Task) -> None:
        """Unsupported or InvalidRequest for molecules that don't fit, and where the pool has none that does."""
        options = cast(GeoDiffOptions, task.options)
        if options.smiles:
            require_given(options.smiles, task)
        elif self._settings.pool is None and not list_suitable(read_built_in(), "built-in", task):
            raise Unsupported(
                f"geodiff's own pool has no molecule of {task.min_atoms}-{task.max_atoms} atoms of {' '.join(task.elements)}; "
                "give options.smiles, or set DISTILLERY_GEODIFF_POOL to an rdkit service"
            )

    def draw(self, task: Task, n: int, seed: int, report: Report) -> Sequence[Proposal | str]:
        """See `generative.sampling.Model`."""
        options, loaded = cast(GeoDiffOptions, task.options), self._require()
        chosen = choose(self._find_pool(task, n, seed), n, options.conformers, seed)
        molecules = [wanted.parse() for wanted in chosen]
        w_global = loaded.network.w_global if options.w_global is None else options.w_global
        sampled = loaded.network.sample(molecules, w_global, report)
        outcomes: list[Proposal | str] = []
        for place, (wanted, mol, positions) in enumerate(zip(chosen, molecules, sampled, strict=True)):
            report(1.0)
            origin = {"model": "geodiff", "checkpoint": loaded.checkpoint, "seed": seed, "batch": n, "place": place, "pool": wanted.pool}
            outcomes.append(propose(mol, positions, {**origin, "given": wanted.smiles}, relax=options.relax_hydrogens))
        return outcomes

    def close(self) -> None:
        """See `generative.sampling.Model`."""
        self._closing.set()
        self._loaded = None
        release_cuda_memory()

    def _find_pool(self, task: Task, n: int, seed: int) -> Sequence[Wanted]:
        options = cast(GeoDiffOptions, task.options)
        if options.smiles:
            return [Wanted(smiles, "request") for smiles in options.smiles]  # `check` refused what does not fit
        if self._settings.pool is not None:
            return ask_rdkit(str(self._settings.pool), task, -(-n // options.conformers), seed)
        return list_suitable(read_built_in(), "built-in", task)

    def _require(self) -> _Loaded:
        if self._loaded is None:
            raise Unavailable("geodiff is not loaded")
        return self._loaded

    def _versions(self) -> dict[str, str]:
        settings, loaded = self._settings, self._loaded
        versions = {"torch": torch.__version__, "rdkit": rdkit.__version__, "threads": str(settings.threads), "batch": str(settings.batch)}
        if loaded is None:
            return versions
        return {**versions, "upstream": loaded.upstream, "device": loaded.network.device, "checkpoint": loaded.checkpoint}


def propose(mol: Chem.Mol, positions: NDArray[np.float64], origin: Mapping[str, Any], *, relax: bool) -> Proposal | str:
    """The molecule at these positions, or why it is refused: not the wanted isomer, or not its bonds."""
    if not np.isfinite(positions).all():
        return "not_finite"
    placed = Chem.Mol(mol)
    conformer = Chem.Conformer(placed.GetNumAtoms())
    for index, position in enumerate(positions):
        conformer.SetAtomPosition(index, Point3D(*map(float, position)))
    placed.AddConformer(conformer, assignId=True)
    try:
        with rdBase.BlockLogs():
            if relax:
                relax_hydrogens(placed)
            verify_graph(placed)
            structure = to_structure(placed, origin)
            verify_geometry(structure, placed)
            verify_stereo(mol, structure.origin["smiles"])
    except Rejected as rejected:
        return rejected.reason
    return Proposal((structure,))


def verify_stereo(wanted: Chem.Mol, found: str) -> None:
    """Rejected as `stereo` unless what the SMILES asked for is what the positions show; what it left open may be either."""
    if not Chem.MolFromSmiles(found).HasSubstructMatch(Chem.RemoveHs(wanted), useChirality=True):
        raise Rejected("stereo")
