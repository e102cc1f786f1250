"""CrystalFlow as a `distillery.generators.models.model.Model`: crystals de novo or of compositions, repeated to the wanted size."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from ase.data import chemical_symbols

from distillery.errors import Unavailable, Unsupported
from distillery.generators.generator import Task
from distillery.generators.models.cells import check_cell
from distillery.generators.models.model import Loaded, ReportProgress, watching
from distillery.generators.models.sampling import SampledGenerator, require_packages
from distillery.generators.proposals import Proposal, Rejected
from distillery.generators.supercell import expand_to
from distillery.runtime.stopping import Stop
from distillery.schema.base import Message
from distillery.schema.generate import Metadata, SystemCard
from distillery.structures.checks import SHORTEST_DISTANCE, find_input_fault
from distillery.structures.identity import structure_hash
from distillery.structures.structure import Structure, System
from distillery.weights.catalogue import ensure_checkpoint
from services.crystalflow.cells import Content, Tables, check_fit, draw_contents
from services.crystalflow.options import LARGEST_NUMBER, CrystalFlowOptions
from services.crystalflow.settings import CrystalFlowSettings

if TYPE_CHECKING:
    from services.crystalflow.network import Network

FOLDER = Path(__file__).parent
ELEMENTS = tuple(chemical_symbols[1 : LARGEST_NUMBER + 1])
ANNEAL_CSP = 5.0
"""Upstream's `--anneal_coords --anneal_slope 5` for compositions."""


@dataclass(frozen=True, eq=False)
class Equipment:
    """Networks by whether they work de novo, and how often cells have how many atoms."""

    networks: Mapping[bool, "Network"]
    sizes: Tables


class CrystalFlow:
    """See the README for the method."""

    def __init__(self, settings: CrystalFlowSettings) -> None:
        self.settings = settings

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return {"crystal": CrystalFlowOptions}

    def describe(self, loaded: Loaded[Equipment] | None) -> Metadata:
        """See `distillery.generators.models.model.Model`."""
        return Metadata(
            service="crystalflow",
            version="1.1",
            method="CrystalFlow (arXiv 2412.11693): small cells by flow matching, de novo or of compositions, as near-cubic supercells",
            licence="MIT (CrystalFlow); the checkpoint's own",
            systems={
                "crystal": SystemCard(
                    min_atoms=1,
                    max_atoms=1000,
                    default_min_atoms=50,
                    default_max_atoms=500,
                    elements=ELEMENTS,
                    options_schema=CrystalFlowOptions.model_json_schema(),
                )
            },
            n_max=1000,
            minimum_distance=SHORTEST_DISTANCE,
            generative=True,
        )

    def load(self, device: str, stop: Stop) -> Loaded[Equipment]:
        """See `distillery.generators.models.model.Model`."""
        from services.crystalflow.network import read_networks
        from services.crystalflow.upstream import import_upstream

        settings = self.settings
        names = [name for name in (settings.checkpoint, settings.csp_checkpoint) if name]
        if not settings.checkpoint:
            raise Unavailable(
                "crystalflow has no checkpoint: set DISTILLERY_CRYSTALFLOW_CHECKPOINT to a .ckpt of "
                "https://github.com/ixsluo/CrystalFlow/releases (a file, a folder that holds it, or a URL), or to small to try it out"
            )
        upstream = import_upstream()
        found = [ensure_checkpoint(FOLDER, name, settings.weights, download=settings.download, stop=stop) for name in names]
        cache = settings.weights / FOLDER.name / "converted"
        networks = [network for checkpoint in found for network in read_networks(checkpoint, cache, device)]
        by_kind = {network.is_de_novo: network for network in networks}
        if len(by_kind) < len(networks):
            raise Unavailable(
                f"{' and '.join(names)} hold two checkpoints of one kind; one de novo and one for compositions is what is used"
            )
        sha256 = found[0].sha256 if len(found) == 1 else _digest(c.sha256 for c in found)
        return Loaded(Equipment(by_kind, upstream.sizes), device, upstream.version, " ".join(c.name for c in found), sha256)

    def check(self, task: Task, loaded: Loaded[Equipment]) -> None:
        """Unsupported names what this checkpoint, or any, can't do."""
        options = cast(CrystalFlowOptions, task.options)
        _choose(loaded.networks, options).conditions.check(options)
        check_fit(task, options, loaded.networks.sizes)

    def draw(self, task: Task, loaded: Loaded[Equipment], n: int, seed: int, report: ReportProgress) -> Sequence[Proposal | str]:
        """See `distillery.generators.models.model.Model`."""
        from services.crystalflow.batch import to_batch

        options = cast(CrystalFlowOptions, task.options)
        network = _choose(loaded.networks, options)
        contents = draw_contents(task, options, loaded.networks.sizes, n, np.random.default_rng(seed))
        batch = to_batch(contents, network.conditions.scale(options)).to(loaded.device)
        cells = _sample(network, batch, task, options, report)
        return [
            _propose(cell, content, task, np.random.default_rng([seed, place]))
            for place, (cell, content) in enumerate(zip(cells, contents, strict=True))
        ]


def _choose(equipment: Equipment, options: CrystalFlowOptions) -> "Network":
    """The network for the request; Unsupported if it is not loaded."""
    networks = equipment.networks
    if not options.compositions and True not in networks:
        raise Unsupported("this checkpoint predicts structures of compositions only: name some in options.compositions")
    if options.compositions and False not in networks:
        raise Unsupported("options.compositions: this checkpoint works de novo only; set DISTILLERY_CRYSTALFLOW_CSP_CHECKPOINT too")
    return networks[not options.compositions]


def _digest(digests: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _sample(network: "Network", batch: Any, task: Task, options: CrystalFlowOptions, report: ReportProgress) -> list[Structure | str]:
    """Cells of the task's elements."""
    from services.crystalflow.batch import Integration, sample
    from services.crystalflow.steering import steered

    anneal = options.anneal if options.anneal is not None else ANNEAL_CSP if options.compositions else 0.0
    integration = Integration(options.steps, anneal, options.guidance if network.conditions.scales else None)
    model: Any = network.model
    with ExitStack() as stack:
        stack.enter_context(watching(model.time_embedding, options.steps, report))
        if network.is_de_novo:
            stack.enter_context(steered(model, task.elements, options.steps, 2 if options.is_guided else 1))
        return sample(model, batch, integration)


def _propose(cell: Structure | str, content: Content, task: Task, rng: np.random.Generator) -> Proposal | str:
    """The supercell, its key the hash of the cell; or why there is none."""
    if isinstance(cell, str):
        return cell
    fault = find_input_fault(cell, task.elements)
    if fault is not None:
        return fault.reason
    origin = {"cell_atoms": content.n_atoms, **content.origin}
    try:
        check_cell(cell.cell, len(cell))
        larger = expand_to(replace(cell, origin=origin), task.min_atoms, task.max_atoms, rng)
    except Rejected as rejected:
        return rejected.reason
    return Proposal((larger,), key=structure_hash(cell))


def build() -> SampledGenerator:
    """The service's generator, set up from the environment."""
    require_packages("torch", "hydra", "omegaconf", "torch_geometric")
    return SampledGenerator(CrystalFlow(CrystalFlowSettings()))
