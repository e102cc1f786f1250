"""GeoDiff as a `distillery.generators.models.model.Model`: conformers of molecules from a pool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import rdkit
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Geometry import Point3D

from distillery.generators.generator import Task
from distillery.generators.models.model import Loaded, ReportProgress
from distillery.generators.models.molecules import relax_hydrogens, to_structure, verify_geometry, verify_graph
from distillery.generators.models.sampling import SampledGenerator, require_packages
from distillery.generators.proposals import Proposal, Rejected
from distillery.runtime.stopping import Stop
from distillery.schema.base import Message
from distillery.schema.generate import Metadata, SystemCard
from distillery.structures.checks import SHORTEST_DISTANCE
from distillery.structures.structure import DEFAULT_ELEMENTS, System
from distillery.weights.catalogue import ensure_checkpoint
from services.geodiff.options import GeoDiffOptions
from services.geodiff.pool import BuiltInPool, MoleculePool, Wanted, choose, require_given
from services.geodiff.rdkit_pool import find_rdkit
from services.geodiff.settings import GeoDiffSettings

if TYPE_CHECKING:
    from services.geodiff.network import Network

FOLDER = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class Equipment:
    """A network, and the pool its molecules come from if a request names none."""

    network: "Network"
    pool: MoleculePool


class GeoDiff:
    """See the README for the method."""

    def __init__(self, settings: GeoDiffSettings) -> None:
        self.settings = settings

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return {"molecule": GeoDiffOptions}

    def describe(self, loaded: Loaded[Equipment] | None) -> Metadata:
        """See `distillery.generators.models.model.Model`."""
        return Metadata(
            service="geodiff",
            version="1.1",
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
            versions={"rdkit": rdkit.__version__} | ({} if loaded is None else {"pool": loaded.networks.pool.version}),
        )

    def load(self, device: str, stop: Stop) -> Loaded[Equipment]:
        """See `distillery.generators.models.model.Model`."""
        from services.geodiff.network import read_network
        from services.geodiff.upstream import open_upstream

        settings = self.settings
        pool = BuiltInPool() if settings.pool is None else find_rdkit(str(settings.pool))
        upstream = open_upstream()
        checkpoint = ensure_checkpoint(FOLDER, settings.checkpoint, settings.weights, download=settings.download, stop=stop)
        network = read_network(checkpoint, settings.weights / FOLDER.name / "converted", upstream, device)
        return Loaded(Equipment(network, pool), device, upstream.version, checkpoint.name, checkpoint.sha256)

    def check(self, task: Task, loaded: Loaded[Equipment]) -> None:
        """Unsupported or InvalidRequest for molecules that don't fit, and where the pool has none that does."""
        options = cast(GeoDiffOptions, task.options)
        if options.smiles:
            require_given(options.smiles, task)
        else:
            loaded.networks.pool.check(task)

    def draw(self, task: Task, loaded: Loaded[Equipment], n: int, seed: int, report: ReportProgress) -> Sequence[Proposal | str]:
        """See `distillery.generators.models.model.Model`."""
        options, network = cast(GeoDiffOptions, task.options), loaded.networks.network
        chosen = choose(_find_molecules(task, loaded.networks.pool, n, seed, report), n, options.conformers, seed)
        molecules = [wanted.mol for wanted in chosen]
        w_global = network.w_global if options.w_global is None else options.w_global
        sampled = network.sample(molecules, w_global, report)
        outcomes: list[Proposal | str] = []
        for wanted, mol, positions in zip(chosen, molecules, sampled, strict=True):
            report(1.0)
            outcomes.append(propose(mol, positions, {"pool": wanted.pool, "given": wanted.smiles}, relax=options.relax_hydrogens))
        return outcomes


def _find_molecules(task: Task, pool: MoleculePool, n: int, seed: int, report: ReportProgress) -> Sequence[Wanted]:
    options = cast(GeoDiffOptions, task.options)
    if options.smiles:
        return [Wanted(smiles, "request") for smiles in options.smiles]  # `check` refused what does not fit
    return pool.find(task, -(-n // options.conformers), seed, report)


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


def build() -> SampledGenerator:
    """The service's generator, set up from the environment."""
    require_packages("torch", "easydict")
    return SampledGenerator(GeoDiff(GeoDiffSettings()))
