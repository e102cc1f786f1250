"""MolDiff as a `Model`: heavy atoms and bonds from the networks, hydrogens and charges from chemistry."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import rdkit
from ase.data import atomic_numbers
from rdkit import Chem, rdBase

from distillery.errors import Unsupported
from distillery.generators.generator import Task
from distillery.generators.models.model import Loaded, ReportProgress
from distillery.generators.models.molecules import add_hydrogens, to_structure, verify_geometry, verify_graph
from distillery.generators.models.sampling import SampledGenerator, require_packages
from distillery.generators.proposals import Proposal, Rejected
from distillery.runtime.stopping import Stop
from distillery.schema.base import Message
from distillery.schema.generate import Metadata, SystemCard
from distillery.structures.checks import SHORTEST_DISTANCE, find_input_fault
from distillery.structures.structure import Structure, System
from distillery.weights.catalogue import ensure_checkpoint
from services.moldiff.options import MolDiffOptions
from services.moldiff.reconstruction import reconstruct
from services.moldiff.settings import MolDiffSettings
from services.moldiff.sizes import ATOMS_PER_HEAVY, Sizes, weigh_sizes
from services.moldiff.sketch import Sketch

if TYPE_CHECKING:
    from services.moldiff.networks import Networks

FOLDER = Path(__file__).parent
ELEMENTS = ("H", "C", "N", "O", "F", "P", "S", "Cl")


class MolDiff:
    """See the README for the method."""

    def __init__(self, settings: MolDiffSettings) -> None:
        self.settings = settings

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return {"molecule": MolDiffOptions}

    def describe(self, loaded: "Loaded[Networks] | None") -> Metadata:
        """See `distillery.generators.models.model.Model`."""
        return Metadata(
            service="moldiff",
            version="1.2",
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
            versions={"rdkit": rdkit.__version__},
        )

    def load(self, device: str, stop: Stop) -> "Loaded[Networks]":
        """See `distillery.generators.models.model.Model`."""
        from services.moldiff.networks import read_networks
        from services.moldiff.upstream import import_upstream

        settings = self.settings
        upstream = import_upstream()
        checkpoint = ensure_checkpoint(FOLDER, settings.checkpoint, settings.weights, download=settings.download, stop=stop)
        networks = read_networks(checkpoint, settings.weights / FOLDER.name / "converted", upstream, device)
        return Loaded(networks, device, upstream.version, checkpoint.name, checkpoint.sha256)

    def check(self, task: Task, loaded: "Loaded[Networks]") -> None:
        """Unsupported without H or C, for guidance without a bond predictor, and for heavy atoms that can't give the wanted size."""
        options = cast(MolDiffOptions, task.options)
        missing = [element for element in ("H", "C") if element not in task.elements]
        if missing:
            raise Unsupported(f"moldiff makes organic molecules: elements must include H and C; {' and '.join(missing)} missing")
        if options.bond_guidance and loaded.networks.predictor is None:
            raise Unsupported(
                f"options.bond_guidance needs a bond predictor, and {loaded.checkpoint} has none: name the set MolDiff in "
                "DISTILLERY_MOLDIFF_CHECKPOINT, or a folder with bond_predictor.pt beside the model"
            )
        if not _weigh(task, loaded).n_heavy.size:
            low, high = options.heavy_range
            raise Unsupported(
                f"options: {low}-{high} heavy atoms give {low * ATOMS_PER_HEAVY:.0f}-{high * ATOMS_PER_HEAVY:.0f} atoms or so with "
                f"hydrogens, asked for {task.min_atoms}-{task.max_atoms}"
            )

    def draw(self, task: Task, loaded: "Loaded[Networks]", n: int, seed: int, report: ReportProgress) -> Sequence[Proposal | str]:
        """See `distillery.generators.models.model.Model`."""
        options = cast(MolDiffOptions, task.options)
        sizes = _weigh(task, loaded).draw(n, np.random.default_rng(seed))
        numbers = frozenset(atomic_numbers[element] for element in task.elements)
        is_guided = loaded.networks.predictor is not None if options.bond_guidance is None else options.bond_guidance
        scale = options.guidance_scale if is_guided else None
        outcomes: list[Proposal | str] = []
        for sketch in loaded.networks.sample(sizes, numbers, scale, report):
            report(1.0)
            outcomes.append(propose(sketch, may_be_charged=options.allow_charged))
        return outcomes


def _weigh(task: Task, loaded: "Loaded[Networks]") -> Sizes:
    options = cast(MolDiffOptions, task.options)
    return weigh_sizes((task.min_atoms, task.max_atoms), options.heavy_range, loaded.networks.trained)


def propose(sketch: Sketch, *, may_be_charged: bool) -> Proposal | str:
    """The molecule with its hydrogens, its key the SMILES; or why there is none."""
    fault = find_input_fault(Structure("", sketch.numbers, sketch.positions))
    if fault is not None:
        return fault.reason
    try:
        with rdBase.BlockLogs():
            mol = add_hydrogens(reconstruct(sketch, may_be_charged=may_be_charged))
            verify_graph(mol, may_be_charged=may_be_charged)
            charge = Chem.GetFormalCharge(mol)
            structure = to_structure(mol, {"charge": charge} if charge else {})
            verify_geometry(structure, mol)
    except Rejected as rejected:
        return rejected.reason
    return Proposal((structure,), key=structure.origin["smiles"])


def build() -> SampledGenerator:
    """The service's generator, set up from the environment."""
    require_packages("torch", "easydict")
    return SampledGenerator(MolDiff(MolDiffSettings()))
