"""Chemeleon-DNG behind the Model protocol: cells de novo or of compositions, repeated to the size that was asked for."""

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from distillery.errors import Unavailable, Unsupported
from distillery.generators.generator import Task
from distillery.generators.models.cell_sizes import draw_cell_sizes, select_cell_sizes
from distillery.generators.models.crystals import Sample, propose_crystal
from distillery.generators.models.model import BatchFailed, Loaded, ReportProgress, watching
from distillery.generators.models.sampling import SampledGenerator, require_packages
from distillery.generators.proposals import Proposal
from distillery.runtime.device import is_fatal, is_out_of_memory
from distillery.runtime.stopping import Stop
from distillery.schema.base import Message
from distillery.schema.generate import Metadata, SystemCard
from distillery.structures.checks import SHORTEST_DISTANCE
from distillery.structures.structure import System
from distillery.weights.catalogue import ensure_checkpoint
from services.chemeleon.options import ChemeleonOptions, read_composition
from services.chemeleon.settings import ChemeleonSettings

if TYPE_CHECKING:
    from services.chemeleon.network import Network

_FOLDER = Path(__file__).parent
_PACKAGE = "chemeleon-dng"
ELEMENTS = tuple(chemical_symbols[1:101])
"""H to Fm: what upstream's networks have a type for; the published ones saw no noble gases and few heavy elements."""
_CALLS_A_STEP = 2
"""Of the network: predictor and corrector."""
_log = logging.getLogger("distillery")


class ChemeleonModel:
    """A `distillery.generators.models.model.Model`."""

    def __init__(self, settings: ChemeleonSettings) -> None:
        self.settings = settings

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return {"crystal": ChemeleonOptions}

    def describe(self, loaded: Loaded["Network"] | None) -> Metadata:
        """See `distillery.generators.models.model.Model`."""
        return Metadata(
            service="chemeleon",
            version="1.0",
            method="Chemeleon-DNG: crystals by diffusion, de novo or of compositions, as near-cubic supercells",
            licence="MIT (code); Park, Onwuli and Walsh, the checkpoint's own",
            systems={
                "crystal": SystemCard(
                    min_atoms=1,
                    max_atoms=1000,
                    default_min_atoms=50,
                    default_max_atoms=500,
                    elements=ELEMENTS if loaded is None else ELEMENTS[: loaded.networks.n_types - 1],
                    options_schema=ChemeleonOptions.model_json_schema(),
                )
            },
            n_max=500,
            minimum_distance=SHORTEST_DISTANCE,
            generative=True,
        )

    def load(self, device: str, stop: Stop) -> Loaded["Network"]:
        """Load the checkpoint; Unavailable says what is missing or wrong."""
        from services.chemeleon.network import read_network

        settings = self.settings
        checkpoint = ensure_checkpoint(_FOLDER, settings.checkpoint, settings.weights, download=settings.download, stop=stop)
        files = checkpoint.find({".ckpt"})
        if len(files) != 1:
            raise Unavailable(f"{checkpoint.name} holds {len(files)} files that end in .ckpt, wanted one: name the file")
        network = read_network(files[0], settings.weights / _FOLDER.name / "converted", device)
        return Loaded(network, device, f"{_PACKAGE} {version(_PACKAGE)}", checkpoint.name, checkpoint.sha256)

    def check(self, task: Task, loaded: Loaded["Network"]) -> None:
        """Unsupported names what this checkpoint can't do, and which one can."""
        compositions, network = cast(ChemeleonOptions, task.options).compositions, loaded.networks
        if network.task == "dng" and compositions:
            raise Unsupported(
                f"options.compositions: the checkpoint {loaded.checkpoint} works de novo; start the service with a csp one (csp_alex_mp_20)"
            )
        if network.task == "csp" and not compositions:
            raise Unsupported(
                f"the checkpoint {loaded.checkpoint} predicts crystals of compositions: name some in options.compositions, as [SiO2], "
                "or start the service with a dng one, as dng_alex_mp_20"
            )
        for formula in compositions:
            foreign = sorted({chemical_symbols[z] for z in read_composition(formula)} - set(task.elements))
            if foreign:
                raise Unsupported(f"options.compositions: {formula} has {' '.join(foreign)}, which is not among the request's elements")
        if not _select_sizes(task, loaded.networks):
            raise Unsupported(f"no supercell of the cells that this can make has {task.min_atoms}-{task.max_atoms} atoms; widen the range")

    def draw(self, task: Task, loaded: Loaded["Network"], n: int, seed: int, report: ReportProgress) -> Sequence[Proposal | str]:
        """See `distillery.generators.models.model.Model`."""
        network, rng = loaded.networks, np.random.default_rng([seed, 0])
        sizes = _select_sizes(task, loaded.networks)
        origins: list[dict[str, object]] = [{} for _ in range(n)]
        contents: list[tuple[int, ...]] | None = None
        if network.task == "csp":
            fitting = [f for f in cast(ChemeleonOptions, task.options).compositions if len(read_composition(f)) in sizes]
            chosen = [fitting[k] for k in rng.integers(len(fitting), size=n)]
            contents, origins = [read_composition(formula) for formula in chosen], [{"composition": formula} for formula in chosen]
            n_atoms = [len(content) for content in contents]
        else:
            n_atoms = draw_cell_sizes(sizes, n, rng).tolist()
        samples = _sample(network, task, n_atoms, contents, report)
        return [
            propose_crystal(sample, task, origins[place], np.random.default_rng([seed, 1, place])) for place, sample in enumerate(samples)
        ]


def _select_sizes(task: Task, network: "Network") -> Mapping[int, float]:
    """Shares of the numbers of atoms a cell may have, so that a supercell has a size that was asked for."""
    formulas = cast(ChemeleonOptions, task.options).compositions
    shares = {len(read_composition(formula)): 1.0 for formula in formulas} if formulas else network.cell_sizes
    return select_cell_sizes(shares, task.min_atoms, task.max_atoms)


def _sample(
    network: "Network", task: Task, n_atoms: list[int], contents: list[tuple[int, ...]] | None, report: ReportProgress
) -> list[Sample]:
    """One cell for each number of atoms, as one batch, drawn from torch's global state; BatchFailed if upstream's sampler broke down."""
    types = None if contents is None else [z for content in contents for z in content]
    allowed = tuple(atomic_numbers[symbol] for symbol in task.elements)
    try:
        with network.limited_to(allowed), watching(network.module.model, _CALLS_A_STEP * network.n_steps, report):
            cells = network.module.sample(network.task, n_atoms, types, verbose=False)
    except (RuntimeError, IndexError, ValueError) as error:
        if is_out_of_memory(error) or is_fatal(error):
            raise
        _log.info("the sampler broke down on a batch of %d: %s", len(n_atoms), error)
        raise BatchFailed("sampler_failed") from error
    return [_as_sample(atoms) for atoms in cells]


def _as_sample(atoms: Atoms) -> Sample:
    cell: Any = atoms.cell.array
    with np.errstate(all="ignore"):
        is_flat = not abs(np.linalg.det(cell)) > 0.0
    fractional = np.full((len(atoms), 3), np.nan) if is_flat else atoms.get_scaled_positions(wrap=False)
    return Sample(atoms.numbers.astype(np.int64), fractional, cell)


def build() -> SampledGenerator:
    """The service's generator, set up from the environment."""
    require_packages("torch", "chemeleon_dng")
    return SampledGenerator(ChemeleonModel(ChemeleonSettings()))
